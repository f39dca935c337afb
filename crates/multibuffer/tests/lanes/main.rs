//! What must hold of the lanes. Where the library or the CPU is not there, the tests that need lanes say so in one
//! line and pass; the others run everywhere.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what is unexpected fails the test"
)]

mod against_aws_lc;
mod agreement;
mod keys;
mod known_answers;
mod one_verdict;
mod support;
mod wycheproof;
