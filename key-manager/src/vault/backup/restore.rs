//! From a file to the store.

use std::{fmt, path::Path, sync::Arc};

use keyring::Time;
use serde::Serialize;
use tokio::sync::mpsc;

use super::{FileError, Header, Undone, feed::feed, file::Opener, spool::Spool};
use crate::{
    seal::Keks,
    store::{KeyStore, Pair, Precondition, Replacement, StoreError},
    vault::{
        EPOCH, ROOT, Remembered, Request, Vault, VaultError,
        audit::{KEY as AUDIT_KEY, PREFIX as AUDIT},
        fence::RESTORED,
    },
};

/// The largest file, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024 * 1024;

/// Why a restore did not happen. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file is not what it should be.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is too large.
    #[error("the file is larger than {MAX_FILE} bytes")]
    TooLarge,
    /// The frames are genuine, and what they hold does not fit together.
    #[error("the file does not hold a whole store: {0}")]
    Content(VaultError),
    /// The file cannot be kept while it is received.
    #[error("{folder}: the file cannot be kept here while it is restored: {problem}")]
    Spool {
        /// The folder.
        folder: Arc<str>,
        /// What the disk said.
        problem: Arc<str>,
    },
    /// It would undo something, and is not forced.
    #[error("it would undo what was done since: {0}; force it where that is meant")]
    WouldUndo(Box<Undone>),
    /// The request id was used for something else.
    #[error("the request id was used for a different request; use a fresh one")]
    RequestReused,
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        Self::Vault(error.into())
    }
}

/// A file that is being received.
pub struct Incoming {
    keks: Keks,
    opener: Opener,
    spool: Spool,
    folder: Arc<str>,
    received: u64,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// A file that is whole, and whose every record and sealed key opens.
pub struct Received {
    header: Header,
    sha256: [u8; 32],
    vault: Vault,
    spool: Spool,
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// How to restore.
#[derive(Clone, Debug, Default)]
pub struct Restoring {
    /// Also where that undoes something.
    pub force: bool,
    /// Only say what would be.
    pub dry_run: bool,
    /// Who asks.
    pub caller: String,
    /// Empty = a retry may act twice.
    pub request_id: String,
    /// The time.
    pub now: Time,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What it undid, or would.
    pub undone: Undone,
    /// The epoch after it, or the one that it would have.
    pub epoch: u64,
    /// Whether the same request had been executed before.
    pub repeated: bool,
}

/// What the entry `restored` says, for people.
#[derive(Serialize)]
struct Mark<'a> {
    at: u64,
    by: &'a str,
    epoch: u64,
    backup_of: u64,
    backup_epoch: u64,
    forced: bool,
}

impl Vault {
    /// Begins to receive a file into a database of its own in `folder`.
    ///
    /// # Errors
    /// [`RestoreError::Spool`].
    pub async fn receive(&self, folder: &Path) -> Result<Incoming, RestoreError> {
        let name: Arc<str> = folder.display().to_string().into();
        let spool = Spool::new(folder)
            .await
            .map_err(|error| spool_error(&name, &error))?;
        Ok(Incoming {
            keks: self.keks.clone(),
            opener: Opener::new(),
            spool,
            folder: name,
            received: 0,
        })
    }

    /// As [`Vault::restore_telling`], and nobody is told.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub async fn restore(
        self: &Arc<Self>,
        received: Received,
        restoring: &Restoring,
    ) -> Result<Restored, RestoreError> {
        self.restore_telling(received, restoring, || {}).await
    }

    /// Puts what was received in the place of everything, or says what that would undo. Once it is decided, `decided` is called and
    /// it happens; spawn it.
    ///
    /// # Errors
    /// [`RestoreError`]. [`VaultError::Conflict`] where the store was written meanwhile.
    pub async fn restore_telling(
        self: &Arc<Self>,
        received: Received,
        restoring: &Restoring,
        decided: impl FnOnce() + Send,
    ) -> Result<Restored, RestoreError> {
        self.refresh_shared().await?;
        self.refresh_instances().await?;
        // Other replicas may write all the same: then the epoch is not the expected one, and nothing is replaced.
        let _turn = self.turn().await;
        let epoch = self.epoch_above(&received.header);
        if self.did_before(restoring, &received).await? {
            return Ok(Restored {
                undone: Undone::default(),
                epoch: self.epoch(),
                repeated: true,
            });
        }
        let undone = self.undone_by(&received.vault, restoring.now);
        if restoring.dry_run {
            return Ok(Restored {
                undone,
                epoch,
                repeated: false,
            });
        }
        if !undone.is_empty() && !restoring.force {
            return Err(RestoreError::WouldUndo(Box::new(undone)));
        }
        decided();
        self.replace_all(received, restoring, epoch, !undone.is_empty())
            .await?;
        Ok(Restored {
            undone,
            epoch,
            repeated: false,
        })
    }

    /// Above every epoch that is known: of this store, of the file, of acks, of instances that were turned away and of the anchor.
    fn epoch_above(&self, header: &Header) -> u64 {
        let instances = self.instances();
        let acked = instances
            .iter()
            .filter_map(|instance| instance.subscriber.acked_epoch());
        let known = [self.epoch(), header.epoch, self.fence.witnessed()];
        known
            .into_iter()
            .chain(acked)
            .max()
            .unwrap_or_default()
            .saturating_add(1)
    }

