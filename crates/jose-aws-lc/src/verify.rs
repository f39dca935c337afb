//! Keys that verify, parsed once.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose::key::{KeyError, PublicKey, SymmetricKey};
use jose::provider::{Failed, Verify};

use crate::sign::hmac_key;

pub(crate) fn verifying_key(
    algorithm: JwsAlgorithm,
    key: &PublicKey,
) -> Result<Arc<dyn Verify>, KeyError> {
    key.check_algorithm(Algorithm::Jws(algorithm))?;
    let engine = verification(algorithm)?;
    let parsed = match key {
        PublicKey::Rsa(key) => ParsedPublicKey::new(engine, key.to_pkcs1()),
        PublicKey::Ec(key) => ParsedPublicKey::new(engine, key.uncompressed()),
        PublicKey::Okp(key) => ParsedPublicKey::new(engine, key.x()),
    };
    let key = parsed.map_err(|_rejected| KeyError::Inconsistent)?;
    Ok(Arc::new(VerifyingKey { algorithm, key }))
}

pub(crate) fn mac_verifying_key(
    algorithm: JwsAlgorithm,
    key: &SymmetricKey,
) -> Result<Arc<dyn Verify>, KeyError> {
    key.check_algorithm(Algorithm::Jws(algorithm))?;
    Ok(Arc::new(MacKey {
        algorithm,
        key: hmac_key(algorithm, key)?,
    }))
}

/// Moduli below 2048 bits do not get this far: [`jose::key::RsaPublicKey`] refuses them.
fn verification(algorithm: JwsAlgorithm) -> Result<&'static dyn VerificationAlgorithm, KeyError> {
    match algorithm {
        JwsAlgorithm::Rs256 => Ok(&signature::RSA_PKCS1_2048_8192_SHA256),
        JwsAlgorithm::Rs384 => Ok(&signature::RSA_PKCS1_2048_8192_SHA384),
        JwsAlgorithm::Rs512 => Ok(&signature::RSA_PKCS1_2048_8192_SHA512),
        JwsAlgorithm::Ps256 => Ok(&signature::RSA_PSS_2048_8192_SHA256),
        JwsAlgorithm::Ps384 => Ok(&signature::RSA_PSS_2048_8192_SHA384),
        JwsAlgorithm::Ps512 => Ok(&signature::RSA_PSS_2048_8192_SHA512),
        JwsAlgorithm::Es256 => Ok(&signature::ECDSA_P256_SHA256_FIXED),
        JwsAlgorithm::Es384 => Ok(&signature::ECDSA_P384_SHA384_FIXED),
        JwsAlgorithm::Es512 => Ok(&signature::ECDSA_P521_SHA512_FIXED),
        JwsAlgorithm::Ed25519 | JwsAlgorithm::EdDsa => Ok(&signature::ED25519),
        JwsAlgorithm::Hs256 | JwsAlgorithm::Hs384 | JwsAlgorithm::Hs512 => {
            Err(KeyError::Unfit(Algorithm::Jws(algorithm)))
        }
    }
}

struct VerifyingKey {
    algorithm: JwsAlgorithm,
    key: ParsedPublicKey,
}

impl Verify for VerifyingKey {
    fn algorithm(&self) -> JwsAlgorithm {
        self.algorithm
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Failed> {
        self.key
            .verify_sig(message, signature)
            .map_err(|_unspecified| Failed)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.algorithm)
    }
}

struct MacKey {
    algorithm: JwsAlgorithm,
    key: hmac::Key,
}

impl Verify for MacKey {
    fn algorithm(&self) -> JwsAlgorithm {
        self.algorithm
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Failed> {
        hmac::verify(&self.key, message, signature).map_err(|_unspecified| Failed)
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacKey({}, redacted)", self.algorithm)
    }
}
