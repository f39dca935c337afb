//! Entries in memory: for tests, and for what need not outlive the process.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Batch, Entry, KeyStore, StoreError, checked_batch, checked_key};

/// A store that ends with the process.
pub struct MemoryStore {
    entries: Mutex<BTreeMap<String, (Vec<u8>, u64)>>,
    commits: watch::Sender<u64>,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: Mutex::default(),
            commits: watch::Sender::new(0),
        }
    }

    /// A panic while the lock was held leaves the map whole: every change below is a single insert or remove.
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, (Vec<u8>, u64)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({} entries)", self.entries().len())
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        checked_key(key)?;
        let entries = self.entries();
        Ok(entries.get(key).map(|(value, revision)| Entry {
            key: key.to_owned(),
            value: value.clone(),
            revision: *revision,
        }))
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let entries = self.entries();
        let found = entries
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix));
        let entry = |(key, (value, revision)): (&String, &(Vec<u8>, u64))| Entry {
            key: key.clone(),
            value: value.clone(),
            revision: *revision,
        };
        Ok(found.take(limit).map(entry).collect())
    }

    async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        checked_batch(&batch)?;
        let mut entries = self.entries();
        for (key, precondition) in &batch.checks {
            if !precondition.holds(entries.get(key).map(|(_, revision)| *revision)) {
                return Err(StoreError::Conflict { key: key.clone() });
            }
        }
        let commit = self.commits.borrow().saturating_add(1);
        for key in &batch.deletes {
            entries.remove(key);
        }
        for (key, value) in batch.puts {
            entries.insert(key, (value, commit));
        }
        self.commits.send_replace(commit);
        Ok(commit)
    }

    fn remains(&self) -> &'static [&'static str] {
        &[]
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }
}
