//! One caller's view of the keys: what the shared verification asks.

use std::sync::Arc;

use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose::jwt::{Claims, KeyState, Lookup, Standing, TrustedKey, View};
use jose::provider::Verify;
use jose::revocation::TokenFacts;
use jose_aws_lc::AwsLc;
use keyring::{State, Use};
use service_kit::grants::Operation;
use service_kit::identity::Caller;

use crate::keys::{KeyRef, KeySet, PrivateKeys, Tenant, Version};
use crate::lanes::VerifyingKey;
use crate::policy::Access;

/// The SIGN sets of one tenant that a caller may verify with. The key is found first and its set's grant asked then:
/// nothing here grows with the number of key sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallersView<'a> {
    pub(super) caller: &'a Caller,
    pub(super) access: &'a Access,
    pub(super) tenant_name: &'a str,
    pub(super) tenant: Option<&'a Arc<Tenant>>,
    pub(super) private: &'a PrivateKeys,
    /// The sets that were named; grants on these have been demanded already.
    pub(super) named: &'a [String],
    pub(super) audience_unchecked: bool,
}

/// What checks a signature in the lanes, and whose work that is.
#[derive(Debug)]
pub(super) struct Checker {
    pub(super) key: VerifyingKey,
    pub(super) tenant: Arc<str>,
}

impl<'a> CallersView<'a> {
    fn may_use(&self, set: &KeySet) -> bool {
        if set.key_use != Use::Sign {
            return false;
        }
        if !self.named.is_empty() {
            return self.named.iter().any(|name| **name == *set.name);
        }
        let granted = |operation| {
            self.access
                .allows(self.caller, operation, self.tenant_name, &set.name)
        };
        granted(Operation::Verify)
            && (!self.audience_unchecked || granted(Operation::VerifyUncheckedAudience))
    }

    fn trusted(&self, set: &'a KeySet, version: &'a Version) -> Lookup<'a, Checker> {
        let Algorithm::Jws(algorithm) = version.algorithm else {
            return Lookup::Unknown;
        };
        let state = match version.state {
            State::Prepared => KeyState::Prepared,
            State::Active => KeyState::Active,
            State::Retiring => KeyState::Retiring,
            State::Retired => KeyState::Retired,
            State::Revoked => return Lookup::Revoked { key_set: &set.name },
            State::Destroyed => return Lookup::Unknown,
        };
        let Some(key) = self.verifier(version) else {
            return Lookup::Unknown;
        };
        Lookup::Found(TrustedKey {
            kid: &version.kid,
            key_set: &set.name,
            issuer: set.issuer(),
            profile: &set.verifier_profile,
            state,
            algorithm,
            verifier: Checker {
                key,
                tenant: Arc::clone(&set.tenant),
            },
        })
    }

    fn verifier(&self, version: &Version) -> Option<VerifyingKey> {
        match &version.public {
            Some(public) => public.verifier(self.private.engine()).cloned(),
            None => self.private.mac_verifier(version),
        }
    }
}

/// Whether a token was revoked. One look-up where nothing of its set was.
pub(super) fn standing(tenant: Option<&Tenant>, claims: &Claims) -> Standing {
    let revoked = tenant.and_then(|tenant| tenant.revoked(claims.key_set()));
    let revoked = revoked.map(|revoked| revoked.table());
    match revoked.is_some_and(|table| table.revokes(&TokenFacts::of(claims), &AwsLc)) {
        true => Standing::Revoked,
        false => Standing::Stands,
    }
}

impl<'a> View<'a> for CallersView<'a> {
    type Key = Checker;

    fn key(&self, kid: &str) -> Lookup<'a, Checker> {
        match self.tenant.and_then(|tenant| tenant.key(kid)) {
            Some(KeyRef { set, version }) if self.may_use(set) => self.trusted(set, version),
            _ => Lookup::Unknown,
        }
    }

    fn only_key(&self, key_set: &str, algorithm: JwsAlgorithm) -> Lookup<'a, Checker> {
        let set = self
            .tenant
            .and_then(|tenant| tenant.set(key_set))
            .filter(|set| self.may_use(set));
        let Some(set) = set else {
            return Lookup::Unknown;
        };
        let fits = |version: &&Arc<Version>| {
            let same =
                matches!(version.algorithm, Algorithm::Jws(own) if own.is_same_as(algorithm));
            same && matches!(version.state, State::Active | State::Retiring)
        };
        let mut candidates = set.versions.iter().filter(fits);
        match (candidates.next(), candidates.next()) {
            (Some(version), None) => self.trusted(set, version),
            _ => Lookup::Unknown,
        }
    }

    fn algorithm(checker: &Checker) -> Option<JwsAlgorithm> {
        Some(checker.key.algorithm())
    }

    fn standing(&self, claims: &Claims) -> Standing {
        standing(self.tenant.map(|tenant| &**tenant), claims)
    }
}
