//! Signing: policy, the Active key, claims, signature. One at a time here, many at once in [`wave`] and [`batch`].

mod batch;
mod choose;
mod claims;
mod recorded;
mod wave;

use std::sync::Arc;

use jose::jwt::TokenHashes;
use service_kit::identity::Caller;
use tokio::time::Instant;

pub use batch::{AuthorizationCode, BatchItem, BatchSource, BatchedToken, ItemRefusal};
pub(crate) use claims::claims_violations;
pub use wave::TimedSign;

use super::DataPlane;
use crate::lanes::{Ask, SignJob};
use crate::refusal::{Refusal, Violation};
pub(super) use claims::fields_first;

/// What to sign. The fields that do not depend on the key set are checked.
pub struct SignCommand {
    /// The tenant.
    pub tenant: String,
    /// The key set.
    pub key_set: String,
    /// The claims' JSON text, as it will stand in the token.
    pub claims: String,
    /// From `iat` to `exp`, in seconds.
    pub lifetime: Option<u64>,
    /// The header's `typ`; empty = the set's.
    pub typ: String,
}

impl std::fmt::Debug for SignCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignCommand")
            .field("key_set", &self.key_set)
            .finish_non_exhaustive()
    }
}

/// A signed token.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedToken {
    /// The JWS in compact form.
    pub token: String,
    /// The key that signed it.
    pub kid: Arc<str>,
    /// Its `jti`.
    pub jti: Option<String>,
    /// Its `exp`, in seconds since the epoch.
    pub expires_at: Option<u64>,
    /// The digest of its `sub`, where its key set records what it issues.
    pub subject: Option<issued_log::Subject>,
}

impl std::fmt::Debug for SignedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedToken")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl DataPlane {
    /// Signs claims with the Active key of a key set.
    ///
    /// # Errors
    /// [`Refusal`], in the order fields, grant, existence, readiness.
    pub async fn sign(
        &self,
        caller: &Caller,
        command: SignCommand,
        deadline: Option<Instant>,
    ) -> Result<SignedToken, Refusal> {
        let first = |refusal| fields_first(&command, TokenHashes::default(), refusal);
        let seen = self.keys().snapshot_owned();
        let mut signing = self.choose(&seen, caller, &command).map_err(first)?;
        let ask = Ask {
            tenant: Arc::clone(&signing.set.tenant),
            deadline,
        };
        let key = match signing.key.take() {
            Some(key) => key,
            None => self.parse_key(&ask, &signing).await.map_err(first)?,
        };
        let jti = if signing.set.profile.jti_optional {
            String::new()
        } else {
            self.random_id()?
        };
        let permit = self.permit(&signing).map_err(first)?;
        let now = self.clock().unix_seconds();
        let (token, mut signed) = signing.unsigned(
            self.keys(),
            &key,
            &command,
            TokenHashes::default(),
            (now, &jti),
        )?;
        let algorithm = key.algorithm();
        signed.token = self.lanes().sign(ask, SignJob { key, token }).await?;
        self.still_stands(&seen, &signing)?;
        // The lease may have run out, or the machine been suspended, while the signature was made.
        self.may_sign()?;
        self.metrics().signed(algorithm.name());
        if let Some(permit) = permit {
            signing.record(permit, caller, &signed);
        }
        Ok(signed)
    }
}

/// Names fields of the inner request as the outer one has them.
pub(super) fn inside(prefix: &str, refusal: Refusal) -> Refusal {
    let Refusal::Fields(violations) = refusal else {
        return refusal;
    };
    let rename = |violation: Violation| Violation {
        field: format!("{prefix}{}", violation.field),
        ..violation
    };
    Refusal::Fields(violations.into_iter().map(rename).collect())
}
