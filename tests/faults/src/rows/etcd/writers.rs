//! Writers that race each other through all replicas, each with the revision that it has read from any of them.
//!
//! A write is stale where another was accepted on the same revision, or where its answer is not behind what it stood on.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use client_admin::{AdminClient, Change, Profile, UpdateKeySet};

use super::{LIFETIME, SETS};
use crate::{dice::Dice, progress};

pub(super) const WRITERS: usize = 4;
/// Between what a writer has read and what it writes, at most.
const LONGEST_PAUSE_MS: u64 = 200;
/// A call that a cut line holds up ends by itself; another goes meanwhile.
const DEADLINE: Duration = Duration::from_secs(8);

pub(super) struct Writers {
    replicas: Vec<AdminClient>,
    stopped: AtomicBool,
    tried: AtomicUsize,
    stale: AtomicUsize,
    /// The set and the revision that a write was accepted on.
    accepted: Mutex<BTreeSet<(&'static str, u64)>>,
}

impl Writers {
    pub(super) fn over(replicas: &[AdminClient]) -> Arc<Self> {
        let within = |replica: &AdminClient| replica.within(DEADLINE);
        Arc::new(Self {
            replicas: replicas.iter().map(within).collect(),
            stopped: AtomicBool::new(false),
            tried: AtomicUsize::new(0),
            stale: AtomicUsize::new(0),
            accepted: Mutex::default(),
        })
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Writes that were tried, and stale ones that were accepted.
    pub(super) fn counted(&self) -> (usize, usize) {
        let of = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (of(&self.tried), of(&self.stale))
    }

    pub(super) fn told(&self) -> String {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        let (tried, stale) = self.counted();
        format!(
            "{} of {tried} writes accepted, {stale} of them stale",
            accepted.len()
        )
    }

    pub(super) async fn keep_writing(self: Arc<Self>, mut dice: Dice) {
        while !self.stopped.load(Ordering::SeqCst) {
            // what fails is tried again by the next turn: nobody is promised that a write succeeds while etcd is away
            let _failed = self.write(&mut dice).await;
            tokio::time::sleep(Duration::from_millis(dice.below(LONGEST_PAUSE_MS))).await;
        }
    }

    async fn write(&self, dice: &mut Dice) -> Option<()> {
        let set = *dice.pick(&SETS)?;
        let read = dice.pick(&self.replicas)?.get("", set).await.ok()?;
        let stands_on = read.key_set.revision;
        tokio::time::sleep(Duration::from_millis(dice.below(LONGEST_PAUSE_MS))).await;
        // long enough for a token to be verified on a machine that is busy
        let seconds = LIFETIME.as_secs() - dice.below(LIFETIME.as_secs() / 2);
        let profile = Profile {
            default_lifetime: Some(Duration::from_secs(seconds)),
            max_lifetime: Some(LIFETIME),
            ..Profile::default()
        };
        let update = UpdateKeySet::new(set, Change::Profile(profile)).expected_revision(stands_on);
        self.tried.fetch_add(1, Ordering::SeqCst);
        let written = dice.pick(&self.replicas)?.update(&update).await.ok()?;
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        if !accepted.insert((set, stands_on)) || written.revision <= stands_on {
            self.stale.fetch_add(1, Ordering::SeqCst);
            progress(&format!(
                "etcd: a stale write was accepted: {set} at revision {stands_on}"
            ));
        }
        Some(())
    }
}
