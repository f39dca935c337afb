//! Whether the parts of a private key belong together. The lanes' results are compared with the public operation in
//! any case; this tells whoever brings such a key.

use crypto_bigint::{NonZero, U1024, U1536, U2048, Uint};
use jose::key::{KeyError, RsaPrivateKey};
use zeroize::{Zeroize, Zeroizing};

use crate::Class;

/// n = p q, and the CRT members are those of 65537: e dp = 1 mod p - 1, e dq = 1 mod q - 1, q qi = 1 mod p.
pub(super) fn parts_belong_together(class: Class, key: &RsaPrivateKey) -> Result<(), KeyError> {
    let holds = match class {
        Class::Rsa2048 => holds::<{ U1024::LIMBS }>(key),
        Class::Rsa3072 => holds::<{ U1536::LIMBS }>(key),
        Class::Rsa4096 => holds::<{ U2048::LIMBS }>(key),
        Class::P256 | Class::Ed25519 => None,
    };
    if holds == Some(true) {
        Ok(())
    } else {
        Err(KeyError::Inconsistent)
    }
}

/// `LIMBS` are those of half the modulus. Everything here runs in constant time for its length.
fn holds<const LIMBS: usize>(key: &RsaPrivateKey) -> Option<bool> {
    let parts = key.expose_parts();
    let load = |bytes| load::<LIMBS>(bytes).map(Zeroizing::new);
    let (p, q, qi) = (load(parts.p)?, load(parts.q)?, load(parts.qi)?);
    let (dp, dq) = (load(parts.dp)?, load(parts.dq)?);
    let (high, low) = key
        .public_key()
        .n()
        .split_at_checked(Uint::<LIMBS>::BYTES)?;
    let product = p.widening_mul(&*q);
    let e = Uint::from_u32(65537);
    Some(
        product == (Uint::from_be_slice(low), Uint::from_be_slice(high))
            && is_inverse(&dp, &e, &p.wrapping_sub(&Uint::ONE))?
            && is_inverse(&dq, &e, &q.wrapping_sub(&Uint::ONE))?
            && is_inverse(&qi, &q, &p)?,
    )
}

fn is_inverse<const LIMBS: usize>(
    a: &Uint<LIMBS>,
    b: &Uint<LIMBS>,
    modulus: &Uint<LIMBS>,
) -> Option<bool> {
    let divisor: NonZero<Uint<LIMBS>> = Option::from(modulus.to_nz())?;
    let divisor = Zeroizing::new(divisor);
    let mut wide = a.widening_mul(b);
    let remainder = Uint::rem_wide(wide, &divisor);
    wide.0.zeroize();
    wide.1.zeroize();
    Some(remainder == Uint::ONE && a < modulus)
}

fn load<const LIMBS: usize>(bytes: &[u8]) -> Option<Uint<LIMBS>> {
    let mut padded = Zeroizing::new([0; 256]);
    let (_, used) = padded.split_at_mut_checked(256 - Uint::<LIMBS>::BYTES)?;
    let start = used.len().checked_sub(bytes.len())?;
    used.get_mut(start..)?.copy_from_slice(bytes);
    Some(Uint::from_be_slice(used))
}
