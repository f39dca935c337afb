//! Verifying in lanes.

use std::fmt;

use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose::key::{EcCurve, KeyError, PublicKey};
use jose::provider::Digest;

use crate::{Class, Engine, FAILED, LANES, Outcomes, ed25519, p256, rsa};

/// A public key that verifies with its one algorithm, in the form that the library wants.
pub struct Verifier {
    algorithm: JwsAlgorithm,
    key: Key,
}

enum Key {
    Rsa(rsa::PublicHalf),
    P256(p256::Point),
    Ed25519(ed25519::Point),
}

impl Verifier {
    /// Parses `key` once, for `algorithm` and no other. `None`: there are no lanes for this algorithm, size or
    /// exponent.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] when the key is not for the algorithm, [`KeyError::Inconsistent`] for a point of P-256
    /// that is off the curve. One of Ed25519 is found out while verifying, as by the other engines.
    pub fn prepare(
        _engine: Engine,
        algorithm: JwsAlgorithm,
        key: &PublicKey,
    ) -> Result<Option<Self>, KeyError> {
        key.check_algorithm(Algorithm::Jws(algorithm))?;
        let key = match key {
            PublicKey::Rsa(key) => rsa::PublicHalf::prepare(key).map(Key::Rsa),
            PublicKey::Ec(key) if key.curve() == EcCurve::P256 => {
                Some(Key::P256(p256::Point::prepare(key)?))
            }
            PublicKey::Ec(_) => None,
            PublicKey::Okp(key) => Some(Key::Ed25519(ed25519::Point::prepare(key))),
        };
        Ok(key.map(|key| Self { algorithm, key }))
    }

    /// What may share a call with this key.
    #[must_use]
    pub const fn class(&self) -> Class {
        match &self.key {
            Key::Rsa(key) => key.class,
            Key::P256(_) => Class::P256,
            Key::Ed25519(_) => Class::Ed25519,
        }
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> JwsAlgorithm {
        self.algorithm
    }

    const fn rsa(&self) -> Option<&rsa::PublicHalf> {
        match &self.key {
            Key::Rsa(key) => Some(key),
            _ => None,
        }
    }

    const fn p256(&self) -> Option<&p256::Point> {
        match &self.key {
            Key::P256(key) => Some(key),
            _ => None,
        }
    }

    const fn ed25519(&self) -> Option<&ed25519::Point> {
        match &self.key {
            Key::Ed25519(key) => Some(key),
            _ => None,
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({})", self.algorithm)
    }
}

/// One lane's work.
#[derive(Debug, Clone, Copy)]
pub struct VerifyJob<'a> {
    /// The key.
    pub key: &'a Verifier,
    /// What was signed.
    pub message: &'a [u8],
    /// The signature, of any length.
    pub signature: &'a [u8],
}

/// Verifies 1 to [`LANES`] jobs of one [`Class`] at once: that of the first job; a job of another class fails alone.
/// More jobs than lanes fail all.
pub fn verify(engine: Engine, digest: &dyn Digest, jobs: &[VerifyJob<'_>]) -> Outcomes {
    let Some(class) = jobs.first().map(|job| job.key.class()) else {
        return FAILED;
    };
    if jobs.len() > LANES {
        return FAILED;
    }
    let mut keys: [Option<&Verifier>; LANES] = [None; LANES];
    for (key, job) in keys.iter_mut().zip(jobs) {
        if job.key.class() == class && job.signature.len() == class.signature_len() {
            *key = Some(job.key);
        }
    }
    match class {
        Class::Rsa2048 | Class::Rsa3072 | Class::Rsa4096 => {
            let keys = keys.map(|key| key.and_then(Verifier::rsa));
            rsa::verify(engine, class, digest, jobs, keys)
        }
        Class::P256 => {
            let keys = keys.map(|key| key.and_then(Verifier::p256));
            p256::verify(engine, digest, jobs, keys)
        }
        Class::Ed25519 => {
            let keys = keys.map(|key| key.and_then(Verifier::ed25519));
            ed25519::verify(engine, jobs, keys)
        }
    }
}
