//! A whole token response in one call.

use std::fmt;

use client_core::request::{EncryptTo, NestedToken, SignBatch, SignItem, SignedItem, SignedToken};
use client_core::{ClaimsError, Error};

use crate::client::{TokenClient, TokenError};
use crate::tokens::{AccessToken, IdToken, RefreshToken};

/// The tokens of a token response, before they are signed.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    access: AccessToken,
    id: Option<(IdToken, Option<EncryptTo>)>,
    refresh: Option<RefreshToken>,
    request_id: String,
}

impl TokenRequest {
    /// An access token, and nothing else yet.
    #[must_use]
    pub fn new(access: AccessToken) -> Self {
        Self {
            access,
            id: None,
            refresh: None,
            request_id: String::new(),
        }
    }

    /// With an ID token. Its `at_hash` names the access token of this request, so it has to name none itself; its code, where it has
    /// one, is at most 4 KiB.
    #[must_use]
    pub fn id_token(mut self, token: IdToken) -> Self {
        self.id = Some((token, None));
        self
    }

    /// As [`TokenRequest::id_token`], encrypted: most often for the client's JWK.
    #[must_use]
    pub fn encrypted_id_token(mut self, token: IdToken, to: impl Into<EncryptTo>) -> Self {
        self.id = Some((token, Some(to.into())));
        self
    }

    /// With a refresh token.
    #[must_use]
    pub fn refresh_token(mut self, token: RefreshToken) -> Self {
        self.refresh = Some(token);
        self
    }

    /// Names the request in logs and traces: at most 128 printable ASCII characters.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }
}

/// The tokens of a token response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenResponse {
    /// The access token.
    pub access: SignedToken,
    /// The ID token, where one was asked for.
    pub id: Option<IssuedIdToken>,
    /// The refresh token, where one was asked for.
    pub refresh: Option<SignedToken>,
}

/// An ID token, as the client gets it.
#[derive(Clone, PartialEq, Eq)]
pub enum IssuedIdToken {
    /// Signed.
    Signed(SignedToken),
    /// Signed, then encrypted.
    Nested(NestedToken),
}

impl IssuedIdToken {
    /// The token in compact form.
    #[must_use]
    pub fn token(&self) -> &str {
        match self {
            Self::Signed(signed) => &signed.token,
            Self::Nested(nested) => &nested.token,
        }
    }
}

impl fmt::Debug for IssuedIdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed(signed) => signed.fmt(f),
            Self::Nested(nested) => nested.fmt(f),
        }
    }
}

impl TokenClient {
    /// Signs every token of a token response in one call. `at_hash` and `c_hash` are the service's to compute: it knows which
    /// algorithm signs, so nothing is presumed and nothing is signed twice, and an encrypted ID token needs no look-up.
    ///
    /// All or nothing: the first token that cannot be had is how the call fails.
    ///
    /// # Errors
    /// [`TokenError::Claims`], also where the ID token names an access token of its own; [`TokenError::Call`].
    pub async fn token_response(
        &self,
        request: &TokenRequest,
    ) -> Result<TokenResponse, TokenError> {
        let batch = self.batch(request)?;
        let mut signed = self.crypto().sign_all(&batch).await?.into_iter();
        let mut next = || signed.next().ok_or_else(|| Error::answer("token"));
        let access = SignedToken::from(next()?);
        let id = match &request.id {
            None => None,
            Some((_, encrypted)) => Some(issued(next()?, encrypted.is_some())),
        };
        let refresh = match &request.refresh {
            None => None,
            Some(_) => Some(SignedToken::from(next()?)),
        };
        Ok(TokenResponse {
            access,
            id,
            refresh,
        })
    }

    fn batch(&self, request: &TokenRequest) -> Result<SignBatch, ClaimsError> {
        let mut batch = SignBatch::new().request_id(&request.request_id);
        let access = batch.push(self.access_to_sign(&request.access)?);
        if let Some((token, encrypt_to)) = &request.id {
            let mut item = SignItem::new(self.unhashed_id_to_sign(token)?).at_hash_of(access);
            if let Some(code) = token.hashed_code() {
                item = item.c_hash_code(code);
            }
            if let Some(to) = encrypt_to {
                item = item.encrypt_to(to.clone());
            }
            batch.push(item);
        }
        if let Some(token) = &request.refresh {
            batch.push(self.refresh_to_sign(token)?);
        }
        Ok(batch)
    }
}

fn issued(item: SignedItem, encrypted: bool) -> IssuedIdToken {
    if encrypted {
        IssuedIdToken::Nested(item.into())
    } else {
        IssuedIdToken::Signed(item.into())
    }
}
