//! The clocks of one node: virtual time, a wall that may be off, and pauses that fall into the middle of a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyring::Time;
use service_kit::clock::{BootTime, Clock, SharedClock};
use tokio::time::Instant;

/// What the wall clocks of a sound node say at the beginning, in milliseconds since 1970.
pub(crate) const EPOCH_MS: u64 = 1_800_000_000_000;

/// What boot clocks say then.
const BOOT: Duration = Duration::from_secs(3_600);

/// One node's clocks. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct NodeClock(Arc<Readings>);

#[derive(Debug)]
struct Readings {
    start: Instant,
    /// How far the wall is off, in milliseconds.
    offset: AtomicI64,
    /// Boot readings that are still made before the machine is paused; `u64::MAX` where no pause is to come.
    reads: AtomicU64,
    /// How long that pause is, in milliseconds.
    pause: AtomicU64,
    /// The pause is not noticed: readings go on as if it had not been.
    blind: AtomicBool,
}

impl NodeClock {
    pub(crate) fn new(start: Instant) -> Self {
        Self(Arc::new(Readings {
            start,
            offset: AtomicI64::new(0),
            reads: AtomicU64::new(u64::MAX),
            pause: AtomicU64::new(0),
            blind: AtomicBool::new(false),
        }))
    }

    pub(crate) fn offset(&self) -> i64 {
        self.0.offset.load(Ordering::Relaxed)
    }

    pub(crate) fn set_offset(&self, millis: i64) {
        self.0.offset.store(millis, Ordering::Relaxed);
    }

    /// The machine stands still for so long after the next reading of the boot clock.
    pub(crate) fn pause_after_a_reading(&self, millis: u64, blind: bool) {
        self.0.pause.store(millis, Ordering::Relaxed);
        self.0.blind.store(blind, Ordering::Relaxed);
        self.0.reads.store(1, Ordering::Relaxed);
    }

    /// The call is over, and virtual time runs on by itself.
    pub(crate) fn resume(&self) {
        self.0.reads.store(u64::MAX, Ordering::Relaxed);
    }

    /// The wall, as the key-manager counts it.
    pub(crate) fn time(&self) -> Time {
        let millis = self.since_epoch().as_millis();
        Time::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    pub(crate) fn shared(&self) -> SharedClock {
        Arc::new(self.clone())
    }

    fn elapsed(&self) -> Duration {
        let readings = &self.0;
        let paused =
            readings.reads.load(Ordering::Relaxed) == 0 && !readings.blind.load(Ordering::Relaxed);
        let pause = if paused {
            Duration::from_millis(readings.pause.load(Ordering::Relaxed))
        } else {
            Duration::ZERO
        };
        Instant::now().duration_since(readings.start) + pause
    }
}

impl Clock for NodeClock {
    fn wall(&self) -> SystemTime {
        let elapsed = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        let millis = (EPOCH_MS + elapsed).saturating_add_signed(self.offset());
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn boot(&self) -> BootTime {
        let reading = BootTime::from_zero(BOOT + self.elapsed());
        let reads = &self.0.reads;
        let left = reads.load(Ordering::Relaxed);
        if left != u64::MAX {
            reads.store(left.saturating_sub(1), Ordering::Relaxed);
        }
        reading
    }
}
