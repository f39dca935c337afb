//! The one place that reads a clock.
//!
//! Two clocks, because they answer different questions: wall time is compared with what certificates and
//! tokens say; boot time measures leases. Boot time never goes back and runs through suspension, so a laptop
//! that slept for an hour has an hour less lease, which neither wall time nor `Instant` promises.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// A clock shared by the parts of a daemon.
pub type SharedClock = Arc<dyn Clock>;

/// Wall time and boot time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Wall time: may jump in both directions.
    fn wall(&self) -> SystemTime;

    /// Time since an arbitrary point in the past; never goes back, runs through suspension.
    fn boot(&self) -> BootTime;

    /// Wall time as time since the Unix epoch; zero for a clock set before 1970.
    fn since_epoch(&self) -> Duration {
        self.wall().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// Wall time in whole seconds since the Unix epoch, as `iat` and `exp` count them.
    fn unix_seconds(&self) -> u64 {
        self.since_epoch().as_secs()
    }
}

/// A reading of the boot clock. Only readings of one machine's one boot compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootTime(Duration);

impl BootTime {
    /// A reading made from a duration since the clock's zero.
    pub fn from_zero(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// The duration since the clock's zero.
    pub fn since_zero(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this reading was taken; zero when it was not after.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The reading that lies `delay` after this one.
    pub fn saturating_add(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay))
    }
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clocks, as a shared handle.
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock module: everything else takes time from it"
    )]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn boot(&self) -> BootTime {
        let reading = clock_gettime(ClockId::Boottime);
        // Both parts of a boot time are non-negative by the kernel's contract.
        let seconds = u64::try_from(reading.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(reading.tv_nsec).unwrap_or_default();
        BootTime(Duration::new(seconds, nanos))
    }
}

/// A clock that stands still until a test moves it. Clones share the reading.
#[derive(Clone, Debug)]
pub struct FakeClock(Arc<FakeReadings>);

#[derive(Debug)]
struct FakeReadings {
    wall_nanos: AtomicU64,
    boot_nanos: AtomicU64,
}

impl FakeClock {
    /// A clock whose wall time is `unix_seconds` after the epoch, and whose boot time is one hour.
    pub fn at(unix_seconds: u64) -> Self {
        Self(Arc::new(FakeReadings {
            wall_nanos: AtomicU64::new(nanos(Duration::from_secs(unix_seconds))),
            boot_nanos: AtomicU64::new(nanos(Duration::from_secs(3600))),
        }))
    }

    /// Lets `elapsed` pass on both clocks.
    pub fn advance(&self, elapsed: Duration) {
        self.0
            .wall_nanos
            .fetch_add(nanos(elapsed), Ordering::SeqCst);
        self.0
            .boot_nanos
            .fetch_add(nanos(elapsed), Ordering::SeqCst);
    }

    /// Sets the wall clock, forward or back; boot time stays.
    pub fn set_wall(&self, unix_seconds: u64) {
        let wall = nanos(Duration::from_secs(unix_seconds));
        self.0.wall_nanos.store(wall, Ordering::SeqCst);
    }

    /// This clock as a shared handle.
    pub fn shared(&self) -> SharedClock {
        Arc::new(self.clone())
    }
}

impl Clock for FakeClock {
    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.0.wall_nanos.load(Ordering::SeqCst))
    }

    fn boot(&self) -> BootTime {
        BootTime(Duration::from_nanos(
            self.0.boot_nanos.load(Ordering::SeqCst),
        ))
    }
}

/// Nanoseconds of a duration; saturates after 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_never_goes_back_and_wall_time_is_after_2020() {
        let clock = SystemClock;
        let first = clock.boot();
        assert!(clock.boot() >= first);
        assert!(first > BootTime::default());
        assert!(clock.unix_seconds() > 1_577_836_800);
    }

    #[test]
    fn setting_the_wall_clock_back_leaves_boot_time_alone() {
        let clock = FakeClock::at(1_800_000_000);
        let before = clock.boot();
        clock.set_wall(1_700_000_000);
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.unix_seconds(), 1_700_000_005);
        assert_eq!(
            clock.boot().saturating_since(before),
            Duration::from_secs(5)
        );
        assert_eq!(before.saturating_since(clock.boot()), Duration::ZERO);
    }
}
