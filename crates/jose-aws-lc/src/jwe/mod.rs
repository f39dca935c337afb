//! JWE on aws-lc-rs: keys parsed once, each for its one algorithm.

mod content;
mod ecdh;
mod rsa;
mod symmetric;

use std::sync::Arc;

use jose::algorithm::{Algorithm, ContentEncryption, KeyManagement};
use jose::jwe::{Decrypter, Encrypter};
use jose::key::{KeyError, KeyMaterial, PrivateKey, PublicKey, SymmetricKey};
use jose::provider::Failed;

use crate::AwsLc;

pub use ecdh::{EcdhDecrypter, EcdhEncrypter};
pub use rsa::{RsaDecrypter, RsaEncrypter};
pub use symmetric::SharedKey;

impl AwsLc {
    /// Parses a recipient's public key once, to encrypt with `algorithm` and no other.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] where the key is not for `algorithm`, [`KeyError::Inconsistent`] for a point off its curve.
    pub fn encrypter(
        &self,
        algorithm: KeyManagement,
        key: &PublicKey,
    ) -> Result<Arc<dyn Encrypter>, KeyError> {
        match key {
            PublicKey::Rsa(rsa) => Ok(Arc::new(RsaEncrypter::new(algorithm, rsa)?)),
            PublicKey::Ec(_) | PublicKey::Okp(_) => {
                Ok(Arc::new(EcdhEncrypter::new(algorithm, key)?))
            }
        }
    }

    /// Parses a private or secret key once, to decrypt with `algorithm` and no other. `fixed` is the `enc` of a
    /// `dir` key, and absent for every other.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] where the key is not for `algorithm`, [`KeyError::Inconsistent`] where its parts do not
    /// belong together, [`KeyError::Missing`] for `dir` without `enc`, [`KeyError::Invalid`] for a wrong length.
    pub fn decrypter(
        &self,
        algorithm: KeyManagement,
        fixed: Option<ContentEncryption>,
        key: &KeyMaterial,
    ) -> Result<Arc<dyn Decrypter>, KeyError> {
        match key {
            KeyMaterial::Symmetric(secret) => {
                Ok(Arc::new(self.shared_key(algorithm, fixed, secret)?))
            }
            KeyMaterial::Private(_) if fixed.is_some() => Err(ENC_WITHOUT_DIR),
            KeyMaterial::Private(PrivateKey::Rsa(rsa)) => {
                Ok(Arc::new(RsaDecrypter::new(algorithm, rsa)?))
            }
            KeyMaterial::Private(key) => Ok(Arc::new(EcdhDecrypter::new(algorithm, key)?)),
        }
    }

    /// Prepares a shared secret, which both encrypts and decrypts. `fixed` is as in [`AwsLc::decrypter`].
    ///
    /// # Errors
    /// As [`AwsLc::decrypter`].
    pub fn shared_key(
        &self,
        algorithm: KeyManagement,
        fixed: Option<ContentEncryption>,
        secret: &SymmetricKey,
    ) -> Result<SharedKey, KeyError> {
        match (algorithm, fixed) {
            (KeyManagement::Dir, Some(enc)) => SharedKey::direct(enc, secret),
            (KeyManagement::Dir, None) => Err(KeyError::Missing("enc")),
            (_, Some(_)) => Err(ENC_WITHOUT_DIR),
            (_, None) => SharedKey::wrapping(algorithm, secret),
        }
    }
}

const ENC_WITHOUT_DIR: KeyError = KeyError::Invalid {
    member: "enc",
    reason: "only a dir key fixes enc",
};

/// The library's errors carry nothing, and neither does ours.
fn refused<E>(_why: E) -> Failed {
    Failed
}

fn unfit(algorithm: KeyManagement) -> KeyError {
    KeyError::Unfit(Algorithm::Jwe(algorithm))
}
