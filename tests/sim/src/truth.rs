//! What is true: what the store holds, and what each instance really holds, serves and signs. The key-managers know it only in part.

mod calls;
mod encryption;
mod process;
mod record;
mod tokens;

use std::collections::{BTreeMap, VecDeque};

use key_manager::store::Batch;
use keyring::{KeySet, State, Subscriber};

use crate::clock::NodeClock;
use crate::invariant::Invariant;

pub(crate) use calls::Judge;
pub(crate) use process::Process;
pub(crate) use tokens::{Cipher, Target, Token};

/// An invariant that is broken, and how.
pub(crate) type Finding = (Invariant, String);

/// How far the clocks of sound nodes are apart, with what rounding adds, in milliseconds.
pub(crate) const TOLERANCE: u64 = 7_000;

/// How long a forced promotion may be felt: by instances that have not heard of it, and by caches behind them.
const FORCED_FOR: u64 = 3_600_000;

/// What is true of one key.
#[derive(Clone, Debug)]
pub(crate) struct Kid {
    /// Its set and its place in it: what the trace calls it.
    pub(crate) label: String,
    pub(crate) set: String,
    pub(crate) state: State,
    /// When it was made.
    made: u64,
    /// The epoch that made it.
    made_epoch: u64,
    /// When it was revoked, and by which epoch.
    pub(crate) revoked: Option<(u64, u64)>,
    demoted_epoch: Option<u64>,
    /// When its promotion was forced.
    forced: Option<u64>,
    /// It has signed, and nothing was wrong with that.
    cleared: bool,
}

impl Kid {
    /// Whether a forced promotion may still be felt.
    pub(crate) fn is_excused(&self, now: u64) -> bool {
        self.forced.is_some_and(|at| now < at + FORCED_FOR)
    }
}

/// What is true.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) sets: BTreeMap<String, KeySet>,
    pub(crate) kids: BTreeMap<String, Kid>,
    pub(crate) processes: Vec<Process>,
    pub(crate) tokens: VecDeque<Token>,
    pub(crate) ciphers: VecDeque<Cipher>,
    pub(crate) targets: Vec<Target>,
    pub(crate) epoch: u64,
    times: keyring::Times,
    /// By the key of the entry.
    subscribers: BTreeMap<String, Subscriber>,
    /// Their records as they were, with the moment until which.
    former: VecDeque<(u64, Vec<Subscriber>)>,
    /// By subscriber: when the stored lease really ends.
    leases: BTreeMap<String, u64>,
    pub(crate) promotions: u64,
    pub(crate) issued: u64,
}

impl Truth {
    pub(crate) fn new(times: keyring::Times) -> Self {
        Self {
            sets: BTreeMap::new(),
            kids: BTreeMap::new(),
            processes: Vec::new(),
            tokens: VecDeque::new(),
            ciphers: VecDeque::new(),
            targets: Vec::new(),
            epoch: 0,
            times,
            subscribers: BTreeMap::new(),
            former: VecDeque::new(),
            leases: BTreeMap::new(),
            promotions: 0,
            issued: 0,
        }
    }

    /// A write has happened.
    ///
    /// # Errors
    /// The invariant that it breaks.
    pub(crate) fn committed(
        &mut self,
        now: u64,
        (_, clock): (usize, &NodeClock),
        batch: &Batch,
    ) -> Result<(), Finding> {
        for key in batch.deletes() {
            if self.subscribers.contains_key(key) {
                self.keep_former(now);
                self.subscribers.remove(key);
            }
        }
        for (key, value) in batch.puts() {
            if key.starts_with("subscriber/") {
                self.keep_former(now);
                self.subscriber(key, value, clock)?;
            } else if key.starts_with("set/") {
                self.set(now, value, clock)?;
            }
        }
        Ok(())
    }

    pub(crate) fn label(&self, kid: &str) -> &str {
        self.kids.get(kid).map_or("?", |kid| kid.label.as_str())
    }

    /// Who is still waiting, though nothing has gone wrong for `calm` milliseconds.
    ///
    /// # Errors
    /// What is not done.
    pub(crate) fn progress(&self, now: u64, calm: u64) -> Result<(), Finding> {
        let late = calm.saturating_sub(900_000);
        let since = |time: keyring::Time| {
            now.saturating_sub(time.as_millis().saturating_sub(crate::clock::EPOCH_MS))
        };
        for set in self.sets.values() {
            let requested = set.rotation_requested_at.map_or(0, since);
            let active = set.active().and_then(|active| active.activated_at);
            let age = active.map_or(u64::MAX, since);
            let period = set.policy.cryptoperiod.map_or(0, |span| span.as_millis());
            if requested > late || age > late + period {
                let what = format!(
                    "{} waits for its rotation: asked for {} s ago, its key Active for {} s of {} s",
                    set.name,
                    requested / 1_000,
                    age / 1_000,
                    period / 1_000
                );
                return Err((Invariant::Progress, what));
            }
        }
        let behind = self.processes.iter();
        let mut behind = behind.filter(|one| one.died.is_none() && now > one.born + calm);
        match behind.find(|one| now > one.verify_end) {
            Some(one) => {
                let what = format!(
                    "i{} is at epoch {}, the store at {}",
                    one.node, one.epoch, self.epoch
                );
                Err((Invariant::Progress, what))
            }
            None => Ok(()),
        }
    }
}
