//! The fault harness: what the project guarantees, measured on real processes and real files while faults happen to them.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`figure`] | a figure, its bar, and what a run measured of it |
//! | [`rows`] | the groups of figures; a new one is a file there and a line in its list |
//! | [`report`] | `tests/results/faults.json` |
//! | [`settings`] | the flags |
//! | [`dice`] | the one source of randomness, with a seed |
//! | [`vfs`] | a SQLite VFS through which every change of a file passes; the only `unsafe` outside `crates/multibuffer` |
//! | [`disk`] | a watcher of that VFS that forgets what was not synced |
//! | [`countdown`] | a watcher of that VFS that ends the process at a chosen step |
//! | [`manager`] | the key-manager's store, vault and use cases in this process |
//! | [`stack`] | daemons, clients and roles |

#![expect(
    clippy::disallowed_methods,
    reason = "the harness has one clock of its own, below: a measurement is about time"
)]

pub mod countdown;
pub mod dice;
pub mod disk;
pub mod figure;
pub mod manager;
pub mod report;
pub mod rows;
pub mod settings;
pub mod stack;
pub mod vfs;

use std::{io::Write as _, time::Instant};

/// What stops a measurement, as a sentence.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Now, on the clock of every measurement here.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Says on standard error how far a run has come.
pub fn progress(line: &str) {
    // nobody to tell where standard error is closed
    let _written = writeln!(std::io::stderr().lock(), "faults: {line}");
}

/// A count as a figure; beyond 2^32 it stays there.
#[must_use]
pub fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// A count as it stands in the report.
#[must_use]
pub fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
