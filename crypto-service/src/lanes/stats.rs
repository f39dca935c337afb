//! What waits, what it costs and what became of it. Atomics: whoever signs takes no lock for them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use multibuffer::LANES;

use super::call::Waiting;
use super::class::{Kind, PerKind};

/// Which lines a job waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// Those of crypto threads.
    Threads,
    /// Those in front of threads that serve connections.
    Here,
}

/// One line.
#[derive(Debug, Default)]
pub(super) struct Load {
    depth: AtomicUsize,
    /// In nanoseconds.
    cost: AtomicU64,
    /// Jobs that are still in the line and that nobody wants.
    unwanted: AtomicUsize,
}

impl Load {
    pub(super) fn cost(&self) -> u64 {
        self.cost.load(Relaxed)
    }

    pub(super) fn depth(&self) -> usize {
        self.depth.load(Relaxed)
    }

    /// Takes the count of unwanted jobs, where they are many.
    pub(super) fn many_unwanted(&self, len: usize) -> bool {
        let unwanted = self.unwanted.load(Relaxed);
        let many = unwanted >= 64 && unwanted > len / 2;
        if many {
            self.unwanted.fetch_sub(unwanted, Relaxed);
        }
        many
    }
}

/// One kind of job.
#[derive(Debug)]
pub(super) struct Book {
    usual: u64,
    cost: AtomicU64,
    fills: [AtomicU64; LANES],
    threads: Load,
    here: Load,
}

impl Book {
    fn new(kind: Kind) -> Self {
        let usual = nanos(kind.usual_cost());
        Self {
            usual,
            cost: AtomicU64::new(usual),
            fills: Default::default(),
            threads: Load::default(),
            here: Load::default(),
        }
    }

    /// What one takes, in nanoseconds.
    pub(super) fn cost(&self) -> u64 {
        self.cost.load(Relaxed)
    }

    /// What a new one takes where nothing is in its way: never more than usual. An estimate that a starved machine has
    /// raised must not refuse the work that would lower it again.
    pub(super) fn at_best(&self) -> u64 {
        self.cost().min(self.usual)
    }

    pub(super) const fn load(&self, lines: Lines) -> &Load {
        match lines {
            Lines::Threads => &self.threads,
            Lines::Here => &self.here,
        }
    }

    /// One was done where its caller stood.
    pub(super) fn alone(&self) {
        if let Some(count) = self.fills.first() {
            count.fetch_add(1, Relaxed);
        }
    }

    /// A batch of `fill` took so long. One sample in eight parts; an outlier (a suspended machine) counts for
    /// sixteen times the usual.
    pub(super) fn took(&self, fill: usize, time: Duration) {
        let Some(count) = fill.checked_sub(1).and_then(|at| self.fills.get(at)) else {
            return;
        };
        count.fetch_add(1, Relaxed);
        let each = nanos(time) / u64::try_from(fill).unwrap_or(1);
        let each = each.clamp(self.usual / 16, self.usual * 16);
        let before = self.cost();
        // A lost update is a lost sample.
        self.cost.store(before - before / 8 + each / 8, Relaxed);
    }

    /// How many batches had each fill, from one on.
    pub(super) fn fills(&self) -> [u64; LANES] {
        std::array::from_fn(|at| self.fills.get(at).map_or(0, |count| count.load(Relaxed)))
    }
}

/// All of it.
#[derive(Debug)]
pub(super) struct Stats {
    books: PerKind<Book>,
    overloaded: AtomicU64,
    late: AtomicU64,
    lane_failures: AtomicU64,
}

impl Stats {
    pub(super) fn new() -> Self {
        Self {
            books: PerKind::new(Book::new),
            overloaded: AtomicU64::new(0),
            late: AtomicU64::new(0),
            lane_failures: AtomicU64::new(0),
        }
    }

    pub(super) const fn book(&self, kind: Kind) -> &Book {
        self.books.of(kind)
    }

    fn load(&self, waiting: Waiting) -> &Load {
        self.book(waiting.kind).load(waiting.lines)
    }

    pub(super) fn waits(&self, waiting: Waiting) {
        let load = self.load(waiting);
        load.depth.fetch_add(1, Relaxed);
        load.cost.fetch_add(waiting.cost, Relaxed);
    }

    pub(super) fn left(&self, waiting: Waiting) {
        let load = self.load(waiting);
        load.depth.fetch_sub(1, Relaxed);
        load.cost.fetch_sub(waiting.cost, Relaxed);
    }

    pub(super) fn abandoned(&self, waiting: Waiting) {
        self.left(waiting);
        self.load(waiting).unwanted.fetch_add(1, Relaxed);
    }

    /// An unwanted job was found in its line and dropped.
    pub(super) fn dropped(&self, kind: Kind, lines: Lines) {
        let unwanted = &self.book(kind).load(lines).unwanted;
        // A sweep may have taken the count with it already.
        let _none = unwanted.fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1));
    }

    pub(super) fn lane_failed(&self) {
        self.lane_failures.fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self, error: super::LaneError) {
        match error {
            super::LaneError::Overloaded { .. } => self.overloaded.fetch_add(1, Relaxed),
            super::LaneError::DeadlineExceeded => self.late.fetch_add(1, Relaxed),
            super::LaneError::Lost | super::LaneError::Failed => 0,
        };
    }

    /// Refused as overloaded, and as late.
    pub(super) fn refusals(&self) -> (u64, u64) {
        (self.overloaded.load(Relaxed), self.late.load(Relaxed))
    }

    pub(super) fn lane_failures(&self) -> u64 {
        self.lane_failures.load(Relaxed)
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Class;

    #[test]
    fn an_estimate_follows_what_is_measured_and_no_outlier_runs_away_with_it() {
        let book = Book::new(Kind::One(Class::Rsa2048));
        for _ in 0..100 {
            book.took(1, Duration::from_micros(400));
        }
        assert!(
            (390_000..=400_000).contains(&book.cost()),
            "{}",
            book.cost()
        );
        for _ in 0..100 {
            book.took(8, Duration::from_secs(60));
        }
        assert!(book.cost() <= 16 * 280_000, "{}", book.cost());
        assert_eq!(book.fills(), [100, 0, 0, 0, 0, 0, 0, 100]);
    }
}
