//! Rotation of data keys and of the key-encryption key.
//!
//! ```text
//! rotate   one write: a new generation beside the older ones; of the root, with the entry `epoch` under it
//!            --> whatever is written from here on stands under it: each write checks that the data keys are those that it knows
//! re-seal  chunk by chunk, by compare-and-swap: what stands under an older generation is written once more under the newest
//! end      one write: the older generations go. A pass over everything has found nothing under them, and nothing can have come
//! ```
//!
//! A process that ends in between finds the older generations still there when it starts, and begins the pass anew. Replicas may run passes at
//! once: of two that re-seal the same entry one wins, and the other finds it done.

mod chunk;
mod counts;
mod pass;
mod work;

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use keyring::Time;
use tokio::sync::Notify;
use tracing::Instrument as _;

use super::{
    Request, Turn, Vault, VaultError,
    held::Held,
    rings::{MAX_GENERATIONS, ROOT_OWNER, entry_key},
    turn::finished,
};
use crate::store::{Batch, Entry};

use counts::Counts;
pub use pass::{Pass, Step};

/// What there is to do with the data keys of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Whose.
    pub owner: Owner,
    /// The generation that seals.
    pub generation: u32,
    /// Something may stand under an older one.
    pub reseal: bool,
    /// One of them is not wrapped by the present key-encryption key.
    pub rewrap: bool,
}

/// Whose data key it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// What belongs to no tenant.
    Root,
    /// A tenant.
    Tenant(String),
}

impl Owner {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Root => ROOT_OWNER,
            Self::Tenant(tenant) => tenant,
        }
    }

    fn of(name: &str) -> Self {
        match name {
            ROOT_OWNER => Self::Root,
            tenant => Self::Tenant(tenant.to_owned()),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("the root"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
        }
    }
}

/// A data key to rotate.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// Whose.
    pub owner: Owner,
    /// The time.
    pub now: Time,
    /// Remembered with the write.
    pub request: Option<Request>,
}

/// How far the data key of one owner has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKeys {
    /// Whose it is.
    pub owner: Owner,
    /// The generation that seals.
    pub present: u32,
    /// All that are kept, the oldest first.
    pub generations: Vec<Generation>,
    /// When the present one was made by a rotation.
    pub began: Option<Time>,
    /// When nothing was left under older ones.
    pub ended: Option<Time>,
    /// When it was counted.
    pub counted_at: Time,
}

impl DataKeys {
    /// Records and keys that stand under older generations.
    #[must_use]
    pub fn left(&self) -> u64 {
        let older = self.generations.iter();
        let older = older.filter(|generation| generation.generation != self.present);
        older.map(|one| one.records.saturating_add(one.keys)).sum()
    }
}

/// One generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number, from 1.
    pub generation: u32,
    /// Records under it.
    pub records: u64,
    /// Sealed keys under it.
    pub keys: u64,
    /// The public id of the key-encryption key that wraps it; empty where that is not known.
    pub kek: String,
}

/// How far the key-encryption key has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealingKeks {
    /// The public id of the present one.
    pub present: String,
    /// That of the one before.
    pub previous: Option<String>,
    /// Data keys that the present one does not wrap yet.
    pub left: usize,
}

/// How the store is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealing {
    /// The root's data key.
    pub root: DataKeys,
    /// Those of tenants, by tenant.
    pub tenants: Vec<DataKeys>,
    /// The key-encryption keys.
    pub keks: SealingKeks,
}

/// What is known here of passes and counts.
#[derive(Default)]
pub(super) struct State {
    root: Mutex<Option<(Time, Counts)>>,
    counting: tokio::sync::Mutex<()>,
    wake: Notify,
}

impl Turn {
    /// Makes a new generation of a data key. Like [`Turn::commit`] it ends even where its caller stops waiting.
    ///
    /// # Errors
    /// [`VaultError::NoDataKey`], [`VaultError::TooManyGenerations`], [`VaultError::Conflict`] where another replica was faster: refresh and ask
    /// again. Nothing was written then.
    pub async fn rotate_data_key(self, rotation: Rotation) -> Result<(), VaultError> {
        let rotated = async move { self.rotate(rotation).await };
        finished(tokio::spawn(rotated.in_current_span()).await)
    }

