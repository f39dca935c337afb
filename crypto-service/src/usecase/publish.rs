//! Publishing public keys: by gRPC to callers, over HTTP to everybody.

use std::sync::Arc;
use std::time::Duration;

use service_kit::identity::Caller;

use super::DataPlane;
use crate::http::JwksDocument;
use crate::refusal::Refusal;

/// Which JWK Set.
#[derive(Clone, Copy, Debug)]
pub struct JwksQuery<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The issuer; empty = every public set of the tenant.
    pub issuer: &'a str,
}

/// A JWK Set, and how long it may be kept.
#[derive(Clone, Debug)]
pub struct JwksAnswer {
    /// The document.
    pub document: Arc<JwksDocument>,
    /// How long it may be kept, in whole seconds.
    pub max_age: Duration,
}

impl DataPlane {
    /// The JWK Set for a caller with any grant in the tenant.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn jwks(&self, caller: &Caller, query: JwksQuery<'_>) -> Result<JwksAnswer, Refusal> {
        self.access().require_member(caller, query.tenant)?;
        self.public_jwks(query, None)
    }

    /// The JWK Set for anyone. `cap` shortens the longest max-age.
    ///
    /// # Errors
    /// [`Refusal::NotReady`], [`Refusal::IssuerNotFound`].
    pub fn public_jwks(
        &self,
        query: JwksQuery<'_>,
        cap: Option<Duration>,
    ) -> Result<JwksAnswer, Refusal> {
        let out = |_out| Refusal::not_ready("the instance's lease to publish keys has run out");
        let lease = self.keys().verify_lease().map_err(out)?;
        let snapshot = self.keys().snapshot();
        let issuer = (!query.issuer.is_empty()).then_some(query.issuer);
        let document = match snapshot.tenant(query.tenant) {
            Some(tenant) => tenant.jwks(issuer).cloned(),
            // The default tenant exists before its first key set does.
            None => (query.tenant == "default" && issuer.is_none()).then(Arc::default),
        };
        let document = document.ok_or_else(|| Refusal::IssuerNotFound {
            tenant: query.tenant.to_owned(),
        })?;
        let longest = snapshot.times().jwks_max_age;
        let cap = cap.map_or(longest, |cap| cap.min(longest));
        let max_age = document.max_age(cap, lease, self.clock().since_epoch());
        Ok(JwksAnswer { document, max_age })
    }
}
