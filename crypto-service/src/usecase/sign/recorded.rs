//! Key sets that record what they issue: a permit before the work, an entry before the answer leaves.

use std::sync::Arc;

use issued_log::Subject;
use jose::json::Object;
use jose::limits;
use service_kit::identity::Caller;

use super::SignedToken;
use super::choose::Signing;
use crate::issued::{Issued, Permit};
use crate::keys::KeysReader;
use crate::refusal::Refusal;
use crate::usecase::DataPlane;

/// The longest `jti` that is recorded.
const MAX_JTI: usize = 512;

impl DataPlane {
    /// The permit to issue a token, where the set records what it issues. Other sets cost one comparison.
    pub(super) fn permit(&self, signing: &Signing<'_>) -> Result<Option<Permit>, Refusal> {
        if !signing.set.profile.record_issued {
            return Ok(None);
        }
        self.issued().admit().map(Some)
    }
}

impl Signing<'_> {
    /// Records a token that is signed.
    pub(super) fn record(&self, permit: Permit, caller: &Caller, signed: &SignedToken) {
        permit.record(Issued {
            set: Arc::clone(&self.set),
            kid: Arc::clone(&signed.kid),
            caller: caller.clone(),
            jti: signed.jti.clone().unwrap_or_default(),
            subject: signed.subject,
            expires_at: signed.expires_at,
        });
    }

    /// What is recorded of the claims: the digest of `sub`. The claims are read once more, for these sets alone.
    pub(super) fn subject(
        &self,
        keys: &KeysReader,
        claims: &str,
        jti: Option<&str>,
    ) -> Result<Option<Subject>, Refusal> {
        if !self.set.profile.record_issued {
            return Ok(None);
        }
        if jti.is_some_and(|jti| jti.len() > MAX_JTI) {
            let fix = "must be at most 512 bytes in a key set that records what it issues";
            return Err(Refusal::field("claims.jti", fix));
        }
        let Some(keys) = keys.issued_keys() else {
            return Ok(None);
        };
        let object = Object::parse(claims.as_bytes(), limits::CLAIMS).ok();
        let sub = object.as_ref().and_then(|object| object.get("sub"));
        let sub = sub.and_then(|sub| sub.as_str());
        Ok(sub.map(|sub| keys.subjects.digest(&self.set.tenant, &sub)))
    }
}
