//! The lease: until when this instance may rely on what it last received.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use service_kit::clock::{BootTime, SharedClock};

/// How long the instance may sign, and how long it may do everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Signing.
    pub sign_for: Duration,
    /// Verifying, encrypting, decrypting and publishing.
    pub verify_for: Duration,
}

impl Terms {
    /// The shorter of both, part by part: an instance's own settings only shorten what it is granted.
    #[must_use]
    pub fn shortened_by(self, own: Self) -> Self {
        Self {
            sign_for: self.sign_for.min(own.sign_for),
            verify_for: self.verify_for.min(own.verify_for),
        }
    }
}

impl Default for Terms {
    /// No bound of its own.
    fn default() -> Self {
        Self {
            sign_for: Duration::MAX,
            verify_for: Duration::MAX,
        }
    }
}

/// A part of the lease has run out, or was never granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease has run out: the key-manager has not been heard from for too long")]
pub struct LeaseOut;

/// The lease in force, read on every request without a lock. Its clock runs through suspension.
#[derive(Debug)]
pub(crate) struct Lease {
    clock: SharedClock,
    sign_until: AtomicU64,
    verify_until: AtomicU64,
}

impl Lease {
    /// No lease yet: nothing is permitted.
    pub(crate) fn none(clock: SharedClock) -> Self {
        Self {
            clock,
            sign_until: AtomicU64::new(0),
            verify_until: AtomicU64::new(0),
        }
    }

    /// Grants `terms`, counted from the moment at which they were asked for.
    pub(crate) fn grant(&self, asked_at: BootTime, terms: Terms) {
        self.sign_until.store(
            nanos(asked_at.saturating_add(terms.sign_for)),
            Ordering::Release,
        );
        self.verify_until.store(
            nanos(asked_at.saturating_add(terms.verify_for)),
            Ordering::Release,
        );
    }

    /// Ends the lease: the instance has stopped serving.
    pub(crate) fn end(&self) {
        self.sign_until.store(0, Ordering::Release);
        self.verify_until.store(0, Ordering::Release);
    }

    /// What is left for signing.
    pub(crate) fn sign_remaining(&self) -> Result<Duration, LeaseOut> {
        self.remaining(&self.sign_until)
    }

    /// What is left for everything but signing.
    pub(crate) fn verify_remaining(&self) -> Result<Duration, LeaseOut> {
        self.remaining(&self.verify_until)
    }

    fn remaining(&self, until: &AtomicU64) -> Result<Duration, LeaseOut> {
        let left = until
            .load(Ordering::Acquire)
            .saturating_sub(nanos(self.clock.boot()));
        if left == 0 {
            Err(LeaseOut)
        } else {
            Ok(Duration::from_nanos(left))
        }
    }
}

fn nanos(reading: BootTime) -> u64 {
    u64::try_from(reading.since_zero().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use service_kit::clock::{Clock, FakeClock};

    use super::*;

    const TERMS: Terms = Terms {
        sign_for: Duration::from_secs(30),
        verify_for: Duration::from_secs(60),
    };

    #[test]
    fn signing_ends_before_verifying_and_both_count_from_the_asking() {
        let clock = FakeClock::at(1_800_000_000);
        let lease = Lease::none(clock.shared());
        assert_eq!(
            (lease.sign_remaining(), lease.verify_remaining()),
            (Err(LeaseOut), Err(LeaseOut))
        );
        let asked_at = clock.boot();
        clock.advance(Duration::from_secs(10));
        lease.grant(asked_at, TERMS);
        assert_eq!(lease.sign_remaining(), Ok(Duration::from_secs(20)));
        clock.advance(Duration::from_secs(20));
        assert_eq!(lease.sign_remaining(), Err(LeaseOut));
        assert_eq!(lease.verify_remaining(), Ok(Duration::from_secs(30)));
        clock.advance(Duration::from_secs(30));
        assert_eq!(lease.verify_remaining(), Err(LeaseOut));
    }

    #[test]
    fn a_wall_clock_set_back_lengthens_nothing() {
        let clock = FakeClock::at(1_800_000_000);
        let lease = Lease::none(clock.shared());
        lease.grant(clock.boot(), TERMS);
        clock.advance(Duration::from_secs(31));
        clock.set_wall(1_700_000_000);
        assert_eq!(lease.sign_remaining(), Err(LeaseOut));
    }

    #[test]
    fn own_settings_only_shorten() {
        let own = Terms {
            sign_for: Duration::from_secs(5),
            verify_for: Duration::from_secs(900),
        };
        let both = TERMS.shortened_by(own);
        assert_eq!(
            (both.sign_for, both.verify_for),
            (Duration::from_secs(5), Duration::from_secs(60))
        );
        assert_eq!(TERMS.shortened_by(Terms::default()), TERMS);
    }
}
