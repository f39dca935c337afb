//! What both encodings share.

use jose::algorithm::{Hash, JwsAlgorithm};
use jose::provider::{Digest, Failed};

/// The longest digest, and so the longest salt.
pub(super) const MAX_DIGEST: usize = 64;

/// Which of the two encodings an algorithm has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Pkcs1,
    Pss,
}

impl Scheme {
    pub(super) const fn of(algorithm: JwsAlgorithm) -> Self {
        match algorithm {
            JwsAlgorithm::Ps256 | JwsAlgorithm::Ps384 | JwsAlgorithm::Ps512 => Self::Pss,
            _ => Self::Pkcs1,
        }
    }
}

/// The digest of `data` in `out`, which is as long as the hash.
pub(super) fn digest_into(
    digest: &dyn Digest,
    hash: Hash,
    data: &[u8],
    out: &mut [u8],
) -> Result<(), Failed> {
    let value = digest.digest(hash, data);
    if value.len() != out.len() {
        return Err(Failed);
    }
    out.copy_from_slice(&value);
    Ok(())
}
