//! The core of the thin clients: one way to reach the services, and the calls of the crypto-service in plain types.
//!
//! | part | what it does |
//! | --- | --- |
//! | [`Options`] -> [`Channel`] | endpoints, mTLS with certificates read again for each connection, balancing, deadlines, repetition by code |
//! | [`CryptoClient`] | sign, verify, encrypt, decrypt, nested tokens, JWK Sets |
//! | `LocalVerifier` (feature `local-verify`) | verifies in this process, from the keys that the service pushes |
//! | [`Verifier`] | either of the two |
//! | [`Error`] | what a call fails with: code, reason, every field at fault, when to ask again |
//!
//! What is wrong with a token is never an error: it is a [`request::Verdict`].
//!
//! # Sign and verify
//!
//! ```no_run
#![doc = include_str!("../examples/sign_and_verify.rs")]
//! ```
//!
//! # Verify in this process
//!
//! ```no_run
#![doc = include_str!("../examples/verify_locally.rs")]
//! ```

mod channel;
mod claims;
mod client;
mod clock;
mod error;
mod options;
mod random;
mod redact;
pub mod request;
mod retry;
mod tls;
#[cfg(feature = "local-verify")]
mod trust;
mod verifier;

pub use channel::{Attempt, Channel};
pub use claims::{Claims, ClaimsError};
pub use client::CryptoClient;
pub use clock::{Clock, SystemClock};
pub use error::{Code, Error, FieldViolation, Reason};
pub use options::{Options, OptionsError, TlsFiles};
pub use random::request_id;
pub use retry::{Repeat, RetryPolicy};
#[cfg(feature = "local-verify")]
pub use trust::{Follow, LocalVerifier};
pub use verifier::Verifier;
