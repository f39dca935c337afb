//! Key sets over a store: sealing, the record format, the epoch and what is known in memory, once, above every engine.
//!
//! | entry | what it holds |
//! | --- | --- |
//! | `root` | the root's data keys, wrapped: opening them proves the key-encryption key |
//! | `epoch` | the epoch and the heads of all shards, authenticated |
//! | `data-key/<tenant>` | the tenant's data keys, wrapped: every generation that something is under |
//! | `set/<tenant>/<name>` | a key set: states, policy, public keys and digests of sealed keys, authenticated |
//! | `key/<tenant>/<kid>` | a private key or secret, sealed; empty for public keys, so that a kid is taken once in its tenant |
//! | `material/<tenant>/<digest>` | the kid that has the material: the same key does not enter twice |
//! | `changed/<epoch>` | the set that this epoch wrote |
//! | `revoked/<tenant>/<set>/<id>` | a revocation of tokens: the last `iat`, and when it is forgotten; authenticated |
//! | `changed/<epoch>/<place>` | the revocations that this epoch wrote |
//! | `revoked-until` | up to when revocations are forgotten; authenticated |
//! | `request/<digest>`, `request-at/<time>/<digest>` | what a `request_id` did, for a day |
//! | `audit-key`, `audit/<chain>` | the key of the audit log, sealed; the newest checkpoint of each of its chains |
//! | `issued-key` | the keys of the records of issued tokens, sealed |
//! | `subscriber/<digest>` | an instance: acks, lease, clock; moves no epoch |
//! | `replica/<name>` | a key-manager that shares the store, and what its clock says; moves no epoch |
//! | `restored` | the last restore from a backup; every write compares that it is the one that the vault was opened with |
//!
//! A write of a key set is one transaction over all of these that it touches, and moves the epoch by one. Reads never touch the
//! store, but for sealed keys. Which data key an entry stands under is one table, in `sealing/work.rs`.

mod audit;
mod backup;
mod envelope;
mod error;
mod fence;
mod heads;
mod held;
mod issued;
mod load;
mod replica;
mod request;
mod rings;
mod root_secret;
mod sealing;
mod set;
mod subscriber;
mod token_head;
mod token_record;
mod tokens;
mod turn;
mod view;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio::sync::{Mutex, watch};
use zeroize::Zeroizing;

use crate::{
    seal::{Keks, SealError},
    store::{Batch, Entry, KeyStore, MOVED, Precondition, StoreError},
};

pub(crate) use backup::VERSION as BACKUP_FORMAT;
pub use backup::{
    Backup, FileError, Header, Incoming, Piece, Received, RestoreError, Restored, Restoring,
    Undone, UndoneKey, UndoneSet, remove_left_spools,
};
pub use error::VaultError;
pub use replica::Told;
pub use request::{MAX_REQUESTS, Remembered, Request};
pub use sealing::{DataKeys, Generation, Owner, Pass, Rotation, Sealing, SealingKeks, Step, Work};
pub use set::{KeyFacts, SetEntry, SetName};
pub use subscriber::{Instance, Scope};
pub use tokens::{Forgetting, Revoking};
pub use turn::{Change, Entering, Turn};
pub use view::{Changes, RevokedTokens, Whole};

use fence::Fenced;
use held::Held;
use rings::{Known, ROOT_OWNER};
use view::View;

/// The entry with the root data key.
pub const ROOT: &str = "root";
const EPOCH: &str = "epoch";
const PAGE: usize = 500;
const TRIES: usize = 8;

/// Proves that the key-encryption keys open a store with that root entry; a store without one is new.
///
/// # Errors
/// [`VaultError::Kek`]; [`VaultError::Damaged`] where the entry is not what the right key has wrapped.
pub async fn check_keks(keks: &Keks, root: Option<&Entry>) -> Result<(), VaultError> {
    match root {
        Some(root) => Held::read(keks, ROOT_OWNER, root).await.map(|_root| ()),
        None => Ok(()),
    }
}

/// Key sets over a store.
pub struct Vault {
    store: Arc<dyn KeyStore>,
    fence: Arc<Fenced>,
    keks: Keks,
    known: Known,
    sealing: sealing::State,
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
    pub async fn open(store: Arc<dyn KeyStore>, keks: impl Into<Keks>) -> Result<Self, VaultError> {
        let keks = keks.into();
        let fence = Arc::new(Fenced::over(store).await?);
        let store: Arc<dyn KeyStore> = fence.clone();
        let root = open_root(store.as_ref(), &keks).await?;
        let vault = Self {
            fence,
            known: Known::new(root),
            keks,
            sealing: sealing::State::default(),
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
        let key = set::blob_key(&entry.set.tenant, kid);
        let version = entry.set.version(kid);
        let mut wanted = entry.sealed_digest(kid);
        let mut ring = self.data_key(&entry.set.tenant).await?;
        for _ in 0..TRIES {
            let Some(digest) = &wanted else {
                return Ok(None);
            };
            let Some(blob) = self
                .store
                .get(&key)
                .await?
                .filter(|blob| !blob.value.is_empty())
            else {
                return self.without_blob(entry, kid, &key);
            };
            if set::digest(&blob.value) != *digest {
                // It may have been re-sealed since the record was read.
                let fresh = self.sealed_since(entry, kid).await?;
                if fresh == wanted {
                    break;
                }
                wanted = fresh;
                continue;
            }
            let version =
                version.ok_or_else(|| VaultError::damaged(&key, "belongs to no version"))?;
            match ring.open(set::binding(&entry.set, version), &blob.value) {
                Err(SealError::Generation(_)) => {
                    ring = Arc::clone(&self.reload_held(&entry.set.tenant).await?.ring);
                }
                opened => {
                    return opened
                        .map(Some)
                        .map_err(|error| VaultError::damaged(&key, error));
                }
            }
        }
        Err(VaultError::damaged(
            &key,
            "is not what the record of its set says",
        ))
    }

    /// The digest of a sealed key as the record of its set has it by now.
    async fn sealed_since(
        &self,
        entry: &SetEntry,
        kid: &str,
    ) -> Result<Option<String>, VaultError> {
        let name = SetName::of(&entry.set);
        if let Some(same) = self.reread(&name).await? {
            return Ok(same.sealed_digest(kid));
        }
        self.refresh_shared().await?;
        let present = self.get(&name);
        Ok(present.and_then(|present| present.sealed_digest(kid)))
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

    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open_root(store: &dyn KeyStore, keks: &Keks) -> Result<Held, VaultError> {
    if store.get(MOVED).await?.is_some() {
        return Err(VaultError::Store(StoreError::Moved));
    }
    // Other replicas may begin on the same empty store; one of them makes the root.
    let empty = store.scan("", None, 1).await?.is_empty();
    if let Some(root) = store.get(ROOT).await? {
        return Held::read(keks, ROOT_OWNER, &root).await;
    }
    if !empty {
        return Err(VaultError::damaged(
            ROOT,
            "is missing: it was removed, or a move into this store did not come to its end",
        ));
    }
    let (_, bytes) = Held::fresh(keks, ROOT_OWNER).await?;
    let batch = Batch::new()
        .check(ROOT, Precondition::Absent)
        .put(ROOT, bytes);
    let made = store.commit(batch).await;
    match (made, store.get(ROOT).await?) {
        (Err(error), _) if !error.is_conflict() => Err(error.into()),
        (_, Some(root)) => Held::read(keks, ROOT_OWNER, &root).await,
        (_, None) => Err(VaultError::damaged(ROOT, "is missing")),
    }
}

fn changed_key(epoch: u64) -> String {
    format!("changed/{epoch:020}")
}
