//! The one place of the clients that reads a clock.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Two clocks: one for leases, one for the times inside tokens.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since the machine started, counted through suspension. A lease that ran out while a laptop slept has run out.
    fn boot(&self) -> Duration;

    /// Time since 1970-01-01T00:00:00Z.
    fn unix(&self) -> Duration;
}

/// The clocks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[cfg(target_os = "linux")]
const BOOT: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const BOOT: ClockId = ClockId::Monotonic;

impl Clock for SystemClock {
    fn boot(&self) -> Duration {
        let now = clock_gettime(BOOT);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        Duration::new(seconds, nanos)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    fn unix(&self) -> Duration {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_run() {
        let clock = SystemClock;
        let (boot, unix) = (clock.boot(), clock.unix());
        assert!(boot > Duration::ZERO);
        assert!(clock.boot() >= boot);
        assert!(unix > Duration::from_secs(1_700_000_000), "{unix:?}");
    }
}
