//! Crypto threads and the lines in front of them.
//!
//! # Who computes at the lowest priority
//!
//! Large RSA keys are computed at the lowest priority, so that everything else preempts them. Such a thread must never hold a lock that
//! others wait for: preempted with it, it would hold up the threads that serve connections for as long as the machine is busy. So
//! a thread at the usual priority takes and answers, and [`Idle`] next to it computes and touches nothing else.
//!
//! On a machine that others keep busy, such a thread may not run at all. A batch that takes longer than any batch can is late: until it is
//! back, the thread that takes computes by itself. So whoever shares the processor costs one batch, not all that come after it.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::LaneError;
use super::admission::{Capacity, Found};
use super::call::Waiting;
use super::class::{Kind, PerKind, PoolId};
use super::compute::Compute;
use super::fair::Fair;
use super::job::{Batch, Entry, Source};
use super::stats::{Lines, Stats};

/// How often a thread looks for work and for its late batch, while there is one.
const LOOK: Duration = Duration::from_millis(5);

/// Threads that share some lines, one for each kind.
pub(super) struct Pool {
    pub(super) id: PoolId,
    capacity: Capacity,
    state: Mutex<State>,
    arrived: Condvar,
}

/// The lock is held to push and to take, never during work.
struct State {
    lines: PerKind<Line>,
    /// Lines with something in them.
    busy: u64,
    /// What the kind that was served last has been served: where newcomers begin.
    clock: u64,
    /// Threads that wait and have not been woken.
    idle: usize,
    closed: bool,
}

#[derive(Default)]
struct Line {
    waiting: Fair<Entry>,
    /// What its jobs have cost so far, in nanoseconds: the kind with the least of it is next.
    served: u64,
}

/// A job of whom and of what kind.
pub(super) struct Newcomer {
    pub(super) tenant: Arc<str>,
    pub(super) kind: Kind,
    pub(super) entry: Entry,
}

impl Pool {
    pub(super) fn new(id: PoolId, capacity: Capacity) -> Self {
        let state = State {
            lines: PerKind::new(|_kind| Line::default()),
            busy: 0,
            clock: 0,
            idle: 0,
            closed: false,
        };
        Self {
            id,
            capacity,
            state: Mutex::new(state),
            arrived: Condvar::new(),
        }
    }

    pub(super) const fn threads(&self) -> u64 {
        self.capacity.threads
    }

    /// Puts one job into its line. A refused one is dropped.
    pub(super) fn push(&self, stats: &Stats, one: Newcomer) -> Result<(), LaneError> {
        let now = Instant::now();
        let mut state = self.lock();
        let found = state.find(stats, &one);
        let admitted = found
            .admit(self.capacity)
            .and_then(|()| self.in_time(&state, found, stats, &one, now));
        if let Err(error) = admitted {
            drop(state);
            stats.refused(error);
            return Err(error);
        }
        state.push(stats, one);
        self.wake(state, 1);
        Ok(())
    }

    /// Puts many into their lines, under one lock. Refused ones are answered.
    pub(super) fn push_all(&self, stats: &Stats, many: Vec<Newcomer>) {
        let (now, mut refused) = (Instant::now(), Vec::new());
        let mut state = self.lock();
        // A batch enters whole: what counts is what waited before it.
        let mut before: Vec<(Kind, Arc<str>, Result<(), LaneError>)> = Vec::new();
        let mut pushed = 0;
        for one in many {
            let found = state.find(stats, &one);
            let seen = before
                .iter()
                .find(|(kind, tenant, _)| *kind == one.kind && *tenant == one.tenant);
            let admitted = seen.map(|(_, _, admitted)| *admitted);
            let admitted = admitted.unwrap_or_else(|| {
                let admitted = found.admit(self.capacity);
                before.push((one.kind, Arc::clone(&one.tenant), admitted));
                admitted
            });
            let admitted = admitted.and_then(|()| self.in_time(&state, found, stats, &one, now));
            match admitted {
                Ok(()) => {
                    state.push(stats, one);
                    pushed += 1;
                }
                Err(error) => refused.push((one.entry.job, error)),
            }
        }
        self.wake(state, pushed);
        for (job, error) in refused {
            stats.refused(error);
            job.refuse(error);
        }
    }

    fn in_time(
        &self,
        state: &State,
        found: Found,
        stats: &Stats,
        one: &Newcomer,
        now: Instant,
    ) -> Result<(), LaneError> {
        let is_new = state.lines.of(one.kind).waiting.is_empty();
        let kinds = state.busy + u64::from(is_new);
        let cost = stats.book(one.kind).at_best();
        found.meets(one.entry.deadline, now, cost, (self.capacity, kinds))
    }

    /// Wakes as many idle threads as there is work for; a busy one looks for more by itself.
    fn wake(&self, mut state: MutexGuard<'_, State>, jobs: usize) {
        let threads = jobs.div_ceil(multibuffer::LANES).max(jobs.min(1));
        let wakes = threads.min(state.idle);
        state.idle -= wakes;
        drop(state);
        for _ in 0..wakes {
            self.arrived.notify_one();
        }
    }

