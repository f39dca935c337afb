//! The data keys of every owner, a tenant or the root: how they are stored, and what is known of them here.
//!
//! An owner's generations stand in one entry, each wrapped, beside the public id of the key-encryption key that wraps it. The entry is authenticated
//! with the newest of them. Before there were generations it was the wrapped key alone; that form is read as a first generation.
//!
//! **Whoever writes under a data key checks that its owner's entry is still the one that he knows** ([`Vault::under`]). So from the moment of a
//! rotation nothing new comes to stand under an older generation, whoever writes, and once everything was re-sealed the older
//! one can go.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::{PAGE, ROOT, TRIES, Vault, VaultError, envelope::Rings, held::Held};
use crate::{
    seal::{Ring, SealError},
    store::{Batch, Entry, Precondition, StoreError},
};

/// The owner of what belongs to no tenant.
pub(super) const ROOT_OWNER: &str = "";

const PREFIX: &str = "data-key/";

/// Generations of one owner at most.
pub(super) const MAX_GENERATIONS: usize = 16;

/// What is known of all owners.
pub(super) struct Known {
    root: RwLock<Arc<Held>>,
    tenants: RwLock<HashMap<String, Arc<Held>>>,
}

impl Known {
    pub(super) fn new(root: Held) -> Self {
        Self {
            root: RwLock::new(Arc::new(root)),
            tenants: RwLock::default(),
        }
    }
}

impl Vault {
    /// The root's data keys. What is written under them goes through [`Vault::under`] with the same.
    pub(super) fn root(&self) -> Arc<Held> {
        let root = self.known.root.read();
        Arc::clone(&root.unwrap_or_else(PoisonError::into_inner))
    }

    /// Those of an owner, where they were read before.
    pub(super) fn known_held(&self, owner: &str) -> Option<Arc<Held>> {
        if owner == ROOT_OWNER {
            return Some(self.root());
        }
        let tenants = self.known.tenants.read();
        tenants
            .unwrap_or_else(PoisonError::into_inner)
            .get(owner)
            .cloned()
    }

    /// Those of an owner.
    pub(super) async fn held(&self, owner: &str) -> Result<Arc<Held>, VaultError> {
        match self.known_held(owner) {
            Some(known) => Ok(known),
            None => self.reload_held(owner).await,
        }
    }

    /// Reads those of an owner anew: another replica may have rotated, or removed what nothing is under any more.
    pub(super) async fn reload_held(&self, owner: &str) -> Result<Arc<Held>, VaultError> {
        let key = entry_key(owner);
        let entry = self.store.get(&key).await?;
        let entry = entry.ok_or_else(|| VaultError::damaged(&key, "is missing"))?;
        self.take_held(owner, &entry).await
    }

    async fn take_held(&self, owner: &str, entry: &Entry) -> Result<Arc<Held>, VaultError> {
        let known = self.known_held(owner);
        // Also where it was read late, and what is known is newer.
        if let Some(known) = known
            .as_ref()
            .filter(|known| known.revision >= entry.revision)
        {
            return Ok(Arc::clone(known));
        }
        let held = Held::read(&self.keks, owner, entry).await?;
        if let Some(known) = known
            && held.ring.present() < known.ring.present()
        {
            let problem = "went back to an older data key: an older store was put in place";
            return Err(VaultError::damaged(&entry.key, problem));
        }
        Ok(self.know_held(held))
    }

    /// A late reader never puts an older entry in the place of a newer one.
    pub(super) fn know_held(&self, held: Held) -> Arc<Held> {
        let held = Arc::new(held);
        if held.owner == ROOT_OWNER {
            let root = self.known.root.write();
            let mut root = root.unwrap_or_else(PoisonError::into_inner);
            if root.revision < held.revision {
                *root = held;
            }
            return Arc::clone(&root);
        }
        let tenants = self.known.tenants.write();
        let mut tenants = tenants.unwrap_or_else(PoisonError::into_inner);
        let known = tenants
            .entry(held.owner.clone())
            .or_insert_with(|| Arc::clone(&held));
        if known.revision < held.revision {
            *known = held;
        }
        Arc::clone(known)
    }

