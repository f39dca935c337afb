//! What metrics say of the lanes.

use std::time::Duration;

use multibuffer::LANES;

use super::Shared;
use super::class::Kind;
use super::stats::Lines;

/// The lanes at one moment.
pub(crate) struct Report {
    /// The name of the engine.
    pub(crate) engine: &'static str,
    /// Every line.
    pub(crate) lines: Vec<LineReport>,
    /// Jobs that were refused because too much waited.
    pub(crate) overloaded: u64,
    /// Jobs that were refused, or not begun, because of their deadline.
    pub(crate) late: u64,
    /// Lanes that failed and whose job the other engine did.
    pub(crate) lane_failures: u64,
}

/// One kind of job.
pub(crate) struct LineReport {
    /// What it costs.
    pub(crate) class: &'static str,
    /// `sign`, `verify`, `agree`, or `single` for what is done one at a time.
    pub(crate) operation: &'static str,
    /// Jobs that wait.
    pub(crate) depth: usize,
    /// How long what waits will take.
    pub(crate) wait: Duration,
    /// Batches by their fill, from one on.
    pub(crate) fills: [u64; LANES],
}

/// Kinds that share a class and an operation (verification with RSA keys of any size) are one line.
pub(super) fn of(shared: &Shared) -> Report {
    let stats = &shared.compute.stats;
    let mut lines: Vec<LineReport> = Vec::new();
    for kind in Kind::all() {
        let one = line(shared, kind);
        let same = lines
            .iter_mut()
            .find(|line| (line.class, line.operation) == (one.class, one.operation));
        match same {
            Some(line) => line.add(&one),
            None => lines.push(one),
        }
    }
    let (overloaded, late) = stats.refusals();
    Report {
        engine: shared.compute.engine.name(),
        lines,
        overloaded,
        late,
        lane_failures: stats.lane_failures(),
    }
}

fn line(shared: &Shared, kind: Kind) -> LineReport {
    let book = shared.compute.stats.book(kind);
    let (threads, here) = (book.load(Lines::Threads), book.load(Lines::Here));
    let workers = shared.pool(kind.pool()).threads().max(1);
    LineReport {
        class: kind.class().name(),
        operation: kind.operation(),
        depth: threads.depth() + here.depth(),
        wait: Duration::from_nanos(threads.cost() / workers + here.cost()),
        fills: book.fills(),
    }
}

impl LineReport {
    /// Operations that were done, of all fills.
    pub(crate) fn operations(&self) -> f64 {
        let fills = (1_u32..).map(f64::from).zip(self.fills);
        fills.map(|(fill, batches)| fill * float(batches)).sum()
    }

    /// A bucket a fill.
    pub(crate) fn buckets(&self) -> [(f64, u64); LANES] {
        let (mut bounds, mut fills) = ((1_u32..).map(f64::from), self.fills.iter());
        std::array::from_fn(|_at| {
            let bound = bounds.next().unwrap_or(f64::MAX);
            (bound, fills.next().copied().unwrap_or_default())
        })
    }

    fn add(&mut self, other: &Self) {
        self.depth += other.depth;
        self.wait += other.wait;
        for (own, more) in self.fills.iter_mut().zip(other.fills) {
            *own += more;
        }
    }
}

/// Counts below 2^53 stay exact: that is a hundred years of full batches.
#[expect(
    clippy::as_conversions,
    reason = "there is no other conversion from u64 to f64"
)]
const fn float(count: u64) -> f64 {
    count as f64
}
