//! Writing key sets: one turn at a time, each write one transaction.

use std::{fmt, sync::Arc};

use keyring::KeySet;
use tokio::{sync::OwnedMutexGuard, task::JoinError};
use tracing::Instrument as _;
use zeroize::Zeroizing;

use super::{EPOCH, Request, SetEntry, SetName, Vault, VaultError, changed_key, data_key_key, set};
use crate::store::{Batch, Precondition, StoreError};

/// A key that enters a set in a write.
pub struct Entering {
    /// Its kid, as in the record.
    pub kid: String,
    /// Its material, as in the record.
    pub material: String,
    /// The public JWK; `None` for symmetric keys.
    pub public_jwk: Option<String>,
    /// What is sealed; `None` for public keys.
    pub secret: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Entering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entering")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// One write of a key set.
#[derive(Debug)]
pub struct Change {
    /// The record as it shall be; its epoch is the present one plus 1.
    pub set: KeySet,
    /// The entry that it replaces; `None` for a new set.
    pub replaces: Option<Arc<SetEntry>>,
    /// The key that enters with it.
    pub entering: Option<Entering>,
    /// Who does it, kept where the write forces a promotion.
    pub actor: String,
    /// Remembered with the write.
    pub request: Option<Request>,
}

/// The turn to write key sets: from reading what is, over deciding, to the commit.
pub struct Turn {
    pub(super) vault: Arc<Vault>,
    pub(super) _turn: OwnedMutexGuard<()>,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}

impl Turn {
    /// The epoch that the next write carries.
    #[must_use]
    pub fn next_epoch(&self) -> u64 {
        self.vault.epoch().saturating_add(1)
    }

    /// Writes a key set by compare-and-swap and gives back the entry as it now is. A caller that stops waiting stops nothing: what
    /// was stored and not made known would hold back a revocation until somebody reads the store again.
    ///
    /// # Errors
    /// [`VaultError::Conflict`] where another replica was faster: refresh and decide again. [`VaultError::KidTaken`],
    /// [`VaultError::MaterialTaken`], [`VaultError::NameTaken`]. Nothing was written then.
    pub async fn commit(self, change: Change) -> Result<Arc<SetEntry>, VaultError> {
        let written = async move { self.commit_and_publish(change).await };
        finished(tokio::spawn(written.in_current_span()).await)
    }

    /// Remembers a request that had nothing to change.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn remember(self, request: &Request) -> Result<(), VaultError> {
        let batch = self.vault.remember(Batch::new(), request).await?;
        let stored = self.vault.store.commit(batch).await;
        stored
            .map(|_commit| ())
            .map_err(|error| VaultError::of_write(error, "", false))
    }

    async fn commit_and_publish(&self, change: Change) -> Result<Arc<SetEntry>, VaultError> {
        let vault = &self.vault;
        let set = &change.set;
        let (data_key, wrapped) = vault.data_key_or_fresh(&set.tenant).await?;
        let name = SetName::of(set);
        let (mut entry, sealed) = SetEntry::prepare(&change, &data_key)?;
        let (record, tag) = entry.write(&data_key)?;
        entry.tag = tag;
        let (head, epoch_revision) = {
            let view = vault.view();
            (
                view.heads
                    .with(&name, &entry)
                    .head(set.epoch, &vault.root)?,
                view.epoch_revision,
            )
        };
        let expected = change
            .replaces
            .as_ref()
            .map_or(Precondition::Absent, |old| {
                Precondition::Revision(old.store_revision)
            });
        let epoch_expected = if epoch_revision == 0 {
            Precondition::Absent
        } else {
            Precondition::Revision(epoch_revision)
        };
        let set_key = name.key();
        let mut batch = Batch::new()
            .check(&set_key, expected)
            .check(EPOCH, epoch_expected)
            .put(&set_key, record)
            .put(EPOCH, head)
            .put(changed_key(set.epoch), set_key.as_bytes());
        if let Some(old) = &change.replaces {
            batch = batch.delete(changed_key(old.set.epoch));
        }
        if let Some(wrapped) = wrapped {
            batch = batch
                .check(data_key_key(&set.tenant), Precondition::Absent)
                .put(data_key_key(&set.tenant), wrapped);
        }
        if let Some(entering) = &change.entering {
            batch = set::claims(batch, &set.tenant, entering, sealed);
        }
        if let Some(request) = &change.request {
            batch = vault.remember(batch, request).await?;
        }
        batch = set::erasures(batch, &change);
        let commit =
            vault.store.commit(batch).await.map_err(|error| {
                VaultError::of_write(error, &set_key, change.replaces.is_none())
            })?;
        entry.store_revision = commit;
        vault.remember_data_key(&set.tenant, &data_key);
        let (epoch, entry) = (set.epoch, Arc::new(entry));
        vault
            .view_mut()
            .put(name, Arc::clone(&entry), epoch, commit);
        vault.epochs.send_replace(epoch);
        Ok(entry)
    }
}

/// Nobody aborts a write: what does not come to its end has panicked, or the process ends.
fn finished<T>(written: Result<Result<T, VaultError>, JoinError>) -> Result<T, VaultError> {
    written.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_ended) => Err(VaultError::Store(StoreError::Unavailable(
            "the process ends".into(),
        ))),
    })
}
