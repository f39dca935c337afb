//! Everything in one sealed file, and back.
//!
//! A backup takes every entry of the store but those that belong to the moment, whatever kinds there are. A restore puts them in the place of what
//! there is, with an epoch above every one that anybody has seen, so that whoever remembers an epoch goes on.
//!
//! ```text
//! receive: frame by frame into a database of its own beside the store --> whole, and it opens: every record and every sealed key
//!     --> what would it undo? --> everything is replaced, all or nothing --> every vault over the store is one of before, and is opened anew
//! ```

mod feed;
mod file;
mod restore;
mod spool;
mod undone;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt};

use keyring::Time;

use super::{
    EPOCH, PAGE, SetName, Vault, VaultError, fence::RESTORED, heads::Head, rings::ROOT_OWNER,
};
use crate::store::{Entry, MOVED, Snapshot};

pub use file::{FileError, Header};
pub use restore::{Incoming, Received, RestoreError, Restored, Restoring};
pub use spool::remove_left_spools;
pub use undone::{Undone, UndoneKey, UndoneSet};

pub(crate) use file::VERSION;

use file::Sealer;

/// What is no part of a backup: who is connected, who serves, what was asked lately, the order of recent writes, marks of moves and restores.
fn belongs_to_the_moment(key: &str) -> bool {
    let kinds = [
        "subscriber/",
        "replica/",
        "request/",
        "request-at/",
        "changed/",
    ];
    let marks = [MOVED, "arriving", RESTORED];
    kinds.iter().any(|kind| key.starts_with(kind)) || marks.contains(&key)
}

/// A backup that is being taken: it shows one moment, however long it takes.
pub struct Backup {
    header: Header,
    start: Option<Vec<u8>>,
    sealer: Option<Sealer>,
    snapshot: Box<dyn Snapshot>,
    after: Option<String>,
}

/// A piece of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The next bytes of the file.
    Bytes(Vec<u8>),
    /// Its last bytes.
    Last {
        /// Those.
        bytes: Vec<u8>,
        /// The size of the whole file.
        size: u64,
        /// Its digest.
        sha256: [u8; 32],
    },
}

impl fmt::Debug for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backup")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// The tenants with key sets.
    #[must_use]
    pub fn tenants(&self) -> BTreeSet<String> {
        let view = self.view();
        view.sets.keys().map(|name| name.tenant.clone()).collect()
    }

    /// Somebody has seen this epoch: a restore sets one above it.
    pub fn witness(&self, epoch: u64) {
        self.fence.witness(epoch);
    }

    /// Moves no epoch until a restore: a witness has seen `epoch`, and the store is empty.
    pub fn hold_until_restored(&self, epoch: u64) {
        self.witness(epoch);
        self.fence.hold(epoch);
    }

    /// Returns once the store was restored, here or by another process: this vault writes nothing any more, and is to be opened anew.
    pub async fn replaced(&self) {
        let mut replaced = self.fence.watch_replaced();
        // The sender lives as long as the vault.
        let _told = replaced.wait_for(|replaced| *replaced).await;
    }

    /// Whether that is so by now.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        *self.fence.watch_replaced().borrow()
    }

    /// Begins a backup of everything as it stands now. `kek` says where the key-encryption key comes from, for people.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn backup(&self, now: Time, kek: &str) -> Result<Backup, VaultError> {
        let snapshot = self.store.snapshot().await?;
        let mut header = Header {
            created_at: now.as_millis(),
            kek: kek.to_owned(),
            ..Header::default()
        };
        self.count(snapshot.as_ref(), &mut header).await?;
        let (sealer, start) = Sealer::begin(&self.keks, &header).await?;
        Ok(Backup {
            header,
            start: Some(start),
            sealer: Some(sealer),
            snapshot,
            after: None,
        })
    }

    async fn count(&self, snapshot: &dyn Snapshot, header: &mut Header) -> Result<(), VaultError> {
        let (mut after, mut tenants) = (None::<String>, BTreeSet::new());
        loop {
            let page = snapshot.page(after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for entry in kept(&page) {
                header.entries += 1;
                if entry.key == EPOCH {
                    let head = self.opened(ROOT_OWNER, entry, |rings, entry| {
                        Head::read(rings.root, &entry.value)
                    });
                    header.epoch = head.await?.0.epoch;
                } else if let Some(name) = SetName::of_key(&entry.key) {
                    header.key_sets += 1;
                    tenants.insert(name.tenant);
                } else if entry.key.starts_with("key/") {
                    header.keys += u64::from(!entry.value.is_empty());
                } else if entry.key.starts_with("revoked/") {
                    header.token_revocations += 1;
                }
            }
        }
        header.tenants = u64::try_from(tenants.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

impl Backup {
    /// What it holds.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next piece; `None` behind the last.
    ///
    /// # Errors
    /// [`VaultError`]; the backup is broken off then.
    pub async fn next(&mut self) -> Result<Option<Piece>, VaultError> {
        if let Some(start) = self.start.take() {
            return Ok(Some(Piece::Bytes(start)));
        }
        let Some(sealer) = &mut self.sealer else {
            return Ok(None);
        };
        let page = self.snapshot.page(self.after.as_deref(), PAGE).await?;
        if let Some(last) = page.last() {
            self.after = Some(last.key.clone());
            let mut bytes = Vec::new();
            for entry in kept(&page) {
                bytes.extend(sealer.add(&entry.key, &entry.value)?.unwrap_or_default());
            }
            return Ok(Some(Piece::Bytes(bytes)));
        }
        match self.sealer.take() {
            Some(sealer) => {
                let (bytes, size, sha256) = sealer.end()?;
                Ok(Some(Piece::Last {
                    bytes,
                    size,
                    sha256,
                }))
            }
            None => Ok(None),
        }
    }
}

fn kept(page: &[Entry]) -> impl Iterator<Item = &Entry> {
    page.iter()
        .filter(|entry| !belongs_to_the_moment(&entry.key))
}

/// A file of whatever a store holds, for tests of files that no vault would write.
#[cfg(test)]
pub(super) async fn seal_raw(
    store: &dyn crate::store::KeyStore,
    kek: &crate::seal::Keks,
    epoch: u64,
) -> Vec<u8> {
    let page = store.scan("", None, 10_000).await.unwrap();
    let entries: Vec<&Entry> = kept(&page).collect();
    let header = Header {
        epoch,
        entries: u64::try_from(entries.len()).unwrap(),
        ..Header::default()
    };
    let (mut sealer, mut file) = Sealer::begin(kek, &header).await.unwrap();
    for entry in entries {
        file.extend(
            sealer
                .add(&entry.key, &entry.value)
                .unwrap()
                .unwrap_or_default(),
        );
    }
    file.extend(sealer.end().unwrap().0);
    file
}
