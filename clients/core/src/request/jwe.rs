//! `Encrypt` and `Decrypt`.

use std::fmt;

use crypto_proto::jwe::v1 as proto;

use crate::error::Error;
use crate::redact::Redacted;

/// Who can read what is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// An encryption key set of the tenant.
    KeySet(String),
    /// A public JWK, at most 8 KiB.
    Jwk(String),
}

/// A payload to encrypt.
#[derive(Clone)]
pub struct Encrypt(proto::EncryptRequest);

impl Encrypt {
    /// Encrypts `payload`, at most 256 KiB, for `recipient`.
    #[must_use]
    pub fn new(payload: impl Into<Vec<u8>>, recipient: Recipient) -> Self {
        use proto::encrypt_request::Recipient as Wire;
        let recipient = match recipient {
            Recipient::KeySet(name) => Wire::KeySet(name),
            Recipient::Jwk(json) => Wire::RecipientJwk(json),
        };
        Self(proto::EncryptRequest {
            payload: payload.into(),
            recipient: Some(recipient),
            ..Default::default()
        })
    }

    /// The tenant. Default: `default`.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.0.tenant = tenant.into();
        self
    }

    /// The key management algorithm, for a JWK that names none. Default: RSA-OAEP-256 (RSA), ECDH-ES+A256KW (EC, OKP).
    #[must_use]
    pub fn alg(mut self, alg: impl Into<String>) -> Self {
        self.0.alg = alg.into();
        self
    }

    /// The content encryption. Default: A256GCM.
    #[must_use]
    pub fn enc(mut self, enc: impl Into<String>) -> Self {
        self.0.enc = enc.into();
        self
    }

    /// The header's `cty`. Default: none.
    #[must_use]
    pub fn cty(mut self, cty: impl Into<String>) -> Self {
        self.0.cty = cty.into();
        self
    }

    /// Names the request in logs and traces: at most 128 printable ASCII characters.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.0.request_id = id.into();
        self
    }

    pub(crate) fn wire(&self) -> proto::EncryptRequest {
        self.0.clone()
    }

    pub(crate) fn as_wire(&self) -> &proto::EncryptRequest {
        &self.0
    }
}

impl fmt::Debug for Encrypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypt")
            .field("tenant", &self.0.tenant)
            .field("payload", &Redacted::of(&self.0.payload))
            .field("recipient", &self.0.recipient)
            .field("alg", &self.0.alg)
            .field("enc", &self.0.enc)
            .field("cty", &self.0.cty)
            .field("request_id", &self.0.request_id)
            .finish()
    }
}

/// An encrypted token.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptedToken {
    /// The JWE in compact form.
    pub token: String,
    /// The recipient's key; empty where its JWK has no `kid`.
    pub kid: String,
}

impl EncryptedToken {
    pub(crate) fn read(wire: proto::EncryptResponse) -> Result<Self, Error> {
        if wire.token.is_empty() {
            return Err(Error::answer("token"));
        }
        Ok(Self {
            token: wire.token,
            kid: wire.kid,
        })
    }
}

impl fmt::Debug for EncryptedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptedToken")
            .field("token", &Redacted::of(&self.token))
            .field("kid", &self.kid)
            .finish()
    }
}

/// A token to decrypt.
#[derive(Clone)]
pub struct Decrypt(proto::DecryptRequest);

impl Decrypt {
    /// Decrypts `token`, a JWE in compact form of at most 384 KiB.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(proto::DecryptRequest {
            token: token.into(),
            ..Default::default()
        })
    }

    /// The tenant. Default: `default`.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.0.tenant = tenant.into();
        self
    }

    /// A set that may decrypt it. Default: every one that the caller may decrypt with. A token without `kid` needs exactly one.
    #[must_use]
    pub fn key_set(mut self, key_set: impl Into<String>) -> Self {
        self.0.key_sets.push(key_set.into());
        self
    }

    /// Names the request in logs and traces: at most 128 printable ASCII characters.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.0.request_id = id.into();
        self
    }

    pub(crate) fn wire(&self) -> proto::DecryptRequest {
        self.0.clone()
    }

    pub(crate) fn token(&self) -> &str {
        &self.0.token
    }
}

impl fmt::Debug for Decrypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decrypt")
            .field("token", &Redacted::of(&self.0.token))
            .field("tenant", &self.0.tenant)
            .field("key_sets", &self.0.key_sets)
            .field("request_id", &self.0.request_id)
            .finish()
    }
}

/// What became of a token that was to be decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decryption {
    /// It was decrypted.
    Decrypted(DecryptedToken),
    /// It was not; nothing more is said.
    Failed,
}

impl Decryption {
    /// The content, where there is one.
    #[must_use]
    pub fn into_token(self) -> Option<DecryptedToken> {
        match self {
            Self::Decrypted(token) => Some(token),
            Self::Failed => None,
        }
    }

    pub(crate) fn read(wire: proto::DecryptResponse) -> Result<Self, Error> {
        use proto::decrypt_response::Verdict as Wire;
        match wire.verdict.ok_or_else(|| Error::answer("verdict"))? {
            Wire::Decrypted(token) => Ok(Self::Decrypted(token.into())),
            Wire::Rejected(_) => Ok(Self::Failed),
        }
    }
}

/// A decrypted token.
#[derive(Clone, PartialEq, Eq)]
pub struct DecryptedToken {
    /// The plaintext.
    pub payload: Vec<u8>,
    /// The protected header, byte for byte as received.
    pub header_json: String,
    /// The key that decrypted it.
    pub kid: String,
    /// The key set of that key.
    pub key_set: String,
}

impl From<proto::DecryptedToken> for DecryptedToken {
    fn from(wire: proto::DecryptedToken) -> Self {
        Self {
            payload: wire.payload,
            header_json: wire.header_json,
            kid: wire.kid,
            key_set: wire.key_set,
        }
    }
}

impl fmt::Debug for DecryptedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptedToken")
            .field("payload", &Redacted::of(&self.payload))
            .field("header_json", &self.header_json)
            .field("kid", &self.kid)
            .field("key_set", &self.key_set)
            .finish()
    }
}
