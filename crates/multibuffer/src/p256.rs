//! P-256: ECDSA with hedged nonces (SEC 1, FIPS 186-5) and ECDH.

use std::fmt;

use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams};
use crypto_bigint::{NonZero, U256, Uint};
use jose::algorithm::Hash;
use jose::key::{EcPrivateKey, EcPublicKey, KeyError};
use jose::provider::{Digest, Failed, SecureRandom};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::ffi::{self, Lanes};
use crate::words;
use crate::{AgreementJob, Engine, FAILED, LANES, Outcomes, SignJob, VerifyJob};

const ORDER: NonZero<U256> = NonZero::<U256>::new_unwrap(U256::from_be_hex(
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
));
/// [`ORDER`] as the library writes numbers.
const ORDER_WORDS: [u64; 4] = [
    0xf3b9_cac2_fc63_2551,
    0xbce6_faad_a717_9e84,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_0000_0000,
];

mod field {
    use crypto_bigint::U256;

    crypto_bigint::const_monty_params!(
        Prime,
        U256,
        "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
        "The prime of the field."
    );
}

type Element = ConstMontyForm<field::Prime, { U256::LIMBS }>;

const B: U256 =
    U256::from_be_hex("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b");

/// A point of the curve, affine.
pub(crate) struct Point {
    x: [u64; 4],
    y: [u64; 4],
}

impl Point {
    /// The caller has seen to it that the curve is P-256.
    pub(crate) fn prepare(key: &EcPublicKey) -> Result<Self, KeyError> {
        let x: &[u8; 32] = coordinate(key.x())?;
        let y: &[u8; 32] = coordinate(key.y())?;
        if !is_on_curve(&U256::from_be_slice(x), &U256::from_be_slice(y)) {
            return Err(KeyError::Inconsistent);
        }
        Ok(Self {
            x: words::from_be_32(x),
            y: words::from_be_32(y),
        })
    }
}

fn coordinate(bytes: &[u8]) -> Result<&[u8; 32], KeyError> {
    bytes.try_into().map_err(|_length| KeyError::Inconsistent)
}

/// y^2 = x^3 - 3 x + b, both coordinates below the prime.
fn is_on_curve(x: &U256, y: &U256) -> bool {
    let prime = field::Prime::PARAMS.modulus().as_ref();
    if x >= prime || y >= prime {
        return false;
    }
    let (x, y) = (Element::new(x), Element::new(y));
    let three = Element::new(&U256::from_u32(3));
    y.square() == (x.square() - three) * x + Element::new(&B)
}

/// A private scalar, from 1 to n - 1, whose public half was compared.
pub(crate) struct Scalar(Box<Zeroizing<[u64; 4]>>);

impl Scalar {
    /// The caller has seen to it that the curve is P-256.
    pub(crate) fn prepare(engine: Engine, key: &EcPrivateKey) -> Result<Self, KeyError> {
        let bytes: &[u8; 32] = coordinate(key.expose_scalar())?;
        let number = Zeroizing::new(U256::from_be_slice(bytes));
        if !bool::from(number.is_nonzero()) || *number >= *ORDER.as_ref() {
            return Err(KeyError::Inconsistent);
        }
        let scalar = Self(Box::new(Zeroizing::new(words::from_be_32(bytes))));
        let public = Point::prepare(key.public_key())?;
        let (mut x, mut y) = ([[0; 4]; LANES], [[0; 4]; LANES]);
        let mut scalars: Lanes<'_, [u64; 4]> = [None; LANES];
        if let Some(first) = scalars.first_mut() {
            *first = Some(&scalar.0);
        }
        let status = ffi::p256_public(engine.proof(), &mut x, &mut y, &scalars);
        let same = x.first() == Some(&public.x) && y.first() == Some(&public.y);
        if status.is_ok(0) && same {
            Ok(scalar)
        } else {
            Err(KeyError::Inconsistent)
        }
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scalar(redacted)")
    }
}

