//! Real processes, real TLS, real peers: what a user sees. One binary, so that it links once.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what a test's own functions meet unexpectedly fails the test, and seeds and peers are printed"
)]

mod audit;
mod backup;
mod calls;
mod calls_grpcurl;
mod calls_malformed;
mod calls_malformed_keys;
mod calls_refusals;
mod certificates;
mod cli;
mod clients;
mod configuration;
mod faults;
mod forged;
mod instance;
mod issued;
mod jwks;
mod keys_of_keys;
mod kills;
mod local_verdicts;
#[path = "../matrix/peer.rs"]
mod peer;
mod planted;
mod replicas;
mod requests;
mod revoked_tokens;
mod rotation;
mod sealing;
mod secrets;
mod support;
mod tour;
mod verdicts;
mod workspace;
