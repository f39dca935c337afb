//! Load: calls as fast as they are answered (closed loop), or at a fixed rate whatever the answers do (open loop).

mod pace;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use client_core::Error;
use hdrhistogram::Histogram;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use crate::{Fault, now, number};

/// A caller whose call was refused waits this long: one that asks again at once would measure its own impatience.
const AFTER_A_REFUSAL: Duration = Duration::from_millis(10);

/// What is called under load. It says how many operations were done: a batch holds several.
#[derive(Clone)]
pub struct Call(Arc<dyn Fn() -> Answer + Send + Sync>);

type Answer = Pin<Box<dyn Future<Output = Result<u32, Error>> + Send>>;

impl Call {
    /// Makes a call each time.
    pub fn new<F>(call: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<u32, Error>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(call())))
    }

    /// One call.
    ///
    /// # Errors
    /// What the call fails with.
    pub async fn make(&self) -> Result<u32, Error> {
        (self.0)().await
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call")
    }
}

/// Latencies in nanoseconds, 1 us to 60 s, three digits.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    fn new() -> Result<Self, Fault> {
        Ok(Self(Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?))
    }

    fn record(&mut self, elapsed: Duration) {
        self.0
            .saturating_record(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The latency that `quantile` (0 to 1) of the calls kept.
    #[must_use]
    pub fn at(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    /// How many calls.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}

/// What a run of load gave.
#[derive(Debug)]
pub struct Outcome {
    /// Latencies of the calls that were answered.
    pub latencies: Latencies,
    /// Operations done: a call may hold several.
    pub done: u64,
    /// Calls that failed.
    pub failed: u64,
    /// The first failure.
    pub failure: Option<Error>,
    /// Calls that were due, and that the generator did not make because too many were in flight.
    pub unsent: u64,
    /// From the first call to the last answer.
    pub elapsed: Duration,
    /// For how long calls were started.
    pub offered_for: Duration,
}

impl Outcome {
    fn new() -> Result<Self, Fault> {
        Ok(Self {
            latencies: Latencies::new()?,
            done: 0,
            failed: 0,
            failure: None,
            unsent: 0,
            elapsed: Duration::ZERO,
            offered_for: Duration::ZERO,
        })
    }

    fn note(&mut self, answer: Result<u32, Error>, elapsed: Duration) {
        match answer {
            Ok(done) => {
                self.done += u64::from(done);
                self.latencies.record(elapsed);
            }
            Err(error) => {
                self.failed += 1;
                self.failure.get_or_insert(error);
            }
        }
    }

    /// Operations per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        number(self.done) / self.elapsed.as_secs_f64()
    }

    /// Operations that were answered per second of the offer: the late answers of an open loop do not stretch it.
    #[must_use]
    pub fn goodput(&self) -> f64 {
        number(self.done) / self.offered_for.as_secs_f64()
    }

    /// Calls made per second, whatever became of them.
    #[must_use]
    pub fn offered(&self) -> f64 {
        number(self.latencies.count() + self.failed) / self.offered_for.as_secs_f64()
    }

    /// This outcome, where every call was answered: a run in which calls fail measures something else.
    ///
    /// # Errors
    /// How many failed, and the first failure.
    pub fn sound(self) -> Result<Self, Fault> {
        match &self.failure {
            Some(failure) => Err(format!(
                "{} calls failed and {} were answered; the first failure: {failure}",
                self.failed,
                self.latencies.count()
            )
            .into()),
            None if self.done == 0 => Err("no call was answered".into()),
            None => Ok(self),
        }
    }
}

/// `callers` callers, each with one call in flight, for `duration`. A call says how many operations it did.
///
/// # Errors
/// When a caller panics.
pub async fn closed_loop(
    callers: usize,
    duration: Duration,
    call: &Call,
) -> Result<Outcome, Fault> {
    let start = now();
    let end = start + duration;
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let call = call.clone();
        tasks.spawn(async move {
            let mut answers = Vec::new();
            let mut before = now();
            while before < end {
                let answer = call.make().await;
                let after = now();
                let refused = answer.is_err();
                answers.push((answer, after - before));
                before = after;
                if refused {
                    tokio::time::sleep(AFTER_A_REFUSAL).await;
                    before = now();
                }
            }
            answers
        });
    }
    let mut outcome = Outcome::new()?;
    while let Some(answers) = tasks.join_next().await {
        for (answer, elapsed) in answers? {
            outcome.note(answer, elapsed);
        }
    }
    outcome.elapsed = start.elapsed();
    outcome.offered_for = duration;
    Ok(outcome)
}

/// An offer of calls that does not wait for answers.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// Calls per second.
    pub rate: f64,
    /// For how long.
    pub duration: Duration,
    /// Calls in flight at most; what is due beyond that is counted as unsent. It bounds the generator's memory.
    pub in_flight: usize,
}

