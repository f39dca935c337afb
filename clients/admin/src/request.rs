//! What an operator asks for.

use std::fmt;
use std::time::{Duration, SystemTime};

use client_core::request_id;

use crate::key_set::{KeyUse, Policy, Profile, Publish};

/// What every mutation carries.
#[derive(Debug, Clone)]
pub(crate) struct Mutation {
    pub(crate) tenant: String,
    pub(crate) key_set: String,
    pub(crate) request_id: String,
    pub(crate) expected_revision: u64,
}

impl Mutation {
    pub(crate) fn of(key_set: impl Into<String>) -> Self {
        Self {
            tenant: String::new(),
            key_set: key_set.into(),
            request_id: request_id(),
            expected_revision: 0,
        }
    }
}

/// The setters that mutations share.
macro_rules! mutation {
    ($type:ident) => {
        mutation!($type, without revision);

        impl $type {
            /// Refuses (ABORTED, CONFLICT) when the set has another revision. Default: any.
            #[must_use]
            pub fn expected_revision(mut self, revision: u64) -> Self {
                self.mutation.expected_revision = revision;
                self
            }
        }
    };
    ($type:ident, without revision) => {
        impl $type {
            /// The tenant. Default: `default`.
            #[must_use]
            pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
                self.mutation.tenant = tenant.into();
                self
            }

            /// Names the request, so that asking again does not act twice. Default: 128 random bits, made with this value.
            #[must_use]
            pub fn request_id(mut self, id: impl Into<String>) -> Self {
                self.mutation.request_id = id.into();
                self
            }
        }
    };
}

pub(crate) use mutation;

/// A key set to create.
#[derive(Debug, Clone)]
pub struct CreateKeySet {
    pub(crate) mutation: Mutation,
    pub(crate) key_use: KeyUse,
    pub(crate) issuer: String,
    pub(crate) publish: Publish,
    pub(crate) profile: Profile,
    pub(crate) policy: Policy,
}

mutation!(CreateKeySet, without revision);

impl CreateKeySet {
    /// A set called `name` whose first key is made for `algorithm` (JWA). Its public keys are seen by callers with a grant.
    #[must_use]
    pub fn new(name: impl Into<String>, key_use: KeyUse, algorithm: impl Into<String>) -> Self {
        Self {
            mutation: Mutation::of(name),
            key_use,
            issuer: String::new(),
            publish: Publish::Internal,
            profile: Profile::default(),
            policy: Policy {
                algorithm: algorithm.into(),
                ..Policy::default()
            },
        }
    }

    /// The `iss` of its tokens. Default: none.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = issuer.into();
        self
    }

    /// Who sees its public keys. Default: [`Publish::Internal`].
    #[must_use]
    pub fn publish(mut self, publish: Publish) -> Self {
        self.publish = publish;
        self
    }

    /// The rules of its tokens.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// How its keys are made, and when. Replaces the algorithm of [`CreateKeySet::new`].
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }
}

/// One thing to change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The `iss` of its tokens.
    Issuer(String),
    /// Who sees its public keys.
    Publish(Publish),
    /// All rules of its tokens.
    Profile(Profile),
    /// The whole policy.
    Policy(Policy),
    /// The algorithm of the next key. The standby is revoked, and a new one waits afresh.
    Algorithm(String),
    /// The longest lifetime of its tokens.
    MaxLifetime(Duration),
    /// Whether each token that is issued is recorded.
    RecordIssued(bool),
}

/// Changes to a key set.
#[derive(Debug, Clone)]
pub struct UpdateKeySet {
    pub(crate) mutation: Mutation,
    pub(crate) changes: Vec<Change>,
}

mutation!(UpdateKeySet);

impl UpdateKeySet {
    /// Makes one change to the set called `key_set`.
    #[must_use]
    pub fn new(key_set: impl Into<String>, change: Change) -> Self {
        Self {
            mutation: Mutation::of(key_set),
            changes: vec![change],
        }
    }

