//! The store as one vault uses it: a vault that was opened before a restore writes nothing after it.
//!
//! A restore replaces the keys that records are authenticated with. What a vault from before wrote could be read by nobody. So the entry
//! `restored` is written with each restore, and every write of a vault compares that it is the one that the vault was opened with.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::watch;

use super::EPOCH;
use crate::store::{
    Batch, Entry, KeyStore, Newer, Precondition, Replacement, Snapshot, StoreError,
};

/// The entry that is written with each restore.
pub(super) const RESTORED: &str = "restored";

/// Epochs beyond are no epochs: an instance that names one is not believed.
const HIGHEST: u64 = 1 << 53;

/// A store that is as it was when it was opened, as far as restores go.
pub(super) struct Fenced {
    inner: Arc<dyn KeyStore>,
    expected: Precondition,
    replaced: watch::Sender<bool>,
    /// The highest epoch that anybody has seen.
    witnessed: AtomicU64,
    /// Above 0: no epoch is written before a restore.
    behind: AtomicU64,
}

impl Fenced {
    /// Brings a restore that was broken off to its end, and opens what there is then.
    pub(super) async fn over(inner: Arc<dyn KeyStore>) -> Result<Self, StoreError> {
        inner.settle().await?;
        let expected = restored(inner.as_ref()).await?;
        Ok(Self {
            inner,
            expected,
            replaced: watch::Sender::new(false),
            witnessed: AtomicU64::new(0),
            behind: AtomicU64::new(0),
        })
    }

    /// The store itself, and what of it a restore expects.
    pub(super) fn inner(&self) -> (&Arc<dyn KeyStore>, Precondition) {
        (&self.inner, self.expected)
    }

    /// [`StoreError::Replaced`] where the store was restored since it was opened. Of a shared store, a restore that goes on is waited for.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        self.inner.settle().await?;
        match restored(self.inner.as_ref()).await? == self.expected {
            true => Ok(()),
            false => Err(self.replaced()),
        }
    }

    /// From now on this vault is one of before.
    pub(super) fn replaced(&self) -> StoreError {
        self.replaced.send_replace(true);
        StoreError::Replaced
    }

    pub(super) fn watch_replaced(&self) -> watch::Receiver<bool> {
        self.replaced.subscribe()
    }

    pub(super) fn witness(&self, epoch: u64) {
        if epoch < HIGHEST {
            self.witnessed.fetch_max(epoch, Ordering::Relaxed);
        }
    }

    pub(super) fn witnessed(&self) -> u64 {
        self.witnessed.load(Ordering::Relaxed)
    }

    pub(super) fn hold(&self, behind: u64) {
        self.behind.store(behind, Ordering::Relaxed);
    }
}

async fn restored(store: &dyn KeyStore) -> Result<Precondition, StoreError> {
    let entry = store.get(RESTORED).await?;
    Ok(entry.map_or(Precondition::Absent, |entry| {
        Precondition::Revision(entry.revision)
    }))
}

impl fmt::Debug for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl KeyStore for Fenced {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.inner.get(key).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.inner.scan(prefix, after, limit).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.inner.snapshot().await
    }

    async fn replace(&self, replacement: Replacement) -> Result<u64, StoreError> {
        self.inner.replace(replacement).await
    }

    async fn settle(&self) -> Result<(), StoreError> {
        self.inner.settle().await
    }

    async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        let behind = self.behind.load(Ordering::Relaxed);
        if behind > 0 && batch.writes(EPOCH) {
            return Err(StoreError::Behind(behind));
        }
        match self
            .inner
            .commit(batch.check_first(RESTORED, self.expected))
            .await
        {
            Err(StoreError::Conflict { key }) if key == RESTORED => Err(self.replaced()),
            done => done,
        }
    }

    fn remains(&self) -> &'static [&'static str] {
        self.inner.remains()
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.inner.watch()
    }

    async fn newer(&self, prefix: &str, since: u64) -> Result<Newer, StoreError> {
        self.inner.newer(prefix, since).await
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }
}
