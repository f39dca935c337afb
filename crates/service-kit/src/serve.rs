//! The accept loops: gRPC over mutual TLS, and HTTP/1.1 for JWKS, health and metrics.
//!
//! A server takes a bound listener and a shutdown token, so tests bind port 0. Both loops have what tonic's and
//! axum's lack: a handshake timeout, a cap on connections, and a drain with an end.

mod accept;
mod batched;
mod counted;
mod grpc;
mod http1;

pub use accept::Drained;
pub use grpc::{GrpcOptions, grpc};
pub use http1::{HttpOptions, http};
