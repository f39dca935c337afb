//! What of a key set an instance is given.

use std::sync::Arc;

use keyring::{Fed, State, Time};

use super::{Feed, FeedError, StreamKey};
use crate::vault::{SetEntry, SetName};

/// A key set for one instance.
#[derive(Clone, Debug)]
pub struct FedSet {
    /// The set.
    pub entry: Arc<SetEntry>,
    /// Its keys; never Destroyed ones.
    pub versions: Vec<FedVersion>,
    /// When what is published changes next, as far as it is planned.
    pub next_change: Option<Time>,
    /// When an Active key is expected, for a set without one.
    pub ready_at: Option<Time>,
}

/// A key for one instance.
#[derive(Clone, Debug)]
pub struct FedVersion {
    /// The key.
    pub kid: String,
    /// The public JWK; empty for symmetric keys, and for keys that have left service.
    pub public_jwk: String,
    /// The private key or secret, wrapped; empty where the instance is not to hold it.
    pub wrapped_key: String,
    /// How many encryptions the instance may make with it since its start; 0 for keys without a budget.
    pub invocations: u64,
}

impl FedSet {
    /// A bound on the bytes that it takes in a message, near enough.
    pub(super) fn weight(&self) -> usize {
        let versions = self
            .versions
            .iter()
            .map(|version| version.public_jwk.len() + version.wrapped_key.len() + 256);
        512 + versions.sum::<usize>()
    }
}

impl Feed {
    /// The set as the states permit it, its private keys wrapped for `epoch`.
    pub(super) async fn fed(
        &self,
        entry: Arc<SetEntry>,
        epoch: u64,
        key: &StreamKey,
    ) -> Result<FedSet, FeedError> {
        let set = &entry.set;
        let instance = self.lifecycle.vault().instance(key.instance());
        let granted = |kid: &str| {
            instance.as_ref().map_or(0, |instance| {
                let subscriber = &instance.subscriber;
                subscriber.invocations_of(&set.tenant, kid).granted
            })
        };
        let mut versions = Vec::with_capacity(set.versions.len());
        for version in set
            .versions
            .iter()
            .filter(|version| version.state != State::Destroyed)
        {
            let part = set.fed(version);
            let facts = entry.keys.get(&version.kid).filter(|_| part >= Fed::Public);
            let public_jwk = facts
                .and_then(|facts| facts.public_jwk.clone())
                .unwrap_or_default();
            let secret = match part {
                Fed::Whole => self.lifecycle.vault().secret(&entry, &version.kid).await?,
                Fed::Public | Fed::Nothing => None,
            };
            let wrapped = secret
                .map(|secret| key.wrap(&set.tenant, &version.kid, epoch, &secret))
                .transpose()?;
            versions.push(FedVersion {
                kid: version.kid.clone(),
                public_jwk,
                wrapped_key: wrapped.unwrap_or_default(),
                invocations: granted(&version.kid),
            });
        }
        let (next_change, ready_at) = self.dates(&entry);
        Ok(FedSet {
            entry,
            versions,
            next_change,
            ready_at,
        })
    }

    /// Dates are asked for only where something is planned: most sets of a snapshot are quiet.
    fn dates(&self, entry: &SetEntry) -> (Option<Time>, Option<Time>) {
        let set = &entry.set;
        let waits = set.active().is_none();
        if !waits && !set.encrypts() && set.in_state(State::Retiring).next().is_none() {
            return (None, None);
        }
        self.lifecycle.look(&SetName::of(set), |ctx| {
            (
                keyring::next_change(set, ctx),
                waits.then(|| keyring::expected_at(set, ctx)).flatten(),
            )
        })
    }
}
