//! The thin clients' JOSE provider, on ring: local verification.
//!
//! It covers RS*, PS*, ES256, ES384 and Ed25519. ring has no P-521, and shared secrets never reach a client, so
//! for ES512 and HS* [`jose::key::KeyError::NotCovered`] says that the service must be asked.
//! Bounds on keys are those of [`jose::key`], the same for every provider, so that verdicts agree.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use jose::algorithm::{Algorithm, Hash, JwsAlgorithm};
use jose::key::{KeyError, PublicKey};
use jose::provider::{Digest, Failed, Provider, Verify};
use ring::digest;
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

/// The provider.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ring;

impl Provider for Ring {
    fn verifying_key(
        &self,
        algorithm: JwsAlgorithm,
        key: &PublicKey,
    ) -> Result<Arc<dyn Verify>, KeyError> {
        let engine = match (engine_for(algorithm), key) {
            (None, _) => return Err(KeyError::NotCovered(Algorithm::Jws(algorithm))),
            (Some(engine), key) => {
                key.check_algorithm(Algorithm::Jws(algorithm))?;
                engine
            }
        };
        let key = match (engine, key) {
            (Engine::Rsa(parameters), PublicKey::Rsa(key)) => Key::Rsa(
                parameters,
                RsaPublicKeyComponents {
                    n: key.n().to_vec(),
                    e: key.e().to_vec(),
                },
            ),
            (Engine::Raw(engine), PublicKey::Ec(key)) => {
                Key::Raw(UnparsedPublicKey::new(engine, key.uncompressed().to_vec()))
            }
            (Engine::Raw(engine), PublicKey::Okp(key)) => {
                Key::Raw(UnparsedPublicKey::new(engine, key.x().to_vec()))
            }
            _ => return Err(KeyError::Unfit(Algorithm::Jws(algorithm))),
        };
        Ok(Arc::new(VerifyingKey { algorithm, key }))
    }
}

impl Digest for Ring {
    fn digest(&self, hash: Hash, data: &[u8]) -> Vec<u8> {
        let algorithm = match hash {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha384 => &digest::SHA384,
            Hash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        let mut whole = [0; 32];
        let made = digest::digest(&digest::SHA256, data);
        let bytes = whole.iter_mut().zip(made.as_ref());
        bytes.for_each(|(to, from)| *to = *from);
        whole
    }
}

#[derive(Clone, Copy)]
enum Engine {
    Rsa(&'static RsaParameters),
    Raw(&'static dyn VerificationAlgorithm),
}

fn engine_for(algorithm: JwsAlgorithm) -> Option<Engine> {
    match algorithm {
        JwsAlgorithm::Rs256 => Some(Engine::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256)),
        JwsAlgorithm::Rs384 => Some(Engine::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384)),
        JwsAlgorithm::Rs512 => Some(Engine::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512)),
        JwsAlgorithm::Ps256 => Some(Engine::Rsa(&signature::RSA_PSS_2048_8192_SHA256)),
        JwsAlgorithm::Ps384 => Some(Engine::Rsa(&signature::RSA_PSS_2048_8192_SHA384)),
        JwsAlgorithm::Ps512 => Some(Engine::Rsa(&signature::RSA_PSS_2048_8192_SHA512)),
        JwsAlgorithm::Es256 => Some(Engine::Raw(&signature::ECDSA_P256_SHA256_FIXED)),
        JwsAlgorithm::Es384 => Some(Engine::Raw(&signature::ECDSA_P384_SHA384_FIXED)),
        JwsAlgorithm::Ed25519 | JwsAlgorithm::EdDsa => Some(Engine::Raw(&signature::ED25519)),
        JwsAlgorithm::Es512 | JwsAlgorithm::Hs256 | JwsAlgorithm::Hs384 | JwsAlgorithm::Hs512 => {
            None
        }
    }
}

struct VerifyingKey {
    algorithm: JwsAlgorithm,
    key: Key,
}

enum Key {
    Rsa(&'static RsaParameters, RsaPublicKeyComponents<Vec<u8>>),
    Raw(UnparsedPublicKey<Vec<u8>>),
}

impl Verify for VerifyingKey {
    fn algorithm(&self) -> JwsAlgorithm {
        self.algorithm
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Failed> {
        let outcome = match &self.key {
            Key::Rsa(parameters, key) => key.verify(parameters, message, signature),
            Key::Raw(key) => key.verify(message, signature),
        };
        outcome.map_err(|_unspecified| Failed)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.algorithm)
    }
}
