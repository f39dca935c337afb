//! Cheap operations where their callers stand, up to eight of them at once.
//!
//! A caller puts its job into the line. If nobody leads the line it becomes its leader: it lets every other task that
//! is ready go first, takes up to eight of what has come together, computes them, and answers. When its own job is done,
//! it hands the lead to one of those who still wait; a leader that goes away does the same. Where a whole batch waits
//! already, one more leader takes it at once.
//!
//! ```text
//! push --nobody leads, or a batch too many--> leads --own job done, or dropped--> appoints the next, or nobody waits
//!      \--somebody leads--> waits --appointed--> leads
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use multibuffer::LANES;
use tokio::time::Instant;

use super::LaneError;
use super::admission::{Capacity, Found};
use super::call::{Appointment, Call, Waiting};
use super::class::Kind;
use super::compute::Compute;
use super::fair::Fair;
use super::job::{Batch, Entry, Source};
use super::stats::Lines;

/// A line whose callers do the work.
pub(super) struct CallersLine {
    kind: Kind,
    capacity: Capacity,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Fair<Entry>,
    leaders: usize,
    /// Memory of former leaders.
    spare: Vec<Batch>,
}

impl CallersLine {
    pub(super) fn new(kind: Kind, capacity: Capacity) -> Self {
        Self {
            kind,
            capacity,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CallersLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallersLine")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// What a caller does after it has put its job into the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Lead, after everything that is ready.
    Lead,
    /// Lead at once: a batch is waiting.
    LeadNow,
    /// Wait for the leader.
    Wait,
}

/// A line, and what its leader computes with.
#[derive(Clone, Copy)]
pub(super) struct Leading<'l> {
    pub(super) line: &'l CallersLine,
    pub(super) compute: &'l Compute,
}

impl Leading<'_> {
    /// Puts a job into the line. A refused one is dropped.
    pub(super) fn push(self, tenant: &Arc<str>, entry: Entry) -> Result<Role, LaneError> {
        let Self { line, compute } = self;
        let (kind, lines, stats) = (line.kind, Lines::Here, &compute.stats);
        let book = stats.book(kind);
        let (now, cost, at_best) = (Instant::now(), book.cost(), book.at_best());
        let mut state = line.lock();
        let found = Found::of(&state.waiting, tenant, stats, (lines, kind));
        found
            .admit(line.capacity)
            .and_then(|()| found.meets(entry.deadline, now, at_best, (line.capacity, 1)))
            .inspect_err(|error| stats.refused(*error))?;
        if book.load(lines).many_unwanted(state.waiting.len()) {
            state.waiting.retain(|entry| entry.job.is_wanted());
        }
        entry.job.waits(Waiting { lines, kind, cost }, stats);
        state.waiting.push(tenant, cost, entry);
        if state.waiting.len() < LANES.saturating_mul(state.leaders) {
            return Ok(Role::Wait);
        }
        state.leaders += 1;
        let full = state.waiting.len() >= LANES;
        Ok(if full { Role::LeadNow } else { Role::Lead })
    }

    /// Leads until the own call is answered, or its job is in other hands. Dropped, the lead goes on to the next.
    pub(super) async fn lead<T>(self, own: &Call<T>, role: Role) {
        let _seat = Seat(self);
        if role == Role::Lead {
            tokio::task::yield_now().await;
        }
        while self.batch() && !own.is_done() {
            // Others have their turn between two batches, also those who read from sockets.
            tokio::task::yield_now().await;
        }
    }

    /// `false`: nothing waits.
    fn batch(self) -> bool {
        let Self { line, compute } = self;
        let (stats, lines, kind) = (&compute.stats, Lines::Here, line.kind);
        let mut state = line.lock();
        let mut batch = state.spare.pop().unwrap_or_default();
        batch.fill(&mut state.waiting, LANES, Source { stats, lines, kind });
        drop(state);
        let found = !batch.is_empty();
        batch.run(compute, kind);
        line.lock().spare.push(batch);
        found
    }

    /// Gives up the lead: to one who waits, if there is one and nobody else leads in its stead.
    pub(super) fn hand_on(self) {
        let (mut unwanted, mut state) = (Vec::new(), self.line.lock());
        let others = state.leaders.saturating_sub(1);
        let waker = loop {
            let enough = others > 0 && state.waiting.len() < LANES.saturating_mul(others);
            let next = state.waiting.front().filter(|_| !enough);
            let Some(next) = next else {
                state.leaders = others;
                break None;
            };
            match next.job.appoint() {
                Appointment::Made(waker) => break waker,
                Appointment::HadAlready => {
                    state.leaders = others;
                    break None;
                }
                Appointment::Declined => {}
            }
            let Some((_, entry)) = state.waiting.pop_front() else {
                continue;
            };
            entry.job.leaves(&self.compute.stats);
            self.compute.stats.dropped(self.line.kind, Lines::Here);
            unwanted.push(entry);
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The lead, for as long as it is held.
struct Seat<'l>(Leading<'l>);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.hand_on();
    }
}

#[cfg(test)]
mod tests {
    use super::super::class::Operation;
    use super::super::job::LaneJob;
    use super::super::tests::{TestKey, ask, lanes};
    use super::*;
    use multibuffer::Class as LaneClass;

    #[test]
    fn two_leaders_that_give_up_at_once_leave_one_lead_and_no_phantom() {
        let kind = Kind::Lanes(Operation::Sign, LaneClass::P256);
        let (lanes, _fake) = lanes(2);
        let shared = lanes.shared();
        let leading = Leading {
            line: shared.callers.of(kind),
            compute: &shared.compute,
        };
        let (key, tenant) = (TestKey::new(1), ask().tenant);
        let mut calls = Vec::new();
        let mut push = || {
            let call = Call::one();
            let job = key.job(kind).queued(call.ticket(0));
            calls.push(call);
            leading
                .push(
                    &tenant,
                    Entry {
                        job,
                        deadline: None,
                    },
                )
                .unwrap()
        };
        let roles: Vec<Role> = (0..10).map(|_| push()).collect();
        let led = roles.iter().filter(|role| **role != Role::Wait).count();
        assert_eq!((led, leading.line.lock().leaders), (2, 2), "{roles:?}");

        leading.hand_on();
        leading.hand_on();
        assert_eq!(leading.line.lock().leaders, 1);
    }
}
