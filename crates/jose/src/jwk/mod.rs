//! JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037), read strictly, and their thumbprints (RFC 7638).

mod read;
mod thumbprint;
mod write;

use std::fmt;

pub use read::{AnyJwk, read_public_set};

use crate::algorithm::{Algorithm, ContentEncryption};
use crate::key::{KeyError, KeyMaterial, Kid, PublicKey};

/// What a key is for (`use`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyUse {
    /// `sig`: signs or verifies.
    Signature,
    /// `enc`: encrypts or decrypts.
    Encryption,
}

impl KeyUse {
    /// The JWK name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signature => "sig",
            Self::Encryption => "enc",
        }
    }

    /// What an algorithm is for.
    #[must_use]
    pub const fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Jws(_) => Self::Signature,
            Algorithm::Jwe(_) => Self::Encryption,
        }
    }
}

/// A key and what its JWK says about it. `K` is [`PublicKey`] or [`KeyMaterial`]; the two are never one type.
#[derive(Clone)]
pub struct Jwk<K> {
    /// The key.
    pub key: K,
    /// `kid`
    pub kid: Option<Kid>,
    /// `alg`: the one algorithm of the key. It fits the key.
    pub algorithm: Option<Algorithm>,
    /// For a key of `dir`: the content encryption, where `alg` names that in its place (RFC 7520 section 3.6).
    pub enc: Option<ContentEncryption>,
    /// `use`, or what `alg` or `key_ops` say in its place.
    pub key_use: Option<KeyUse>,
}

/// A JWK that may be shown to anyone.
pub type PublicJwk = Jwk<PublicKey>;

/// A JWK with a private or shared key.
pub type SecretJwk = Jwk<KeyMaterial>;

impl<K> Jwk<K> {
    /// A key with nothing said about it.
    #[must_use]
    pub const fn new(key: K) -> Self {
        Self {
            key,
            kid: None,
            algorithm: None,
            enc: None,
            key_use: None,
        }
    }

    /// Names the key.
    #[must_use]
    pub fn with_kid(mut self, kid: Kid) -> Self {
        self.kid = Some(kid);
        self
    }

    /// Fixes the algorithm, and with it the use.
    #[must_use]
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = Some(algorithm);
        self.key_use = Some(KeyUse::of(algorithm));
        self
    }
}

impl PublicJwk {
    /// Reads a public JWK.
    ///
    /// # Errors
    /// [`KeyError`]; [`KeyError::NotPublic`] where private or secret members are present.
    pub fn parse(json: &[u8]) -> Result<Self, KeyError> {
        match AnyJwk::parse(json)? {
            AnyJwk::Public(jwk) => Ok(jwk),
            AnyJwk::Secret(_) => Err(KeyError::NotPublic),
        }
    }
}

impl SecretJwk {
    /// Reads a private or symmetric JWK.
    ///
    /// # Errors
    /// [`KeyError`]; [`KeyError::NotPrivate`] where only a public key is given.
    pub fn parse(json: &[u8]) -> Result<Self, KeyError> {
        match AnyJwk::parse(json)? {
            AnyJwk::Secret(jwk) => Ok(jwk),
            AnyJwk::Public(_) => Err(KeyError::NotPrivate),
        }
    }

    /// The public half with the same attributes; a shared secret has none.
    #[must_use]
    pub fn public(&self) -> Option<PublicJwk> {
        let key = self.key.public_key()?;
        Some(Jwk {
            key,
            kid: self.kid.clone(),
            algorithm: self.algorithm,
            enc: self.enc,
            key_use: self.key_use,
        })
    }
}

impl<K: fmt::Debug> fmt::Debug for Jwk<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwk")
            .field("key", &self.key)
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .field("key_use", &self.key_use)
            .finish()
    }
}

#[cfg(test)]
mod tests;
