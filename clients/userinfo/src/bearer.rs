//! The bearer of an access token.

use client_core::request::RejectReason;
use client_core::{Claims, Error};

/// Why a bearer is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BearerError {
    /// The access token is rejected.
    #[error("the access token is rejected: {0}")]
    Rejected(RejectReason),
    /// The access token names no end user: it was issued to a client for itself.
    #[error("the access token has no sub")]
    NoSubject,
    /// Nobody can tell.
    #[error(transparent)]
    Call(#[from] Error),
}

/// Who bears an access token, and what for. Only verification makes one.
#[derive(Debug, Clone)]
pub struct Bearer {
    subject: String,
    claims: Claims,
}

impl Bearer {
    pub(crate) fn read(claims_json: &str) -> Result<Self, BearerError> {
        let claims = Claims::from_json(claims_json)
            .map_err(|_error| BearerError::Rejected(RejectReason::Malformed))?;
        let subject = claims
            .string("sub")
            .filter(|sub| !sub.is_empty())
            .ok_or(BearerError::NoSubject)?;
        Ok(Self { subject, claims })
    }

    /// The end user: `sub`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The client: `client_id`.
    #[must_use]
    pub fn client_id(&self) -> Option<String> {
        self.claims.string("client_id")
    }

    /// Whether the access token has this value in its `scope`.
    #[must_use]
    pub fn has_scope(&self, value: &str) -> bool {
        self.claims
            .string("scope")
            .is_some_and(|scope| scope.split(' ').any(|held| held == value))
    }

    /// All claims of the access token.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}
