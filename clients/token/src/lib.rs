//! For the token service: access tokens (RFC 9068), ID tokens (OpenID Connect Core), refresh tokens, nested ID tokens.
//!
//! [`TokenClient::token_response`] signs all tokens of a response in one call, with `at_hash` and `c_hash` computed by the service.
//!
//! `iss`, `iat`, `exp` and `jti` are the service's to write. Where an ID token is signed by itself, its hashes are computed here, with
//! the hash of the algorithm that signs it: see [`TokenClient::id_token`] for how this client knows it.
//!
//! ```no_run
#![doc = include_str!("../examples/token_response.rs")]
//! ```

mod client;
mod response;
mod signer;
mod tokens;

pub use client::{KeySets, TokenClient, TokenError};
pub use jose::algorithm::JwsAlgorithm as SigningAlgorithm;
pub use response::{IssuedIdToken, TokenRequest, TokenResponse};
pub use tokens::{AccessToken, IdToken, RefreshToken};
