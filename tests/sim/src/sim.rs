//! What every part of a run shares: virtual time, randomness, the trace, what is true, and the first thing that broke.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bug::Bug;
use crate::clock::NodeClock;
use crate::dice::Dice;
use crate::invariant::{Broken, Invariant};
use crate::trace::Trace;
use crate::truth::Truth;
use crate::world::{Range, World};

/// The run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sim(Arc<Inner>);

struct Inner {
    world: World,
    bug: Option<Bug>,
    start: Instant,
    steps: u64,
    dice: Mutex<Dice>,
    trace: Mutex<Trace>,
    truth: Mutex<Truth>,
    broken: Mutex<Option<Broken>>,
    over: Notify,
    end: AtomicU64,
}

impl Sim {
    /// Has to be made inside the runtime whose time stands still.
    pub(crate) fn new(world: World, seed: u64, bug: Option<Bug>, steps: u64) -> Self {
        let times = world.times;
        Self(Arc::new(Inner {
            world,
            bug,
            start: Instant::now(),
            steps,
            dice: Mutex::new(Dice::new(seed)),
            trace: Mutex::new(Trace::new()),
            truth: Mutex::new(Truth::new(times)),
            broken: Mutex::new(None),
            over: Notify::new(),
            end: AtomicU64::new(0),
        }))
    }

    pub(crate) fn world(&self) -> &World {
        &self.0.world
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.0.bug == Some(bug)
    }

    pub(crate) fn bug(&self) -> Option<Bug> {
        self.0.bug
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        let elapsed = Instant::now().duration_since(self.0.start).as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX)
    }

    /// The run is over now.
    pub(crate) fn end(&self) {
        self.0.end.store(self.now(), Ordering::Relaxed);
    }

    pub(crate) fn at_the_end(&self) -> u64 {
        self.0.end.load(Ordering::Relaxed)
    }

    pub(crate) fn clock(&self) -> NodeClock {
        NodeClock::new(self.0.start)
    }

    pub(crate) fn dice(&self) -> MutexGuard<'_, Dice> {
        lock(&self.0.dice)
    }

    pub(crate) fn truth(&self) -> MutexGuard<'_, Truth> {
        lock(&self.0.truth)
    }

    pub(crate) fn trace(&self) -> MutexGuard<'_, Trace> {
        lock(&self.0.trace)
    }

    /// Counts a step and says what it was.
    pub(crate) fn step(&self, what: fmt::Arguments<'_>) {
        let mut trace = self.trace();
        trace.step(self.now(), what);
        if trace.steps >= self.0.steps {
            self.0.over.notify_one();
        }
    }

    /// An invariant is broken: the run is over.
    pub(crate) fn broken(&self, invariant: Invariant, what: impl fmt::Display) {
        let mut broken = lock(&self.0.broken);
        if broken.is_none() {
            let what = what.to_string();
            self.step(format_args!("BROKEN {invariant}: {what}"));
            *broken = Some(Broken {
                invariant,
                what,
                at: self.now(),
            });
        }
        self.0.over.notify_one();
    }

    pub(crate) fn take_broken(&self) -> Option<Broken> {
        lock(&self.0.broken).take()
    }

    /// Returns when the steps are done or something broke.
    pub(crate) async fn over(&self) {
        self.0.over.notified().await;
    }

    pub(crate) async fn sleep(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Lets about so much time pass.
    pub(crate) async fn sleep_about(&self, millis: u64) {
        let millis = self.dice().about(millis);
        self.sleep(millis).await;
    }

    pub(crate) fn within(&self, range: Range) -> u64 {
        self.dice().within(range)
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sim")
    }
}

pub(crate) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