    /// Works until the pool is closed and its lines are empty. `idle` computes, where there is one.
    pub(super) fn work(&self, compute: &Compute, mut idle: Option<Idle>) {
        let mut batch = Batch::default();
        while let Some(kind) = self.next_batch(&compute.stats, idle.as_mut(), &mut batch) {
            match idle.as_mut().filter(|idle| !idle.late) {
                None => batch.run(compute, kind),
                Some(idle) => {
                    batch.turn_away(&compute.stats);
                    batch = idle.compute(batch, kind);
                    batch.answer();
                }
            }
        }
    }

    fn next_batch(
        &self,
        stats: &Stats,
        idle: Option<&mut Idle>,
        batch: &mut Batch,
    ) -> Option<Kind> {
        if let Some(idle) = idle {
            idle.look(Duration::ZERO);
            while idle.late {
                if let Some(kind) = self.lock().take(stats, self.capacity.threads, batch) {
                    return Some(kind);
                }
                idle.look(LOOK);
            }
        }
        self.take(stats, batch)
    }

    fn take(&self, stats: &Stats, batch: &mut Batch) -> Option<Kind> {
        let mut state = self.lock();
        loop {
            if let Some(kind) = state.take(stats, self.capacity.threads, batch) {
                // Who leaves something behind calls the next.
                if state.busy > 0 && state.idle > 0 {
                    state.idle -= 1;
                    self.arrived.notify_one();
                }
                return Some(kind);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Jobs in the lines, wanted or not.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let state = self.lock();
        let lines = Kind::all().map(|kind| state.lines.of(kind).waiting.len());
        lines.sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that computes for one thread of a pool, and ends with it.
pub(super) struct Idle {
    work: SyncSender<(Batch, Kind)>,
    done: Receiver<Batch>,
    patience: Duration,
    /// It has a batch that should have come back.
    late: bool,
}

impl Idle {
    /// One end for the thread that takes; [`IdleWork`] is for the thread that computes. A batch is late after `patience`.
    pub(super) fn pair(patience: Duration) -> (Self, IdleWork) {
        let (work, taken) = sync_channel(1);
        let (computed, done) = sync_channel(1);
        let idle = Self {
            work,
            done,
            patience,
            late: false,
        };
        (idle, IdleWork { taken, computed })
    }

    /// The batch as it comes back; an empty one where it is late. A thread that is gone has dropped it, and so told everyone that
    /// their answer is lost.
    fn compute(&mut self, batch: Batch, kind: Kind) -> Batch {
        let sent = self.work.send((batch, kind)).is_ok();
        let done = sent.then(|| self.done.recv_timeout(self.patience));
        if matches!(done, Some(Err(RecvTimeoutError::Timeout))) {
            self.late = true;
            tracing::warn!(
                "the processor is too busy for large RSA keys at idle priority: they are computed at the usual one"
            );
        }
        done.and_then(Result::ok).unwrap_or_default()
    }

    /// Waits so long for a late batch, and answers it.
    fn look(&mut self, wait: Duration) {
        if !self.late {
            return;
        }
        match self.done.recv_timeout(wait) {
            Ok(mut batch) => {
                self.late = false;
                batch.answer();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.late = false,
        }
    }
}

/// The computing end of [`Idle`].
pub(super) struct IdleWork {
    taken: Receiver<(Batch, Kind)>,
    computed: SyncSender<Batch>,
}

impl IdleWork {
    /// Computes until the other end is gone.
    pub(super) fn run(self, compute: &Compute) {
        while let Ok((mut batch, kind)) = self.taken.recv() {
            batch.compute(compute, kind);
            if self.computed.send(batch).is_err() {
                return;
            }
        }
    }
}

impl State {
    fn find(&self, stats: &Stats, one: &Newcomer) -> Found {
        let line = &self.lines.of(one.kind).waiting;
        Found::of(line, &one.tenant, stats, (Lines::Threads, one.kind))
    }

    fn push(&mut self, stats: &Stats, one: Newcomer) {
        let Newcomer {
            tenant,
            kind,
            entry,
        } = one;
        let (book, clock) = (stats.book(kind), self.clock);
        let line = self.lines.of_mut(kind);
        if line.waiting.is_empty() {
            self.busy += 1;
            // Time in which it did not ask is not made up for.
            line.served = line.served.max(clock);
        } else if book.load(Lines::Threads).many_unwanted(line.waiting.len()) {
            line.waiting.retain(|entry| entry.job.is_wanted());
        }
        let (lines, cost) = (Lines::Threads, book.cost());
        entry.job.waits(Waiting { lines, kind, cost }, stats);
        line.waiting.push(&tenant, cost, entry);
    }

    fn next(&self) -> Option<Kind> {
        if self.busy == 0 {
            return None;
        }
        let busy = Kind::all().filter(|kind| !self.lines.of(*kind).waiting.is_empty());
        busy.min_by_key(|kind| self.lines.of(*kind).served)
    }

    fn take(&mut self, stats: &Stats, threads: u64, batch: &mut Batch) -> Option<Kind> {
        let kind = self.next()?;
        self.fill(stats, kind, threads, batch);
        Some(kind)
    }

    fn fill(&mut self, stats: &Stats, kind: Kind, threads: u64, batch: &mut Batch) {
        let line = self.lines.of_mut(kind);
        self.clock = line.served;
        let (lines, most) = (Lines::Threads, kind.turn(line.waiting.len(), threads));
        let spent = batch.fill(&mut line.waiting, most, Source { stats, lines, kind });
        line.served = line.served.saturating_add(spent);
        if line.waiting.is_empty() {
            self.busy -= 1;
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
