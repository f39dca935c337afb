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
#[cfg(feature = "aws-kms")]
mod aws_kms;
mod backup;
mod budgets;
mod feed;
#[cfg(feature = "etcd")]
mod issued;
mod migration;
mod operations;
mod process;
#[cfg(feature = "etcd")]
mod replicas;
mod sealing;
mod support;
mod tokens;
