//! What operators ask for, and what the plan does: decisions of [`keyring`], carried out by compare-and-swap.
//!
//! Each of them is one loop: take the turn, read what is, let `keyring` decide, commit. Where the decision needs a new key the turn is given
//! back while the key is made, and everything is decided again.

mod admin;
mod destroy;
mod error;
mod evict;
mod planned;
mod progress;
mod rules;
mod sealing;
mod shares;
mod tokens;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use keyring::{Context, KeySet, KeySpec, NewKey, Peers, Refusal, Span, Subscriber, Time, Times};
use service_kit::clock::SharedClock;

use crate::{
    audit::AuditLog,
    clocks::{self, Clocks},
    issued::IssuedLog,
    keys::{self, FreshKey, KeySource},
    metrics::Metrics,
    vault::{Change, Entering, Remembered, Request, SetEntry, SetName, Vault, VaultError},
};

pub use admin::{Import, Mutation, Overview, Revoked, Rotated, UpdateFn};
pub use destroy::{Destruction, Scheduled};
pub use error::LifecycleError;
pub use evict::Evicted;
pub use progress::Progress;
pub use rules::Rules;
pub use tokens::{MAX_REVOCATIONS, TokenTarget, TokensRevoked};

/// How often a write is decided anew because another replica was faster.
const TRIES: usize = 16;

/// The record of an instance that never had a lease is kept as long as its start may take: it has signed and served nothing.
const NEVER_LEASED: Span = Span::from_minutes(3);

/// The use cases. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    pub(crate) vault: Arc<Vault>,
    pub(crate) clock: SharedClock,
    pub(crate) times: Times,
    pub(crate) metrics: Metrics,
    pub(crate) rules: Arc<dyn Rules>,
    keys: Arc<dyn KeySource>,
    audit: Option<AuditLog>,
    issued: Option<IssuedLog>,
    clocks: Option<Arc<Clocks>>,
    connected: Arc<Mutex<BTreeMap<String, usize>>>,
    max_revocations: usize,
}

/// Who writes, and on what conditions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms<'a> {
    pub(crate) actor: &'a str,
    pub(crate) request: Option<Request>,
    /// 0 = any.
    pub(crate) expected_revision: u64,
}

impl Lifecycle {
    /// Use cases over a vault.
    #[must_use]
    pub fn new(
        vault: Arc<Vault>,
        keys: Arc<dyn KeySource>,
        times: Times,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Self {
        Self {
            vault,
            clock,
            times,
            metrics,
            rules: Arc::new(rules::Lawful),
            keys,
            audit: None,
            issued: None,
            clocks: None,
            connected: Arc::default(),
            max_revocations: MAX_REVOCATIONS,
        }
    }

    /// The same use cases under other rules: for a simulation that is to notice them.
    #[doc(hidden)]
    #[must_use]
    pub fn under(mut self, rules: Arc<dyn Rules>) -> Self {
        self.rules = rules;
        self
    }

    /// The same use cases, with what they do recorded before it is done.
    #[must_use]
    pub fn recorded(mut self, audit: AuditLog) -> Self {
        self.audit = Some(audit);
        self
    }

    /// Where it is recorded what is done; `None` in tests of the use cases alone.
    #[must_use]
    pub fn audit(&self) -> Option<&AuditLog> {
        self.audit.as_ref()
    }

    /// The same use cases, with records of issued tokens.
    #[must_use]
    pub fn with_issued(mut self, issued: Option<IssuedLog>) -> Self {
        self.issued = issued;
        self
    }

    /// The records of issued tokens, where this key-manager keeps them.
    #[must_use]
    pub fn issued(&self) -> Option<&IssuedLog> {
        self.issued.as_ref()
    }

    /// The same use cases, with an ear for the clocks of the key-managers that share the store.
    #[must_use]
    pub fn comparing(mut self, clocks: Option<Arc<Clocks>>) -> Self {
        self.clocks = clocks;
        self
    }

    /// The vault below.
    #[must_use]
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        clocks::wall(&self.clock)
    }

    /// The times in force.
    #[must_use]
    pub fn times(&self) -> &Times {
        &self.times
    }

    /// The records of every instance that is fed the set.
    #[must_use]
    pub fn subscribers_of(&self, name: &SetName) -> Vec<Subscriber> {
        let fed = self
            .vault
            .instances()
            .into_iter()
            .filter(|instance| instance.scope.covers(name));
        fed.map(|instance| instance.subscriber.clone()).collect()
    }

