//! The core of the thin clients: one way to reach the services, and the calls of the crypto-service in plain types.
//!
//! | part | what it does |
//! | --- | --- |
//! | [`Options`] -> [`Channel`] | endpoints, mTLS with certificates read again for each connection, balancing, deadlines, repetition by code |
//! | [`CryptoClient`] | sign, verify, encrypt, decrypt, nested tokens, batches, streams, JWK Sets |
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
//! # Many at once
//!
//! Nobody has to batch by hand. Concurrent `sign`, `verify`, `encrypt` and `decrypt` calls of a channel share rpcs: four of a cost go
//! out at once, and what arrives meanwhile goes out as one batch of up to 64 as soon as one of the four returns. There is no timer,
//! so a call on its own never waits; each keeps its deadline, its cancellation, its repetitions and its errors.
//! What costs differently is never mixed: a batch holds one key set's signatures, or one algorithm's verifications.
//! [`Options::coalescing`] turns it off.
//!
//! Where the items are in hand, or one token names another, a batch is one call:
//!
//! ```no_run
#![doc = include_str!("../examples/batch.rs")]
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
mod coalesce;
mod error;
mod options;
mod random;
mod redact;
pub mod request;
mod retry;
mod stream;
mod tls;
#[cfg(feature = "local-verify")]
mod trust;
mod verifier;

pub use channel::{Attempt, Channel};
pub use claims::{Claims, ClaimsError};
pub use client::CryptoClient;
pub use clock::{Clock, SystemClock};
pub use error::{Code, Error, FieldViolation, Reason};
pub use options::{Coalescing, Options, OptionsError, TlsFiles};
pub use random::request_id;
pub use retry::{Repeat, RetryPolicy};
pub use stream::{SignStream, VerifyStream};
#[cfg(feature = "local-verify")]
pub use trust::{Follow, LocalVerifier};
pub use verifier::Verifier;
