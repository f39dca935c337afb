//! Elliptic curve keys on the NIST curves (RFC 7518 section 6.2).

use std::fmt;

use zeroize::Zeroizing;

use super::{KeyError, invalid};
use crate::algorithm::JwsAlgorithm;

/// A NIST curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EcCurve {
    /// P-256
    P256,
    /// P-384
    P384,
    /// P-521
    P521,
}

impl EcCurve {
    /// Every curve.
    pub const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// The JWK name (`crv`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// Length of a coordinate, and of the private scalar, in bytes.
    #[must_use]
    pub const fn coordinate_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The one signature algorithm of the curve.
    #[must_use]
    pub const fn jws_algorithm(self) -> JwsAlgorithm {
        match self {
            Self::P256 => JwsAlgorithm::Es256,
            Self::P384 => JwsAlgorithm::Es384,
            Self::P521 => JwsAlgorithm::Es512,
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.name() == name)
    }
}

/// An EC public key. That its point is on the curve is the provider's to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcPublicKey {
    curve: EcCurve,
    /// 0x04, x, y
    point: Vec<u8>,
}

impl EcPublicKey {
    /// Takes the coordinates, each of exactly [`EcCurve::coordinate_len`] bytes.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] for `x` or `y`.
    pub fn new(curve: EcCurve, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        exact("x", x, curve)?;
        exact("y", y, curve)?;
        Ok(Self {
            curve,
            point: [&[4], x, y].concat(),
        })
    }

    /// Takes an uncompressed point (SEC 1 section 2.3.3).
    ///
    /// # Errors
    /// [`KeyError::Invalid`] for `x`.
    pub fn from_uncompressed(curve: EcCurve, point: &[u8]) -> Result<Self, KeyError> {
        if point.len() != 1 + 2 * curve.coordinate_len() || point.first() != Some(&4) {
            return Err(invalid("x", "not an uncompressed point of the curve"));
        }
        Ok(Self {
            curve,
            point: point.to_vec(),
        })
    }

    /// The curve.
    #[must_use]
    pub fn curve(&self) -> EcCurve {
        self.curve
    }

    /// The uncompressed point: 0x04, x, y.
    #[must_use]
    pub fn uncompressed(&self) -> &[u8] {
        &self.point
    }

    /// The x coordinate.
    #[must_use]
    pub fn x(&self) -> &[u8] {
        self.point
            .get(1..=self.curve.coordinate_len())
            .unwrap_or_default()
    }

    /// The y coordinate.
    #[must_use]
    pub fn y(&self) -> &[u8] {
        self.point
            .get(1 + self.curve.coordinate_len()..)
            .unwrap_or_default()
    }
}

/// An EC key with its private half.
#[derive(Clone)]
pub struct EcPrivateKey {
    public: EcPublicKey,
    d: Zeroizing<Vec<u8>>,
}

impl EcPrivateKey {
    /// Takes the private scalar, of exactly [`EcCurve::coordinate_len`] bytes.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] for `d`.
    pub fn new(public: EcPublicKey, d: &[u8]) -> Result<Self, KeyError> {
        exact("d", d, public.curve)?;
        Ok(Self {
            public,
            d: Zeroizing::new(d.to_vec()),
        })
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &EcPublicKey {
        &self.public
    }

    /// The private scalar, big-endian.
    #[must_use]
    pub fn expose_scalar(&self) -> &[u8] {
        &self.d
    }
}

impl fmt::Debug for EcPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcPrivateKey({}, redacted)", self.public.curve.name())
    }
}

fn exact(name: &'static str, value: &[u8], curve: EcCurve) -> Result<(), KeyError> {
    if value.len() == curve.coordinate_len() {
        Ok(())
    } else {
        Err(invalid(name, "not of the curve's length"))
    }
}
