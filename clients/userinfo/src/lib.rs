//! For the userinfo service (OpenID Connect Core 5.3): who the bearer of an access token is, and the answer in the form that the client
//! has registered for.
//!
//! ```no_run
#![doc = include_str!("../examples/userinfo.rs")]
//! ```

mod bearer;
mod response;

use std::fmt;

pub use bearer::{Bearer, BearerError};
pub use response::{Format, Response, ResponseError};

use client_core::request::{Recipient, Sign, SignThenEncrypt, Verify};
use client_core::{Claims, CryptoClient, Verifier};

/// Verifies bearer tokens and makes userinfo responses. Cheap to clone.
#[derive(Clone)]
pub struct UserinfoClient {
    crypto: CryptoClient,
    verifier: Verifier,
    audience: String,
    access_set: String,
    response_set: String,
}

impl UserinfoClient {
    /// Accepts access tokens for `audience`, verified by `verifier`: a [`client_core::LocalVerifier`], or `crypto` itself to ask the
    /// service each time.
    #[must_use]
    pub fn new(
        crypto: CryptoClient,
        verifier: impl Into<Verifier>,
        audience: impl Into<String>,
    ) -> Self {
        Self {
            crypto,
            verifier: verifier.into(),
            audience: audience.into(),
            access_set: "op/access-token".to_owned(),
            response_set: "op/id-token".to_owned(),
        }
    }

    /// The key set that signs access tokens. Default: `op/access-token`.
    #[must_use]
    pub fn access_set(mut self, key_set: impl Into<String>) -> Self {
        self.access_set = key_set.into();
        self
    }

    /// The key set that signs responses. Default: `op/id-token`.
    #[must_use]
    pub fn response_set(mut self, key_set: impl Into<String>) -> Self {
        self.response_set = key_set.into();
        self
    }

    /// Verifies an access token (RFC 9068) and says whose it is.
    ///
    /// # Errors
    /// [`BearerError::Rejected`] for a token that is not accepted (HTTP 401, `invalid_token`); [`BearerError::Call`] where nobody can
    /// tell (HTTP 503).
    pub async fn authenticate(&self, token: &str) -> Result<Bearer, BearerError> {
        let verify = Verify::new(token, &self.audience)
            .typ("at+jwt")
            .key_set(&self.access_set);
        let valid = self
            .verifier
            .verify(&verify)
            .await?
            .into_result()
            .map_err(BearerError::Rejected)?;
        Bearer::read(&valid.claims_json)
    }

    /// Makes the response about the bearer. `sub` is added where `claims` has none, and has to be the bearer's where it has one.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub async fn respond(
        &self,
        bearer: &Bearer,
        claims: Claims,
        format: &Format,
    ) -> Result<Response, ResponseError> {
        let claims = response::about(bearer, claims)?;
        match format {
            Format::Json => Ok(Response::json(&claims)),
            Format::Signed => {
                let sign = self.to_sign(bearer, claims)?;
                Ok(Response::jwt(self.crypto.sign(&sign).await?.token))
            }
            Format::Nested { jwk, alg, enc } => {
                let sign = self.to_sign(bearer, claims)?;
                let request = SignThenEncrypt::new(sign, Recipient::Jwk(jwk.clone()))
                    .alg(alg)
                    .enc(enc);
                Ok(Response::jwt(
                    self.crypto.sign_then_encrypt(&request).await?.token,
                ))
            }
        }
    }

    fn to_sign(&self, bearer: &Bearer, claims: Claims) -> Result<Sign, ResponseError> {
        Ok(Sign::new(
            &self.response_set,
            &response::addressed(bearer, claims)?,
        ))
    }
}

impl fmt::Debug for UserinfoClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserinfoClient")
            .field("audience", &self.audience)
            .field("access_set", &self.access_set)
            .field("response_set", &self.response_set)
            .finish_non_exhaustive()
    }
}