impl Offer {
    /// `rate` calls per second for `duration`, with so many in flight that the bound never matters below saturation.
    #[must_use]
    pub fn new(rate: f64, duration: Duration) -> Self {
        Self {
            rate,
            duration,
            in_flight: 16_384,
        }
    }
}

/// Makes the calls of an offer, each when its time comes, from a thread of its own that sleeps on the kernel's fine timer:
/// the runtime's timer rounds up to the next millisecond, which at 4,000 calls per second is several calls at once and a
/// millisecond of latency that the service never caused. Latency counts from the moment at which a call was due, so a
/// stall, the generator's own included, is charged to every call that it delays.
///
/// # Errors
/// When a call panics, or the system refuses the thread.
pub async fn open_loop(offer: Offer, call: &Call) -> Result<Outcome, Fault> {
    let shared = Arc::new(Mutex::new(Outcome::new()?));
    // every call in flight holds a sender: when the last one is dropped, all are answered
    let (in_flight, mut all_answered) = mpsc::channel::<()>(1);
    let room = Arc::new(Semaphore::new(offer.in_flight));
    let (runtime, call) = (tokio::runtime::Handle::current(), call.clone());
    let start = now();
    let start_call = {
        let shared = Arc::clone(&shared);
        move |due: Instant| {
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                lock(&shared).unsent += 1;
                return;
            };
            let (call, shared, in_flight) = (call.clone(), Arc::clone(&shared), in_flight.clone());
            runtime.spawn(async move {
                let answer = call.make().await;
                let elapsed = due.elapsed();
                lock(&shared).note(answer, elapsed);
                // before the sender: whoever waits for that one takes the outcome out
                drop(shared);
                drop((place, in_flight));
            });
        }
    };
    let pacing = pace::each_when_due(start, offer, start_call)?;
    let _all_dropped = all_answered.recv().await;
    pacing
        .join()
        .map_err(|_panic| "the pacing thread panicked")?;
    let elapsed = start.elapsed();
    let mut outcome = Arc::into_inner(shared)
        .ok_or("a call panicked")?
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    (outcome.elapsed, outcome.offered_for) = (elapsed, offer.duration);
    Ok(outcome)
}

fn lock(shared: &Mutex<Outcome>) -> std::sync::MutexGuard<'_, Outcome> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use client_core::Code;

    use super::*;

    fn answers_after(millis: u64) -> Call {
        Call::new(move || async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(3)
        })
    }

    fn refuses() -> Call {
        Call::new(|| async { Err(Error::new(Code::Unavailable, "no")) })
    }

    #[tokio::test]
    async fn an_open_loop_makes_every_call_that_is_due() {
        let offer = Offer::new(500.0, Duration::from_millis(200));
        let outcome = open_loop(offer, &answers_after(1))
            .await
            .unwrap()
            .sound()
            .unwrap();
        assert_eq!(outcome.latencies.count(), 100);
        assert_eq!((outcome.done, outcome.unsent), (300, 0));
        assert!(outcome.latencies.at(0.5) >= Duration::from_millis(1));
        assert!(outcome.elapsed >= Duration::from_millis(198));
    }

    #[tokio::test]
    async fn an_open_loop_counts_what_it_could_not_send() {
        let offer = Offer {
            in_flight: 1,
            ..Offer::new(1_000.0, Duration::from_millis(100))
        };
        let outcome = open_loop(offer, &answers_after(500)).await.unwrap();
        assert_eq!((outcome.done, outcome.unsent), (3, 99));
        // latency counts from when the call was due, goodput over the time of the offer
        assert!(outcome.goodput() > outcome.rate());
    }

    #[tokio::test]
    async fn a_closed_loop_counts_failures_apart_and_is_then_not_sound() {
        let outcome = closed_loop(2, Duration::from_millis(30), &refuses())
            .await
            .unwrap();
        assert_eq!(outcome.latencies.count(), 0);
        assert!(outcome.failed >= 2);
        let said = outcome.sound().unwrap_err().to_string();
        assert!(said.contains("0 were answered"), "{said}");
    }

    #[tokio::test]
    async fn an_offer_of_failures_is_counted() {
        let offer = Offer::new(1_000.0, Duration::from_millis(20));
        let outcome = open_loop(offer, &refuses()).await.unwrap();
        assert_eq!((outcome.done, outcome.failed), (0, 20));
        assert!(outcome.offered() > 0.0);
    }
}
