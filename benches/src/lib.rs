//! What the benches share: the daemons under load, the kernel's accounting, the clock.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the benches' one place that reads a clock; a measurement is about time"
)]

pub mod kernel;
pub mod load;
pub mod stack;

use std::time::Instant;

/// Now, on the clock that every measurement here uses.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// What stops a measurement, as a sentence.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;
