//! What a caller awaits: one answer, or those of a group with one wake-up for all.
//!
//! ```text
//! slot: Waits --begin--> Begun --finish--> Done       its cost counts as waiting work only while it waits
//!         \--refuse / lost ------------/              whoever goes away takes the cost of what still waits along
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::LaneError;
use super::class::Kind;
use super::leader::Leading;
use super::stats::{Lines, Stats};

/// What one or many jobs are answered into.
pub(super) struct Call<T>(Mutex<State<T>>);

struct State<T> {
    slots: Slots<T>,
    left: usize,
    waker: Option<Waker>,
    abandoned: bool,
    /// The caller is to lead the line in which it waits.
    appointed: bool,
}

enum Slots<T> {
    One([Slot<T>; 1]),
    Many(Vec<Slot<T>>),
}

enum Slot<T> {
    /// Not handed over, or begun.
    Open,
    Waits(Waiting),
    Done(Result<T, LaneError>),
}

/// What a job that waits counts for, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) lines: Lines,
    pub(super) kind: Kind,
    /// In nanoseconds.
    pub(super) cost: u64,
}

impl<T> Slot<T> {
    fn take(&mut self) -> Result<T, LaneError> {
        match std::mem::replace(self, Self::Open) {
            Self::Done(answer) => answer,
            Self::Open | Self::Waits(_) => Err(LaneError::Lost),
        }
    }
}

impl<T> Slots<T> {
    fn all(&mut self) -> &mut [Slot<T>] {
        match self {
            Self::One(slot) => slot,
            Self::Many(slots) => slots,
        }
    }
}

impl<T> Call<T> {
    pub(super) fn one() -> Arc<Self> {
        Self::with(Slots::One([Slot::Open]), 1)
    }

    /// A group of `len`.
    pub(super) fn many(len: usize) -> Arc<Self> {
        let slots = std::iter::repeat_with(|| Slot::Open).take(len).collect();
        Self::with(Slots::Many(slots), len)
    }

    fn with(slots: Slots<T>, left: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            slots,
            left,
            waker: None,
            abandoned: false,
            appointed: false,
        })))
    }

    /// The right to answer one of the jobs.
    pub(super) fn ticket(self: &Arc<Self>, at: usize) -> Ticket<T> {
        Ticket {
            call: Some(Arc::clone(self)),
            at,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.lock().left == 0
    }

    fn finish(&self, at: usize, answer: Result<T, LaneError>) {
        let mut state = self.lock();
        if let Some(slot) = state.slots.all().get_mut(at) {
            *slot = Slot::Done(answer);
        }
        state.left = state.left.saturating_sub(1);
        let waker = if state.left == 0 {
            state.waker.take()
        } else {
            None
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to answer one job. Dropped without an answer, it says that the answer is lost.
pub(super) struct Ticket<T> {
    call: Option<Arc<Call<T>>>,
    at: usize,
}

impl<T> Ticket<T> {
    pub(super) fn answer(mut self, answer: Result<T, LaneError>) {
        if let Some(call) = self.call.take() {
            call.finish(self.at, answer);
        }
    }

    /// The job waits in a line from now on.
    pub(super) fn waits(&self, waiting: Waiting, stats: &Stats) {
        let Some(call) = &self.call else { return };
        if let Some(slot) = call.lock().slots.all().get_mut(self.at) {
            *slot = Slot::Waits(waiting);
            stats.waits(waiting);
        }
    }

    /// The job leaves its line. `false`: nobody wants it any more.
    pub(super) fn leaves(&self, stats: &Stats) -> bool {
        let Some(call) = &self.call else { return false };
        let mut state = call.lock();
        let wanted = !state.abandoned;
        if let Some(slot) = state.slots.all().get_mut(self.at)
            && let Slot::Waits(waiting) = slot
        {
            stats.left(*waiting);
            *slot = Slot::Open;
        }
        wanted
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.call
            .as_ref()
            .is_some_and(|call| !call.lock().abandoned)
    }

    /// Has the caller lead its line.
    pub(super) fn appoint(&self) -> Appointment {
        let Some(call) = &self.call else {
            return Appointment::Declined;
        };
        let mut state = call.lock();
        if state.abandoned || state.left == 0 {
            return Appointment::Declined;
        }
        if std::mem::replace(&mut state.appointed, true) {
            return Appointment::HadAlready;
        }
        Appointment::Made(state.waker.take())
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            call.finish(self.at, Err(LaneError::Lost));
        }
    }
}

/// What became of an appointment.
pub(super) enum Appointment {
    /// The caller leads when it is woken; without a waker it is about to look by itself.
    Made(Option<Waker>),
    /// Another leader has appointed it a moment ago: it takes one lead, not two.
    HadAlready,
    /// It has gone, or needs nothing any more.
    Declined,
}

/// What a caller awaits.
pub(super) enum Event {
    /// Everything is answered.
    Done,
    /// The caller is to lead its line.
    Lead,
}

/// The caller's side of a [`Call`]. Dropped, it takes back what waits and passes on the lead that it was given.
pub(super) struct Caller<'l, T> {
    pub(super) call: Arc<Call<T>>,
    pub(super) stats: &'l Stats,
    /// The line in which it may be appointed to lead.
    pub(super) line: Option<Leading<'l>>,
}

impl<T> Caller<'_, T> {
    pub(super) async fn event(&mut self) -> Event {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// The answer to the one job.
    pub(super) async fn answer(mut self) -> Result<T, LaneError> {
        while let Event::Lead = self.event().await {}
        self.take()
    }

    /// The answers to all jobs of a group.
    pub(super) async fn answers(mut self) -> Vec<Result<T, LaneError>> {
        while let Event::Lead = self.event().await {}
        let mut state = self.call.lock();
        match &mut state.slots {
            Slots::One([slot]) => vec![slot.take()],
            Slots::Many(slots) => slots.iter_mut().map(Slot::take).collect(),
        }
    }

    /// The answer to the one job, after [`Event::Done`].
    pub(super) fn take(&self) -> Result<T, LaneError> {
        let mut state = self.call.lock();
        let slot = state.slots.all().first_mut();
        slot.map_or(Err(LaneError::Lost), Slot::take)
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Event> {
        let mut state = self.call.lock();
        if state.left == 0 {
            return Poll::Ready(Event::Done);
        }
        if std::mem::take(&mut state.appointed) {
            return Poll::Ready(Event::Lead);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl<T> Drop for Caller<'_, T> {
    fn drop(&mut self) {
        let mut state = self.call.lock();
        state.abandoned = true;
        let appointed = std::mem::take(&mut state.appointed);
        if state.left > 0 {
            for slot in state.slots.all() {
                if let Slot::Waits(waiting) = slot {
                    self.stats.abandoned(*waiting);
                    *slot = Slot::Open;
                }
            }
        }
        drop(state);
        if let (true, Some(line)) = (appointed, self.line) {
            line.hand_on();
        }
    }
}
