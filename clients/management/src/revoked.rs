//! How far a revocation has come.

use std::time::{Duration, SystemTime};

use client_core::request::{from_wire, time_from_wire};
use crypto_proto::keys::v1 as proto;

/// How far a revocation of tokens has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedTokens {
    /// The key sets that it covers.
    pub key_sets: Vec<String>,
    /// Tokens up to this `iat` are revoked; `None` for one by `jti`.
    pub issued_before: Option<SystemTime>,
    /// When it is forgotten, because everything that it covers has expired; `None` = never.
    pub forgotten_at: Option<SystemTime>,
    /// Instances that have acknowledged it.
    pub acked: u32,
    /// Live instances.
    pub total: u32,
    /// Live instances that have not acknowledged within 1 s; the tokens count there until their lease ends.
    pub stragglers: Vec<String>,
    /// From the request to the last acknowledgement, or to the answer.
    pub elapsed: Duration,
}

impl From<proto::RevokeTokenResponse> for RevokedTokens {
    fn from(wire: proto::RevokeTokenResponse) -> Self {
        Self {
            key_sets: wire.key_sets,
            issued_before: wire.issued_before.map(time_from_wire),
            forgotten_at: wire.forgotten_at.map(time_from_wire),
            acked: wire.acked,
            total: wire.total,
            stragglers: wire.stragglers,
            elapsed: wire.elapsed.map_or(Duration::ZERO, from_wire),
        }
    }
}
