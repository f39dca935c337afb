//! Key sets over a store: sealing, the record format, the epoch and what is known in memory, once, above every engine.
//!
//! | entry | what it holds |
//! | --- | --- |
//! | `root` | the root data key, wrapped: opening it proves the key-encryption key |
//! | `epoch` | the epoch and the heads of all shards, authenticated |
//! | `data-key/<tenant>` | the tenant's data key, wrapped |
//! | `set/<tenant>/<name>` | a key set: states, policy, public keys and digests of sealed keys, authenticated |
//! | `key/<tenant>/<kid>` | a private key or secret, sealed; empty for public keys, so that a kid is taken once in its tenant |
//! | `material/<tenant>/<digest>` | the kid that has the material: the same key does not enter twice |
//! | `changed/<epoch>` | the set that this epoch wrote |
//! | `revoked/<tenant>/<set>/<id>` | a revocation of tokens: the last `iat`, and when it is forgotten; authenticated |
//! | `changed/<epoch>/<place>` | the revocations that this epoch wrote |
//! | `revoked-until` | up to when revocations are forgotten; authenticated |
//! | `request/<digest>`, `request-at/<time>/<digest>` | what a `request_id` did, for a day |
//! | `audit-key`, `audit/<chain>` | the key of the audit log, sealed; the newest checkpoint of each of its chains |
//! | `subscriber/<digest>` | an instance: acks, lease, clock; moves no epoch |
//! | `restored` | the last restore from a backup; every write compares that it is the one that the vault was opened with |
//!
//! A write of a key set is one transaction over all of these that it touches, and moves the epoch by one. Reads never touch the
//! store, but for sealed keys.

mod audit;
mod backup;
mod envelope;
mod error;
mod fence;
mod heads;
mod load;
mod request;
mod set;
mod subscriber;
mod token_head;
mod tokens;
mod turn;
mod view;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio::sync::{Mutex, watch};
use zeroize::Zeroizing;

use crate::{
    seal::{DataKey, KekError, KeyEncryptionKey, fresh_key},
    store::{Batch, Entry, KeyStore, MOVED, Precondition, StoreError},
};

pub(crate) use backup::VERSION as BACKUP_FORMAT;
pub use backup::{
    Backup, FileError, Header, Incoming, Piece, Received, RestoreError, Restored, Restoring,
    Undone, UndoneKey, UndoneSet, remove_left_spools,
};
pub use error::VaultError;
pub use request::{MAX_REQUESTS, Remembered, Request};
pub use set::{KeyFacts, SetEntry, SetName};
pub use subscriber::{Instance, Scope};
pub use tokens::{Forgetting, Revoking};
pub use turn::{Change, Entering, Turn};
pub use view::{Changes, RevokedTokens, Whole};

use fence::Fenced;
use view::View;

/// The entry with the root data key.
pub const ROOT: &str = "root";
const EPOCH: &str = "epoch";
const PAGE: usize = 500;
const TRIES: usize = 8;

/// Proves that `kek` is the key of a store with that root entry; a store without one is new.
///
/// # Errors
/// [`KekError::Wrong`].
pub async fn check_kek(kek: &dyn KeyEncryptionKey, root: Option<&Entry>) -> Result<(), KekError> {
    match root {
        Some(root) => kek
            .unwrap("", &root.value)
            .await
            .map(|_key| ())
            .map_err(|_refused| KekError::Wrong),
        None => Ok(()),
    }
}

