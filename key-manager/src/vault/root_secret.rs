//! A secret that belongs to no tenant and no key set, sealed under the root's data key. It moves no epoch, and all replicas share it.

use zeroize::Zeroizing;

use super::{TRIES, Vault, VaultError, rings::ROOT_OWNER};
use crate::{
    seal::{KeyBinding, Ring, SealError, generation_of},
    store::{Batch, Entry, Pair, Precondition},
};

/// Where such a secret is, and what it belongs to.
pub(super) struct RootSecret {
    entry: &'static str,
    binding: KeyBinding<'static>,
}

impl RootSecret {
    /// The secret of the entry `entry`, for `algorithm` and `key_use`.
    pub(super) const fn new(
        entry: &'static str,
        algorithm: &'static str,
        key_use: &'static str,
    ) -> Self {
        let binding = KeyBinding {
            tenant: "",
            set: "",
            kid: entry,
            algorithm,
            key_use,
        };
        Self { entry, binding }
    }

    /// The secret; `None` where there is none yet.
    pub(super) async fn read(
        &self,
        vault: &Vault,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let Some(sealed) = vault.store.get(self.entry).await? else {
            return Ok(None);
        };
        let opened = vault.opened(ROOT_OWNER, &sealed, |rings, sealed| {
            self.open(rings.root, sealed)
        });
        opened.await.map(Some)
    }

    /// Keeps a secret where there is none yet, and gives back the one that is kept: another replica may have been faster.
    pub(super) async fn keep(
        &self,
        vault: &Vault,
        secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        for _ in 0..TRIES {
            let root = vault.root();
            let sealed = root.ring.seal(self.binding, secret)?;
            let batch = Batch::new()
                .check(self.entry, Precondition::Absent)
                .put(self.entry, sealed);
            match vault.commit(Vault::under(batch, &root)).await {
                Err(error) if !error.is_conflict() => return Err(error.into()),
                _ => {}
            }
            if let Some(kept) = self.read(vault).await? {
                return Ok(kept);
            }
        }
        Err(VaultError::damaged(self.entry, "is missing"))
    }

    /// The entry of a store with that root.
    pub(super) fn sealed(&self, root: &Ring, secret: &[u8]) -> Result<Pair, VaultError> {
        Ok((self.entry.to_owned(), root.seal(self.binding, secret)?))
    }

    /// The sealed secret under the present generation; `None` where it is.
    pub(super) fn reseal(
        &self,
        root: &Ring,
        sealed: &Entry,
    ) -> Result<Option<Vec<u8>>, VaultError> {
        if generation_of(&sealed.value)? == root.present() {
            return Ok(None);
        }
        Ok(Some(root.seal(self.binding, &self.open(root, sealed)?)?))
    }

    fn open(&self, root: &Ring, sealed: &Entry) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        root.open(self.binding, &sealed.value)
            .map_err(|error| match error {
                SealError::Generation(_) => VaultError::Seal(error),
                error => VaultError::damaged(self.entry, error),
            })
    }
}
