//! For the token service: access tokens (RFC 9068), ID tokens (OpenID Connect Core), refresh tokens, nested ID tokens.
//!
//! `iss`, `iat`, `exp` and `jti` are the service's to write. `at_hash` and `c_hash` are computed here, with the hash of the algorithm
//! that signs the ID token: see [`TokenClient::id_token`] for how this client knows it.
//!
//! ```no_run
#![doc = include_str!("../examples/token_response.rs")]
//! ```

mod client;
mod signer;
mod tokens;

pub use client::{KeySets, TokenClient, TokenError};
pub use jose::algorithm::JwsAlgorithm as SigningAlgorithm;
pub use tokens::{AccessToken, IdToken, RefreshToken};