    /// One more change in the same write.
    #[must_use]
    pub fn and(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }
}

/// A rotation.
#[derive(Debug, Clone)]
pub struct RotateKeySet {
    pub(crate) mutation: Mutation,
    pub(crate) force: bool,
}

mutation!(RotateKeySet);

impl RotateKeySet {
    /// Schedules the promotion of the Prepared key of `key_set`.
    #[must_use]
    pub fn new(key_set: impl Into<String>) -> Self {
        Self {
            mutation: Mutation::of(key_set),
            force: false,
        }
    }

    /// Promotes at once, without the waits that keep verifiers from meeting an unknown key.
    #[must_use]
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }
}

/// What an imported key becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportAs {
    /// The next key; it revokes the standby.
    Prepared,
    /// A key that verifies, or decrypts, until the given time; the only choice for public keys.
    RetiringUntil(SystemTime),
    /// The key that signs, at once: the present one is demoted without any wait.
    ForcedActive,
}

/// A key from outside.
#[derive(Clone)]
pub struct ImportKey {
    pub(crate) mutation: Mutation,
    pub(crate) jwk: String,
    pub(crate) pkcs8: Vec<u8>,
    pub(crate) kid: String,
    pub(crate) algorithm: String,
    pub(crate) import_as: ImportAs,
}

mutation!(ImportKey);

impl ImportKey {
    /// Adds a private, public or symmetric JWK of at most 16 KiB to `key_set`. Its `kid` is kept.
    #[must_use]
    pub fn new(key_set: impl Into<String>, jwk: impl Into<String>, import_as: ImportAs) -> Self {
        Self {
            mutation: Mutation::of(key_set),
            jwk: jwk.into(),
            pkcs8: Vec::new(),
            kid: String::new(),
            algorithm: String::new(),
            import_as,
        }
    }

    /// Adds a private key as PKCS#8 of at most 16 KiB, DER or PEM, to `key_set`.
    #[must_use]
    pub fn pkcs8(
        key_set: impl Into<String>,
        pkcs8: impl Into<Vec<u8>>,
        import_as: ImportAs,
    ) -> Self {
        Self {
            pkcs8: pkcs8.into(),
            ..Self::new(key_set, "", import_as)
        }
    }

    /// The key id of a key in PKCS#8. Default: its RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = kid.into();
        self
    }

    /// The algorithm (JWA) of a key in PKCS#8. Default: the set's.
    #[must_use]
    pub fn algorithm(mut self, algorithm: impl Into<String>) -> Self {
        self.algorithm = algorithm.into();
        self
    }
}

/// The key may be a private one.
impl fmt::Debug for ImportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportKey")
            .field("mutation", &self.mutation)
            .field("import_as", &self.import_as)
            .finish_non_exhaustive()
    }
}

/// A compromised key.
#[derive(Debug, Clone)]
pub struct RevokeKey {
    pub(crate) mutation: Mutation,
    pub(crate) kid: String,
}

mutation!(RevokeKey);

impl RevokeKey {
    /// Revokes `kid` of `key_set`: it verifies nothing from the next message on.
    #[must_use]
    pub fn new(key_set: impl Into<String>, kid: impl Into<String>) -> Self {
        Self {
            mutation: Mutation::of(key_set),
            kid: kid.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_an_import_shows_no_key() {
        let import = ImportKey::new(
            "op/x",
            r#"{"kty":"oct","k":"c2VjcmV0"}"#,
            ImportAs::Prepared,
        );
        let shown = format!("{import:?}");
        assert!(
            shown.contains("op/x") && !shown.contains("c2VjcmV0"),
            "{shown}"
        );
    }

    #[test]
    fn every_mutation_has_an_id_of_its_own() {
        let (a, b) = (RotateKeySet::new("op/x"), RotateKeySet::new("op/x"));
        assert_ne!(a.mutation.request_id, b.mutation.request_id);
        assert_eq!(a.clone().mutation.request_id, a.mutation.request_id);
    }
}
