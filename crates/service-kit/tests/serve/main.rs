//! Real TLS over 127.0.0.1, with tonic's health service and a service that can be held.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail the test that called them"
)]

mod daemon;
mod drain;
mod limits;
mod mutual_tls;
mod plain_http;
mod reload;
