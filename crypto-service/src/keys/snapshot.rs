//! The snapshot: everything that a request may know of keys, in one immutable value.
//!
//! Nothing in it is looked up by walking: sets by name, keys by `kid`, published documents by issuer. A change makes
//! a new snapshot that shares with the old one all but what changed.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jose::revocation::Entry;
use keyring::State;

use super::model::{KeySet, Version};
use super::revoked::RevokedTokens;
use super::sharded::ShardedMap;
use crate::http::JwksDocument;

/// Times that hold for every set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The longest max-age of a JWK Set.
    pub jwks_max_age: Duration,
    /// The longest lease of a thin client.
    pub client_lease: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            jwks_max_age: Duration::from_secs(300),
            client_lease: Duration::from_secs(300),
        }
    }
}

/// The state of all keys at one epoch.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// False until the first snapshot is applied; an empty store has epoch 0.
    pub(super) received: bool,
    pub(super) epoch: u64,
    pub(super) times: Times,
    pub(super) tenants: ShardedMap<Arc<Tenant>>,
}

impl Snapshot {
    /// The epoch of the key store that this shows; 0 before the first.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether a first snapshot has been received.
    #[must_use]
    pub fn is_received(&self) -> bool {
        self.received
    }

    /// Times that hold for every set.
    #[must_use]
    pub fn times(&self) -> Times {
        self.times
    }

    pub(crate) fn tenant(&self, name: &str) -> Option<&Arc<Tenant>> {
        self.tenants.get(name)
    }

    /// A key set by its name.
    pub(crate) fn set(&self, tenant: &str, name: &str) -> Option<&Arc<KeySet>> {
        self.tenant(tenant)?.set(name)
    }

    /// The keys of a set: kid, state, and whether the private or secret half is held.
    pub fn versions(&self, tenant: &str, name: &str) -> impl Iterator<Item = (&str, State, bool)> {
        let versions = self.set(tenant, name).map(|set| set.versions.iter());
        let versions = versions.into_iter().flatten();
        versions.map(|version| (&*version.kid, version.state, version.sealed.is_some()))
    }

    /// How many revocations of tokens live.
    #[must_use]
    pub fn revoked_tokens(&self) -> usize {
        self.tenants
            .values()
            .map(|tenant| tenant.revoked_tokens())
            .sum()
    }

    /// How many key sets there are.
    #[must_use]
    pub fn key_sets(&self) -> usize {
        self.tenants.values().map(|tenant| tenant.sets.len()).sum()
    }
}

/// A key and the set that it stands in.
#[derive(Clone, Debug)]
pub(crate) struct KeyRef {
    pub(crate) set: Arc<KeySet>,
    pub(crate) version: Arc<Version>,
}

/// One tenant's keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tenant {
    pub(super) sets: ShardedMap<Arc<KeySet>>,
    pub(super) kids: ShardedMap<KeyRef>,
    /// By key set; none is empty.
    revoked: ShardedMap<Arc<RevokedTokens>>,
    published: Arc<OnceLock<Published>>,
}

impl Tenant {
    /// A key by its id, which is unique in the tenant.
    pub(crate) fn key(&self, kid: &str) -> Option<&KeyRef> {
        self.kids.get(kid)
    }

    pub(crate) fn set(&self, name: &str) -> Option<&Arc<KeySet>> {
        self.sets.get(name)
    }

    pub(crate) fn sets(&self) -> impl Iterator<Item = &Arc<KeySet>> {
        self.sets.values()
    }

    /// The revocations of a set's tokens, where there are any.
    pub(crate) fn revoked(&self, key_set: &str) -> Option<&Arc<RevokedTokens>> {
        if self.revoked.len() == 0 {
            return None;
        }
        self.revoked.get(key_set)
    }

    /// Adds revocations of a set's tokens.
    pub(super) fn revoke(&mut self, key_set: &str, entries: &[Entry]) {
        let before = self.revoked(key_set);
        let next = before.map_or_else(
            || RevokedTokens::default().with(entries),
            |before| before.with(entries),
        );
        if !next.table().is_empty() {
            self.revoked.insert(key_set.into(), Arc::new(next));
        }
    }

    /// Forgets revocations; false where there was none to forget.
    pub(super) fn forget_revoked(&mut self, until: u32) -> bool {
        let due: Vec<_> = self
            .revoked
            .entries()
            .filter_map(|(name, revoked)| Some((Arc::clone(name), revoked.without(until)?)))
            .collect();
        let any = !due.is_empty();
        for (name, next) in due {
            if next.table().is_empty() {
                self.revoked.remove(&name);
            } else {
                self.revoked.insert(name, Arc::new(next));
            }
        }
        any
    }

    fn revoked_tokens(&self) -> usize {
        let tables = self.revoked.values();
        tables.map(|revoked| revoked.table().len()).sum()
    }

    /// The JWK Set of all public sets, or of one issuer's. Whoever asks first after a change renders it.
    pub(crate) fn jwks(&self, issuer: Option<&str>) -> Option<&Arc<JwksDocument>> {
        let published = self.published.get_or_init(|| Published::of(&self.sets));
        match issuer {
            None => Some(&published.all),
            Some(issuer) => published.by_issuer.get(issuer),
        }
    }

    /// Puts a set in the place of the one of its name.
    pub(super) fn put(&mut self, set: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        let before = self.sets.insert(Arc::clone(&set.name), Arc::clone(set));
        self.forget_kids(before.as_ref());
        for version in &set.versions {
            let key = KeyRef {
                set: Arc::clone(set),
                version: Arc::clone(version),
            };
            self.kids.insert(Arc::clone(&version.kid), key);
        }
        before
    }

    /// Takes a set out.
    pub(super) fn take(&mut self, name: &str) -> Option<Arc<KeySet>> {
        let before = self.sets.remove(name);
        self.forget_kids(before.as_ref());
        before
    }

    /// What was published holds no longer. It is rendered when somebody asks: a thousand changes in a row cost one rendering.
    pub(super) fn publish(&mut self) {
        self.published = Arc::default();
    }

    fn forget_kids(&mut self, set: Option<&Arc<KeySet>>) {
        let Some(set) = set else { return };
        for version in &set.versions {
            // A kid that another set has taken over in the same change stays with that one.
            if self
                .key(&version.kid)
                .is_some_and(|key| key.set.name == set.name)
            {
                self.kids.remove(&version.kid);
            }
        }
    }
}

pub(super) fn is_public(set: &KeySet) -> bool {
    set.publish == keyring::Publish::Public
        && matches!(set.key_use, keyring::Use::Sign | keyring::Use::Encrypt)
}

/// A tenant's JWK Sets.
#[derive(Debug)]
struct Published {
    all: Arc<JwksDocument>,
    by_issuer: HashMap<Box<str>, Arc<JwksDocument>>,
}

impl Published {
    fn of(sets: &ShardedMap<Arc<KeySet>>) -> Self {
        let mut public: Vec<_> = sets.values().filter(|set| is_public(set)).collect();
        public.sort_by(|a, b| a.name.cmp(&b.name));
        let mut by_issuer: HashMap<&str, Vec<&Arc<KeySet>>> = HashMap::new();
        for set in &public {
            if let Some(issuer) = set.issuer() {
                by_issuer.entry(issuer).or_default().push(set);
            }
        }
        let render = |(issuer, sets): (&str, Vec<&Arc<KeySet>>)| {
            (issuer.into(), JwksDocument::render(&sets))
        };
        Self {
            all: JwksDocument::render(&public),
            by_issuer: by_issuer.into_iter().map(render).collect(),
        }
    }
}
