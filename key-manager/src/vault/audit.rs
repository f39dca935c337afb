//! What the audit log keeps in the store: its key, sealed, and the newest checkpoint of each chain. None of it moves the epoch.

use zeroize::Zeroizing;

use super::{PAGE, Vault, VaultError, envelope};
use crate::{
    audit::Anchor,
    seal::{KeyBinding, RecordBinding},
    store::{Batch, Pair, Precondition},
};

pub(super) const KEY: &str = "audit-key";
pub(super) const PREFIX: &str = "audit/";
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
        let opened = self.root.open(BINDING, &sealed.value);
        opened
            .map(Some)
            .map_err(|error| VaultError::damaged(KEY, error))
    }

    /// Keeps a key where there is none yet, and gives back the one that is kept: another replica may have been faster.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn keep_audit_key(&self, key: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let sealed = self.root.seal(BINDING, key)?;
        let batch = Batch::new()
            .check(KEY, Precondition::Absent)
            .put(KEY, sealed);
        match self.store.commit(batch).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
        self.audit_key()
            .await?
            .ok_or_else(|| VaultError::damaged(KEY, "is missing"))
    }

    /// Keeps a checkpoint as the newest of its chain.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn anchor(&self, anchor: &Anchor) -> Result<(), VaultError> {
        let chain = &anchor.statement.chain;
        let (record, _) = envelope::write(&self.root, place(chain), anchor)?;
        let batch = Batch::new().put(key(chain), record);
        self.store.commit(batch).await?;
        Ok(())
    }

    /// The entries of this module as a store with the root key of `other` has them.
    pub(super) async fn audit_entries_for(&self, other: &Self) -> Result<Vec<Pair>, VaultError> {
        let mut entries = Vec::new();
        if let Some(opened) = self.audit_key().await? {
            entries.push((KEY.to_owned(), other.root.seal(BINDING, &opened)?));
        }
        for anchor in self.anchors().await? {
            let chain = &anchor.statement.chain;
            let (record, _) = envelope::write(&other.root, place(chain), &anchor)?;
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
                let chain = entry.key.strip_prefix(PREFIX).unwrap_or_default();
                let (anchor, _) =
                    envelope::read(&self.root, place(chain), |_: &Anchor| 0, &entry.value)?;
                if key(&anchor.statement.chain) != entry.key {
                    return Err(VaultError::damaged(&entry.key, "was moved"));
                }
                anchors.push(anchor);
            }
        }
    }
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
