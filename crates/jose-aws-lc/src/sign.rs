//! Keys that sign.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RsaEncoding, RsaKeyPair,
};
use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose::key::{EcPrivateKey, KeyError, KeyMaterial, OkpPrivateKey, PrivateKey, SymmetricKey};
use jose::provider::{Failed, Sign};

use crate::check;

pub(crate) fn signing_key(
    algorithm: JwsAlgorithm,
    key: &KeyMaterial,
) -> Result<Arc<dyn Sign>, KeyError> {
    key.check_algorithm(Algorithm::Jws(algorithm))?;
    let engine = match key {
        KeyMaterial::Private(PrivateKey::Rsa(key)) => {
            Engine::Rsa(check::rsa_key_pair(key)?, rsa_encoding(algorithm)?)
        }
        KeyMaterial::Private(PrivateKey::Ec(key)) => Engine::Ecdsa(ecdsa_key_pair(algorithm, key)?),
        KeyMaterial::Private(PrivateKey::Okp(key)) => Engine::Ed25519(ed25519_key_pair(key)?),
        KeyMaterial::Symmetric(key) => Engine::Hmac(Box::new(hmac_key(algorithm, key)?)),
    };
    Ok(Arc::new(SigningKey { algorithm, engine }))
}

struct SigningKey {
    algorithm: JwsAlgorithm,
    engine: Engine,
}

enum Engine {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    /// Boxed: its two hash states are twenty times the size of the others.
    Hmac(Box<hmac::Key>),
}

impl Sign for SigningKey {
    fn algorithm(&self) -> JwsAlgorithm {
        self.algorithm
    }

    fn signature_len(&self) -> usize {
        match &self.engine {
            Engine::Rsa(key, _) => key.public_modulus_len(),
            Engine::Ed25519(_) => 64,
            Engine::Hmac(_) => self.algorithm.hash().output_len(),
            Engine::Ecdsa(_) => match self.algorithm {
                JwsAlgorithm::Es384 => 96,
                JwsAlgorithm::Es512 => 132,
                _ => 64,
            },
        }
    }

    fn sign(&self, message: &[u8], signature: &mut [u8]) -> Result<(), Failed> {
        // the engine's RSA panics on a buffer of another length
        if signature.len() != self.signature_len() {
            return Err(Failed);
        }
        match &self.engine {
            Engine::Rsa(key, encoding) => key
                .sign(*encoding, &SystemRandom::new(), message, signature)
                .map_err(|_unspecified| Failed),
            Engine::Ecdsa(key) => copy(
                key.sign(&SystemRandom::new(), message)
                    .map_err(|_unspecified| Failed)?,
                signature,
            ),
            Engine::Ed25519(key) => copy(
                key.try_sign(message).map_err(|_unspecified| Failed)?,
                signature,
            ),
            Engine::Hmac(key) => copy(hmac::sign(key, message), signature),
        }
    }
}

fn copy(from: impl AsRef<[u8]>, to: &mut [u8]) -> Result<(), Failed> {
    let from = from.as_ref();
    if from.len() != to.len() {
        return Err(Failed);
    }
    to.copy_from_slice(from);
    Ok(())
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, redacted)", self.algorithm)
    }
}

fn rsa_encoding(algorithm: JwsAlgorithm) -> Result<&'static dyn RsaEncoding, KeyError> {
    match algorithm {
        JwsAlgorithm::Rs256 => Ok(&signature::RSA_PKCS1_SHA256),
        JwsAlgorithm::Rs384 => Ok(&signature::RSA_PKCS1_SHA384),
        JwsAlgorithm::Rs512 => Ok(&signature::RSA_PKCS1_SHA512),
        JwsAlgorithm::Ps256 => Ok(&signature::RSA_PSS_SHA256),
        JwsAlgorithm::Ps384 => Ok(&signature::RSA_PSS_SHA384),
        JwsAlgorithm::Ps512 => Ok(&signature::RSA_PSS_SHA512),
        other => Err(KeyError::Unfit(Algorithm::Jws(other))),
    }
}

fn ecdsa_key_pair(algorithm: JwsAlgorithm, key: &EcPrivateKey) -> Result<EcdsaKeyPair, KeyError> {
    let engine: &'static EcdsaSigningAlgorithm = match algorithm {
        JwsAlgorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        JwsAlgorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        JwsAlgorithm::Es512 => &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
        other => return Err(KeyError::Unfit(Algorithm::Jws(other))),
    };
    check::ec_key(key)?;
    let point = key.public_key().uncompressed();
    EcdsaKeyPair::from_private_key_and_public_key(engine, key.expose_scalar(), point)
        .map_err(|_rejected| KeyError::Inconsistent)
}

/// Signing with a public key that is not the seed's gives the private key away: the pair is compared here,
/// whatever was checked before.
fn ed25519_key_pair(key: &OkpPrivateKey) -> Result<Ed25519KeyPair, KeyError> {
    Ed25519KeyPair::from_seed_and_public_key(key.expose_seed(), key.public_key().x())
        .map_err(|_rejected| KeyError::Inconsistent)
}

pub(crate) fn hmac_key(algorithm: JwsAlgorithm, key: &SymmetricKey) -> Result<hmac::Key, KeyError> {
    let hash = match algorithm {
        JwsAlgorithm::Hs256 => hmac::HMAC_SHA256,
        JwsAlgorithm::Hs384 => hmac::HMAC_SHA384,
        JwsAlgorithm::Hs512 => hmac::HMAC_SHA512,
        other => return Err(KeyError::Unfit(Algorithm::Jws(other))),
    };
    Ok(hmac::Key::new(hash, key.as_bytes()))
}
