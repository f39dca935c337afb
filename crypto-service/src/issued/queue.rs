//! What waits to be written: requests put in, the writer takes everything at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use service_kit::clock::{BootTime, SharedClock};

use super::recorder::Issued;

/// An entry and the time that it got.
pub(super) type Timed = (u64, Issued);

#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    turn: Condvar,
    clock: SharedClock,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Timed>,
    /// When the first of them came.
    first_at: Option<BootTime>,
    /// Times never go back, whatever the clock does.
    last_at: u64,
    /// The writer has taken entries, and not said yet where they stand.
    in_hand: bool,
    /// When the first of those came.
    hand_at: Option<BootTime>,
    writer_idle: bool,
    stopped: bool,
}

/// What the writer takes.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) entries: Vec<Timed>,
    /// Whatever was issued up to then is in this batch or an earlier one.
    pub(super) boundary: u64,
    /// Nothing comes after this batch.
    pub(super) last: bool,
}

impl Queue {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            inner: Mutex::default(),
            turn: Condvar::new(),
            clock,
        }
    }

    /// Puts an entry in, and gives it its time. The lock is held for a few stores.
    pub(super) fn push(&self, issued: Issued) {
        let mut inner = self.lock();
        let at = self.millis().max(inner.last_at);
        inner.last_at = at;
        if inner.entries.is_empty() {
            inner.first_at = Some(self.clock.boot());
        }
        inner.entries.push((at, issued));
        let wake = std::mem::take(&mut inner.writer_idle);
        drop(inner);
        if wake {
            self.turn.notify_one();
        }
    }

    /// Waits for entries, gathers for `interval`, and takes them. With `busy` it does not wait for a first one.
    pub(super) fn take(&self, interval: Duration, busy: bool) -> Batch {
        let mut inner = self.lock();
        if !busy {
            inner.writer_idle = true;
            let idle = |inner: &mut Inner| {
                let waits = inner.entries.is_empty() && !inner.stopped;
                inner.writer_idle = waits;
                waits
            };
            inner = self
                .turn
                .wait_while(inner, idle)
                .unwrap_or_else(PoisonError::into_inner);
            inner.writer_idle = false;
        }
        let (mut inner, _timeout) = self
            .turn
            .wait_timeout_while(inner, interval, |inner| !inner.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        let now = self.millis().max(inner.last_at);
        inner.last_at = now;
        inner.in_hand = true;
        inner.hand_at = inner.first_at.take();
        Batch {
            entries: std::mem::take(&mut inner.entries),
            boundary: now.saturating_sub(1),
            last: inner.stopped,
        }
    }

    /// What was taken is written, and noted in the catalog.
    pub(super) fn put_down(&self) {
        let mut inner = self.lock();
        inner.in_hand = false;
        inner.hand_at = None;
    }

    /// How long the oldest entry has waited to be written.
    pub(super) fn waited(&self) -> Duration {
        let inner = self.lock();
        let oldest = inner.hand_at.or(inner.first_at);
        oldest.map_or(Duration::ZERO, |at| self.clock.boot().saturating_since(at))
    }

    /// Where nothing waits: up to when everything that was issued is in the catalog.
    pub(super) fn nothing_since(&self) -> Option<u64> {
        let mut inner = self.lock();
        if !inner.entries.is_empty() || inner.in_hand {
            return None;
        }
        let now = self.millis().max(inner.last_at);
        inner.last_at = now;
        Some(now.saturating_sub(1))
    }

    /// What is in the queue is taken a last time.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.turn.notify_all();
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.clock.since_epoch().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
