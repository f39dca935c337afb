//! The benches: the daemons under load, the libraries and services they are compared with, the kernel's accounting, the report.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`series`] | figures of several rounds: median, spread, ratios round by round |
//! | [`kernel`] | CPU time, memory and cores, as the kernel counts them |
//! | [`stack`] | both daemons as `make run` starts them |
//! | [`load`] | closed loops, and open loops that start each call when it is due |
//! | [`service`] | the calls of the service under load: one by one, coalesced, in batches, over streams |
//! | [`loops`] | the primitive operations in a loop, engine by engine |
//! | [`peers`] | jsonwebtoken, josekit, Node's jose, OpenBao |
//! | [`rows`] | what is measured: a function for each group of rows |
//! | [`report`] | rows, ratios, Markdown, JSON, plots |

#![expect(
    clippy::disallowed_methods,
    reason = "this is the benches' one place that reads a clock; a measurement is about time"
)]

pub mod kernel;
pub mod keys;
pub mod load;
pub mod loops;
pub mod peers;
pub mod report;
pub mod rows;
pub mod series;
pub mod service;
pub mod settings;
pub mod stack;

use std::{
    io::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Now, on the clock that every measurement here uses.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// What stops a measurement, as a sentence.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Says on standard error how far a run has come.
pub fn progress(line: &str) {
    // nobody to tell where standard error is closed
    let _written = writeln!(std::io::stderr().lock(), "{line}");
}

/// The folder that holds this workspace, where `make tools` has put the peers.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A duration in microseconds.
#[must_use]
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// A count as a number to divide by; beyond 2^32 it stays there.
#[must_use]
pub fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
