//! What a management service asks for.

use std::fmt;
use std::time::SystemTime;

use client_core::request_id;
use crypto_proto::keys::v1 as proto;

/// Tokens by what they say: all that is named has to agree.
#[derive(Clone, PartialEq, Eq)]
pub struct Matching {
    sub: String,
    sid: String,
    client_id: String,
    issued_before: Option<SystemTime>,
}

impl Matching {
    const ANY: Self = Self {
        sub: String::new(),
        sid: String::new(),
        client_id: String::new(),
        issued_before: None,
    };

    /// Tokens of this `sub`.
    #[must_use]
    pub fn subject(sub: impl Into<String>) -> Self {
        Self {
            sub: sub.into(),
            ..Self::ANY
        }
    }

    /// Tokens of this `sid`.
    #[must_use]
    pub fn session(sid: impl Into<String>) -> Self {
        Self {
            sid: sid.into(),
            ..Self::ANY
        }
    }

    /// Tokens of this client: by `client_id`; where a token has none by `azp`; where it has neither by its only `aud`.
    #[must_use]
    pub fn client(client_id: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            ..Self::ANY
        }
    }

    /// Of those, the ones of this `sid`.
    #[must_use]
    pub fn and_session(mut self, sid: impl Into<String>) -> Self {
        self.sid = sid.into();
        self
    }

    /// Of those, the ones of this client.
    #[must_use]
    pub fn and_client(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = client_id.into();
        self
    }

    /// Of those, the ones with an `iat` up to this second, at most 5 s ahead. Default: now.
    #[must_use]
    pub fn issued_before(mut self, at: SystemTime) -> Self {
        self.issued_before = Some(at);
        self
    }
}

/// Shows nothing that tokens say.
impl fmt::Debug for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matching")
            .field("issued_before", &self.issued_before)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Target {
    Jti(String, Option<SystemTime>),
    Matching(Matching),
}

/// Revokes a token, or tokens. Unless key sets are named it is about every one that the caller may revoke tokens of.
#[derive(Clone, PartialEq, Eq)]
pub struct RevokeToken {
    tenant: String,
    key_sets: Vec<String>,
    target: Target,
    request_id: String,
}

impl RevokeToken {
    /// The token with this `jti`.
    #[must_use]
    pub fn jti(jti: impl Into<String>) -> Self {
        Self::of(Target::Jti(jti.into(), None))
    }

    /// The token with this `jti` that expires then: the revocation takes no room for longer.
    #[must_use]
    pub fn jti_until(jti: impl Into<String>, expires_at: SystemTime) -> Self {
        Self::of(Target::Jti(jti.into(), Some(expires_at)))
    }

    /// The tokens that match.
    #[must_use]
    pub fn matching(tokens: Matching) -> Self {
        Self::of(Target::Matching(tokens))
    }

    fn of(target: Target) -> Self {
        Self {
            tenant: String::new(),
            key_sets: Vec::new(),
            target,
            request_id: request_id(),
        }
    }

    /// The tenant. Default: `default`.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// Tokens of this key set only, or of this one too; at most 16.
    #[must_use]
    pub fn key_set(mut self, key_set: impl Into<String>) -> Self {
        self.key_sets.push(key_set.into());
        self
    }

    /// Names the request, so that asking again does not act twice. Default: 128 random bits, made with this value.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }

    pub(crate) fn wire(&self) -> proto::RevokeTokenRequest {
        use proto::revoke_token_request::Target as Wire;
        let (target, expires_at) = match &self.target {
            Target::Jti(jti, expires_at) => (Wire::Jti(jti.clone()), *expires_at),
            Target::Matching(tokens) => {
                let wanted = proto::TokenMatch {
                    sub: tokens.sub.clone(),
                    sid: tokens.sid.clone(),
                    client_id: tokens.client_id.clone(),
                    issued_before: tokens.issued_before.map(prost_types::Timestamp::from),
                };
                (Wire::Match(wanted), None)
            }
        };
        proto::RevokeTokenRequest {
            tenant: self.tenant.clone(),
            key_sets: self.key_sets.clone(),
            target: Some(target),
            expires_at: expires_at.map(prost_types::Timestamp::from),
            request_id: self.request_id.clone(),
        }
    }
}

/// Shows nothing that tokens say.
impl fmt::Debug for RevokeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevokeToken")
            .field("tenant", &self.tenant)
            .field("key_sets", &self.key_sets)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_claim() {
        let matching = Matching::subject("alice")
            .and_session("s1")
            .and_client("shop");
        for revoke in [
            RevokeToken::jti("j1"),
            RevokeToken::matching(matching.clone()),
        ] {
            let shown = format!("{revoke:?} {matching:?}");
            let claims = ["alice", "s1", "shop", "j1"];
            assert!(claims.iter().all(|claim| !shown.contains(claim)), "{shown}");
        }
    }

    #[test]
    fn every_request_has_an_id_of_its_own() {
        let (a, b) = (RevokeToken::jti("j"), RevokeToken::jti("j"));
        assert_ne!(a.request_id, b.request_id);
        assert_eq!(a.clone().wire(), a.wire());
    }
}
