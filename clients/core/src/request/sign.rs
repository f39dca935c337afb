//! `Sign` and `SignThenEncrypt`.

use std::fmt;
use std::time::{Duration, SystemTime};

use crypto_proto::jwt::v1 as proto;

use super::{Recipient, time_from_wire, to_wire};
use crate::claims::Claims;
use crate::error::Error;
use crate::redact::Redacted;

/// Claims to sign, and the key set that signs them.
///
/// The service adds `iat`, `exp`, and, where they are absent, `iss` and `jti`.
#[derive(Clone)]
pub struct Sign(proto::SignRequest);

impl Sign {
    /// Signs `claims` with the Active key of `key_set`, such as `op/access-token`.
    #[must_use]
    pub fn new(key_set: impl Into<String>, claims: &Claims) -> Self {
        Self::json(key_set, claims.to_json())
    }

    /// As [`Sign::new`], for claims that are a JSON object already: at most 12 KiB and 32 levels, carried over as written.
    #[must_use]
    pub fn json(key_set: impl Into<String>, claims_json: impl Into<String>) -> Self {
        let claims = proto::sign_request::ClaimsInput::ClaimsJson(claims_json.into());
        Self(proto::SignRequest {
            key_set: key_set.into(),
            claims_input: Some(claims),
            ..Default::default()
        })
    }

    /// The tenant. Default: `default`.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.0.tenant = tenant.into();
        self
    }

    /// From `iat` to `exp`, whole seconds. Default: the set's (300 s).
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.0.lifetime = Some(to_wire(lifetime));
        self
    }

    /// The header's `typ`. Default: the set's.
    #[must_use]
    pub fn typ(mut self, typ: impl Into<String>) -> Self {
        self.0.typ = typ.into();
        self
    }

    /// Names the request in logs and traces: at most 128 printable ASCII characters.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.0.request_id = id.into();
        self
    }

    pub(crate) fn wire(&self) -> proto::SignRequest {
        self.0.clone()
    }

    pub(crate) fn into_wire(self) -> proto::SignRequest {
        self.0
    }

    /// The tenant and the key set.
    pub(crate) fn signer(&self) -> (&str, &str) {
        (&self.0.tenant, &self.0.key_set)
    }
}

impl fmt::Debug for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sign")
            .field("tenant", &self.0.tenant)
            .field("key_set", &self.0.key_set)
            .field("lifetime", &self.0.lifetime)
            .field("typ", &self.0.typ)
            .field("request_id", &self.0.request_id)
            .finish_non_exhaustive()
    }
}

/// A signed token.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedToken {
    /// The JWS in compact form.
    pub token: String,
    /// The key that signed it.
    pub kid: String,
    /// Its `jti`; empty where the set's profile omits it.
    pub jti: String,
    /// Its `exp`, where it has one.
    pub expires_at: Option<SystemTime>,
}

impl SignedToken {
    pub(crate) fn read(wire: proto::SignResponse) -> Result<Self, Error> {
        if wire.token.is_empty() {
            return Err(Error::answer("token"));
        }
        let expires_at = wire.expires_at.map(time_from_wire);
        Ok(Self {
            token: wire.token,
            kid: wire.kid,
            jti: wire.jti,
            expires_at,
        })
    }
}

impl fmt::Debug for SignedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedToken")
            .field("token", &Redacted::of(&self.token))
            .field("kid", &self.kid)
            .field("jti", &self.jti)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// A token to sign and then to encrypt (RFC 7519 section 11.2).
#[derive(Debug, Clone)]
pub struct SignThenEncrypt {
    sign: Sign,
    recipient: Recipient,
    alg: String,
    enc: String,
}

impl SignThenEncrypt {
    /// Signs as `sign` says, for `recipient` to read.
    #[must_use]
    pub fn new(sign: Sign, recipient: Recipient) -> Self {
        Self {
            sign,
            recipient,
            alg: String::new(),
            enc: String::new(),
        }
    }

    /// The key management algorithm, for a JWK that names none. Default: RSA-OAEP-256 (RSA), ECDH-ES+A256KW (EC, OKP).
    #[must_use]
    pub fn alg(mut self, alg: impl Into<String>) -> Self {
        self.alg = alg.into();
        self
    }

    /// The content encryption. Default: A256GCM.
    #[must_use]
    pub fn enc(mut self, enc: impl Into<String>) -> Self {
        self.enc = enc.into();
        self
    }

    pub(crate) fn wire(&self) -> proto::SignThenEncryptRequest {
        use proto::sign_then_encrypt_request::Recipient as Wire;
        let recipient = match self.recipient.clone() {
            Recipient::KeySet(name) => Wire::KeySet(name),
            Recipient::Jwk(json) => Wire::RecipientJwk(json),
        };
        proto::SignThenEncryptRequest {
            sign: Some(self.sign.wire()),
            recipient: Some(recipient),
            alg: self.alg.clone(),
            enc: self.enc.clone(),
        }
    }
}

/// A nested token: a JWE whose content is a signed token.
#[derive(Clone, PartialEq, Eq)]
pub struct NestedToken {
    /// The JWE in compact form.
    pub token: String,
    /// The key that signed the inner token.
    pub kid: String,
    /// The inner token's `jti`.
    pub jti: String,
    /// The inner token's `exp`, where it has one.
    pub expires_at: Option<SystemTime>,
    /// The recipient's key; empty where its JWK has no `kid`.
    pub encryption_kid: String,
}

impl NestedToken {
    pub(crate) fn read(wire: proto::SignThenEncryptResponse) -> Result<Self, Error> {
        if wire.token.is_empty() {
            return Err(Error::answer("token"));
        }
        Ok(Self {
            token: wire.token,
            kid: wire.kid,
            jti: wire.jti,
            expires_at: wire.expires_at.map(time_from_wire),
            encryption_kid: wire.encryption_kid,
        })
    }
}

impl fmt::Debug for NestedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NestedToken")
            .field("token", &Redacted::of(&self.token))
            .field("kid", &self.kid)
            .field("jti", &self.jti)
            .field("expires_at", &self.expires_at)
            .field("encryption_kid", &self.encryption_kid)
            .finish()
    }
}
