//! JWE on aws-lc-rs: published vectors, round trips, tampering and refusals.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what a test's own functions meet unexpectedly fails the test, and the number of vectors run is printed"
)]

mod keys;
mod preparation;
mod published;
mod refusals;
mod rfc;
mod round_trip;
mod tampering;
mod wycheproof_sets;
