//! The right to rely on what was received, and when it ends.

use std::time::Duration;

use crypto_proto::jwks::v1::TrustLease;

use crate::request::from_wire;

/// A lease on the boot clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Lease {
    ends_at: Duration,
    epoch: u64,
}

impl Lease {
    /// The lease that `event` grants on a stream that was asked for at `asked_at`.
    ///
    /// It counts from that moment and the age that the stream had when the service made the event, never from the event's arrival:
    /// an event that was delayed on the way grants not a moment more.
    pub(super) fn granted(asked_at: Duration, event: &TrustLease) -> Self {
        let stream_age = event.stream_age.map(from_wire).unwrap_or_default();
        let valid_for = event.valid_for.map(from_wire).unwrap_or_default();
        Self {
            ends_at: asked_at
                .saturating_add(stream_age)
                .saturating_add(valid_for),
            epoch: event.epoch,
        }
    }

    /// Whether it holds at `now`. The default lease, which was never granted, does not.
    pub(super) fn covers(&self, now: Duration) -> bool {
        now < self.ends_at
    }

    pub(super) fn remaining(&self, now: Duration) -> Duration {
        self.ends_at.saturating_sub(now)
    }

    /// What holds after `next` was received: an instance that lags behind what this client has seen grants nothing.
    pub(super) fn followed_by(self, next: Self) -> Self {
        if next.epoch < self.epoch { self } else { next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(stream_age: i64, valid_for: i64, epoch: u64) -> TrustLease {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        TrustLease {
            stream_age: seconds(stream_age),
            valid_for: seconds(valid_for),
            epoch,
        }
    }

    #[test]
    fn a_lease_counts_from_the_moment_of_asking() {
        let at = Duration::from_secs;
        for (asked, age, valid, ends) in [
            (1000, 0, 300, 1300),
            (1000, 60, 300, 1360),
            (1000, 60, 0, 1060),
            (1000, 0, -5, 1000),
            (1000, -5, 300, 1300),
            (0, 0, 0, 0),
        ] {
            let lease = Lease::granted(at(asked), &event(age, valid, 1));
            assert_eq!(lease.ends_at, at(ends), "{asked} {age} {valid}");
            assert!(
                !lease.covers(at(ends)),
                "the end itself is outside: {asked} {age} {valid}"
            );
            assert_eq!(
                lease.covers(at(ends) - Duration::from_nanos(u32::from(ends > 0).into())),
                ends > 0
            );
        }
        let endless = Lease::granted(Duration::MAX, &event(i64::MAX, i64::MAX, 1));
        assert_eq!(endless.ends_at, Duration::MAX);
        assert_eq!(Lease::granted(at(7), &TrustLease::default()).ends_at, at(7));
    }

    #[test]
    fn the_latest_lease_counts_unless_its_epoch_lags() {
        let (old, newer) = (event(0, 300, 5), event(10, 100, 5));
        let asked = Duration::from_secs(50);
        let held = Lease::granted(asked, &old).followed_by(Lease::granted(asked, &newer));
        assert_eq!(
            held.ends_at,
            Duration::from_secs(160),
            "a shorter one replaces a longer one"
        );
        let lagging = Lease::granted(asked, &event(20, 900, 4));
        assert_eq!(held.followed_by(lagging), held);
        assert_eq!(Lease::default().followed_by(held), held);
    }
}
