//! A bounded queue between async callers and crypto threads.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::LaneError;

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Jobs in the order of their arrival. The lock is held for a push or a pop, never during work.
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    capacity: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            arrived: Condvar::new(),
            capacity,
        }
    }

    pub(super) fn push(&self, job: Job) -> Result<(), LaneError> {
        let mut state = self.lock();
        if state.waiting.len() >= self.capacity {
            return Err(LaneError::Overloaded);
        }
        state.waiting.push_back(job);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Works until the queue is closed and empty.
    pub(super) fn work(&self) {
        while let Some(job) = self.next() {
            // A panic costs its own caller the answer (the reply is dropped), not everybody a thread.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a crypto operation panicked");
            }
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    pub(super) fn depth(&self) -> usize {
        self.lock().waiting.len()
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