    /// Whether this request was executed: it is remembered by the store that it made.
    async fn did_before(
        &self,
        restoring: &Restoring,
        received: &Received,
    ) -> Result<bool, RestoreError> {
        if restoring.request_id.is_empty() || restoring.dry_run {
            return Ok(false);
        }
        match self.recall(&self.request_of(restoring, received)).await? {
            Remembered::New => Ok(false),
            Remembered::Done(_) => Ok(true),
            Remembered::Different => Err(RestoreError::RequestReused),
        }
    }

    fn request_of(&self, restoring: &Restoring, received: &Received) -> Request {
        let content = [b"restore".as_slice(), &received.sha256].concat();
        self.request(
            &restoring.caller,
            &restoring.request_id,
            &content,
            restoring.now,
        )
    }

    async fn replace_all(
        &self,
        received: Received,
        restoring: &Restoring,
        epoch: u64,
        forced: bool,
    ) -> Result<(), RestoreError> {
        let own = self.own_entries(&received, restoring, epoch, forced)?;
        // The log is the one of these machines, and so are its key and its checkpoints.
        let audit = self.audit_entries_for(&received.vault).await?;
        let (inner, expected) = self.fence.inner();
        let written = match self.view().epoch_revision {
            0 => Precondition::Absent,
            revision => Precondition::Revision(revision),
        };
        let (parts, entries) = mpsc::channel(2);
        let replacement = Replacement {
            checks: vec![(RESTORED.to_owned(), expected), (EPOCH.to_owned(), written)],
            entries,
        };
        let spooled = received.spool.store()?;
        let is_own = |key: &str| {
            key == EPOCH || !audit.is_empty() && (key == AUDIT_KEY || key.starts_with(AUDIT))
        };
        let fed = feed(
            spooled.as_ref(),
            is_own,
            [own, audit.clone()].concat(),
            parts,
        );
        let (replaced, ()) = tokio::join!(inner.replace(replacement), fed);
        replaced?;
        // Not an error here: from now on this vault writes nothing more.
        let _replaced = self.fence.replaced();
        tracing::info!(
            epoch,
            backup_epoch = received.header.epoch,
            forced,
            "the store was restored from a backup"
        );
        Ok(())
    }

    /// What the restored store holds besides what is in the file: under the keys of the file.
    fn own_entries(
        &self,
        received: &Received,
        restoring: &Restoring,
        epoch: u64,
        forced: bool,
    ) -> Result<Vec<Pair>, RestoreError> {
        let then = &received.vault;
        let head = then.view().heads.head(epoch, &then.root().ring)?;
        let mark = Mark {
            at: restoring.now.as_millis(),
            by: &restoring.caller,
            epoch,
            backup_of: received.header.created_at,
            backup_epoch: received.header.epoch,
            forced,
        };
        let mark =
            serde_json::to_vec(&mark).map_err(|error| VaultError::damaged(RESTORED, error))?;
        let mut own = vec![(EPOCH.to_owned(), head), (RESTORED.to_owned(), mark)];
        own.extend(self.instance_entries_for(then, |_| true)?);
        if !restoring.request_id.is_empty() {
            own.extend(then.request_entries(&then.request_of(restoring, received))?);
        }
        Ok(own)
    }
}

impl Incoming {
    /// Takes the next bytes of the file in.
    ///
    /// # Errors
    /// [`RestoreError`]; the file is refused then.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.received = self.received.saturating_add(more);
        if self.received > MAX_FILE {
            return Err(RestoreError::TooLarge);
        }
        let records = self.opener.push(&self.keks, bytes).await?;
        let put = self.spool.put(records).await;
        put.map_err(|error| spool_error(&self.folder, &error))
    }

    /// Bytes received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The file has come to its end: opens everything that it holds.
    ///
    /// # Errors
    /// [`RestoreError`]; the file is refused then.
    pub async fn finish(self) -> Result<Received, RestoreError> {
        let (header, sha256) = self.opener.finish()?;
        let store: Arc<dyn KeyStore> = self.spool.store()?;
        let content = RestoreError::Content;
        if store.get(ROOT).await?.is_none() {
            let missing = VaultError::damaged(ROOT, "is missing");
            return Err(content(missing));
        }
        let vault = Vault::open(store, self.keks).await.map_err(content)?;
        if vault.epoch() != header.epoch {
            let other = VaultError::damaged(EPOCH, "is not the one that the header names");
            return Err(content(other));
        }
        for entry in vault.all().1 {
            for version in &entry.set.versions {
                vault.secret(&entry, &version.kid).await.map_err(content)?;
            }
        }
        Ok(Received {
            header,
            sha256,
            vault,
            spool: self.spool,
        })
    }
}

impl Received {
    /// What the file holds.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The tenants with key sets in it.
    #[must_use]
    pub fn tenants(&self) -> std::collections::BTreeSet<String> {
        self.vault.tenants()
    }
}

fn spool_error(folder: &Arc<str>, error: &StoreError) -> RestoreError {
    RestoreError::Spool {
        folder: Arc::clone(folder),
        problem: error.to_string().into(),
    }
}