/// Key sets over a store.
pub struct Vault {
    store: Arc<dyn KeyStore>,
    fence: Arc<Fenced>,
    kek: Arc<dyn KeyEncryptionKey>,
    root: DataKey,
    data_keys: RwLock<HashMap<String, Arc<DataKey>>>,
    view: RwLock<View>,
    instances: subscriber::Instances,
    turn: Arc<Mutex<()>>,
    epochs: watch::Sender<u64>,
    requests: request::Count,
    garbage: tokens::Garbage,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("store", &self.store)
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// Opens the store, or makes a new one of it, and checks everything that is authenticated.
    ///
    /// # Errors
    /// [`VaultError`]; a wrong key-encryption key is [`VaultError::Kek`], and nothing was written then.
    pub async fn open(
        store: Arc<dyn KeyStore>,
        kek: Arc<dyn KeyEncryptionKey>,
    ) -> Result<Self, VaultError> {
        let fence = Arc::new(Fenced::over(store).await?);
        let store: Arc<dyn KeyStore> = fence.clone();
        let root = open_root(store.as_ref(), kek.as_ref()).await?;
        let vault = Self {
            fence,
            root,
            kek,
            data_keys: RwLock::default(),
            view: RwLock::new(View::new()),
            instances: subscriber::Instances::default(),
            turn: Arc::default(),
            epochs: watch::Sender::new(0),
            requests: request::Count::default(),
            garbage: tokens::Garbage::default(),
            store,
        };
        match vault.load().await {
            Ok(()) => Ok(vault),
            // What was read belongs to two stores where one was restored meanwhile.
            Err(error) => Err(vault.unless_replaced(error).await),
        }
    }

    async fn load(&self) -> Result<(), VaultError> {
        self.load_sets().await?;
        self.load_instances().await?;
        self.count_requests().await
    }

