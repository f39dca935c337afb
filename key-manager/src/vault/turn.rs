//! Writing key sets: one turn at a time, each write one transaction.

use std::{fmt, sync::Arc};

use keyring::KeySet;
use tokio::{sync::OwnedMutexGuard, task::JoinError};
use tracing::Instrument as _;
use zeroize::Zeroizing;

use super::{Request, SetEntry, SetName, TRIES, Vault, VaultError, changed_key, rings, set};
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
        for _ in 0..TRIES {
            let batch = self.vault.remember(Batch::new(), request).await?;
            match self.vault.commit(batch).await {
                Err(StoreError::Conflict { key }) if rings::owner_of(&key).is_some() => {}
                Err(error) => return Err(VaultError::of_write(error, "", false)),
                Ok(_commit) => return Ok(()),
            }
        }
        Err(VaultError::Conflict)
    }

    /// Tries once more where only what the write stands under has changed: data keys were rotated, or the record was re-sealed.
    async fn commit_and_publish(&self, change: Change) -> Result<Arc<SetEntry>, VaultError> {
        let name = SetName::of(&change.set);
        let set_key = name.key();
        for _ in 0..TRIES {
            let refused = match self.try_commit(&change, &name).await? {
                Ok(entry) => return Ok(entry),
                Err(refused) => refused,
            };
            let again = match &refused {
                StoreError::Conflict { key } if rings::owner_of(key).is_some() => true,
                StoreError::Conflict { key } if *key == set_key && change.replaces.is_some() => {
                    self.vault.reread(&name).await?.is_some()
                }
                _ => false,
            };
            if !again {
                let creates = change.replaces.is_none();
                return Err(VaultError::of_write(refused, &set_key, creates));
            }
        }
        Err(VaultError::Conflict)
    }

    async fn try_commit(
        &self,
        change: &Change,
        name: &SetName,
    ) -> Result<Result<Arc<SetEntry>, StoreError>, VaultError> {
        let vault = &self.vault;
        let set = &change.set;
        let (held, fresh) = vault.held_or_fresh(&set.tenant).await?;
        let root = vault.root();
        let replaces = change.replaces.as_ref().map(|old| vault.same_write(old));
        let (mut entry, sealed) = SetEntry::prepare(change, replaces.as_deref(), &held.ring)?;
        let (record, written) = entry.write(&held.ring)?;
        entry.sealed = written;
        let generation = root.ring.present();
        let key = root.ring.key(generation)?;
        let mut heads = vault.view().heads_under(generation, key);
        heads.put(name, &entry);
        let head = heads.head(set.epoch, &root.ring)?;
        let expected = replaces.as_ref().map_or(Precondition::Absent, |old| {
            Precondition::Revision(old.store_revision)
        });
        let set_key = name.key();
        let mut batch = Batch::new()
            .check(&set_key, expected)
            .put(&set_key, record)
            .put(changed_key(set.epoch), set_key.as_bytes());
        batch = Vault::under(vault.with_epoch(batch, head), &root);
        batch = Vault::under(batch, &held);
        if let Some(old) = &change.replaces {
            batch = batch.delete(changed_key(old.set.epoch));
        }
        let is_fresh = fresh.is_some();
        if let Some(fresh) = fresh {
            batch = batch.put(held.key(), fresh);
        }
        if let Some(entering) = &change.entering {
            batch = set::claims(batch, &set.tenant, entering, sealed);
        }
        if let Some(request) = &change.request {
            batch = vault.remember(batch, request).await?;
        }
        batch = set::erasures(batch, change);
        let commit = match vault.commit(batch).await {
            Ok(commit) => commit,
            Err(refused) => return Ok(Err(refused)),
        };
        entry.store_revision = commit;
        let (epoch, entry) = (set.epoch, Arc::new(entry));
        {
            let mut view = vault.view_mut();
            (view.heads.tokens, view.heads.tokens_under) = (heads.tokens, heads.tokens_under);
            view.put(name.clone(), Arc::clone(&entry), epoch, commit);
        }
        vault.epochs.send_replace(epoch);
        if is_fresh && let Err(error) = vault.held(&set.tenant).await {
            // It is written; who needs it next reads it.
            tracing::debug!(%error, tenant = set.tenant, "the first data key is read later");
        }
        Ok(Ok(entry))
    }
}

impl Vault {
    /// The entry as it is known by now, where that is the same write: it may have been re-sealed.
    fn same_write(&self, old: &Arc<SetEntry>) -> Arc<SetEntry> {
        let present = self.get(&SetName::of(&old.set));
        let same = present.filter(|present| present.is_same_write(old));
        same.unwrap_or_else(|| Arc::clone(old))
    }
}

/// Nobody aborts a write: what does not come to its end has panicked, or the process ends.
pub(super) fn finished<T>(
    written: Result<Result<T, VaultError>, JoinError>,
) -> Result<T, VaultError> {
    written.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_ended) => Err(VaultError::Store(StoreError::Unavailable(
            "the process ends".into(),
        ))),
    })
}
