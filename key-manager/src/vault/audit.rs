//! What the audit log keeps in the store: its key, sealed, and the newest checkpoint of each chain. None of it moves the epoch.

use zeroize::Zeroizing;

use super::{
    PAGE, TRIES, Vault, VaultError, envelope,
    rings::{ROOT_OWNER, owner_of},
    root_secret::RootSecret,
};
use crate::{
    audit::Anchor,
    seal::{RecordBinding, Ring},
    store::{Batch, Entry, Pair, StoreError},
};

pub(super) const KEY: &str = "audit-key";
pub(super) const PREFIX: &str = "audit/";
const SECRET: RootSecret = RootSecret::new(KEY, "EdDSA", "audit");

impl Vault {
    /// The key that signs the audit log's checkpoints, PKCS#8; `None` where there is none yet.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn audit_key(&self) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        SECRET.read(self).await
    }

    /// Keeps a key where there is none yet, and gives back the one that is kept: another replica may have been faster.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn keep_audit_key(&self, key: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        SECRET.keep(self, key).await
    }

    /// Keeps a checkpoint as the newest of its chain.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn anchor(&self, anchor: &Anchor) -> Result<(), VaultError> {
        let chain = &anchor.statement.chain;
        for _ in 0..TRIES {
            let root = self.root();
            let (record, _) = envelope::write(&root.ring, place(chain), anchor)?;
            let batch = Batch::new().put(key(chain), record);
            match self.commit(Self::under(batch, &root)).await {
                Err(StoreError::Conflict { key }) if owner_of(&key).is_some() => {}
                Err(error) => return Err(error.into()),
                Ok(_commit) => return Ok(()),
            }
        }
        Err(VaultError::Conflict)
    }

    /// The entries of this module as a store with the root key of `other` has them.
    pub(super) async fn audit_entries_for(&self, other: &Self) -> Result<Vec<Pair>, VaultError> {
        let (mut entries, root) = (Vec::new(), other.root());
        if let Some(opened) = self.audit_key().await? {
            entries.push(SECRET.sealed(&root.ring, &opened)?);
        }
        for anchor in self.anchors().await? {
            let chain = &anchor.statement.chain;
            let (record, _) = envelope::write(&root.ring, place(chain), &anchor)?;
            entries.push((key(chain), record));
        }
        Ok(entries)
    }

    /// The newest checkpoint of every chain.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn anchors(&self) -> Result<Vec<Anchor>, VaultError> {
        let (mut anchors, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = self.store.scan(PREFIX, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(anchors);
            };
            after = Some(last.key.clone());
            for entry in &page {
                let read = self.opened(ROOT_OWNER, entry, |rings, entry| {
                    let place = place(chain_of(entry));
                    envelope::read(rings.root, place, |_: &Anchor| 0, &entry.value)
                });
                let (anchor, _) = read.await?;
                if key(&anchor.statement.chain) != entry.key {
                    return Err(VaultError::damaged(&entry.key, "was moved"));
                }
                anchors.push(anchor);
            }
        }
    }
}

/// The sealed key under the present generation.
pub(super) fn reseal_key(root: &Ring, sealed: &Entry) -> Result<Option<Vec<u8>>, VaultError> {
    SECRET.reseal(root, sealed)
}

/// The checkpoint under the present generation.
pub(super) fn reseal(root: &Ring, entry: &Entry) -> Result<Option<Vec<u8>>, VaultError> {
    envelope::reseal(root, place(chain_of(entry)), |_: &Anchor| 0, &entry.value)
}

fn chain_of(entry: &Entry) -> &str {
    entry.key.strip_prefix(PREFIX).unwrap_or_default()
}

fn key(chain: &str) -> String {
    format!("{PREFIX}{chain}")
}

fn place(chain: &str) -> RecordBinding<'_> {
    RecordBinding {
        kind: "audit",
        tenant: "",
        name: chain,
        revision: 0,
    }
}