    /// Calls `decide` with the moment of a decision about the set that is not to be written.
    pub(crate) fn look<T>(&self, name: &SetName, decide: impl FnOnce(&Context<'_>) -> T) -> T {
        let (subscribers, peers) = (self.subscribers_of(name), self.peers());
        decide(&self.context(&subscribers, &peers))
    }

    pub(crate) fn context<'a>(
        &'a self,
        subscribers: &'a [Subscriber],
        peers: &'a Peers,
    ) -> Context<'a> {
        Context {
            now: self.now(),
            epoch: self.vault.epoch().saturating_add(1),
            times: &self.times,
            subscribers,
            peers,
        }
    }

    /// The time by which something has expired: that of the slowest clock that is known. `None` while clocks are too far apart to say.
    pub(crate) fn expired_by(&self) -> Option<Time> {
        let instances = self.vault.instances();
        let instances = instances.iter().map(|instance| instance.subscriber.clone());
        let (subscribers, peers): (Vec<_>, _) = (instances.collect(), self.peers());
        self.rules.date(&self.context(&subscribers, &peers))
    }

    /// The clocks of those that share the store.
    pub(crate) fn peers(&self) -> Peers {
        self.clocks
            .as_ref()
            .map_or_else(Peers::default, |clocks| clocks.peers())
    }

    /// Writes a set as `decide` says. `candidate` is a key that may enter; where none is given and one is needed, it is generated.
    pub(crate) async fn write(
        &self,
        name: &SetName,
        terms: Terms<'_>,
        mut candidate: Option<FreshKey>,
        decide: impl Fn(&KeySet, Option<NewKey>, &Context<'_>) -> Result<KeySet, Refusal>,
    ) -> Result<Arc<SetEntry>, LifecycleError> {
        self.vault.refresh_shared().await?;
        for _ in 0..TRIES {
            match self
                .try_write(name, &terms, candidate.as_ref(), &decide)
                .await
            {
                Err(LifecycleError::Refused(Refusal::KeyNeeded(spec))) => {
                    candidate = Some(self.generate(name, *spec).await?)
                }
                // Often another set was written meanwhile; the next try sees whether it was this one.
                Err(LifecycleError::Vault(VaultError::Conflict)) => self.vault.refresh().await?,
                // Perhaps by another replica: the answer shows what that has written.
                Err(done @ LifecycleError::Vault(VaultError::RequestDone)) => {
                    self.vault.refresh_shared().await?;
                    return Err(done);
                }
                done => return done,
            }
        }
        Err(VaultError::Conflict.into())
    }

    async fn try_write(
        &self,
        name: &SetName,
        terms: &Terms<'_>,
        candidate: Option<&FreshKey>,
        decide: impl Fn(&KeySet, Option<NewKey>, &Context<'_>) -> Result<KeySet, Refusal>,
    ) -> Result<Arc<SetEntry>, LifecycleError> {
        let turn = self.vault.turn().await;
        self.vault.refresh_instances().await?;
        if let Some(request) = &terms.request
            && self.is_done(request).await?.is_some()
        {
            return Err(VaultError::RequestDone.into());
        }
        let entry = self.vault.get(name).ok_or(LifecycleError::NotFound)?;
        if terms.expected_revision != 0 && terms.expected_revision != entry.set.revision {
            return Err(LifecycleError::RevisionMismatch {
                expected: terms.expected_revision,
                present: entry.set.revision,
            });
        }
        let (subscribers, peers) = (self.subscribers_of(name), self.peers());
        let next = decide(
            &entry.set,
            candidate.map(|key| key.new.clone()),
            &self.context(&subscribers, &peers),
        )?;
        if next == entry.set {
            // A late retry must not find more to do than the request did.
            if let Some(request) = &terms.request {
                turn.remember(request).await?;
            }
            return Ok(entry);
        }
        let enters = candidate.filter(|key| {
            entry.set.version(&key.new.kid).is_none() && next.version(&key.new.kid).is_some()
        });
        let change = Change {
            set: next,
            replaces: Some(Arc::clone(&entry)),
            entering: enters.map(entering),
            actor: terms.actor.to_owned(),
            request: terms.request.clone(),
        };
        let written = turn
            .commit(change)
            .await
            .inspect_err(|error| self.metrics.store_error(error))?;
        self.metrics.written(&entry.set, &written.set);
        Ok(written)
    }

    /// What a request did, where it was executed before: nothing, or the kid that it brought in.
    pub(crate) async fn is_done(
        &self,
        request: &Request,
    ) -> Result<Option<Option<String>>, LifecycleError> {
        match self.vault.recall(request).await? {
            Remembered::New => Ok(None),
            Remembered::Done(kid) => Ok(Some(kid)),
            Remembered::Different => Err(LifecycleError::RequestReused),
        }
    }

    async fn generate(&self, name: &SetName, spec: KeySpec) -> Result<FreshKey, LifecycleError> {
        let data_key = self.vault.data_key(&name.tenant).await?;
        let generated = keys::generate(&self.keys, spec, &data_key).await;
        generated.map_err(|_failed| {
            self.metrics.generation_failed();
            LifecycleError::Generation
        })
    }

    /// Carries out everything that the plan asks for now, and gives back the set as it then is.
    ///
    /// # Errors
    /// [`LifecycleError`]; what was done before it stays done, and a failed generation keeps the current key.
    pub async fn advance(&self, name: &SetName) -> Result<Arc<SetEntry>, LifecycleError> {
        // Each step of a set is followed by another at most a few times; the bound only ends a defect.
        for _ in 0..32 {
            let entry = self.vault.get(name).ok_or(LifecycleError::NotFound)?;
            let Some(action) = self
                .look(name, |ctx| self.rules.plan(&entry.set, ctx))
                .into_iter()
                .next()
            else {
                return Ok(entry);
            };
            let terms = Terms {
                actor: "key-manager",
                ..Terms::default()
            };
            let begun = self.record_planned(name, &action).await?;
            let done = self
                .write(name, terms, None, |set, key, ctx| {
                    self.rules.apply(set, &action, key, ctx)
                })
                .await;
            self.record_done(begun, done.is_ok()).await;
            match done {
                Ok(_) => tracing::info!(
                    tenant = name.tenant,
                    key_set = name.name,
                    ?action,
                    "planned step done"
                ),
                Err(LifecycleError::Refused(Refusal::Outdated)) => {}
                Err(error) => return Err(error),
            }
        }
        self.vault.get(name).ok_or(LifecycleError::NotFound)
    }

    /// Counts a stream of the subscriber until the guard is dropped.
    #[must_use]
    pub fn connect(&self, subscriber: &str) -> Connected {
        let mut connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *connected.entry(subscriber.to_owned()).or_default() += 1;
        self.metrics.connected(connected.len());
        drop(connected);
        Connected {
            lifecycle: self.clone(),
            subscriber: subscriber.to_owned(),
        }
    }

    pub(crate) fn is_connected(&self, subscriber: &str) -> bool {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(subscriber)
    }

    /// Deletes the records of instances that no decision can need any more.
    ///
    /// # Errors
    /// [`LifecycleError`].
    pub async fn forget_instances(&self) -> Result<(), LifecycleError> {
        let Some(now) = self.expired_by() else {
            return Ok(());
        };
        let gone = self
            .vault
            .instances()
            .into_iter()
            .filter(|instance| !instance.subscriber.is_live(now));
        for instance in gone {
            let name = &instance.subscriber.name;
            let age = now.since(instance.subscriber.lease_end);
            if !instance.leased && age >= NEVER_LEASED && !self.is_connected(name) {
                self.vault.forget_instance(name).await?;
            }
            if age < Span::from_days(1) {
                continue;
            }
            let (_, sets) = self.vault.all();
            let fed = || {
                sets.iter()
                    .filter(|entry| instance.scope.covers(&SetName::of(&entry.set)))
            };
            let lifetime = fed()
                .map(|entry| entry.set.largest_lifetime())
                .max()
                .unwrap_or_default();
            let lead = fed()
                .filter_map(|entry| entry.set.policy.publication_lead)
                .max()
                .unwrap_or_default();
            if instance.subscriber.forget_at(lifetime, lead, &self.times) <= now {
                self.vault.forget_instance(name).await?;
            }
        }
        Ok(())
    }
}

fn entering(key: &FreshKey) -> Entering {
    Entering {
        kid: key.new.kid.clone(),
        material: key.new.material.clone(),
        public_jwk: key.public_jwk.clone(),
        secret: key.secret.clone(),
    }
}

/// A subscriber with a stream.
#[derive(Debug)]
pub struct Connected {
    lifecycle: Lifecycle,
    subscriber: String,
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut connected = self
            .lifecycle
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(streams) = connected.get_mut(&self.subscriber) {
            *streams = streams.saturating_sub(1);
            if *streams == 0 {
                connected.remove(&self.subscriber);
            }
        }
        self.lifecycle.metrics.connected(connected.len());
    }
}
