//! Ed25519 (RFC 8032).

use std::fmt;

use jose::key::{KeyError, OkpPrivateKey, OkpPublicKey};
use zeroize::Zeroizing;

use crate::ffi::{self, Lanes};
use crate::{Engine, FAILED, LANES, Outcomes, SignJob, VerifyJob, p256, words};

/// L, the order of the base point, lowest word first.
const ORDER: [u64; 4] = [
    0x5812_631a_5cf5_d3ed,
    0x14de_f9de_a2f7_9cd6,
    0,
    0x1000_0000_0000_0000,
];

/// A seed and the public key that was computed from it.
pub(crate) struct Seed {
    seed: Box<Zeroizing<[u8; 32]>>,
    public: [u8; 32],
}

impl Seed {
    /// Two signatures under two public keys give the private key away: the pair is compared here, whatever was
    /// checked before.
    pub(crate) fn prepare(engine: Engine, key: &OkpPrivateKey) -> Result<Self, KeyError> {
        let seed = Box::new(Zeroizing::new(*key.expose_seed()));
        let mut seeds: Lanes<'_, [u8; 32]> = [None; LANES];
        if let Some(first) = seeds.first_mut() {
            *first = Some(&seed);
        }
        let mut computed = [[0; 32]; LANES];
        let status = ffi::ed25519_public(engine.proof(), &mut computed, &seeds);
        let public = *key.public_key().x();
        if status.is_ok(0) && computed.first() == Some(&public) {
            Ok(Self { seed, public })
        } else {
            Err(KeyError::Inconsistent)
        }
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(redacted)")
    }
}

/// A public key: [`OkpPublicKey`] has refused other spellings and points of small order.
pub(crate) struct Point([u8; 32]);

impl Point {
    pub(crate) fn prepare(key: &OkpPublicKey) -> Self {
        Self(*key.x())
    }
}

/// A lane without a key is one whose job was refused.
pub(crate) fn sign(
    engine: Engine,
    jobs: &mut [SignJob<'_>],
    keys: [Option<&Seed>; LANES],
) -> Outcomes {
    let mut texts: [Option<&[u8]>; LANES] = [None; LANES];
    for (text, job) in texts.iter_mut().zip(&*jobs) {
        *text = Some(job.message);
    }
    let (mut r, mut s) = ([[0; 32]; LANES], [[0; 32]; LANES]);
    let status = ffi::ed25519_sign(
        engine.proof(),
        &mut r,
        &mut s,
        &texts,
        &keys.map(|key| key.map(|key| &**key.seed)),
        &keys.map(|key| key.map(|key| &key.public)),
    );
    let mut outcomes = FAILED;
    let lanes = outcomes.iter_mut().zip(jobs).zip(r.iter().zip(&s));
    for (lane, ((outcome, job), (r, s))) in lanes.enumerate() {
        if status.is_ok(lane) && keys.get(lane).is_some_and(Option::is_some) {
            *outcome = p256::write(r, s, job.signature);
        }
    }
    outcomes
}

/// A lane without a key is one whose job was refused.
pub(crate) fn verify(
    engine: Engine,
    jobs: &[VerifyJob<'_>],
    keys: [Option<&Point>; LANES],
) -> Outcomes {
    let mut texts: [Option<&[u8]>; LANES] = [None; LANES];
    let (mut r, mut s): (Lanes<'_, [u8; 32]>, Lanes<'_, [u8; 32]>) = ([None; LANES], [None; LANES]);
    for (((text, r), s), (job, key)) in texts
        .iter_mut()
        .zip(&mut r)
        .zip(&mut s)
        .zip(jobs.iter().zip(keys))
    {
        if key.is_some()
            && let ([left, right], []) = job.signature.as_chunks::<32>()
            && is_reduced(right)
        {
            *text = Some(job.message);
            (*r, *s) = (Some(left), Some(right));
        }
    }
    let public = keys.map(|key| key.map(|key| &key.0));
    let status = ffi::ed25519_verify(engine.proof(), &r, &s, &texts, &public);
    let mut outcomes = FAILED;
    for (lane, (outcome, r)) in outcomes.iter_mut().zip(r).enumerate() {
        if r.is_some() && status.is_ok(lane) {
            *outcome = Ok(());
        }
    }
    outcomes
}

/// S < L (RFC 8032 section 5.1.7): S + L would be a second signature of the same message, and the library takes it.
fn is_reduced(s: &[u8; 32]) -> bool {
    words::from_le_32(s)
        .into_iter()
        .rev()
        .lt(ORDER.into_iter().rev())
}
