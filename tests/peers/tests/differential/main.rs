//! josekit and jsonwebtoken: tokens go both ways where they are sound, and what they take by mistake is refused here.
//!
//! The defects are asserted on both sides. Where a new release mends one, its test fails and the record is corrected.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test's own functions meet unexpectedly fails the test"
)]

mod defects_of_josekit;
mod defects_of_jsonwebtoken;
mod encryption;
mod ours;
mod signatures;
mod theirs;
