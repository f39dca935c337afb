//! Public keys for key agreement: `epk` of a header, and the recipient's own.

use super::Fault;
use super::header::string;
use crate::algorithm::{Algorithm, KeyManagement};
use crate::json::{Object, ObjectWriter, Value};
use crate::key::{EcCurve, KeyError, PublicKey};
use crate::provider::Failed;
use crate::{base64url, limits};

/// A curve for key agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgreementCurve {
    /// A NIST curve (RFC 7518 section 4.6).
    Ec(EcCurve),
    /// X25519 (RFC 8037 section 3.2).
    X25519,
}

impl AgreementCurve {
    /// Every one of them.
    pub const ALL: [Self; 4] = [
        Self::Ec(EcCurve::P256),
        Self::Ec(EcCurve::P384),
        Self::Ec(EcCurve::P521),
        Self::X25519,
    ];

    /// The name as in `crv`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ec(curve) => curve.name(),
            Self::X25519 => "X25519",
        }
    }

    /// Length of a coordinate and of a private scalar, in bytes.
    #[must_use]
    pub const fn coordinate_len(self) -> usize {
        match self {
            Self::Ec(curve) => curve.coordinate_len(),
            Self::X25519 => 32,
        }
    }

    const fn kty(self) -> &'static str {
        match self {
            Self::Ec(_) => "EC",
            Self::X25519 => "OKP",
        }
    }

    const fn point_len(self) -> usize {
        match self {
            Self::Ec(curve) => 1 + 2 * curve.coordinate_len(),
            Self::X25519 => 32,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.name() == name)
    }
}

/// The longest encoded point, that of P-521.
const MAX_POINT: usize = 133;

/// A public key for agreement, in the form that crypto libraries read: an uncompressed SEC 1 point, or the 32 bytes
/// of X25519. Whether the point is on its curve is for the library to say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AgreementKey {
    curve: AgreementCurve,
    bytes: [u8; MAX_POINT],
}

impl AgreementKey {
    /// Takes an encoded point.
    ///
    /// # Errors
    /// A length or a form that is not the curve's.
    pub fn from_bytes(curve: AgreementCurve, point: &[u8]) -> Result<Self, Failed> {
        let mut bytes = [0; MAX_POINT];
        let uncompressed = curve == AgreementCurve::X25519 || point.first() == Some(&4);
        if point.len() != curve.point_len() || !uncompressed {
            return Err(Failed);
        }
        bytes
            .get_mut(..point.len())
            .unwrap_or_default()
            .copy_from_slice(point);
        Ok(Self { curve, bytes })
    }

    /// Takes a public key.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] for a key that does not agree.
    pub fn from_public(algorithm: KeyManagement, key: &PublicKey) -> Result<Self, KeyError> {
        let unfit = |_failed| KeyError::Unfit(Algorithm::Jwe(algorithm));
        key.check_algorithm(Algorithm::Jwe(algorithm))?;
        match key {
            PublicKey::Ec(key) => {
                Self::from_bytes(AgreementCurve::Ec(key.curve()), key.uncompressed()).map_err(unfit)
            }
            PublicKey::Okp(key) => Self::from_bytes(AgreementCurve::X25519, key.x()).map_err(unfit),
            PublicKey::Rsa(_) => Err(unfit(Failed)),
        }
    }

    /// The curve.
    #[must_use]
    pub const fn curve(&self) -> AgreementCurve {
        self.curve
    }

    /// The encoded point.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.curve.point_len()).unwrap_or_default()
    }

    /// Reads a public JWK. One that carries its private half is refused: the sender has given its secret away.
    pub(super) fn parse(epk: Option<Value<'_>>) -> Result<Self, Fault> {
        let epk = epk.ok_or(Fault::Header)?;
        let jwk = Object::parse(epk.raw().as_bytes(), limits::HEADER)?;
        let curve = AgreementCurve::parse(&string(jwk.get("crv"))?).ok_or(Fault::Header)?;
        if string(jwk.get("kty"))? != curve.kty() || jwk.get("d").is_some() {
            return Err(Fault::Header);
        }
        let mut bytes = [0; MAX_POINT];
        let mut point = bytes.as_mut_slice();
        let mut names = ["x"].as_slice();
        if curve != AgreementCurve::X25519 {
            let (form, rest) = point.split_first_mut().ok_or(Fault::Header)?;
            *form = 4;
            point = rest;
            names = &["x", "y"];
        }
        for (name, out) in names.iter().zip(point.chunks_mut(curve.coordinate_len())) {
            coordinate(&string(jwk.get(name))?, out)?;
        }
        Ok(Self { curve, bytes })
    }

    pub(super) fn write(&self) -> String {
        let mut jwk = ObjectWriter::with_capacity(256);
        jwk.string("kty", self.curve.kty())
            .string("crv", self.curve.name());
        if self.curve == AgreementCurve::X25519 {
            jwk.base64url("x", self.as_bytes());
        } else {
            let coordinates = self.as_bytes().get(1..).unwrap_or_default();
            for (name, bytes) in ["x", "y"]
                .into_iter()
                .zip(coordinates.chunks(self.curve.coordinate_len()))
            {
                jwk.base64url(name, bytes);
            }
        }
        jwk.finish()
    }
}

impl std::fmt::Debug for AgreementKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgreementKey")
            .field("curve", &self.curve)
            .finish_non_exhaustive()
    }
}

/// Every coordinate has the curve's full length (RFC 7518 section 6.2.1.2).
fn coordinate(text: &str, out: &mut [u8]) -> Result<(), Fault> {
    if text.len() != base64url::encoded_len(out.len()) {
        return Err(Fault::Header);
    }
    base64url::decode_slice(text, out)?;
    Ok(())
}
