//! The key-manager's store, vault and use cases in this process, without a socket.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use jose_aws_lc::AwsLc;
use key_manager::{
    keys::{Given, KeySource},
    lifecycle::{Import, Lifecycle, Mutation},
    metrics::Metrics,
    seal::LocalKek,
    store::SqliteStore,
    vault::{SetEntry, SetName, Vault},
};
use keyring::{
    Algorithm, ImportAs, KeySpec, NewKeySet, Policy, Profile, Publish, State, Times, Use,
};
use service_kit::clock::SystemClock;
use zeroize::Zeroizing;

use crate::Fault;

/// The tenant of every set here.
pub const TENANT: &str = "default";

/// A key-encryption key like any other.
const KEK: [u8; 32] = [7; 32];

/// A key-manager over one file.
#[derive(Debug)]
pub struct Manager(Lifecycle);

/// The keys of a set by kid.
pub type Keys = BTreeMap<String, Key>;

/// What a key is. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// How far in its life, from 0: a state never goes back.
    pub stage: u8,
    /// The private half; `None` where there is none, or its material is gone.
    pub secret: Option<Zeroizing<Vec<u8>>>,
    /// The public JWK.
    pub public: Option<String>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key(stage {})", self.stage)
    }
}

impl Key {
    /// Whether `later` is this key, as it was or further in its life.
    #[must_use]
    pub fn is_kept_by(&self, later: &Self) -> bool {
        later.stage >= self.stage && later.secret == self.secret && later.public == self.public
    }
}

fn stage(state: State) -> u8 {
    match state {
        State::Prepared => 0,
        State::Active => 1,
        State::Retiring => 2,
        State::Retired => 3,
        State::Revoked => 4,
        State::Destroyed => 5,
    }
}

impl Manager {
    /// Opens the store, as the daemon does at its start.
    ///
    /// # Errors
    /// Whatever the store or the vault finds.
    pub async fn open(path: &Path) -> Result<Self, Fault> {
        let store = Arc::new(SqliteStore::open(path).await?);
        let vault = Vault::open(store, Arc::new(LocalKek::new(&KEK)?)).await?;
        Ok(Self(Lifecycle::new(
            Arc::new(vault),
            Arc::new(AwsLc),
            Times::DEVELOPMENT,
            SystemClock::shared(),
            Metrics::default(),
        )))
    }

    /// The vault below.
    #[must_use]
    pub fn vault(&self) -> &Arc<Vault> {
        self.0.vault()
    }

    /// Creates an ES256 set, with its first key.
    ///
    /// # Errors
    /// As the use case.
    pub async fn create(&self, name: &str) -> Result<Arc<SetEntry>, Fault> {
        let algorithm = Algorithm::new("ES256").map_err(|cause| cause.to_string())?;
        let new = NewKeySet {
            tenant: TENANT.to_owned(),
            name: name.to_owned(),
            key_use: Use::Sign,
            issuer: None,
            publish: Publish::Public,
            profile: Profile::default(),
            policy: Policy::new(KeySpec::of(algorithm)),
        };
        let once = Mutation {
            request_id: format!("create {name}"),
            ..by_harness()
        };
        Ok(self.0.create(new, &once).await?)
    }

    /// Promotes the standby by force: nobody listens here whom it could wait for.
    ///
    /// # Errors
    /// As the use case.
    pub async fn rotate(&self, name: &str) -> Result<Arc<SetEntry>, Fault> {
        let rotated = self.0.rotate(&named(name), true, &by_harness()).await?;
        Ok(rotated.entry)
    }

    /// Imports a fresh ES256 key with a kid of its own. Gives the set and the kid.
    ///
    /// # Errors
    /// As the use case.
    pub async fn import(&self, name: &str, kid: &str) -> Result<(Arc<SetEntry>, String), Fault> {
        let import = Import {
            given: Given::Jwk(Zeroizing::new(fresh_jwk(kid)?)),
            enters: ImportAs::Prepared,
            force: false,
        };
        Ok(self.0.import(&named(name), import, &by_harness()).await?)
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// As the use case.
    pub async fn revoke(&self, name: &str, kid: &str) -> Result<Arc<SetEntry>, Fault> {
        let revoked = self.0.revoke(&named(name), kid, &by_harness()).await?;
        Ok(revoked.entry)
    }

    /// Every key of a set, its private half opened.
    ///
    /// # Errors
    /// Where a sealed key is not what its record says.
    pub async fn keys(&self, entry: &SetEntry) -> Result<Keys, Fault> {
        let mut keys = Keys::new();
        for version in &entry.set.versions {
            let facts = entry.keys.get(&version.kid);
            let key = Key {
                stage: stage(version.state),
                secret: self.vault().secret(entry, &version.kid).await?,
                public: facts.and_then(|facts| facts.public_jwk.clone()),
            };
            keys.insert(version.kid.clone(), key);
        }
        Ok(keys)
    }
}

/// The name of a set.
#[must_use]
pub fn named(name: &str) -> SetName {
    SetName::new(TENANT, name)
}

/// A private ES256 JWK with that kid.
///
/// # Errors
/// Where no key can be generated.
pub fn fresh_jwk(kid: &str) -> Result<String, Fault> {
    let algorithm = Algorithm::new("ES256").map_err(|cause| cause.to_string())?;
    let generated = KeySource::generate(&AwsLc, &KeySpec::of(algorithm))?;
    let jwk = jose::jwk::Jwk::new(generated.material)
        .with_kid(jose::key::Kid::new(kid)?)
        .with_algorithm(generated.algorithm);
    Ok(jwk.expose_json().to_string())
}

fn by_harness() -> Mutation {
    Mutation {
        caller: "faults".to_owned(),
        ..Mutation::default()
    }
}
