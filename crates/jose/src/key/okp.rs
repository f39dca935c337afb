//! Octet key pairs (RFC 8037): Ed25519 signs, X25519 agrees.

use std::fmt;

use zeroize::Zeroizing;

use super::{KeyError, invalid};

/// A curve of an octet key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OkpCurve {
    /// Ed25519
    Ed25519,
    /// X25519
    X25519,
}

impl OkpCurve {
    /// The JWK name (`crv`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::X25519 => "X25519",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Ed25519, Self::X25519]
            .into_iter()
            .find(|curve| curve.name() == name)
    }
}

/// An Ed25519 or X25519 public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OkpPublicKey {
    curve: OkpCurve,
    x: [u8; 32],
}

impl OkpPublicKey {
    /// Takes the public key, of exactly 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] for `x`.
    pub fn new(curve: OkpCurve, x: &[u8]) -> Result<Self, KeyError> {
        let x = x
            .try_into()
            .map_err(|_length| invalid("x", "must be 32 bytes"))?;
        Ok(Self { curve, x })
    }

    /// The curve.
    #[must_use]
    pub fn curve(&self) -> OkpCurve {
        self.curve
    }

    /// The public key.
    #[must_use]
    pub fn x(&self) -> &[u8; 32] {
        &self.x
    }
}

/// An Ed25519 or X25519 key with its private half.
#[derive(Clone)]
pub struct OkpPrivateKey {
    public: OkpPublicKey,
    d: Zeroizing<[u8; 32]>,
}

impl OkpPrivateKey {
    /// Takes the private key (for Ed25519 the seed), of exactly 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] for `d`.
    pub fn new(public: OkpPublicKey, d: &[u8]) -> Result<Self, KeyError> {
        let mut own = Zeroizing::new([0; 32]);
        if d.len() != own.len() {
            return Err(invalid("d", "must be 32 bytes"));
        }
        own.copy_from_slice(d);
        Ok(Self { public, d: own })
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &OkpPublicKey {
        &self.public
    }

    /// The private key; for Ed25519 the seed.
    #[must_use]
    pub fn expose_seed(&self) -> &[u8; 32] {
        &self.d
    }
}

impl fmt::Debug for OkpPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OkpPrivateKey({}, redacted)", self.public.curve.name())
    }
}
