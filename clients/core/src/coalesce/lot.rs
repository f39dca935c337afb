//! Who is out and who waits, class by class.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message as _;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::batch;
use super::kind::Kind;
use crate::channel::{Course, Pool};
use crate::error::Error;

/// How many rpcs of a class are out before calls wait: enough that one slow answer holds nobody up, and few enough that what waits
/// fills lanes.
pub(super) const OUT: usize = 4;

/// When nothing has moved in a class for so long, the next call goes past those that are out: theirs may be futures that nobody polls.
/// What waits goes out when that call comes back.
pub(super) const STALLED: Duration = Duration::from_secs(1);

/// The most items of a batch. Eight fillings of the service's eight lanes: a 64th part of an rpc costs less than any operation, and
/// the first item waits for the other 63 no longer than for a few milliseconds of RSA-2048.
pub(super) const MOST: usize = 64;

/// The most bytes of a batch's items: half of what the service takes, so that the framing and an item that was measured small never matter.
pub(super) const BYTES: usize = 512 << 10;

/// The classes of one kind. A class with nothing out is not kept.
pub(crate) struct Lot<K: Kind> {
    classes: Mutex<HashMap<u64, Class<K>>>,
    /// The service knows no batches of this kind.
    alone: AtomicBool,
}

/// Invariant: somebody waits only while `OUT` or more are out.
struct Class<K: Kind> {
    out: usize,
    /// When one last went out or came back.
    moved: Option<Instant>,
    waiting: VecDeque<Waiter<K>>,
}

/// A call that waits.
pub(super) struct Waiter<K: Kind> {
    pub(super) message: K::Message,
    size: usize,
    pub(super) end: Instant,
    pub(super) tried: Vec<usize>,
    pub(super) reply: oneshot::Sender<Reply<K>>,
}

/// What a waiter is told.
pub(super) enum Reply<K: Kind> {
    /// Go out on your own: the service knows no batches.
    Alone,
    /// What became of the item, and the endpoint that it was at.
    Done(Result<K::Answer, Error>, usize),
}

/// One of the four of a class. Dropping it sends what waits.
pub(super) struct Permit<K: Kind> {
    pub(super) pool: Arc<Pool>,
    class: u64,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Lot<K> {
    /// Whether every call goes out on its own.
    pub(super) fn alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed)
    }

    pub(super) fn give_up_batches(&self) {
        self.alone.store(true, Ordering::Relaxed);
    }

    /// Counts one more as out, if fewer than four are.
    pub(super) fn enter(&self, class: u64, now: Instant) -> bool {
        self.lock().entry(class).or_default().enter(now)
    }

    /// As [`Lot::enter`], with the waiter given back; where it is refused, the waiter joins those that wait.
    pub(super) fn wait(&self, class: u64, waiter: Waiter<K>, now: Instant) -> Option<Waiter<K>> {
        let mut classes = self.lock();
        let class = classes.entry(class).or_default();
        if class.enter(now) {
            return Some(waiter);
        }
        class.waiting.push_back(waiter);
        None
    }

    /// One of the four is back: what goes out in its place. With nothing to send, one fewer is out.
    fn next(&self, class: u64, now: Instant) -> Vec<Waiter<K>> {
        let mut classes = self.lock();
        let Entry::Occupied(mut entry) = classes.entry(class) else {
            return Vec::new();
        };
        let class = entry.get_mut();
        class.moved = Some(now);
        let next = class.take(now);
        if next.is_empty() {
            class.out = class.out.saturating_sub(1);
            if class.out == 0 {
                entry.remove();
            }
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Class<K>>> {
        // Each change is done before anything can panic.
        self.classes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Kind> Default for Lot<K> {
    fn default() -> Self {
        Self {
            classes: Mutex::default(),
            alone: AtomicBool::new(false),
        }
    }
}

impl<K: Kind> Class<K> {
    fn enter(&mut self, now: Instant) -> bool {
        let stalled = |moved: Instant| now.saturating_duration_since(moved) > STALLED;
        let enters = self.out < OUT || self.moved.is_some_and(stalled);
        if enters {
            self.out += 1;
            self.moved = Some(now);
        }
        enters
    }

    /// The next batch, first come first served. Those that were cancelled, or whose time has passed, are left out.
    fn take(&mut self, now: Instant) -> Vec<Waiter<K>> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(waiter) = self.waiting.pop_front() {
            if waiter.reply.is_closed() || waiter.end <= now {
                continue;
            }
            let full = taken.len() == MOST || bytes + waiter.size > BYTES;
            if full && !taken.is_empty() {
                self.waiting.push_front(waiter);
                break;
            }
            bytes += waiter.size;
            taken.push(waiter);
        }
        taken
    }
}

impl<K: Kind> Default for Class<K> {
    fn default() -> Self {
        Self {
            out: 0,
            moved: None,
            waiting: VecDeque::new(),
        }
    }
}

impl<K: Kind> Waiter<K> {
    pub(super) fn new(
        message: K::Message,
        course: &Course,
        reply: oneshot::Sender<Reply<K>>,
    ) -> Self {
        Self {
            size: message.encoded_len(),
            message,
            end: course.end,
            tried: course.tried.clone(),
            reply,
        }
    }
}

impl<K: Kind> Permit<K> {
    /// For a caller that was let in.
    pub(super) fn new(pool: &Arc<Pool>, class: u64) -> Self {
        Self {
            pool: Arc::clone(pool),
            class,
            kind: PhantomData,
        }
    }
}

impl<K: Kind> Drop for Permit<K> {
    fn drop(&mut self) {
        let Some(lots) = &self.pool.lots else {
            return;
        };
        let now = Instant::now();
        let next = K::lot(lots).next(self.class, now);
        if !next.is_empty() {
            let permit = Self::new(&self.pool, self.class);
            self.pool.runtime.spawn(batch::send(permit, next, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::Signing;
    use super::*;

    #[test]
    fn a_class_in_which_nothing_moves_for_a_second_lets_one_past() {
        let (lot, begin) = (Lot::<Signing>::default(), Instant::now());
        assert!((0..OUT).all(|_| lot.enter(7, begin)));
        assert!(!lot.enter(7, begin + STALLED));
        let later = begin + STALLED + Duration::from_millis(1);
        assert!(lot.enter(7, later));
        assert!(!lot.enter(7, later), "one, and not all that follow");
        assert!(lot.enter(7, later + STALLED * 2));
        assert!(lot.enter(8, begin), "another class has four of its own");
    }

    #[test]
    fn a_class_that_moves_holds_its_callers_back_for_ever() {
        let (lot, mut now) = (Lot::<Signing>::default(), Instant::now());
        assert!(
            (0..=OUT)
                .map(|_| lot.enter(7, now))
                .eq([true, true, true, true, false])
        );
        for _ in 0..10 {
            now += STALLED;
            // One is back and one goes out in its place: that is movement.
            assert!(lot.next(7, now).is_empty() && lot.enter(7, now));
            assert!(!lot.enter(7, now + STALLED));
        }
    }
}
