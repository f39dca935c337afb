//! The writer/reader pair: one writer publishes whole snapshots, readers never wait.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use service_kit::clock::{BootTime, SharedClock};
use tokio::sync::{broadcast, watch};

use super::lease::{Lease, LeaseOut, Terms};
use super::model::{KeySet, KeySetSpec, PublicHalf, Version, VersionSpec};
use super::snapshot::{Snapshot, Tenant, Times, is_public};
use super::usage::{Usage, UsageBook};

/// Changes that a slow follower may lag behind before it has to begin anew.
const CHANGES_KEPT: usize = 256;

/// Why a change is refused. The instance then asks for everything anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The epoch lies below one that was seen: somebody has put an older store in place.
    #[error("epoch {offered} is older than epoch {seen}, which was seen before")]
    Older {
        /// What was offered.
        offered: u64,
        /// The highest epoch seen.
        seen: u64,
    },
    /// The delta does not begin where this instance stands.
    #[error("a delta from epoch {from} does not fit epoch {at}")]
    Gap {
        /// Where the delta begins.
        from: u64,
        /// Where the instance stands.
        at: u64,
    },
}

/// What followers hear: which sets changed, by tenant and name, and the epoch that this led to; or that everything was replaced.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    All,
    Sets(u64, Arc<[(Arc<str>, Arc<str>)]>),
}

#[derive(Debug)]
struct Shared {
    snapshot: ArcSwap<Snapshot>,
    lease: Lease,
    usage: UsageBook,
    changes: broadcast::Sender<Change>,
    /// Counts what may turn readiness: snapshots and leases.
    turns: watch::Sender<u64>,
}

/// Makes the pair. `own` are the instance's own bounds on its lease.
#[must_use]
pub fn pair(clock: SharedClock, own: Terms) -> (KeysWriter, KeysReader) {
    let shared = Arc::new(Shared {
        snapshot: ArcSwap::default(),
        lease: Lease::none(clock),
        usage: UsageBook::default(),
        changes: broadcast::Sender::new(CHANGES_KEPT),
        turns: watch::Sender::new(0),
    });
    (
        KeysWriter {
            shared: Arc::clone(&shared),
            own,
            seen: 0,
        },
        KeysReader(shared),
    )
}

/// The one writer. It belongs to the feed; tests publish through it directly.
#[derive(Debug)]
pub struct KeysWriter {
    shared: Arc<Shared>,
    own: Terms,
    /// The highest epoch ever seen, over all streams.
    seen: u64,
}

impl KeysWriter {
    /// The highest epoch ever applied.
    #[must_use]
    pub fn highest_epoch(&self) -> u64 {
        self.seen
    }

    /// The epoch that is in place.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.snapshot.load().epoch
    }

    /// Puts a complete state in place of everything held.
    ///
    /// # Errors
    /// [`ApplyError::Older`].
    pub fn replace(
        &mut self,
        epoch: u64,
        times: Times,
        sets: Vec<KeySetSpec>,
    ) -> Result<(), ApplyError> {
        self.not_older(epoch)?;
        let before = self.shared.snapshot.load_full();
        let mut next = Snapshot {
            received: true,
            epoch,
            times,
            ..Snapshot::default()
        };
        let mut edit = Edit {
            usage: &self.shared.usage,
            before: &before,
            next: &mut next,
        };
        edit.put_all(sets);
        self.publish(next, Change::All);
        Ok(())
    }

    /// Applies a change on top of `from`.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing has then changed.
    pub fn apply(
        &mut self,
        from: u64,
        epoch: u64,
        changed: Vec<KeySetSpec>,
        removed: &[(String, String)],
    ) -> Result<(), ApplyError> {
        let before = self.shared.snapshot.load_full();
        if from != before.epoch {
            return Err(ApplyError::Gap {
                from,
                at: before.epoch,
            });
        }
        self.not_older(epoch)?;
        let mut next = Snapshot {
            epoch,
            ..Snapshot::clone(&before)
        };
        let mut edit = Edit {
            usage: &self.shared.usage,
            before: &before,
            next: &mut next,
        };
        let mut names = edit.put_all(changed);
        names.extend(edit.remove_all(removed));
        self.publish(next, Change::Sets(epoch, names.into()));
        Ok(())
    }

    /// Grants a lease, counted from when it was asked for. Before a first snapshot there is nothing that it could be on:
    /// without keys every token would look unknown.
    pub fn grant(&mut self, asked_at: BootTime, terms: Terms) {
        if !self.shared.snapshot.load().received {
            return;
        }
        self.shared
            .lease
            .grant(asked_at, terms.shortened_by(self.own));
        self.shared.turns.send_modify(|turns| *turns += 1);
    }

    /// Ends the lease: the instance has stopped serving.
    pub fn end_lease(&mut self) {
        self.shared.lease.end();
        self.shared.turns.send_modify(|turns| *turns += 1);
    }

    pub(crate) fn usage(&self) -> &UsageBook {
        &self.shared.usage
    }

    fn not_older(&self, epoch: u64) -> Result<(), ApplyError> {
        let seen = self.seen;
        if epoch < seen {
            Err(ApplyError::Older {
                offered: epoch,
                seen,
            })
        } else {
            Ok(())
        }
    }

    fn publish(&mut self, next: Snapshot, change: Change) {
        self.seen = self.seen.max(next.epoch);
        self.shared.snapshot.store(Arc::new(next));
        // Nobody follows: nobody misses it.
        let _nobody = self.shared.changes.send(change);
        self.shared.turns.send_modify(|turns| *turns += 1);
    }
}

