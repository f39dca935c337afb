//! Entries in memory: for tests, and for what need not outlive the process.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    Batch, Entry, KeyStore, Replacement, Snapshot, StoreError, checked_batch, checked_key,
};

type Entries = BTreeMap<String, (Vec<u8>, u64)>;

/// A store that ends with the process.
pub struct MemoryStore {
    entries: Mutex<Entries>,
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
    fn entries(&self) -> MutexGuard<'_, Entries> {
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
        Ok(page(&self.entries(), prefix, after, limit))
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(MemorySnapshot(self.entries().clone())))
    }

    async fn replace(&self, mut replacement: Replacement) -> Result<u64, StoreError> {
        let mut replacing = Entries::new();
        while let Some(part) = replacement.next().await? {
            replacing.extend(part.into_iter().map(|(key, value)| (key, (value, 0))));
        }
        let mut entries = self.entries();
        for (key, precondition) in &replacement.checks {
            if !precondition.holds(entries.get(key).map(|(_, revision)| *revision)) {
                return Err(StoreError::Conflict { key: key.clone() });
            }
        }
        let commit = self.commits.borrow().saturating_add(1);
        for (_, revision) in replacing.values_mut() {
            *revision = commit;
        }
        *entries = replacing;
        self.commits.send_replace(commit);
        Ok(commit)
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

/// A copy of the map.
struct MemorySnapshot(Entries);

impl fmt::Debug for MemorySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemorySnapshot({} entries)", self.0.len())
    }
}

#[async_trait]
impl Snapshot for MemorySnapshot {
    async fn page(&self, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        Ok(page(&self.0, "", after, limit))
    }
}

fn page(entries: &Entries, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Entry> {
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let found = entries
        .range::<str, _>((start, Bound::Unbounded))
        .take_while(|(key, _)| key.starts_with(prefix));
    let entry = |(key, (value, revision)): (&String, &(Vec<u8>, u64))| Entry {
        key: key.clone(),
        value: value.clone(),
        revision: *revision,
    };
    found.take(limit).map(entry).collect()
}
