//! Keys as types: public, private and symmetric keys cannot be taken for one another.
//!
//! A value that exists has the right shape (lengths, RSA bounds). Whether a point is on its curve and a private
//! half belongs to its public one takes arithmetic: the provider recomputes it when a key is imported or prepared.

mod der;
mod ec;
mod okp;
mod pkcs8;
mod rsa;
mod symmetric;

use std::fmt;

use zeroize::Zeroizing;

pub use ec::{EcCurve, EcPrivateKey, EcPublicKey};
pub use okp::{OkpCurve, OkpPrivateKey, OkpPublicKey};
pub use pkcs8::BareKey;
pub use rsa::{RsaPrivateKey, RsaPrivateParts, RsaPublicKey};
pub use symmetric::SymmetricKey;

use crate::algorithm::{Algorithm, JwsAlgorithm, KeyManagement, UnsupportedAlgorithm};
use crate::json::JsonError;
use crate::limits;

/// Why key material is refused: the fault of who brought it. [`KeyError::member`] names what to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The JWK is not a strict JSON object.
    #[error("the JWK is not acceptable: {0}")]
    Json(#[from] JsonError),
    /// A member that the key type needs is absent.
    #[error("{0}: missing")]
    Missing(&'static str),
    /// A member is malformed or out of bounds.
    #[error("{member}: {reason}")]
    Invalid {
        /// The JWK member.
        member: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The algorithm is not spoken here.
    #[error("alg: {0}")]
    Algorithm(#[from] UnsupportedAlgorithm),
    /// The key cannot be used with the algorithm.
    #[error("alg: {0} does not fit the key")]
    Unfit(Algorithm),
    /// A public key was wanted and a private or secret one was given.
    #[error("d: a private or secret key stands where a public key is wanted")]
    NotPublic,
    /// A private or secret key was wanted and a public one was given.
    #[error("d: a public key stands where a private or secret key is wanted")]
    NotPrivate,
    /// The parts contradict each other, or a point is not on its curve.
    #[error("the parts of the key do not belong together")]
    Inconsistent,
    /// Not DER of the kind that is wanted.
    #[error("not a key in the expected DER form")]
    Der,
    /// This provider has no such key; another may.
    #[error("{0} is not covered by this provider")]
    NotCovered(Algorithm),
}

impl KeyError {
    /// The JWK member at fault, where it is one.
    #[must_use]
    pub const fn member(&self) -> Option<&'static str> {
        match self {
            Self::Missing(member) | Self::Invalid { member, .. } => Some(member),
            Self::Algorithm(_) | Self::Unfit(_) | Self::NotCovered(_) => Some("alg"),
            Self::NotPublic | Self::NotPrivate => Some("d"),
            Self::Json(_) | Self::Inconsistent | Self::Der => None,
        }
    }
}

/// The public half of an asymmetric key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA
    Rsa(RsaPublicKey),
    /// P-256, P-384, P-521
    Ec(EcPublicKey),
    /// Ed25519, X25519
    Okp(OkpPublicKey),
}

/// An asymmetric key with its private half.
#[derive(Debug, Clone)]
pub enum PrivateKey {
    /// RSA
    Rsa(RsaPrivateKey),
    /// P-256, P-384, P-521
    Ec(EcPrivateKey),
    /// Ed25519, X25519
    Okp(OkpPrivateKey),
}

/// What signs or decrypts: the form in which keys are imported, sealed and loaded.
#[derive(Debug, Clone)]
pub enum KeyMaterial {
    /// An asymmetric key.
    Private(PrivateKey),
    /// A shared secret.
    Symmetric(SymmetricKey),
}

impl PublicKey {
    /// Whether the key can be used with `algorithm`.
    ///
    /// # Errors
    /// [`KeyError::Unfit`].
    pub fn check_algorithm(&self, algorithm: Algorithm) -> Result<(), KeyError> {
        use JwsAlgorithm as S;
        use KeyManagement as E;
        let fits = match (self, algorithm) {
            (Self::Rsa(_), Algorithm::Jws(jws)) => matches!(
                jws,
                S::Rs256 | S::Rs384 | S::Rs512 | S::Ps256 | S::Ps384 | S::Ps512
            ),
            (Self::Rsa(_), Algorithm::Jwe(jwe)) => matches!(jwe, E::RsaOaep | E::RsaOaep256),
            (Self::Ec(key), Algorithm::Jws(jws)) => key.curve().jws_algorithm() == jws,
            (Self::Okp(key), Algorithm::Jws(jws)) => {
                key.curve() == OkpCurve::Ed25519 && matches!(jws, S::Ed25519 | S::EdDsa)
            }
            (Self::Ec(_), Algorithm::Jwe(jwe)) => is_agreement(jwe),
            (Self::Okp(key), Algorithm::Jwe(jwe)) => {
                key.curve() == OkpCurve::X25519 && is_agreement(jwe)
            }
        };
        if fits {
            Ok(())
        } else {
            Err(KeyError::Unfit(algorithm))
        }
    }
}

fn is_agreement(algorithm: KeyManagement) -> bool {
    matches!(
        algorithm,
        KeyManagement::EcdhEs | KeyManagement::EcdhEsA128Kw | KeyManagement::EcdhEsA256Kw
    )
}

impl PrivateKey {
    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        match self {
            Self::Rsa(key) => PublicKey::Rsa(key.public_key().clone()),
            Self::Ec(key) => PublicKey::Ec(key.public_key().clone()),
            Self::Okp(key) => PublicKey::Okp(key.public_key().clone()),
        }
    }
}

