//! Shared secrets (RFC 7518 section 6.4).

use std::fmt;

use zeroize::Zeroizing;

use super::{KeyError, invalid};
use crate::algorithm::{Algorithm, ContentEncryption, KeyManagement};

/// Longest secret: what HMAC-SHA-512 takes without hashing it first is 128 bytes, no one needs more than 512.
const LONGEST: usize = 512;

/// A shared secret.
#[derive(Clone)]
pub struct SymmetricKey(Zeroizing<Vec<u8>>);

impl SymmetricKey {
    /// Takes a secret of 16 to 512 bytes.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] for `k`.
    pub fn new(secret: &[u8]) -> Result<Self, KeyError> {
        if (16..=LONGEST).contains(&secret.len()) {
            Ok(Self(Zeroizing::new(secret.to_vec())))
        } else {
            Err(invalid("k", "must be 16 to 512 bytes"))
        }
    }

    /// The secret.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the length fits `algorithm`: HMAC keys are not shorter than the hash (RFC 7518 section 3.2),
    /// the others have exactly their length.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] for an algorithm of asymmetric keys, [`KeyError::Invalid`] for a wrong length.
    pub fn check_algorithm(&self, algorithm: Algorithm) -> Result<(), KeyError> {
        let len = self.0.len();
        match algorithm {
            _ if !algorithm.is_symmetric() => Err(KeyError::Unfit(algorithm)),
            Algorithm::Jws(jws) if len < jws.hash().output_len() => {
                Err(invalid("k", "shorter than the hash of the algorithm"))
            }
            Algorithm::Jwe(jwe) if !is_length_of(jwe, len) => {
                Err(invalid("k", "not of the length of the algorithm"))
            }
            _ => Ok(()),
        }
    }
}

fn is_length_of(algorithm: KeyManagement, len: usize) -> bool {
    match algorithm.key_len() {
        Some(exact) => len == exact,
        None => ContentEncryption::ALL
            .iter()
            .any(|enc| enc.key_len() == len),
    }
}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SymmetricKey(redacted)")
    }
}
