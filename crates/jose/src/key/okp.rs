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
    /// Takes the public key, of exactly 32 bytes. Points of small order are refused: under such a key of Ed25519
    /// anyone can sign, and one of X25519 agrees on zeros. So is an Ed25519 key that is not written canonically
    /// (RFC 8032 section 5.1.3): engines judge those differently.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] for `x`.
    pub fn new(curve: OkpCurve, x: &[u8]) -> Result<Self, KeyError> {
        let x = x
            .try_into()
            .map_err(|_length| invalid("x", "must be 32 bytes"))?;
        let coordinate = without_top_bit(x);
        if curve == OkpCurve::Ed25519 && is_past_the_field(&coordinate) {
            return Err(invalid("x", "not the canonical encoding of a point"));
        }
        if small_order(curve).contains(&coordinate) || is_near_the_prime(&coordinate) {
            return Err(invalid("x", "a point of small order"));
        }
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

/// The top bit is the sign of Ed25519's other coordinate, and means nothing to X25519.
fn without_top_bit(mut x: [u8; 32]) -> [u8; 32] {
    if let Some(last) = x.last_mut() {
        *last &= 0x7F;
    }
    x
}

/// Little-endian; p is 2^255 - 19, so its bytes are 0xED, thirty of 0xFF, and 0x7F.
fn is_past_the_field(coordinate: &[u8; 32]) -> bool {
    matches!(coordinate, [0xED..=0xFF, middle @ .., 0x7F] if middle.iter().all(|byte| *byte == 0xFF))
}

/// p - 1, p and p + 1: of small order on both curves, the last two as other spellings of 0 and 1.
fn is_near_the_prime(coordinate: &[u8; 32]) -> bool {
    matches!(coordinate, [0xEC..=0xEE, middle @ .., 0x7F] if middle.iter().all(|byte| *byte == 0xFF))
}

/// The coordinates of the points of small order besides those at the prime: 0, 1, and the points of order 8.
const fn small_order(curve: OkpCurve) -> [[u8; 32]; 4] {
    let eight = match curve {
        OkpCurve::Ed25519 => [
            *b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
            *b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
        ],
        OkpCurve::X25519 => [
            *b"\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a\xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8\x00",
            *b"\x5f\x9c\x95\xbc\xa3\x50\x8c\x24\xb1\xd0\xb1\x55\x9c\x83\xef\x5b\x04\x44\x5c\xc4\x58\x1c\x8e\x86\xd8\x22\x4e\xdd\xd0\x9f\x11\x57",
        ],
    };
    let zero = [0; 32];
    let mut one = zero;
    if let Some((first, _)) = one.split_first_mut() {
        *first = 1;
    }
    let [a, b] = eight;
    [zero, one, a, b]
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
