//! The tokens of a token response, before they are signed.

use std::time::Duration;

use client_core::{Claims, ClaimsError};
use jose::jwt::half_hash;
use jose_ring::Ring;

use crate::SigningAlgorithm;

/// An access token (RFC 9068). Its `typ` is `at+jwt`.
#[derive(Debug, Clone)]
pub struct AccessToken {
    subject: String,
    client_id: String,
    audiences: Vec<String>,
    scope: Option<String>,
    authentication: Authentication,
    extra: Claims,
    pub(crate) lifetime: Option<Duration>,
}

/// An ID token (OpenID Connect Core 2).
#[derive(Debug, Clone)]
pub struct IdToken {
    subject: String,
    client_id: String,
    nonce: Option<String>,
    sid: Option<String>,
    authentication: Authentication,
    hashed: Hashed,
    extra: Claims,
    pub(crate) lifetime: Option<Duration>,
}

/// A refresh token: a signed token in a key set of its own, for this platform's eyes only.
#[derive(Debug, Clone)]
pub struct RefreshToken {
    subject: String,
    client_id: String,
    audience: String,
    extra: Claims,
    pub(crate) lifetime: Option<Duration>,
}

/// How the end user was authenticated.
#[derive(Debug, Clone, Default)]
struct Authentication {
    auth_time: Option<u64>,
    acr: Option<String>,
    amr: Vec<String>,
}

/// What goes into an ID token as a hash.
#[derive(Clone, Default)]
struct Hashed {
    access_token: Option<String>,
    code: Option<String>,
}

impl std::fmt::Debug for Hashed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashed")
            .field("access_token", &self.access_token.is_some())
            .field("code", &self.code.is_some())
            .finish()
    }
}

impl Authentication {
    fn add_to(&self, claims: Claims) -> Result<Claims, ClaimsError> {
        let amr = Some(&self.amr).filter(|amr| !amr.is_empty());
        claims
            .with_some("auth_time", self.auth_time)?
            .with_some("acr", self.acr.as_deref())?
            .with_some("amr", amr)
    }
}

/// The setters of tokens that say how the end user was authenticated.
macro_rules! authentication {
    ($type:ident) => {
        impl $type {
            /// When the end user was authenticated, in seconds since 1970.
            #[must_use]
            pub fn auth_time(mut self, seconds: u64) -> Self {
                self.authentication.auth_time = Some(seconds);
                self
            }

            /// The authentication context class that was satisfied.
            #[must_use]
            pub fn acr(mut self, acr: impl Into<String>) -> Self {
                self.authentication.acr = Some(acr.into());
                self
            }

            /// An authentication method that was used (RFC 8176).
            #[must_use]
            pub fn amr(mut self, method: impl Into<String>) -> Self {
                self.authentication.amr.push(method.into());
                self
            }
        }
    };
}

/// The setters of every token.
macro_rules! token {
    ($type:ident) => {
        impl $type {
            /// Further claims. None of them may be one that this token has already.
            #[must_use]
            pub fn claims(mut self, extra: Claims) -> Self {
                self.extra = extra;
                self
            }

            /// From `iat` to `exp`, whole seconds. Default: the key set's.
            #[must_use]
            pub fn lifetime(mut self, lifetime: Duration) -> Self {
                self.lifetime = Some(lifetime);
                self
            }
        }
    };
}

authentication!(AccessToken);
authentication!(IdToken);
token!(AccessToken);
token!(IdToken);
token!(RefreshToken);

impl AccessToken {
    /// Access for `client_id` on behalf of `subject` to the resource server `audience`.
    #[must_use]
    pub fn new(
        subject: impl Into<String>,
        client_id: impl Into<String>,
        audience: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            client_id: client_id.into(),
            audiences: vec![audience.into()],
            scope: None,
            authentication: Authentication::default(),
            extra: Claims::new(),
            lifetime: None,
        }
    }

    /// One more resource server.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// The scope, its values apart by spaces.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    pub(crate) fn to_claims(&self) -> Result<Claims, ClaimsError> {
        let claims = Claims::new()
            .with("sub", &self.subject)?
            .with("client_id", &self.client_id)?;
        let claims = match self.audiences.as_slice() {
            [only] => claims.with("aud", only)?,
            several => claims.with("aud", several)?,
        };
        let claims = claims.with_some("scope", self.scope.as_deref())?;
        self.authentication
            .add_to(claims)?
            .with_all(self.extra.clone())
    }
}