/// The values of one batch that must not stay in memory.
#[derive(Default)]
struct Nonces([[u64; 4]; LANES]);

impl Drop for Nonces {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A lane without a key is one whose job was refused.
pub(crate) fn sign(
    engine: Engine,
    random: &dyn SecureRandom,
    digest: &dyn Digest,
    jobs: &mut [SignJob<'_>],
    keys: [Option<&Scalar>; LANES],
) -> Outcomes {
    let mut outcomes = FAILED;
    let mut fresh = Zeroizing::new([0; 32]);
    if random.fill(&mut *fresh).is_err() {
        return outcomes;
    }
    let mut digests = [[0; 32]; LANES];
    let mut nonces = Nonces::default();
    let mut usable = [false; LANES];
    let lanes = digests.iter_mut().zip(&mut nonces.0).zip(&mut usable);
    for (((value, nonce), usable), ((lane, job), key)) in lanes.zip((0_u8..).zip(&*jobs).zip(keys))
    {
        let made = key.ok_or(Failed).and_then(|key| {
            *value = reduced_digest(digest, job.message)?;
            hedged(digest, &fresh, key, value, lane, nonce)
        });
        *usable = made.is_ok();
    }

    let only = |lane: usize| usable.get(lane) == Some(&true);
    let (mut r, mut s) = ([[0; 32]; LANES], [[0; 32]; LANES]);
    let status = ffi::p256_sign(
        engine.proof(),
        &mut r,
        &mut s,
        &lanes_of(&digests, only),
        &lanes_of(&nonces.0, only),
        &keys.map(|key| key.map(|key| &**key.0)),
    );
    let lanes = outcomes.iter_mut().zip(jobs).zip(r.iter().zip(&s));
    for (lane, ((outcome, job), (r, s))) in lanes.enumerate() {
        if only(lane) && status.is_ok(lane) && *r != [0; 32] && *s != [0; 32] {
            *outcome = write(r, s, job.signature);
        }
    }
    outcomes
}

/// One reference a lane that `used` names.
fn lanes_of<T>(values: &[T; LANES], used: impl Fn(usize) -> bool) -> Lanes<'_, T> {
    let mut lane = 0;
    values.each_ref().map(|value| {
        let is_used = used(lane);
        lane += 1;
        is_used.then_some(value)
    })
}

pub(crate) fn write(r: &[u8; 32], s: &[u8; 32], out: &mut [u8]) -> Result<(), Failed> {
    let (left, right) = out.split_at_mut_checked(32).ok_or(Failed)?;
    if right.len() != 32 {
        return Err(Failed);
    }
    left.copy_from_slice(r);
    right.copy_from_slice(s);
    Ok(())
}

/// The digest, less n where it is not below n: the library refuses such a digest, one in 2^32, though r and s depend
/// on its residue only.
fn reduced_digest(digest: &dyn Digest, message: &[u8]) -> Result<[u8; 32], Failed> {
    let value = digest.digest(Hash::Sha256, message);
    let value: [u8; 32] = value.try_into().map_err(|_length| Failed)?;
    if words::is_below(&value, &ORDER_WORDS) {
        return Ok(value);
    }
    let residue = U256::from_be_slice(&value).wrapping_sub(ORDER.as_ref());
    Ok(residue.to_be_bytes().into())
}

/// k = SHA-512(random, private key, digest, lane) mod n. With a good generator that is random; with a broken one it
/// still depends on the key and the digest, so no two digests share a nonce. 512 bits leave no bias to speak of
/// (FIPS 186-5, A.3.1 asks for 64 bits more than n).
fn hedged(
    digest: &dyn Digest,
    fresh: &[u8; 32],
    key: &Scalar,
    value: &[u8; 32],
    lane: u8,
    nonce: &mut [u64; 4],
) -> Result<(), Failed> {
    let mut input = Zeroizing::new([0; 97]);
    let (chunks, last) = input.as_chunks_mut::<32>();
    if let ([a, b, c], [counter]) = (chunks, last) {
        *a = *fresh;
        for (bytes, word) in b.as_chunks_mut().0.iter_mut().zip(key.0.iter()) {
            *bytes = word.to_le_bytes();
        }
        *c = *value;
        *counter = lane;
    }
    let wide = Zeroizing::new(digest.digest(Hash::Sha512, &*input));
    let (high, low) = wide.split_at_checked(32).ok_or(Failed)?;
    if low.len() != 32 {
        return Err(Failed);
    }
    let mut halves = (U256::from_be_slice(low), U256::from_be_slice(high));
    let reduced = Zeroizing::new(Uint::rem_wide(halves, &ORDER));
    halves.0.zeroize();
    halves.1.zeroize();
    let mut bytes: [u8; 32] = reduced.to_be_bytes().into();
    *nonce = words::from_be_32(&bytes);
    bytes.zeroize();
    // one value in 2^256; the lane fails and the caller asks again
    if bool::from(nonce.ct_eq(&[0; 4])) {
        return Err(Failed);
    }
    Ok(())
}

/// A lane without a key is one whose job was refused.
pub(crate) fn verify(
    engine: Engine,
    digest: &dyn Digest,
    jobs: &[VerifyJob<'_>],
    keys: [Option<&Point>; LANES],
) -> Outcomes {
    let mut digests = [[0; 32]; LANES];
    let (mut r, mut s): (Lanes<'_, [u8; 32]>, Lanes<'_, [u8; 32]>) = ([None; LANES], [None; LANES]);
    let lanes = digests.iter_mut().zip(r.iter_mut().zip(&mut s));
    for ((value, (r, s)), (job, key)) in lanes.zip(jobs.iter().zip(keys)) {
        if key.is_some()
            && let Some((left, right)) = halves(job.signature)
            && let Ok(made) = reduced_digest(digest, job.message)
        {
            *value = made;
            (*r, *s) = (Some(left), Some(right));
        }
    }
    let status = ffi::p256_verify(
        engine.proof(),
        &r,
        &s,
        &digests.each_ref().map(Some),
        &keys.map(|key| key.map(|key| &key.x)),
        &keys.map(|key| key.map(|key| &key.y)),
    );
    let mut outcomes = FAILED;
    for (lane, (outcome, r)) in outcomes.iter_mut().zip(r).enumerate() {
        if r.is_some() && status.is_ok(lane) {
            *outcome = Ok(());
        }
    }
    outcomes
}

/// r and s, each from 1 to n - 1.
fn halves(signature: &[u8]) -> Option<(&[u8; 32], &[u8; 32])> {
    let ([r, s], []) = signature.as_chunks::<32>() else {
        return None;
    };
    let is_good = |half: &[u8; 32]| *half != [0; 32] && words::is_below(half, &ORDER_WORDS);
    (is_good(r) && is_good(s)).then_some((r, s))
}

/// One agreement a lane.
pub(crate) fn agree(
    engine: Engine,
    jobs: &mut [AgreementJob<'_>],
    pairs: [Option<(&Scalar, &Point)>; LANES],
) -> Outcomes {
    let mut shared = Zeroizing::new([[0; 32]; LANES]);
    let status = ffi::p256_agree(
        engine.proof(),
        &mut shared,
        &pairs.map(|pair| pair.map(|(scalar, _)| &**scalar.0)),
        &pairs.map(|pair| pair.map(|(_, point)| &point.x)),
        &pairs.map(|pair| pair.map(|(_, point)| &point.y)),
    );
    let mut outcomes = FAILED;
    let lanes = outcomes.iter_mut().zip(jobs).zip(&*shared).zip(pairs);
    for (lane, (((outcome, job), shared), pair)) in lanes.enumerate() {
        if pair.is_some() && status.is_ok(lane) {
            **job.shared = *shared;
            *outcome = Ok(());
        }
    }
    outcomes
}

#[cfg(test)]
mod tests;
