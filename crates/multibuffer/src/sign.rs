//! Signing in lanes.

use std::fmt;

use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose::key::{EcCurve, KeyError, PrivateKey};
use jose::provider::{Digest, SecureRandom};

use crate::{Class, Engine, FAILED, LANES, Outcomes, ed25519, p256, rsa};

/// A private key that signs with its one algorithm, in the form that the library wants. Zeroised on drop.
pub struct Signer {
    algorithm: JwsAlgorithm,
    key: Key,
}

enum Key {
    Rsa(rsa::PrivateHalf),
    P256(p256::Scalar),
    Ed25519(ed25519::Seed),
}

impl Signer {
    /// Parses `key` once, for `algorithm` and no other, and checks that its halves belong together. `None`: there
    /// are no lanes for this algorithm or size.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] when the key is not for the algorithm, [`KeyError::Inconsistent`] when its parts
    /// contradict each other.
    pub fn prepare(
        engine: Engine,
        algorithm: JwsAlgorithm,
        key: &PrivateKey,
    ) -> Result<Option<Self>, KeyError> {
        key.public_key()
            .check_algorithm(Algorithm::Jws(algorithm))?;
        let key = match key {
            PrivateKey::Rsa(key) => rsa::PrivateHalf::prepare(key)?.map(Key::Rsa),
            PrivateKey::Ec(key) if key.public_key().curve() == EcCurve::P256 => {
                Some(Key::P256(p256::Scalar::prepare(engine, key)?))
            }
            PrivateKey::Ec(_) => None,
            PrivateKey::Okp(key) => Some(Key::Ed25519(ed25519::Seed::prepare(engine, key)?)),
        };
        Ok(key.map(|key| Self { algorithm, key }))
    }

    /// What may share a call with this key.
    #[must_use]
    pub const fn class(&self) -> Class {
        match &self.key {
            Key::Rsa(key) => key.class(),
            Key::P256(_) => Class::P256,
            Key::Ed25519(_) => Class::Ed25519,
        }
    }

    /// The algorithm, under the name that goes into the header.
    #[must_use]
    pub const fn algorithm(&self) -> JwsAlgorithm {
        self.algorithm
    }

    /// Length of every signature, in bytes.
    #[must_use]
    pub const fn signature_len(&self) -> usize {
        self.class().signature_len()
    }

    const fn rsa(&self) -> Option<&rsa::PrivateHalf> {
        match &self.key {
            Key::Rsa(key) => Some(key),
            _ => None,
        }
    }

    const fn p256(&self) -> Option<&p256::Scalar> {
        match &self.key {
            Key::P256(key) => Some(key),
            _ => None,
        }
    }

    const fn ed25519(&self) -> Option<&ed25519::Seed> {
        match &self.key {
            Key::Ed25519(key) => Some(key),
            _ => None,
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, redacted)", self.algorithm)
    }
}

/// One lane's work.
pub struct SignJob<'a> {
    /// The key.
    pub key: &'a Signer,
    /// What is signed.
    pub message: &'a [u8],
    /// Takes the signature; of exactly [`Signer::signature_len`] bytes. ECDSA signatures are r and s, each of the
    /// curve's length (RFC 7518 section 3.4).
    pub signature: &'a mut [u8],
}

impl fmt::Debug for SignJob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignJob({:?})", self.key)
    }
}

/// Signs 1 to [`LANES`] jobs of one [`Class`] at once: that of the first job; a job of another class, or one whose
/// output has the wrong length, fails alone. More jobs than lanes fail all. Where a job fails its output is zeros.
///
/// `random` is asked once a call, for salts of PSS or nonces of ECDSA; where it fails, the jobs that share the call
/// fail.
pub fn sign(
    engine: Engine,
    random: &dyn SecureRandom,
    digest: &dyn Digest,
    jobs: &mut [SignJob<'_>],
) -> Outcomes {
    let outcomes = in_lanes(engine, random, digest, jobs);
    let failed = outcomes
        .iter()
        .map(Result::is_err)
        .chain([true].into_iter().cycle());
    for (job, failed) in jobs.iter_mut().zip(failed) {
        if failed {
            job.signature.fill(0);
        }
    }
    outcomes
}

fn in_lanes(
    engine: Engine,
    random: &dyn SecureRandom,
    digest: &dyn Digest,
    jobs: &mut [SignJob<'_>],
) -> Outcomes {
    let Some(class) = jobs.first().map(|job| job.key.class()) else {
        return FAILED;
    };
    if jobs.len() > LANES {
        return FAILED;
    }
    let mut keys: [Option<&Signer>; LANES] = [None; LANES];
    for (key, job) in keys.iter_mut().zip(&*jobs) {
        if job.key.class() == class && job.signature.len() == class.signature_len() {
            *key = Some(job.key);
        }
    }
    match class {
        Class::Rsa2048 | Class::Rsa3072 | Class::Rsa4096 => {
            let keys = keys.map(|key| key.and_then(Signer::rsa));
            rsa::sign(engine, class, random, digest, jobs, keys)
        }
        Class::P256 => {
            let keys = keys.map(|key| key.and_then(Signer::p256));
            p256::sign(engine, random, digest, jobs, keys)
        }
        Class::Ed25519 => {
            let keys = keys.map(|key| key.and_then(Signer::ed25519));
            ed25519::sign(engine, jobs, keys)
        }
    }
}
