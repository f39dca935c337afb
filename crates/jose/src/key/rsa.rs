//! RSA keys (RFC 7518 section 6.3), big-endian without leading zeros.

use std::fmt;

use zeroize::Zeroizing;

use super::{KeyError, invalid};
use crate::limits::{RSA_MAX_BITS, RSA_MIN_BITS};

/// The one exponent that private keys have here.
const F4: [u8; 3] = [1, 0, 1];

/// An RSA public key: a modulus of 2048 to 8192 bits, an odd exponent from 3 to below 2^33.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaPublicKey {
    n: Vec<u8>,
    e: Vec<u8>,
}

impl RsaPublicKey {
    /// Checks and takes modulus and exponent, big-endian without leading zeros.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] for `n` or `e`.
    pub fn new(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        no_leading_zero("n", n)?;
        no_leading_zero("e", e)?;
        if !(RSA_MIN_BITS..=RSA_MAX_BITS).contains(&bits(n)) {
            return Err(invalid("n", "the modulus must have 2048 to 8192 bits"));
        }
        if !is_odd(n) {
            return Err(invalid("n", "the modulus must be odd"));
        }
        if !is_odd(e) || e == [1] {
            return Err(invalid("e", "the exponent must be odd and at least 3"));
        }
        if bits(e) > 33 {
            return Err(invalid("e", "the exponent must be below 2^33"));
        }
        Ok(Self {
            n: n.to_vec(),
            e: e.to_vec(),
        })
    }

    /// The modulus.
    #[must_use]
    pub fn n(&self) -> &[u8] {
        &self.n
    }

    /// The public exponent.
    #[must_use]
    pub fn e(&self) -> &[u8] {
        &self.e
    }

    /// Length of the modulus, in bits.
    #[must_use]
    pub fn bits(&self) -> usize {
        bits(&self.n)
    }
}

/// The private members of an RSA key, borrowed; all of them are needed.
#[derive(Clone, Copy)]
pub struct RsaPrivateParts<'a> {
    /// Private exponent.
    pub d: &'a [u8],
    /// First prime.
    pub p: &'a [u8],
    /// Second prime.
    pub q: &'a [u8],
    /// d mod (p - 1)
    pub dp: &'a [u8],
    /// d mod (q - 1)
    pub dq: &'a [u8],
    /// Inverse of q mod p
    pub qi: &'a [u8],
}

impl fmt::Debug for RsaPrivateParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaPrivateParts(redacted)")
    }
}

/// An RSA key with its private half; the public exponent is 65537.
#[derive(Clone)]
pub struct RsaPrivateKey {
    public: RsaPublicKey,
    d: Zeroizing<Vec<u8>>,
    p: Zeroizing<Vec<u8>>,
    q: Zeroizing<Vec<u8>>,
    dp: Zeroizing<Vec<u8>>,
    dq: Zeroizing<Vec<u8>>,
    qi: Zeroizing<Vec<u8>>,
}

impl RsaPrivateKey {
    /// Checks the shape and takes all members. That they belong together is the provider's to check.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] naming the member.
    pub fn new(public: RsaPublicKey, parts: &RsaPrivateParts<'_>) -> Result<Self, KeyError> {
        if public.e != F4 {
            return Err(invalid("e", "a private key must have the exponent 65537"));
        }
        let half = public.n.len().div_ceil(2);
        let owned = |name, value: &[u8], longest| {
            no_leading_zero(name, value)?;
            if value.len() > longest {
                Err(invalid(name, "longer than the modulus allows"))
            } else {
                Ok(Zeroizing::new(value.to_vec()))
            }
        };
        Ok(Self {
            d: owned("d", parts.d, public.n.len())?,
            p: owned("p", parts.p, half)?,
            q: owned("q", parts.q, half)?,
            dp: owned("dp", parts.dp, half)?,
            dq: owned("dq", parts.dq, half)?,
            qi: owned("qi", parts.qi, half)?,
            public,
        })
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &RsaPublicKey {
        &self.public
    }

    /// The private members.
    #[must_use]
    pub fn expose_parts(&self) -> RsaPrivateParts<'_> {
        RsaPrivateParts {
            d: &self.d,
            p: &self.p,
            q: &self.q,
            dp: &self.dp,
            dq: &self.dq,
            qi: &self.qi,
        }
    }
}

impl fmt::Debug for RsaPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaPrivateKey({} bits, redacted)", self.public.bits())
    }
}

fn no_leading_zero(name: &'static str, value: &[u8]) -> Result<(), KeyError> {
    match value.first() {
        None => Err(invalid(name, "empty")),
        Some(0) => Err(invalid(name, "has a leading zero byte")),
        Some(_) => Ok(()),
    }
}

fn is_odd(value: &[u8]) -> bool {
    value.last().is_some_and(|last| last & 1 == 1)
}

/// Bit length of a number without leading zero bytes.
fn bits(value: &[u8]) -> usize {
    let Some(first) = value.first() else { return 0 };
    let unused = usize::try_from(first.leading_zeros()).unwrap_or(0);
    value.len() * 8 - unused
}
