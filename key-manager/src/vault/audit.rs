//! What the audit log keeps in the store: its key, sealed, and the newest checkpoint of each chain. None of it moves the epoch.

use zeroize::Zeroizing;

use super::{
    PAGE, TRIES, Vault, VaultError, envelope,
    rings::{ROOT_OWNER, owner_of},
};
use crate::{
    audit::Anchor,
    seal::{KeyBinding, RecordBinding, Ring, SealError, generation_of},
    store::{Batch, Entry, Precondition, StoreError},
};

const KEY: &str = "audit-key";
const BINDING: KeyBinding<'static> = KeyBinding {
    tenant: "",
    set: "",
    kid: KEY,
    algorithm: "EdDSA",
    key_use: "audit",
};

impl Vault {
    /// The key that signs the audit log's checkpoints, PKCS#8; `None` where there is none yet.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn audit_key(&self) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let Some(sealed) = self.store.get(KEY).await? else {
            return Ok(None);
        };
        let opened = self.opened(ROOT_OWNER, &sealed, |rings, sealed| {
            open(rings.root, sealed)
        });
        opened.await.map(Some)
    }

    /// Keeps a key where there is none yet, and gives back the one that is kept: another replica may have been faster.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn keep_audit_key(&self, key: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        for _ in 0..TRIES {
            let root = self.root();
            let sealed = root.ring.seal(BINDING, key)?;
            let batch = Batch::new()
                .check(KEY, Precondition::Absent)
                .put(KEY, sealed);
            match self.commit(Self::under(batch, &root)).await {
                Err(error) if !error.is_conflict() => return Err(error.into()),
                _ => {}
            }
            if let Some(kept) = self.audit_key().await? {
                return Ok(kept);
            }
        }
        Err(VaultError::damaged(KEY, "is missing"))
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

    /// The newest checkpoint of every chain.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn anchors(&self) -> Result<Vec<Anchor>, VaultError> {
        let (mut anchors, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = self.store.scan("audit/", after.as_deref(), PAGE).await?;
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

fn open(root: &Ring, sealed: &Entry) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    root.open(BINDING, &sealed.value)
        .map_err(|error| match error {
            SealError::Generation(_) => VaultError::Seal(error),
            error => VaultError::damaged(KEY, error),
        })
}

/// The sealed key under the present generation.
pub(super) fn reseal_key(root: &Ring, sealed: &Entry) -> Result<Option<Vec<u8>>, VaultError> {
    if generation_of(&sealed.value)? == root.present() {
        return Ok(None);
    }
    Ok(Some(root.seal(BINDING, &open(root, sealed)?)?))
}

/// The checkpoint under the present generation.
pub(super) fn reseal(root: &Ring, entry: &Entry) -> Result<Option<Vec<u8>>, VaultError> {
    envelope::reseal(root, place(chain_of(entry)), |_: &Anchor| 0, &entry.value)
}

fn chain_of(entry: &Entry) -> &str {
    entry.key.strip_prefix("audit/").unwrap_or_default()
}

fn key(chain: &str) -> String {
    format!("audit/{chain}")
}

fn place(chain: &str) -> RecordBinding<'_> {
    RecordBinding {
        kind: "audit",
        tenant: "",
        name: chain,
        revision: 0,
    }
}
