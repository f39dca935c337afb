//! The writer/reader pair: one writer publishes whole snapshots, readers never wait.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use service_kit::clock::{BootTime, SharedClock};
use tokio::sync::{broadcast, watch};

use super::edit::{Edit, SetName};
use super::issued::IssuedKeys;
use super::lease::{Lease, LeaseOut, Terms};
use super::model::KeySetSpec;
use super::revoked::TokensSpec;
use super::snapshot::{Snapshot, Times};
use super::usage::UsageBook;

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

/// What followers hear: what changed, or that everything was replaced.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    All,
    Some(Arc<Changed>),
}

/// What changed, and the epoch that this led to.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) epoch: u64,
    /// Key sets, by tenant and name.
    pub(crate) sets: Vec<SetName>,
    /// Revocations of tokens that were added.
    pub(crate) tokens: Vec<TokensSpec>,
}

/// A change, to be applied on top of `from`.
#[derive(Debug, Default)]
pub struct Delta {
    /// The epoch that it applies to.
    pub from: u64,
    /// The epoch that it leads to.
    pub epoch: u64,
    /// Key sets as they now are.
    pub changed: Vec<KeySetSpec>,
    /// Key sets that are gone, by tenant and name.
    pub removed: Vec<(String, String)>,
    /// Revocations of tokens that are added.
    pub tokens: Vec<TokensSpec>,
    /// Up to when revocations are forgotten after that, in seconds since the epoch.
    pub forgotten: Option<u32>,
}

#[derive(Debug)]
struct Shared {
    snapshot: ArcSwap<Snapshot>,
    lease: Lease,
    usage: UsageBook,
    /// What records of issued tokens are sealed with.
    issued: ArcSwapOption<IssuedKeys>,
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
        issued: ArcSwapOption::empty(),
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

    /// As [`KeysWriter::replace_all`], without revocations of tokens.
    ///
    /// # Errors
    /// [`ApplyError::Older`].
    pub fn replace(
        &mut self,
        epoch: u64,
        times: Times,
        sets: Vec<KeySetSpec>,
    ) -> Result<(), ApplyError> {
        self.replace_all(epoch, times, sets, Vec::new())
    }

    /// Puts a complete state in place of everything held.
    ///
    /// # Errors
    /// [`ApplyError::Older`].
    pub fn replace_all(
        &mut self,
        epoch: u64,
        times: Times,
        sets: Vec<KeySetSpec>,
        tokens: Vec<TokensSpec>,
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
        edit.revoke_all(&tokens);
        self.publish(next, Change::All);
        Ok(())
    }

    /// As [`KeysWriter::apply_all`], without revocations of tokens.
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
        self.apply_all(Delta {
            from,
            epoch,
            changed,
            removed: removed.to_vec(),
            ..Delta::default()
        })
    }

    /// Applies a change.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing has then changed.
    pub fn apply_all(&mut self, delta: Delta) -> Result<(), ApplyError> {
        let Delta { from, epoch, .. } = delta;
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
        let mut sets = edit.put_all(delta.changed);
        sets.extend(edit.remove_all(&delta.removed));
        edit.revoke_all(&delta.tokens);
        if let Some(until) = delta.forgotten {
            edit.forget_revoked(until);
        }
        let tokens = delta.tokens;
        let changed = Changed {
            epoch,
            sets,
            tokens,
        };
        self.publish(next, Change::Some(Arc::new(changed)));
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

    /// What records of issued tokens are sealed with from now on; `None` = the key-manager takes none.
    pub fn record_with(&mut self, keys: Option<IssuedKeys>) {
        self.shared.issued.store(keys.map(Arc::new));
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

    /// What records of issued tokens are sealed with, where the key-manager takes any.
    #[must_use]
    pub fn issued_keys(&self) -> Option<Arc<IssuedKeys>> {
        self.0.issued.load_full()
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