impl IdToken {
    /// Tells `client_id` that `subject` was authenticated.
    #[must_use]
    pub fn new(subject: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            client_id: client_id.into(),
            nonce: None,
            sid: None,
            authentication: Authentication::default(),
            hashed: Hashed::default(),
            extra: Claims::new(),
            lifetime: None,
        }
    }

    /// The `nonce` of the authentication request.
    #[must_use]
    pub fn nonce(mut self, nonce: impl Into<String>) -> Self {
        self.nonce = Some(nonce.into());
        self
    }

    /// The session (OpenID Connect Front- and Back-Channel Logout).
    #[must_use]
    pub fn sid(mut self, sid: impl Into<String>) -> Self {
        self.sid = Some(sid.into());
        self
    }

    /// The access token that is issued along with it, for `at_hash`.
    #[must_use]
    pub fn access_token(mut self, token: impl Into<String>) -> Self {
        self.hashed.access_token = Some(token.into());
        self
    }

    /// The code that is issued along with it, for `c_hash`.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.hashed.code = Some(code.into());
        self
    }

    /// Whether its claims depend on the algorithm that signs it.
    pub(crate) fn has_hashes(&self) -> bool {
        self.hashed.access_token.is_some() || self.hashed.code.is_some()
    }

    pub(crate) fn to_claims(&self, algorithm: SigningAlgorithm) -> Result<Claims, ClaimsError> {
        let hash = |token: &String| half_hash(&Ring, algorithm, token);
        let claims = self
            .named()?
            .with_some("at_hash", self.hashed.access_token.as_ref().map(hash))?
            .with_some("c_hash", self.hashed.code.as_ref().map(hash))?;
        self.completed(claims)
    }

    /// The claims without hashes, for a service that adds them; refused where the token names an access token, which is not the one
    /// that is signed along with it.
    pub(crate) fn to_unhashed_claims(&self) -> Result<Claims, ClaimsError> {
        if self.hashed.access_token.is_some() {
            return Err(ClaimsError::Duplicate("at_hash".to_owned()));
        }
        self.completed(self.named()?)
    }

    /// The code that is issued along with it.
    pub(crate) fn hashed_code(&self) -> Option<&str> {
        self.hashed.code.as_deref()
    }

    fn named(&self) -> Result<Claims, ClaimsError> {
        Claims::new()
            .with("sub", &self.subject)?
            .with("aud", &self.client_id)?
            .with_some("nonce", self.nonce.as_deref())?
            .with_some("sid", self.sid.as_deref())
    }

    fn completed(&self, claims: Claims) -> Result<Claims, ClaimsError> {
        self.authentication
            .add_to(claims)?
            .with_all(self.extra.clone())
    }
}

impl RefreshToken {
    /// Lets `client_id` ask for new tokens on behalf of `subject`; `audience` is who redeems it: the token service.
    #[must_use]
    pub fn new(
        subject: impl Into<String>,
        client_id: impl Into<String>,
        audience: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            client_id: client_id.into(),
            audience: audience.into(),
            extra: Claims::new(),
            lifetime: None,
        }
    }

    pub(crate) fn to_claims(&self) -> Result<Claims, ClaimsError> {
        Claims::new()
            .with("sub", &self.subject)?
            .with("client_id", &self.client_id)?
            .with("aud", &self.audience)?
            .with_all(self.extra.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OpenID Connect Core, appendix A.6 (`code id_token token`): RS256, an access token, a code, and their hashes.
    #[test]
    fn at_hash_and_c_hash_are_those_of_the_specification() {
        let token = IdToken::new("248289761001", "s6BhdRkqt3")
            .nonce("n-0S6_WzA2Mj")
            .access_token("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y")
            .code("Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk");
        let claims = token.to_claims(SigningAlgorithm::Rs256).unwrap();
        assert_eq!(
            claims.string("at_hash").as_deref(),
            Some("77QmUPtjPfzWtF2AnpK9RQ")
        );
        assert_eq!(
            claims.string("c_hash").as_deref(),
            Some("LDktKdoQak3Pk0cnXxCltA")
        );
        assert_eq!(claims.string("nonce").as_deref(), Some("n-0S6_WzA2Mj"));
    }

    #[test]
    fn the_hash_is_that_of_the_signing_algorithm() {
        let token = IdToken::new("alice", "web").access_token("token");
        for (algorithm, bytes) in [
            (SigningAlgorithm::Es256, 16),
            (SigningAlgorithm::Ps384, 24),
            (SigningAlgorithm::Rs512, 32),
            (SigningAlgorithm::Ed25519, 32),
        ] {
            let hash = token
                .to_claims(algorithm)
                .unwrap()
                .string("at_hash")
                .unwrap();
            let digits: usize = bytes * 8;
            assert_eq!(hash.len(), digits.div_ceil(6), "{algorithm}");
        }
    }

    #[test]
    fn claims_are_those_of_the_profile_and_extra_ones_replace_none() {
        let extra = Claims::new().with("tenant", "acme").unwrap();
        let access = AccessToken::new("alice", "web", "https://api.example.com")
            .scope("openid profile")
            .auth_time(1_700_000_000)
            .acr("aal2")
            .amr("pwd")
            .amr("otp")
            .claims(extra);
        assert_eq!(
            access.to_claims().unwrap().to_json(),
            r#"{"sub":"alice","client_id":"web","aud":"https://api.example.com","scope":"openid profile","auth_time":1700000000,"acr":"aal2","amr":["pwd","otp"],"tenant":"acme"}"#
        );
        let two = access
            .clone()
            .audience("https://other.example.com")
            .to_claims()
            .unwrap();
        assert_eq!(
            two.get("aud"),
            Some(r#"["https://api.example.com","https://other.example.com"]"#)
        );
        for name in ["sub", "aud", "client_id", "scope"] {
            let extra = Claims::new().with(name, "mallory").unwrap();
            let refused = access
                .clone()
                .claims(extra)
                .to_claims()
                .map(|claims| claims.to_json());
            assert_eq!(refused, Err(ClaimsError::Duplicate(name.to_owned())));
        }
        let refresh = RefreshToken::new("alice", "web", "https://op.example.com")
            .to_claims()
            .unwrap();
        assert_eq!(
            refresh.to_json(),
            r#"{"sub":"alice","client_id":"web","aud":"https://op.example.com"}"#
        );
    }

    #[test]
    fn debug_shows_neither_tokens_nor_codes() {
        let token = IdToken::new("alice", "web")
            .access_token("planted-token")
            .code("planted-code");
        let shown = format!("{token:?}");
        assert!(!shown.contains("planted"), "{shown}");
    }
}
