//! What the records of issued tokens keep in the store: the key that segments are sealed to and the one that subjects are hashed with, sealed.
//! It moves no epoch, and all replicas share it.

use zeroize::Zeroizing;

use super::{Vault, VaultError};
use crate::{
    seal::KeyBinding,
    store::{Batch, Precondition},
};

const KEY: &str = "issued-key";
const BINDING: KeyBinding<'static> = KeyBinding {
    tenant: "",
    set: "",
    kid: KEY,
    algorithm: "X25519",
    key_use: "issued",
};

impl Vault {
    /// Both secrets of the records, as they were kept; `None` where there are none yet.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn issued_key(&self) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let Some(sealed) = self.store.get(KEY).await? else {
            return Ok(None);
        };
        let opened = self.root.open(BINDING, &sealed.value);
        opened
            .map(Some)
            .map_err(|error| VaultError::damaged(KEY, error))
    }

    /// Keeps secrets where there are none yet, and gives back those that are kept: another replica may have been faster.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn keep_issued_key(&self, key: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let sealed = self.root.seal(BINDING, key)?;
        let batch = Batch::new()
            .check(KEY, Precondition::Absent)
            .put(KEY, sealed);
        match self.store.commit(batch).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
        self.issued_key()
            .await?
            .ok_or_else(|| VaultError::damaged(KEY, "is missing"))
    }
}
