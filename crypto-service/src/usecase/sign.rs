//! Signing: policy, the Active key, claims, signature.

use std::sync::Arc;
use std::time::Duration;

use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose::jws;
use jose::jwt::{IssueRules, PreparedClaims};
use keyring::{State, Use};
use service_kit::grants::Operation;
use service_kit::identity::Caller;

use super::DataPlane;
use crate::keys::{InFlight, KeySet, Version};
use crate::lanes::Cost;
use crate::refusal::{Refusal, Violation};

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
}

impl std::fmt::Debug for SignedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedToken")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// The key that signs, with the signature already counted as under way.
struct Signing {
    set: Arc<KeySet>,
    version: Arc<Version>,
    in_flight: InFlight,
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
    ) -> Result<SignedToken, Refusal> {
        let signing = self
            .choose(caller, &command)
            .map_err(|refusal| fields_first(&command, refusal))?;
        let claims = self.prepare(&command, &signing.set)?;
        let expires_at = claims.expires_at();
        // A token without `exp` counts as `iat` plus the longest lifetime.
        let longest = claims
            .issued_at()
            .saturating_add(signing.set.profile.max_lifetime);
        signing.in_flight.will_expire(expires_at.unwrap_or(longest));

        let (kid, jti) = (
            Arc::clone(&signing.version.kid),
            claims.jti().map(str::to_owned),
        );
        let token = self.signature(signing, command.typ, claims).await?;
        // The lease may have run out, or the machine been suspended, while the signature was made.
        self.may_sign()?;
        Ok(SignedToken {
            token,
            kid,
            jti,
            expires_at,
        })
    }

    fn choose(&self, caller: &Caller, command: &SignCommand) -> Result<Signing, Refusal> {
        self.access()
            .require(caller, Operation::Sign, &command.tenant, &command.key_set)?;
        let set = self.set_of("key_set", &command.tenant, &command.key_set, Use::Sign)?;
        self.may_sign()?;
        self.begin(set)
    }

    /// Counts the signature as under way first, then looks whether the key is still the one: so an ack of its
    /// demotion that says "none under way" is true.
    fn begin(&self, mut set: Arc<KeySet>) -> Result<Signing, Refusal> {
        loop {
            let version = Arc::clone(set.active().ok_or_else(|| self.no_active_key(&set))?);
            if version.sealed.is_none() {
                return Err(Refusal::not_ready(
                    "this instance holds no private key of the key set",
                ));
            }
            let in_flight = self.keys().usage().begin(&version.usage);
            let now = self.set_of("key_set", &set.tenant, &set.name, Use::Sign)?;
            if Arc::ptr_eq(&now, &set)
                || now.active().is_some_and(|active| active.kid == version.kid)
            {
                return Ok(Signing {
                    set,
                    version,
                    in_flight,
                });
            }
            set = now;
        }
    }

    pub(super) fn no_active_key(&self, set: &KeySet) -> Refusal {
        let now = self.clock().since_epoch();
        let retry_in = set
            .ready_at
            .map(|at| Duration::from_secs(at).saturating_sub(now));
        Refusal::NotReady {
            what: "the key set has no Active key yet",
            retry_in,
        }
    }

    fn prepare(&self, command: &SignCommand, set: &KeySet) -> Result<PreparedClaims, Refusal> {
        let profile = &set.profile;
        let jti = if profile.jti_optional {
            None
        } else {
            Some(self.random_id()?)
        };
        let rules = IssueRules {
            issuer: set.issuer(),
            now: self.clock().unix_seconds(),
            lifetime: command.lifetime,
            default_lifetime: profile.default_lifetime,
            max_lifetime: profile.max_lifetime,
            expiry_optional: profile.expiry_optional,
            jti: jti.as_deref(),
        };
        PreparedClaims::prepare(command.claims.as_bytes(), &rules).map_err(violations)
    }

    async fn signature(
        &self,
        signing: Signing,
        typ: String,
        claims: PreparedClaims,
    ) -> Result<String, Refusal> {
        let Algorithm::Jws(algorithm) = signing.version.algorithm else {
            return Err(Refusal::Internal(
                "a signing set holds a key of another kind",
            ));
        };
        let private = self.private().clone();
        let (set, kid) = (Arc::clone(&signing.set), Arc::clone(&signing.version.kid));
        let work = move || {
            let version = &signing.version;
            let key = private
                .signer(version)
                .ok_or(Refusal::Internal("the signing key cannot be used"))?;
            let usual = typ.is_empty();
            let typ = if usual {
                signing.set.profile.typ()
            } else {
                &typ
            };
            let header = version.header(algorithm, typ, usual);
            let token = jws::sign(&header, claims.json().as_bytes(), &*key);
            // Only now is nothing of this key under way any more.
            drop(signing.in_flight);
            token.map_err(|error| match error {
                jws::SignError::TooLarge => {
                    Refusal::TooLarge("the token would be longer than 20 KiB")
                }
                jws::SignError::Failed(_) => Refusal::Internal("the crypto engine failed"),
            })
        };
        let cost = cost(algorithm);
        let token = self.lanes().run(cost, work).await??;
        if cost == Cost::Queued && !self.is_still_good(&set, &kid) {
            return Err(Refusal::not_ready(
                "the key was revoked while the signature was made",
            ));
        }
        self.metrics().signed(algorithm.name());
        Ok(token)
    }

    /// Whether the key has not been revoked since it was chosen: nobody would accept its token.
    fn is_still_good(&self, set: &KeySet, kid: &str) -> bool {
        let snapshot = self.keys().snapshot();
        let now = snapshot.set(&set.tenant, &set.name);
        now.and_then(|now| now.version(kid))
            .is_some_and(|version| version.state != State::Revoked)
    }

    pub(super) fn may_sign(&self) -> Result<(), Refusal> {
        self.keys()
            .sign_lease()
            .map(|_left| ())
            .map_err(|_out| Refusal::not_ready("the instance's lease to sign has run out"))
    }
}

/// RSA private operations take hundreds of microseconds, all others tens.
fn cost(algorithm: JwsAlgorithm) -> Cost {
    use JwsAlgorithm::{Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    match algorithm {
        Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => Cost::Queued,
        _ => Cost::Inline,
    }
}

/// What is wrong with the claims themselves, whatever the key set.
pub(crate) fn claims_violations(claims: &str, lifetime: Option<u64>) -> Vec<Violation> {
    let rules = IssueRules {
        issuer: None,
        now: 0,
        lifetime,
        default_lifetime: 1,
        max_lifetime: u64::MAX,
        expiry_optional: true,
        jti: None,
    };
    let found = PreparedClaims::prepare(claims.as_bytes(), &rules)
        .err()
        .unwrap_or_default();
    found
        .into_iter()
        .map(|violation| Violation::new(violation.field, violation.fix))
        .collect()
}

/// Fields are refused before grants and existence. The claims are read only once on the way of a signature, with the
/// rules of their set; a call that does not come so far has them read here.
fn fields_first(command: &SignCommand, refusal: Refusal) -> Refusal {
    match claims_violations(&command.claims, command.lifetime) {
        none if none.is_empty() => refusal,
        found => Refusal::Fields(found),
    }
}

fn violations(found: Vec<jose::jwt::Violation>) -> Refusal {
    Refusal::Fields(
        found
            .into_iter()
            .map(|violation| Violation::new(violation.field, violation.fix))
            .collect(),
    )
}
