//! The data plane: JWT sign and verify, JWE encrypt and decrypt, JWK Sets.
//!
//! The way of a request: [`grpc`] decodes it into a command; [`policy`] asks whether the caller may; [`keys`] has the
//! snapshot and the parsed keys; `jose` knows the rules; [`lanes`] runs what is slow; [`grpc`] encodes the answer. No step
//! goes back, and none waits for the key-manager or a store: the feed writes, requests read.
//!
//! The order of refusal: TLS and caller, fields, grant (also for key sets that do not exist), existence, work.

pub mod config;
pub mod grpc;
pub mod http;
pub mod issued;
pub mod keys;
pub mod lanes;
mod metrics;
pub mod policy;
mod refusal;
mod run;
pub mod usecase;

pub use metrics::ServiceMetrics;
pub use refusal::{Refusal, Violation};
pub use run::{Listeners, Server, StartError, run};
