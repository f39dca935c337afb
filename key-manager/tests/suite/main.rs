//! The key-manager as its callers see it: in this process, on free ports, over real mutual TLS.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod admin;
mod audit;
mod backup;
mod budgets;
mod feed;
#[cfg(feature = "etcd")]
mod migration;
mod operations;
mod process;
#[cfg(feature = "etcd")]
mod replicas;
mod support;
mod tokens;