    async fn rotate(&self, rotation: Rotation) -> Result<(), VaultError> {
        let vault = &self.vault;
        let key = entry_key(rotation.owner.name());
        let stored = vault.store.get(&key).await?;
        let mut stored = stored.ok_or(VaultError::NoDataKey)?;
        let held = vault.reload_held(rotation.owner.name()).await?;
        if held.revision != stored.revision {
            return Err(VaultError::Conflict);
        }
        if held.record.keys.len() >= MAX_GENERATIONS {
            let generations = held.record.keys.len();
            return Err(VaultError::TooManyGenerations { generations });
        }
        stored.value = held.rotated(&vault.keks, &stored, rotation.now).await?;
        let mut next = Held::read(&vault.keks, rotation.owner.name(), &stored).await?;
        let mut batch = Vault::under(Batch::new(), &held).put(&key, stored.value);
        let mut heads = None;
        if rotation.owner == Owner::Root {
            let generation = next.ring.present();
            let view = vault.view();
            if view.epoch_revision != 0 {
                let under = view.heads_under(generation, next.ring.key(generation)?);
                let epoch = under.head(view.epoch, &next.ring)?;
                drop(view);
                batch = vault.with_epoch(batch, epoch);
                heads = Some(under);
            }
        }
        if let Some(request) = &rotation.request {
            batch = vault.remember(batch, request).await?;
        }
        let commit = vault.commit(batch).await;
        let commit = commit.map_err(|error| VaultError::of_write(error, "", false))?;
        next.revision = commit;
        vault.know_held(next);
        // What was counted says nothing of the new generation.
        *vault.root_count() = None;
        if let Some(heads) = heads {
            let mut view = vault.view_mut();
            (view.heads, view.epoch_revision) = (heads, commit);
        }
        vault.sealing.wake.notify_one();
        Ok(())
    }
}

impl Vault {
    /// Ends when a data key was rotated here.
    pub async fn rotated(&self) {
        self.sealing.wake.notified().await;
    }

    /// Reads which data keys there are, and what there is to do with them.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn sealing_work(&self) -> Result<Vec<Work>, VaultError> {
        let all = self.refresh_held().await?;
        let work = all.iter().map(|held| Work {
            owner: Owner::of(&held.owner),
            generation: held.ring.present(),
            reseal: held.is_resealing(),
            rewrap: held.not_under(self.keks.id()) > 0,
        });
        Ok(work.collect())
    }

    /// Wraps every generation of an owner's data key by the present key-encryption key; false where it is.
    ///
    /// # Errors
    /// [`VaultError`]; [`VaultError::Conflict`] where it was written meanwhile.
    pub async fn rewrap(&self, owner: &Owner) -> Result<bool, VaultError> {
        let key = entry_key(owner.name());
        let Some(mut stored) = self.store.get(&key).await? else {
            return Ok(false);
        };
        let held = Held::read(&self.keks, owner.name(), &stored).await?;
        if held.not_under(self.keks.id()) == 0 {
            return Ok(false);
        }
        stored.value = held.rewrapped(&self.keks, &stored).await?;
        self.replace_held(&held, stored).await?;
        Ok(true)
    }

    /// Writes an owner's entry anew, and leaves no copy of what it was.
    async fn replace_held(&self, held: &Held, mut stored: Entry) -> Result<(), VaultError> {
        let batch = Self::under(Batch::new(), held);
        let batch = batch.put(held.key(), stored.value.as_slice()).erase();
        stored.revision = self.commit(batch).await?;
        self.know_held(Held::read(&self.keks, &held.owner, &stored).await?);
        Ok(())
    }

    /// How the store is sealed: the root, and up to `limit` tenants behind `after` that `wanted` says yes to.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn sealing(
        &self,
        now: Time,
        (after, limit): (&str, usize),
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Sealing, VaultError> {
        // What another replica has written is counted too.
        self.refresh_shared().await?;
        let all = self.refresh_held().await?;
        let mut counts = self.count_tenants();
        let root = self.count_root(now).await?;
        let tenants = all.iter().filter(|held| {
            held.owner != ROOT_OWNER && held.owner.as_str() > after && wanted(&held.owner)
        });
        let tenants = tenants.take(limit).map(|held| {
            let counts = counts.remove(held.owner.as_str()).unwrap_or_default();
            data_keys(held, &counts, now)
        });
        Ok(Sealing {
            tenants: tenants.collect(),
            root: data_keys(&self.root(), &root.1, root.0),
            keks: self.sealing_keks(&all),
        })
    }

    fn sealing_keks(&self, all: &[Arc<Held>]) -> SealingKeks {
        let left = all.iter().map(|held| held.not_under(self.keks.id())).sum();
        SealingKeks {
            present: self.keks.id().to_owned(),
            previous: self.keks.previous_id().map(str::to_owned),
            left,
        }
    }
}

fn data_keys(held: &Held, counts: &Counts, counted_at: Time) -> DataKeys {
    let counts = counts::kept(held, counts);
    let generations = held.record.keys.iter().map(|key| {
        let (records, keys) = counts.get(&key.generation).copied().unwrap_or_default();
        Generation {
            generation: key.generation,
            records,
            keys,
            kek: key.kek.clone(),
        }
    });
    DataKeys {
        owner: Owner::of(&held.owner),
        present: held.ring.present(),
        generations: generations.collect(),
        began: held.record.began,
        ended: held.record.ended,
        counted_at,
    }
}

/// Whether some entry of the store is of no kind that is known, or of two.
#[cfg(test)]
pub(super) fn kinds_of(key: &str) -> usize {
    work::KINDS.iter().filter(|kind| kind.covers(key)).count()
}
