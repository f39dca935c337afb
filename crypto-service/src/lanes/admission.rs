//! What may wait: bounded by the work that waits, and by what its deadline leaves.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::LaneError;
use super::class::Kind;
use super::fair::Fair;
use super::job::Entry;
use super::stats::{Lines, Stats};

/// A line as a newcomer finds it. Costs are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// What waits.
    total: u64,
    /// What waits of the newcomer's tenant.
    own: u64,
    /// Tenants that share, with the newcomer's.
    tenants: u64,
}

/// What works on a line, and how much may wait for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    pub(super) threads: u64,
    /// Of one kind, in nanoseconds.
    pub(super) bound: u64,
}

impl Found {
    pub(super) fn of(
        line: &Fair<Entry>,
        tenant: &Arc<str>,
        stats: &Stats,
        (lines, kind): (Lines, Kind),
    ) -> Self {
        let total = stats.book(kind).load(lines).cost();
        if line.is_empty() {
            let (own, tenants) = (0, 1);
            return Self {
                total,
                own,
                tenants,
            };
        }
        let (own, tenants) = line.share(tenant);
        Self {
            total,
            own,
            tenants,
        }
    }

    /// Full is a line whose work takes longer than its bound; a tenant that has less than its share of it may still
    /// enter. What counts is what waits already: one batch of many enters whole.
    pub(super) const fn admit(self, capacity: Capacity) -> Result<(), LaneError> {
        let share = capacity.bound / self.tenants;
        if self.total < capacity.bound || self.own < share {
            return Ok(());
        }
        Err(self.overloaded(capacity, 1))
    }

    /// Whether an answer in time can be expected, where `kinds` kinds share the threads.
    pub(super) fn meets(
        self,
        deadline: Option<Instant>,
        now: Instant,
        cost: u64,
        (capacity, kinds): (Capacity, u64),
    ) -> Result<(), LaneError> {
        let Some(deadline) = deadline else {
            return Ok(());
        };
        let left = deadline.saturating_duration_since(now);
        if left.is_zero() {
            return Err(LaneError::DeadlineExceeded);
        }
        let ahead = self.own.saturating_mul(self.tenants).min(self.total);
        let wait = ahead.saturating_mul(kinds) / capacity.threads.max(1);
        if Duration::from_nanos(wait.saturating_add(cost)) <= left {
            return Ok(());
        }
        // Where nothing is ahead, another try changes nothing.
        if wait == 0 {
            return Err(LaneError::DeadlineExceeded);
        }
        Err(self.overloaded(capacity, kinds))
    }

    const fn overloaded(self, capacity: Capacity, kinds: u64) -> LaneError {
        let threads = if capacity.threads == 0 {
            1
        } else {
            capacity.threads
        };
        let wait = self.total.saturating_mul(kinds) / threads;
        LaneError::Overloaded {
            retry_in: Duration::from_nanos(if wait < SHORTEST_RETRY {
                SHORTEST_RETRY
            } else {
                wait
            }),
        }
    }
}

/// 1 ms, in nanoseconds.
const SHORTEST_RETRY: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity {
        threads: 2,
        bound: 200_000_000,
    };

    const fn found(total_ms: u64, own_ms: u64, tenants: u64) -> Found {
        Found {
            total: total_ms * 1_000_000,
            own: own_ms * 1_000_000,
            tenants,
        }
    }

    #[test]
    fn a_full_line_lets_in_only_who_has_less_than_a_share() {
        let retry_in = Duration::from_millis(100);
        for (line, admitted) in [
            (found(0, 0, 1), Ok(())),
            (found(199, 199, 1), Ok(())),
            (found(200, 200, 1), Err(LaneError::Overloaded { retry_in })),
            (found(200, 0, 2), Ok(())),
            (found(200, 99, 2), Ok(())),
            (found(200, 100, 2), Err(LaneError::Overloaded { retry_in })),
        ] {
            assert_eq!(line.admit(CAPACITY), admitted, "{line:?}");
        }
    }

    #[test]
    fn what_cannot_be_done_in_time_is_refused_before_the_work() {
        let now = Instant::now();
        let overloaded = |ms| {
            let retry_in = Duration::from_millis(ms);
            Err(LaneError::Overloaded { retry_in })
        };
        let cost = 2_000_000;
        for (line, kinds, left_ms, verdict) in [
            (found(0, 0, 1), 1, 2, Ok(())),
            (found(0, 0, 1), 1, 1, Err(LaneError::DeadlineExceeded)),
            (found(0, 0, 1), 1, 0, Err(LaneError::DeadlineExceeded)),
            (found(100, 100, 1), 1, 52, Ok(())),
            (found(100, 100, 1), 1, 51, overloaded(50)),
            // Another kind takes half of the threads.
            (found(100, 100, 1), 2, 52, overloaded(100)),
            // What others have queued does not stand ahead of a tenant with nothing in the line.
            (found(100, 0, 2), 1, 2, Ok(())),
            (found(100, 10, 2), 1, 12, Ok(())),
            (found(100, 10, 2), 1, 11, overloaded(50)),
        ] {
            let deadline = now + Duration::from_millis(left_ms);
            let met = line.meets(Some(deadline), now, cost, (CAPACITY, kinds));
            assert_eq!(met, verdict, "{line:?} {left_ms}");
            assert_eq!(line.meets(None, now, cost, (CAPACITY, kinds)), Ok(()));
        }
    }
}
