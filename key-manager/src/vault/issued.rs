//! What the records of issued tokens keep in the store: the key that segments are sealed to and the one that subjects are hashed with, sealed.

use zeroize::Zeroizing;

use super::{Vault, VaultError, root_secret::RootSecret};
use crate::{seal::Ring, store::Entry};

const SECRET: RootSecret = RootSecret::new("issued-key", "X25519", "issued");

impl Vault {
    /// Both secrets of the records, as they were kept; `None` where there are none yet.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn issued_key(&self) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        SECRET.read(self).await
    }

    /// Keeps secrets where there are none yet, and gives back those that are kept: another replica may have been faster.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn keep_issued_key(&self, key: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        SECRET.keep(self, key).await
    }
}

/// The sealed secrets under the present generation.
pub(super) fn reseal_key(root: &Ring, sealed: &Entry) -> Result<Option<Vec<u8>>, VaultError> {
    SECRET.reseal(root, sealed)
}
