//! `GetJwks`.

use std::time::Duration;

use crypto_proto::jwks::v1 as proto;

use super::from_wire;
use crate::error::Error;

/// A JWK Set (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwks {
    /// The document.
    pub json: String,
    /// Its strong ETag, with quotes.
    pub etag: String,
    /// How long it may be kept.
    pub max_age: Duration,
}

impl Jwks {
    pub(crate) fn read(wire: proto::GetJwksResponse) -> Result<Self, Error> {
        if wire.jwks_json.is_empty() {
            return Err(Error::answer("jwks_json"));
        }
        let max_age = wire.max_age.map(from_wire).unwrap_or_default();
        Ok(Self {
            json: wire.jwks_json,
            etag: wire.etag,
            max_age,
        })
    }
}
