//! The lifecycle, sentence by sentence, and under random histories.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail loudly"
)]

mod clocks;
mod commands;
mod destruction;
mod encryption;
mod history;
mod imports;
mod invocations;
mod limits;
mod model;
mod promotion;
mod publication;
mod retirement;
mod revocation;
mod tables;
mod world;
