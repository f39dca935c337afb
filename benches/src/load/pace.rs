//! The pacing thread: what starts calls at the moments at which they are due.

use std::{
    num::NonZeroU64,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::thread::set_current_timer_slack;

use super::Offer;
use crate::{Fault, now};

/// The thread wakes no more often than this: at 10,000 calls a second and more it would otherwise take a good part of the
/// core that it shares with what it measures. What falls due in between starts together, late by this much at most.
const SLICE: Duration = Duration::from_micros(100);

/// Calls `start_call` with each moment at which a call is due, at that moment or as soon after it as the thread wakes.
pub(super) fn each_when_due(
    start: Instant,
    offer: Offer,
    start_call: impl Fn(Instant) + Send + 'static,
) -> Result<JoinHandle<()>, Fault> {
    let step = Duration::try_from_secs_f64(1.0 / offer.rate)?.max(Duration::from_nanos(1));
    let thread = thread::Builder::new()
        .name("pacing".to_owned())
        .spawn(move || {
            // the kernel lets a sleep run 50 us over unless it is asked not to; where it refuses, latencies show it
            let _kept = set_current_timer_slack(NonZeroU64::new(1));
            let (mut due, mut woken) = (Duration::ZERO, start);
            while due < offer.duration {
                let at = start + due;
                if at > woken {
                    let wake = at.max(woken + SLICE);
                    thread::sleep(wake.saturating_duration_since(now()));
                    woken = now();
                }
                start_call(at);
                due += step;
            }
        })?;
    Ok(thread)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn every_call_is_due_one_step_after_the_one_before_and_none_starts_early() {
        let (sender, started) = mpsc::channel();
        let offer = Offer::new(2_000.0, Duration::from_millis(10));
        let start = now();
        let pacing = each_when_due(start, offer, move |due| {
            assert!(now() >= due);
            sender.send(due - start).unwrap();
        });
        pacing.unwrap().join().unwrap();
        let due: Vec<Duration> = started.iter().collect();
        let expected: Vec<Duration> = (0..20).map(|n| Duration::from_micros(500) * n).collect();
        assert_eq!(due, expected);
    }

    #[test]
    fn a_rate_that_is_none_is_an_error() {
        for rate in [0.0, -1.0, f64::NAN] {
            let offer = Offer::new(rate, Duration::from_millis(10));
            assert!(each_when_due(now(), offer, |_| ()).is_err(), "{rate}");
        }
    }
}