impl KeyMaterial {
    /// The public half; a shared secret has none.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        match self {
            Self::Private(key) => Some(key.public_key()),
            Self::Symmetric(_) => None,
        }
    }

    /// Whether the key can be used with `algorithm`: type, curve and, for secrets, length.
    ///
    /// # Errors
    /// [`KeyError::Unfit`], or [`KeyError::Invalid`] for a secret of the wrong length.
    pub fn check_algorithm(&self, algorithm: Algorithm) -> Result<(), KeyError> {
        match self {
            Self::Private(key) => key.public_key().check_algorithm(algorithm),
            Self::Symmetric(key) => key.check_algorithm(algorithm),
        }
    }

    /// The bytes to seal: PKCS#8 DER for asymmetric keys, the secret itself for symmetric ones.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Private(key) => key.to_pkcs8(),
            Self::Symmetric(key) => Zeroizing::new(key.as_bytes().to_vec()),
        }
    }

    /// Reads what [`KeyMaterial::to_bytes`] gave; the algorithm says which form it is.
    ///
    /// # Errors
    /// [`KeyError`] when the bytes are no such key or do not fit the algorithm.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        let material = if algorithm.is_symmetric() {
            Self::Symmetric(SymmetricKey::new(bytes)?)
        } else {
            Self::Private(PrivateKey::from_pkcs8(bytes)?)
        };
        material.check_algorithm(algorithm)?;
        Ok(material)
    }
}

impl From<PrivateKey> for KeyMaterial {
    fn from(key: PrivateKey) -> Self {
        Self::Private(key)
    }
}

impl From<SymmetricKey> for KeyMaterial {
    fn from(key: SymmetricKey) -> Self {
        Self::Symmetric(key)
    }
}

/// A key identifier: 1 to 128 printable ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kid(String);

impl Kid {
    /// Checks and takes a key identifier.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] for `kid`.
    pub fn new(kid: impl Into<String>) -> Result<Self, KeyError> {
        let kid = kid.into();
        if is_kid(&kid) {
            Ok(Self(kid))
        } else {
            Err(invalid(
                "kid",
                "must be 1 to 128 printable ASCII characters",
            ))
        }
    }

    /// The identifier.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `kid` has the form of a key identifier.
#[must_use]
pub fn is_kid(kid: &str) -> bool {
    (1..=limits::KID).contains(&kid.len()) && kid.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

impl AsRef<str> for Kid {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

pub(crate) const fn invalid(member: &'static str, reason: &'static str) -> KeyError {
    KeyError::Invalid { member, reason }
}

#[cfg(test)]
mod tests;