/// A snapshot under construction; what did not change is taken over from the one before.
struct Edit<'a> {
    usage: &'a UsageBook,
    before: &'a Snapshot,
    next: &'a mut Snapshot,
}

type SetName = (Arc<str>, Arc<str>);

impl Edit<'_> {
    fn put_all(&mut self, sets: Vec<KeySetSpec>) -> Vec<SetName> {
        let mut names = Vec::with_capacity(sets.len());
        for (tenant, sets) in by_tenant(sets) {
            let mut edited = self.tenant(&tenant);
            let mut publication_changed = false;
            for spec in sets {
                let set = Arc::new(self.build(Arc::clone(&tenant), spec));
                names.push((Arc::clone(&tenant), Arc::clone(&set.name)));
                let before = edited.put(&set);
                publication_changed |= is_public(&set) || before.is_some_and(|set| is_public(&set));
            }
            self.put_tenant(tenant, edited, publication_changed);
        }
        names
    }

    fn remove_all(&mut self, removed: &[(String, String)]) -> Vec<SetName> {
        let mut names = Vec::with_capacity(removed.len());
        for (tenant, name) in removed {
            let mut edited = self.tenant(tenant);
            let Some(set) = edited.take(name) else {
                continue;
            };
            names.push((Arc::clone(&set.tenant), Arc::clone(&set.name)));
            self.put_tenant(Arc::clone(&set.tenant), edited, is_public(&set));
        }
        names
    }

    fn tenant(&self, name: &str) -> Tenant {
        self.next
            .tenant(name)
            .map(|tenant| Tenant::clone(tenant))
            .unwrap_or_default()
    }

    fn put_tenant(&mut self, name: Arc<str>, mut tenant: Tenant, publication_changed: bool) {
        if publication_changed {
            tenant.publish();
        }
        self.next.tenants.insert(name, Arc::new(tenant));
    }

    fn build(&self, tenant: Arc<str>, spec: KeySetSpec) -> KeySet {
        let known = self.before.set(&tenant, &spec.name);
        let build = |version: VersionSpec| {
            let known = known.and_then(|set| set.version(&version.kid));
            Arc::new(self.build_version(&tenant, version, known))
        };
        let versions = spec.versions.into_iter().map(build).collect();
        KeySet {
            name: spec.name.into(),
            key_use: spec.key_use,
            issuer: spec.issuer.into(),
            publish: spec.publish,
            verifier_profile: spec.profile.for_verifier(),
            profile: spec.profile,
            enc: spec.enc,
            versions,
            next_change: spec.next_change,
            ready_at: spec.ready_at,
            tenant,
        }
    }

    fn build_version(
        &self,
        tenant: &Arc<str>,
        spec: VersionSpec,
        known: Option<&Arc<Version>>,
    ) -> Version {
        let kid: Arc<str> =
            known.map_or_else(|| spec.kid.as_str().into(), |known| Arc::clone(&known.kid));
        let usage = known
            .map(|known| Arc::clone(&known.usage))
            .or_else(|| self.usage.known(tenant, &kid));
        let usage = usage.unwrap_or_else(|| Usage::new(Arc::clone(tenant), Arc::clone(&kid)));
        let public = spec
            .public_jwk
            .as_deref()
            .and_then(|text| public_half(text, &spec, known));
        Version::new(kid, spec, public, usage)
    }
}

/// The public half, with what the engine has already made of it. One that cannot be read verifies nothing, and is said.
fn public_half(
    text: &str,
    spec: &VersionSpec,
    known: Option<&Arc<Version>>,
) -> Option<Arc<PublicHalf>> {
    let known = known.and_then(|known| known.public.as_ref());
    if let Some(same) = known.filter(|public| public.is_of(text, spec.algorithm)) {
        return Some(Arc::clone(same));
    }
    let parsed = PublicHalf::parse(text, spec.algorithm);
    parsed
        .inspect_err(
            |error| tracing::error!(kid = spec.kid, %error, "a fed public key is unusable"),
        )
        .ok()
}

fn by_tenant(sets: Vec<KeySetSpec>) -> Vec<(Arc<str>, Vec<KeySetSpec>)> {
    let mut grouped = std::collections::BTreeMap::<String, Vec<KeySetSpec>>::new();
    for set in sets {
        grouped.entry(set.tenant.clone()).or_default().push(set);
    }
    grouped
        .into_iter()
        .map(|(tenant, sets)| (tenant.into(), sets))
        .collect()
}

/// What requests read. Cheap to clone; reading takes no lock.
#[derive(Clone, Debug)]
pub struct KeysReader(Arc<Shared>);

impl KeysReader {
    /// The snapshot in force. Not to be held across an await.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.0.snapshot.load()
    }

    /// The snapshot in force, to be kept.
    #[must_use]
    pub fn snapshot_owned(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// What is left of the lease for signing.
    ///
    /// # Errors
    /// [`LeaseOut`].
    pub fn sign_lease(&self) -> Result<Duration, LeaseOut> {
        self.0.lease.sign_remaining()
    }

    /// What is left of the lease for verifying, encrypting, decrypting and publishing.
    ///
    /// # Errors
    /// [`LeaseOut`].
    pub fn verify_lease(&self) -> Result<Duration, LeaseOut> {
        self.0.lease.verify_remaining()
    }

    /// Whether keys are there and may be relied on.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.snapshot().received && self.verify_lease().is_ok()
    }

    /// Wakes on each snapshot and each lease.
    #[must_use]
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.0.turns.subscribe()
    }

    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    pub(crate) fn usage(&self) -> &UsageBook {
        &self.0.usage
    }
}
