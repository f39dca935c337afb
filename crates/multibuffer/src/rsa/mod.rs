//! RSA: keys as the library wants them, and the two operations with their encodings (RFC 8017).

mod check;
mod encoding;
mod pkcs1;
mod pss;
mod sign;
mod verify;

use std::fmt;

use jose::key::{KeyError, RsaPrivateKey, RsaPublicKey};
use zeroize::Zeroizing;

pub(crate) use sign::sign;
pub(crate) use verify::verify;

use crate::ffi::CrtKey;
use crate::words;
use crate::{Class, LANES};

/// The one exponent that the library's public operation has.
const F4: [u8; 3] = [1, 0, 1];

/// A modulus whose exponent is 65537.
pub(crate) struct PublicHalf {
    pub(crate) class: Class,
    n: Box<[u64]>,
}

impl PublicHalf {
    /// `None`: no lanes for this size or exponent.
    pub(crate) fn prepare(key: &RsaPublicKey) -> Option<Self> {
        let class = Class::of_modulus(key.bits())?;
        if key.e() != F4 {
            return None;
        }
        let mut n = vec![0; class.signature_len() / 8].into_boxed_slice();
        words::from_be(key.n(), &mut n)?;
        Some(Self { class, n })
    }
}

/// A private key; its parts lie one after the other in one buffer.
pub(crate) struct PrivateHalf {
    public: PublicHalf,
    /// p, q, dp, dq, qi
    parts: Zeroizing<Box<[u64]>>,
}

impl PrivateHalf {
    /// `None`: no lanes for this size, or none that pay.
    pub(crate) fn prepare(key: &RsaPrivateKey) -> Result<Option<Self>, KeyError> {
        let pays = |public: &PublicHalf| public.class.sign_pays_from() <= LANES;
        let Some(public) = PublicHalf::prepare(key.public_key()).filter(pays) else {
            return Ok(None);
        };
        check::parts_belong_together(public.class, key)?;
        let half = public.n.len() / 2;
        let mut parts = Zeroizing::new(vec![0; 5 * half].into_boxed_slice());
        let source = key.expose_parts();
        let source = [source.p, source.q, source.dp, source.dq, source.qi];
        for (words, bytes) in parts.chunks_exact_mut(half).zip(source) {
            words::from_be(bytes, words).ok_or(KeyError::Inconsistent)?;
        }
        Ok(Some(Self { public, parts }))
    }

    pub(crate) const fn class(&self) -> Class {
        self.public.class
    }

    fn crt(&self) -> Option<CrtKey<'_>> {
        let mut parts = self.parts.chunks_exact(self.public.n.len() / 2);
        Some(CrtKey {
            p: parts.next()?,
            q: parts.next()?,
            dp: parts.next()?,
            dq: parts.next()?,
            qi: parts.next()?,
        })
    }
}

impl fmt::Debug for PrivateHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateHalf(redacted)")
    }
}
