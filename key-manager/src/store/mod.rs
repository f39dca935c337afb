//! The store: entries of bytes under keys, written by compare-and-swap.
//!
//! Engines know nothing of key sets, sealing or epochs: those sit above, once, in [`crate::vault`]. What an engine promises is
//! written as one contract suite (`store/contract.rs`) that each of them passes.

#[cfg(feature = "etcd")]
mod etcd;
mod memory;
mod migrate;
mod open;
mod replace;
mod sqlite;

#[cfg(test)]
mod contract;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use tokio::sync::watch;

#[cfg(feature = "etcd")]
pub use etcd::{EtcdOptions, EtcdStore};
pub use memory::MemoryStore;
pub use migrate::{MigrateError, Migration, Progress, migrate, release};
pub(crate) use open::look;
pub use open::{OpenError, open};
pub use replace::{Pair, Replacement, Snapshot};
pub use sqlite::{SqliteStore, peek};

/// The longest key of an entry, in bytes.
pub const MAX_KEY: usize = 512;

/// The entry that says that a store was moved, or is being moved, to another one: nobody may use it any more.
pub const MOVED: &str = "moved";

/// Entries in one page of a read from end to end.
const PAGE: usize = 500;

/// One entry as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub key: String,
    /// What it holds.
    pub value: Vec<u8>,
    /// The commit that wrote it. Commits are counted over the whole store and never repeat, so an entry that was
    /// deleted and written again has another revision.
    pub revision: u64,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Entry({} at {}, {} bytes)",
            self.key,
            self.revision,
            self.value.len()
        )
    }
}

/// What must hold of an entry for a commit to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// There is no such entry.
    Absent,
    /// The entry was last written by that commit.
    Revision(u64),
}

impl Precondition {
    fn holds(self, present: Option<u64>) -> bool {
        match self {
            Self::Absent => present.is_none(),
            Self::Revision(revision) => present == Some(revision),
        }
    }
}

/// A transaction: all of it happens, or nothing does.
#[derive(Clone, Default)]
pub struct Batch {
    checks: Vec<(String, Precondition)>,
    puts: Vec<(String, Vec<u8>)>,
    deletes: Vec<String>,
    erase: bool,
}

impl Batch {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Commits only where `precondition` holds of `key`.
    #[must_use]
    pub fn check(mut self, key: impl Into<String>, precondition: Precondition) -> Self {
        self.checks.push((key.into(), precondition));
        self
    }

    /// As [`Batch::check`], before every other check: where several fail, the error names this one.
    #[must_use]
    pub(crate) fn check_first(mut self, key: &str, precondition: Precondition) -> Self {
        self.checks.insert(0, (key.to_owned(), precondition));
        self
    }

    /// Whether it writes that entry.
    pub(crate) fn writes(&self, key: &str) -> bool {
        self.puts.iter().any(|(put, _)| put == key)
    }

    /// Writes an entry.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.puts.push((key.into(), value.into()));
        self
    }

    /// Deletes an entry; one that is not there is no error.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.deletes.push(key.into());
        self
    }

    /// What must hold for it to happen.
    #[must_use]
    pub fn checks(&self) -> &[(String, Precondition)] {
        &self.checks
    }

    /// What it writes.
    #[must_use]
    pub fn puts(&self) -> &[(String, Vec<u8>)] {
        &self.puts
    }

    /// What it deletes.
    #[must_use]
    pub fn deletes(&self) -> &[String] {
        &self.deletes
    }

    /// Leaves no copy of what this batch deletes or overwrites in the engine's own files, as far as the engine can.
    #[must_use]
    pub fn erase(mut self) -> Self {
        self.erase = true;
        self
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let puts: Vec<&str> = self.puts.iter().map(|(key, _)| key.as_str()).collect();
        f.debug_struct("Batch")
            .field("checks", &self.checks)
            .field("puts", &puts)
            .field("deletes", &self.deletes)
            .finish_non_exhaustive()
    }
}

/// What went wrong in a store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A precondition did not hold; nothing was written.
    #[error("the entry `{key}` is not what the write expects: read it again")]
    Conflict {
        /// The entry.
        key: String,
    },
    /// The store cannot be reached, or is busy.
    #[error("the store is unavailable: {0}")]
    Unavailable(Arc<str>),
    /// The store is in use by another process.
    #[error("the store is in use by another process: {0}")]
    InUse(Arc<str>),
    /// What is stored cannot be read.
    #[error("the store is damaged: {0}")]
    Damaged(Arc<str>),
    /// The request cannot be stored, now or later.
    #[error("the store refuses the request: {0}")]
    Refused(Arc<str>),
    /// The store does not let us in.
    #[error("the store refuses access: {0}")]
    Denied(Arc<str>),
    /// What is read was compacted away meanwhile: the read begins anew.
    #[error("the history that is read was compacted away: begin anew")]
    Compacted,
    /// The store was moved to another one.
    #[error(
        "the store was moved, or is being moved, to another one: use that, or `key-manager store release` where the move was given up"
    )]
    Moved,
    /// The store was restored from a backup since it was opened here.
    #[error("the store was restored from a backup: it is opened anew")]
    Replaced,
    /// The store is empty, and its anchor has seen a later epoch.
    #[error(
        "the store is empty, and its anchor has seen epoch {0}: restore a backup, or remove the anchor where the keys are meant to be gone"
    )]
    Behind(u64),
}

