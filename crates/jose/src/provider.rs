//! What a crypto engine implements. The key picks the algorithm: there is no `sign(alg, key, message)`.

use std::fmt;
use std::sync::Arc;

use crate::algorithm::{Hash, JwsAlgorithm};
use crate::key::{KeyError, PublicKey};

/// A signature, a tag, a decryption or the engine failed. It does not say which, or why:
/// whoever sends tokens could read the difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic operation failed")]
pub struct Failed;

/// Randomness, passed in by whoever owns it.
pub trait SecureRandom: Send + Sync + fmt::Debug {
    /// Fills `out` with unpredictable bytes.
    ///
    /// # Errors
    /// [`Failed`] when the source has none; `out` must then not be used.
    fn fill(&self, out: &mut [u8]) -> Result<(), Failed>;
}

/// SHA-2.
pub trait Digest: Send + Sync + fmt::Debug {
    /// The digest of `data`, of [`Hash::output_len`] bytes.
    fn digest(&self, hash: Hash, data: &[u8]) -> Vec<u8>;

    /// SHA-256 of `data`. The engines do it without an allocation.
    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        let mut whole = [0; 32];
        let made = self.digest(Hash::Sha256, data);
        whole.iter_mut().zip(made).for_each(|(to, from)| *to = from);
        whole
    }
}

/// A key that signs with its one algorithm, parsed once.
pub trait Sign: Send + Sync + fmt::Debug {
    /// The algorithm, under the name that goes into the header.
    fn algorithm(&self) -> JwsAlgorithm;

    /// Length of every signature, in bytes.
    fn signature_len(&self) -> usize;

    /// Signs `message` into `signature`, which is [`Sign::signature_len`] bytes long.
    /// ECDSA signatures are r and s, each of the curve's length (RFC 7518 section 3.4).
    ///
    /// # Errors
    /// [`Failed`] when the engine fails; `signature` must then not be used.
    fn sign(&self, message: &[u8], signature: &mut [u8]) -> Result<(), Failed>;
}

/// A key that verifies with its one algorithm, parsed once.
pub trait Verify: Send + Sync + fmt::Debug {
    /// The algorithm.
    fn algorithm(&self) -> JwsAlgorithm;

    /// Checks `signature` over `message`.
    ///
    /// # Errors
    /// [`Failed`] for anything but a valid signature.
    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Failed>;
}

/// What turns a public key into one that verifies. Every provider does this; what else it does is its own.
pub trait Provider: Send + Sync + fmt::Debug {
    /// Parses `key` once, for `algorithm` and no other.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] when the key is not for the algorithm, [`KeyError::NotCovered`] when this provider
    /// lacks it, [`KeyError::Inconsistent`] for a key that is none, such as a point off its curve.
    fn verifying_key(
        &self,
        algorithm: JwsAlgorithm,
        key: &PublicKey,
    ) -> Result<Arc<dyn Verify>, KeyError>;
}
