//! The services' JOSE provider, on aws-lc-rs.
//!
//! [`AwsLc`] covers every algorithm of `jose`: it generates, checks and prepares keys. A prepared key is parsed
//! once, knows its one algorithm, and holds no copy of its source besides the engine's own, which the engine
//! zeroises when the key is dropped.

#![forbid(unsafe_code)]

mod check;
mod edwards;
mod generate;
pub mod jwe;
mod sign;
mod verify;

use std::sync::Arc;

use aws_lc_rs::digest;
use jose::algorithm::{Hash, JwsAlgorithm};
use jose::key::{BareKey, KeyError, KeyMaterial, PrivateKey, PublicKey, SymmetricKey};
use jose::provider::{Digest, Failed, Provider, SecureRandom, Sign, Verify};

pub use generate::{AgreementCurve, GeneratedKey, KeySpec, RsaBits};

/// The provider. It holds nothing: aws-lc seeds its generator itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct AwsLc;

impl AwsLc {
    /// Parses `key` once, to sign with `algorithm` and no other.
    ///
    /// # Errors
    /// [`KeyError`] when the key does not fit the algorithm or its parts do not belong together.
    pub fn signing_key(
        &self,
        algorithm: JwsAlgorithm,
        key: &KeyMaterial,
    ) -> Result<Arc<dyn Sign>, KeyError> {
        sign::signing_key(algorithm, key)
    }

    /// Prepares a shared secret to verify with `algorithm` and no other; tags are compared in constant time.
    ///
    /// # Errors
    /// [`KeyError`] when the secret does not fit the algorithm.
    pub fn mac_verifying_key(
        &self,
        algorithm: JwsAlgorithm,
        key: &SymmetricKey,
    ) -> Result<Arc<dyn Verify>, KeyError> {
        verify::mac_verifying_key(algorithm, key)
    }

    /// Recomputes the public half from the private one and compares: what an import must pass.
    ///
    /// # Errors
    /// [`KeyError::Inconsistent`].
    pub fn check_material(&self, key: &KeyMaterial) -> Result<(), KeyError> {
        match key {
            KeyMaterial::Private(key) => check::private_key(key),
            KeyMaterial::Symmetric(_) => Ok(()),
        }
    }

    /// Reads a private key from PKCS#8, DER, and recomputes its public half: one that is absent is computed, one that is another's is refused.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn private_key_from_pkcs8(&self, pkcs8: &[u8]) -> Result<PrivateKey, KeyError> {
        let key = PrivateKey::from_pkcs8_with(pkcs8, |half| match half {
            BareKey::Ec(curve, scalar) => check::ec_public(curve, scalar),
            BareKey::Okp(curve, seed) => check::okp_public(curve, seed),
        })?;
        check::private_key(&key)?;
        Ok(key)
    }

    /// Checks a public key: its point is on the curve, its modulus one that RSA can work with.
    ///
    /// # Errors
    /// [`KeyError::Inconsistent`].
    pub fn check_public(&self, key: &PublicKey) -> Result<(), KeyError> {
        check::public_key(key)
    }

    /// Generates a key.
    ///
    /// # Errors
    /// [`Failed`] when the engine or its generator fails.
    pub fn generate(&self, spec: &KeySpec) -> Result<GeneratedKey, Failed> {
        generate::generate(self, spec)
    }
}

impl Provider for AwsLc {
    fn verifying_key(
        &self,
        algorithm: JwsAlgorithm,
        key: &PublicKey,
    ) -> Result<Arc<dyn Verify>, KeyError> {
        verify::verifying_key(algorithm, key)
    }
}

impl SecureRandom for AwsLc {
    fn fill(&self, out: &mut [u8]) -> Result<(), Failed> {
        aws_lc_rs::rand::fill(out).map_err(|_unspecified| Failed)
    }
}

impl Digest for AwsLc {
    fn digest(&self, hash: Hash, data: &[u8]) -> Vec<u8> {
        let algorithm = match hash {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha384 => &digest::SHA384,
            Hash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }
}
