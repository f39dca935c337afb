//! The service in process: mutual TLS with certificates made for the test, and a snapshot that the test writes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that cannot be made, or an answer of another shape, fails its test"
)]

mod binary;
mod budgets;
mod crypto_thread;
mod feed;
mod jwe;
mod jwe_batch;
mod jwks;
mod jwt;
mod leases;
mod logs;
mod recorded;
mod redaction;
mod refusals;
mod revoked_tokens;
mod served;
mod services;
mod sign_batch;
mod sign_stream;
mod sign_wave;
mod support;
mod verify_batch;
mod verify_stream;
mod watch_tokens;
mod watch_trust;
