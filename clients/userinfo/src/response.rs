//! The response, in one of three forms.

use std::fmt;

use client_core::{Claims, ClaimsError, Error};

use crate::Bearer;

/// The form that the client has registered for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Format {
    /// A JSON object.
    #[default]
    Json,
    /// A signed token with `iss` and `aud` (`userinfo_signed_response_alg`).
    Signed,
    /// The same, encrypted to the client's key (`userinfo_encrypted_response_alg` and `_enc`).
    Nested {
        /// The client's public JWK, at most 8 KiB.
        jwk: String,
        /// The key management algorithm; empty = the JWK's, or the service's default.
        alg: String,
        /// The content encryption; empty = A256GCM.
        enc: String,
    },
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The claims are about somebody else than the bearer (OpenID Connect Core 5.3.2 and 5.3.4).
    #[error("sub: the claims are not about the bearer of the access token")]
    Subject,
    /// A signed response is addressed to the client, which the access token does not name.
    #[error("client_id: the access token names no client to address the response to")]
    NoClient,
    /// The claims contradict each other.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] Error),
}

/// What goes back over HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Response {
    pub(crate) fn json(claims: &Claims) -> Self {
        Self {
            content_type: "application/json",
            body: claims.to_json(),
        }
    }

    pub(crate) fn jwt(token: String) -> Self {
        Self {
            content_type: "application/jwt",
            body: token,
        }
    }
}

/// The body is the end user's.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("content_type", &self.content_type)
            .finish_non_exhaustive()
    }
}

/// The claims with the bearer's `sub`.
pub(crate) fn about(bearer: &Bearer, claims: Claims) -> Result<Claims, ResponseError> {
    match claims.get("sub") {
        None => Ok(Claims::new()
            .with("sub", bearer.subject())?
            .with_all(claims)?),
        Some(_) if claims.string("sub").as_deref() == Some(bearer.subject()) => Ok(claims),
        Some(_) => Err(ResponseError::Subject),
    }
}

/// The claims with the client in `aud`; `iss` is the service's to add.
pub(crate) fn addressed(bearer: &Bearer, claims: Claims) -> Result<Claims, ResponseError> {
    let client = bearer.client_id().ok_or(ResponseError::NoClient)?;
    Ok(claims.with("aud", &client)?)
}