impl StoreError {
    /// Whether the same call may succeed later, unchanged.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Replaced)
    }

    /// Whether the call may succeed once the entries have been read again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}

/// What was written after some commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newer {
    /// Entries as they are, in the order of their keys. What was deleted is not among them.
    pub entries: Vec<Entry>,
    /// Everything up to this commit is in it.
    pub commit: u64,
}

/// Four verbs, and what those need who share a store.
#[async_trait]
pub trait KeyStore: fmt::Debug + Send + Sync + 'static {
    /// Reads one entry.
    ///
    /// # Errors
    /// [`StoreError`], never [`StoreError::Conflict`].
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Reads up to `limit` entries whose keys begin with `prefix`, in the order of their bytes, from the first key behind `after`.
    ///
    /// # Errors
    /// [`StoreError`], never [`StoreError::Conflict`].
    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;

    /// A view of everything as it stands at one moment. Writes go on meanwhile, and are not seen in it.
    ///
    /// # Errors
    /// [`StoreError`], never [`StoreError::Conflict`].
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Replaces everything that is stored, all or nothing, and gives the number of a commit that shows it. Of what was there before no copy stays in
    /// the engine's own files, as far as the engine can. While it goes on, other writes wait or are refused.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where a precondition does not hold, and what the replacement itself gives: nothing was changed then. After
    /// [`StoreError::Unavailable`] it may happen or not, as a whole; [`KeyStore::settle`] says so.
    async fn replace(&self, replacement: Replacement) -> Result<u64, StoreError>;

    /// Brings a replacement that was decided and broken off to its end. Whoever opens a store calls it first.
    ///
    /// # Errors
    /// [`StoreError`], never [`StoreError::Conflict`].
    async fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Executes a batch and gives the number of its commit. What it wrote survives the end of the process and of the machine.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where a precondition does not hold; then nothing was written. After [`StoreError::Unavailable`] it
    /// may have been written or not, as a whole.
    async fn commit(&self, batch: Batch) -> Result<u64, StoreError>;

    /// Where copies of what was erased stay nevertheless, and what erases them there, a sentence each. What stands here is
    /// right for an engine that keeps history in a replicated log.
    fn remains(&self) -> &'static [&'static str] {
        &[
            "etcd keeps old revisions: they are gone after compaction, and from the files of every member after its defragmentation",
            "raft logs and snapshots of every member hold the write: they are gone when the member has purged those files",
        ]
    }

    /// The number of the last commit, as it rises, whoever commits.
    fn watch(&self) -> watch::Receiver<u64>;

    /// Reads the entries whose keys begin with `prefix` and that were written after the commit `since`. It sees every commit
    /// that ended, in any process, before the call began.
    ///
    /// # Errors
    /// [`StoreError`], never [`StoreError::Conflict`].
    async fn newer(&self, prefix: &str, since: u64) -> Result<Newer, StoreError> {
        let commit = *self.watch().borrow();
        let mut newer = Newer {
            entries: Vec::new(),
            commit,
        };
        let mut after: Option<String> = None;
        loop {
            let page = self.scan(prefix, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(newer);
            };
            after = Some(last.key.clone());
            newer
                .entries
                .extend(page.into_iter().filter(|entry| entry.revision > since));
        }
    }

    /// Whether other processes may write to it at the same time.
    fn is_shared(&self) -> bool {
        false
    }
}

fn checked_key(key: &str) -> Result<(), StoreError> {
    match key.is_empty() || key.len() > MAX_KEY {
        true => Err(StoreError::Refused(
            format!("a key has 1 to {MAX_KEY} bytes, not {}", key.len()).into(),
        )),
        false => Ok(()),
    }
}

fn checked_batch(batch: &Batch) -> Result<(), StoreError> {
    let checks = batch.checks.iter().map(|(key, _)| key);
    let puts = batch.puts.iter().map(|(key, _)| key);
    checks
        .chain(puts)
        .chain(&batch.deletes)
        .try_for_each(|key| checked_key(key))
}