    /// Those of all tenants that were read before.
    pub(super) fn known_owners(&self) -> Vec<Arc<Held>> {
        let tenants = self.known.tenants.read();
        let tenants = tenants.unwrap_or_else(PoisonError::into_inner);
        tenants.values().cloned().collect()
    }

    /// Reads every owner's entry that was written since it was read last, and gives all owners.
    pub(super) async fn refresh_held(&self) -> Result<Vec<Arc<Held>>, VaultError> {
        let mut all = vec![self.reload_held(ROOT_OWNER).await?];
        let mut after: Option<String> = None;
        loop {
            let page = self.store.scan(PREFIX, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = Some(last.key.clone());
            for entry in &page {
                let owner = entry.key.strip_prefix(PREFIX).unwrap_or_default();
                all.push(self.take_held(owner, entry).await?);
            }
        }
    }

    /// A batch that only happens while these data keys are the ones of their owner. Everything that is sealed or authenticated is written so.
    pub(super) fn under(batch: Batch, held: &Held) -> Batch {
        match held.revision {
            0 => batch.check(held.key(), Precondition::Absent),
            revision => batch.check(held.key(), Precondition::Revision(revision)),
        }
    }

    /// Commits. Where data keys were rotated meanwhile they are read anew, so that who tries once more does so under the new ones.
    pub(super) async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        let committed = self.store.commit(batch).await;
        if let Err(StoreError::Conflict { key }) = &committed
            && let Some(owner) = owner_of(key)
            && let Err(error) = self.reload_held(owner).await
        {
            tracing::warn!(%error, entry = key, "data keys that another replica has changed cannot be read");
        }
        committed
    }

    /// Reads an entry. Where it stands under a generation that is not known here, data keys and entry are read anew: another replica
    /// has rotated, or has re-sealed the entry since.
    pub(super) async fn opened<T>(
        &self,
        owner: &str,
        entry: &Entry,
        read: impl Fn(Rings<'_>, &Entry) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let (held, root) = (self.held(owner).await?, self.root());
        let first = read(
            Rings {
                owner: &held.ring,
                root: &root.ring,
            },
            entry,
        );
        let Err(VaultError::Seal(mut unknown @ SealError::Generation(_))) = first else {
            return first;
        };
        for _ in 0..TRIES {
            let held = self.reload_held(owner).await?;
            let root = self.reload_held(ROOT_OWNER).await?;
            let again = self.store.get(&entry.key).await?;
            let again = again.ok_or_else(|| {
                StoreError::Unavailable("an entry was removed while it was read".into())
            })?;
            let rings = Rings {
                owner: &held.ring,
                root: &root.ring,
            };
            match read(rings, &again) {
                Err(VaultError::Seal(error @ SealError::Generation(_))) => unknown = error,
                done => return done,
            }
        }
        Err(VaultError::damaged(&entry.key, unknown))
    }

    /// The tenant's data keys.
    ///
    /// # Errors
    /// [`VaultError`] where it has none, or the key-encryption key does not open them.
    pub async fn data_key(&self, tenant: &str) -> Result<Arc<Ring>, VaultError> {
        Ok(Arc::clone(&self.held(tenant).await?.ring))
    }

    /// The tenant's data keys; fresh ones, with their entry, where it has none yet.
    pub(super) async fn held_or_fresh(
        &self,
        tenant: &str,
    ) -> Result<(Arc<Held>, Option<Vec<u8>>), VaultError> {
        if let Some(known) = self.known_held(tenant) {
            return Ok((known, None));
        }
        if self.store.get(&entry_key(tenant)).await?.is_some() {
            return Ok((self.held(tenant).await?, None));
        }
        let (held, bytes) = Held::fresh(&self.keks, tenant).await?;
        Ok((Arc::new(held), Some(bytes)))
    }
}

pub(super) fn entry_key(owner: &str) -> String {
    match owner {
        ROOT_OWNER => ROOT.to_owned(),
        tenant => format!("{PREFIX}{tenant}"),
    }
}

/// Whose data keys an entry holds.
pub(super) fn owner_of(key: &str) -> Option<&str> {
    match key {
        ROOT => Some(ROOT_OWNER),
        key => key.strip_prefix(PREFIX),
    }
}