    /// The present epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.view().epoch
    }

    /// Whether other processes may write to the store at the same time.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    /// The epoch as it rises.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.epochs.subscribe()
    }

    /// One key set.
    #[must_use]
    pub fn get(&self, name: &SetName) -> Option<Arc<SetEntry>> {
        self.view().sets.get(name).cloned()
    }

    /// All key sets by name, and the epoch that they show.
    #[must_use]
    pub fn all(&self) -> (u64, Vec<Arc<SetEntry>>) {
        let view = self.view();
        (view.epoch, view.sets.values().cloned().collect())
    }

    /// Everything that an instance may be fed, of one epoch.
    #[must_use]
    pub fn whole(&self) -> Whole {
        self.view().whole()
    }

    /// Up to `limit` key sets of a tenant behind the name `after` that `wanted` says yes to.
    #[must_use]
    pub fn page(
        &self,
        tenant: &str,
        after: &str,
        limit: usize,
        wanted: impl Fn(&SetName) -> bool,
    ) -> Vec<Arc<SetEntry>> {
        let from = SetName::new(tenant, after);
        let view = self.view();
        let behind = view
            .sets
            .range((std::ops::Bound::Excluded(from), std::ops::Bound::Unbounded));
        let of_tenant = behind.take_while(|(name, _)| name.tenant == tenant);
        of_tenant
            .filter(|(name, _)| wanted(name))
            .take(limit)
            .map(|(_, entry)| Arc::clone(entry))
            .collect()
    }

    /// What was written after `epoch`, up to about `limit` key sets.
    #[must_use]
    pub fn changes_since(&self, epoch: u64, limit: usize) -> Changes {
        self.view().changes_since(epoch, limit)
    }

    /// Waits for the turn to write key sets.
    pub async fn turn(self: &Arc<Self>) -> Turn {
        Turn {
            vault: Arc::clone(self),
            _turn: Arc::clone(&self.turn).lock_owned().await,
        }
    }

    /// Opens a private key (PKCS#8 DER) or secret. `None` for public keys, and for those that are destroyed by now.
    ///
    /// # Errors
    /// [`VaultError`], where what is stored is not what the record says.
    pub async fn secret(
        &self,
        entry: &SetEntry,
        kid: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let Some(digest) = entry
            .keys
            .get(kid)
            .and_then(|facts| facts.sealed.as_deref())
        else {
            return Ok(None);
        };
        let key = set::blob_key(&entry.set.tenant, kid);
        let Some(blob) = self
            .store
            .get(&key)
            .await?
            .filter(|blob| !blob.value.is_empty())
        else {
            return self.without_blob(entry, kid, &key);
        };
        if set::digest(&blob.value) != digest {
            return Err(VaultError::damaged(
                &key,
                "is not what the record of its set says",
            ));
        }
        let version = entry
            .set
            .version(kid)
            .ok_or_else(|| VaultError::damaged(&key, "belongs to no version"))?;
        let data_key = self.data_key(&entry.set.tenant).await?;
        let opened = data_key.open(set::binding(&entry.set, version), &blob.value);
        opened
            .map(Some)
            .map_err(|error| VaultError::damaged(&key, error))
    }

    /// The entry was read a moment ago: where its key was destroyed since there is nothing to open, else somebody took it away.
    fn without_blob<T>(
        &self,
        entry: &SetEntry,
        kid: &str,
        key: &str,
    ) -> Result<Option<T>, VaultError> {
        let present = self.get(&SetName::of(&entry.set));
        let facts = present.as_ref().and_then(|present| present.keys.get(kid));
        match facts.is_some_and(|facts| facts.sealed.is_some()) {
            true => Err(VaultError::damaged(key, "is missing")),
            false => Ok(None),
        }
    }

    /// Where copies of an erased key stay, and what erases them there: those of the engine, then backups.
    #[must_use]
    pub fn remains(&self) -> Vec<String> {
        let engine = self.store.remains().iter();
        engine
            .chain(&[
                "backups made before hold the sealed key: it is gone from them when they are deleted, or when the key-encryption key that they are sealed with is destroyed",
            ])
            .map(|sentence| (*sentence).to_owned())
            .collect()
    }

    /// The tenant's data key; a fresh one, with its wrapped form, where it has none yet.
    async fn data_key_or_fresh(
        &self,
        tenant: &str,
    ) -> Result<(Arc<DataKey>, Option<Vec<u8>>), VaultError> {
        if self.store.get(&data_key_key(tenant)).await?.is_some() {
            return Ok((self.data_key(tenant).await?, None));
        }
        let key = fresh_key()?;
        let wrapped = self.kek.wrap(tenant, &key).await?;
        Ok((Arc::new(DataKey::new(&key)?), Some(wrapped)))
    }

    /// The tenant's data key.
    ///
    /// # Errors
    /// [`VaultError`] where it has none, or the key-encryption key does not open it.
    pub async fn data_key(&self, tenant: &str) -> Result<Arc<DataKey>, VaultError> {
        if let Some(known) = self
            .data_keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(tenant)
        {
            return Ok(Arc::clone(known));
        }
        let key = data_key_key(tenant);
        let wrapped = self
            .store
            .get(&key)
            .await?
            .ok_or_else(|| VaultError::damaged(&key, "is missing"))?;
        let opened = self
            .kek
            .unwrap(tenant, &wrapped.value)
            .await
            .map_err(|error| VaultError::damaged(&key, error))?;
        let opened = Arc::new(DataKey::new(&opened)?);
        self.remember_data_key(tenant, &opened);
        Ok(opened)
    }

    fn remember_data_key(&self, tenant: &str, key: &Arc<DataKey>) {
        let mut known = self
            .data_keys
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        known.insert(tenant.to_owned(), Arc::clone(key));
    }

    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open_root(
    store: &dyn KeyStore,
    kek: &dyn KeyEncryptionKey,
) -> Result<DataKey, VaultError> {
    if store.get(MOVED).await?.is_some() {
        return Err(VaultError::Store(StoreError::Moved));
    }
    // Other replicas may begin on the same empty store; one of them makes the root.
    let empty = store.scan("", None, 1).await?.is_empty();
    if let Some(root) = store.get(ROOT).await? {
        return open_root_key(kek, &root).await;
    }
    if !empty {
        return Err(VaultError::damaged(
            ROOT,
            "is missing: it was removed, or a move into this store did not come to its end",
        ));
    }
    let key = fresh_key()?;
    let wrapped = kek.wrap("", &key).await?;
    let batch = Batch::new()
        .check(ROOT, Precondition::Absent)
        .put(ROOT, wrapped);
    match (store.commit(batch).await, store.get(ROOT).await?) {
        (Ok(_), _) => Ok(DataKey::new(&key)?),
        (Err(error), Some(root)) if error.is_conflict() => open_root_key(kek, &root).await,
        (Err(error), _) => Err(error.into()),
    }
}

async fn open_root_key(kek: &dyn KeyEncryptionKey, root: &Entry) -> Result<DataKey, VaultError> {
    let key = kek
        .unwrap("", &root.value)
        .await
        .map_err(|_refused| KekError::Wrong)?;
    Ok(DataKey::new(&key)?)
}

fn changed_key(epoch: u64) -> String {
    format!("changed/{epoch:020}")
}

fn data_key_key(tenant: &str) -> String {
    format!("data-key/{tenant}")
}
