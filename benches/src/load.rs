//! Load: calls as fast as they are answered (closed loop), or at a fixed rate whatever the answers do (open loop).

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{task::JoinSet, time::sleep_until};

use crate::{Fault, now};

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
    /// Calls that failed.
    pub failed: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Outcome {
    /// Answered calls per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let answered = u32::try_from(self.latencies.count()).unwrap_or(u32::MAX);
        f64::from(answered) / self.elapsed.as_secs_f64()
    }
}

/// `workers` callers, each with one call in flight, for `duration`.
///
/// # Errors
/// When a caller panics.
pub async fn closed_loop<F, R>(
    workers: usize,
    duration: Duration,
    call: impl Fn() -> F + Clone + Send + 'static,
) -> Result<Outcome, Fault>
where
    F: Future<Output = Result<R, client_core::Error>> + Send,
    R: Send,
{
    let start = now();
    let end = start + duration;
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let call = call.clone();
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            let mut failed = 0;
            let mut before = now();
            while before < end {
                let answer = call().await;
                let after = now();
                match answer {
                    Ok(_) => latencies.push(after - before),
                    Err(_) => failed += 1,
                }
                before = after;
            }
            (latencies, failed)
        });
    }
    let mut outcome = Outcome {
        latencies: Latencies::new()?,
        failed: 0,
        elapsed: duration,
    };
    while let Some(done) = tasks.join_next().await {
        let (latencies, failed) = done?;
        latencies
            .into_iter()
            .for_each(|latency| outcome.latencies.record(latency));
        outcome.failed += failed;
    }
    outcome.elapsed = start.elapsed();
    Ok(outcome)
}

/// `rate` calls per second for `duration`, each started when its time comes. Latency counts from that time, so a stall
/// is charged to every call that it delays.
///
/// # Errors
/// When a call panics.
pub async fn open_loop<F, R>(
    rate: f64,
    duration: Duration,
    call: impl Fn() -> F + Clone + Send + 'static,
) -> Result<Outcome, Fault>
where
    F: Future<Output = Result<R, client_core::Error>> + Send,
    R: Send,
{
    let shared = Arc::new(Mutex::new((Latencies::new()?, 0_u64)));
    let start = now();
    let mut tasks = JoinSet::new();
    let mut due = Duration::ZERO;
    let step = Duration::from_secs_f64(1.0 / rate);
    while due < duration {
        let at: Instant = start + due;
        sleep_until(at.into()).await;
        let (call, shared) = (call.clone(), Arc::clone(&shared));
        tasks.spawn(async move {
            let answer = call().await;
            let elapsed = at.elapsed();
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            match answer {
                Ok(_) => shared.0.record(elapsed),
                Err(_) => shared.1 += 1,
            }
        });
        while tasks.try_join_next().is_some() {}
        due += step;
    }
    while let Some(done) = tasks.join_next().await {
        done?;
    }
    let elapsed = start.elapsed();
    let (latencies, failed) = Arc::into_inner(shared)
        .ok_or("a call outlived its task")?
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(Outcome {
        latencies,
        failed,
        elapsed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer() -> Result<(), client_core::Error> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    }

    #[tokio::test]
    async fn an_open_loop_makes_every_call_that_is_due() {
        let outcome = open_loop(500.0, Duration::from_millis(200), answer)
            .await
            .unwrap();
        assert_eq!(outcome.latencies.count(), 100);
        assert!(outcome.latencies.at(0.5) >= Duration::from_millis(1));
    }

    #[tokio::test]
    async fn a_closed_loop_counts_failures_apart() {
        let fails = || async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Err::<(), _>(client_core::Error::new(
                client_core::Code::Unavailable,
                "no",
            ))
        };
        let outcome = closed_loop(2, Duration::from_millis(50), fails)
            .await
            .unwrap();
        assert_eq!(outcome.latencies.count(), 0);
        assert!(outcome.failed >= 2);
    }
}
