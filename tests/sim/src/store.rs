//! The store as each key-manager reaches it: a real one behind a line that takes time, fails, and loses answers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use key_manager::store::{
    Batch, Entry, KeyStore, MemoryStore, Newer, Precondition, Replacement, Snapshot, StoreError,
};
use tokio::sync::watch;

use crate::bug::Bug;
use crate::clock::NodeClock;
use crate::sim::{Sim, lock};

/// The disk, or the etcd behind all replicas.
pub(crate) struct Disk {
    present: Mutex<Arc<MemoryStore>>,
    reachable: AtomicBool,
    read_only: AtomicBool,
}

impl Disk {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            present: Mutex::new(Arc::new(MemoryStore::new())),
            reachable: AtomicBool::new(true),
            read_only: AtomicBool::new(false),
        })
    }

    pub(crate) fn present(&self) -> Arc<MemoryStore> {
        Arc::clone(&lock(&self.present))
    }

    pub(crate) fn set_reachable(&self, reachable: bool) {
        self.reachable.store(reachable, Ordering::Relaxed);
    }

    /// Puts another store in place; `read_only`, as an operator mounts a backup. Gives back the one that was there.
    pub(crate) fn replace(&self, with: Arc<MemoryStore>, read_only: bool) -> Arc<MemoryStore> {
        self.read_only.store(read_only, Ordering::Relaxed);
        std::mem::replace(&mut lock(&self.present), with)
    }
}

/// A copy of everything that is in a store.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn copy_of(store: &MemoryStore) -> Result<Arc<MemoryStore>, StoreError> {
    let copy = Arc::new(MemoryStore::new());
    // Revisions are the numbers of commits: they are made again by committing each entry at its own.
    let mut entries = store.scan("", None, usize::MAX).await?;
    entries.sort_by_key(|entry| entry.revision);
    let mut at = 0;
    let mut rest = entries.into_iter().peekable();
    while let Some(entry) = rest.next() {
        while at + 1 < entry.revision {
            at = copy.commit(Batch::new()).await?;
        }
        let revision = entry.revision;
        let mut batch = Batch::new().put(entry.key, entry.value);
        while let Some(more) = rest.next_if(|more| more.revision == revision) {
            batch = batch.put(more.key, more.value);
        }
        at = copy.commit(batch).await?;
    }
    Ok(copy)
}

/// One start of one key-manager's connection to it.
pub(crate) struct Line {
    pub(crate) sim: Sim,
    pub(crate) disk: Arc<Disk>,
    pub(crate) replica: usize,
    pub(crate) clock: NodeClock,
    /// False once the process is dead: what it left under way goes no further.
    pub(crate) alive: Arc<AtomicBool>,
    pub(crate) shared: bool,
    /// What a planted bug keeps here instead of in the store.
    memory: Mutex<BTreeMap<String, Entry>>,
}

impl Line {
    pub(crate) fn new(
        sim: Sim,
        disk: Arc<Disk>,
        (replica, clock): (usize, NodeClock),
        alive: Arc<AtomicBool>,
    ) -> Self {
        let shared = sim.world().replicas > 1;
        Self {
            sim,
            disk,
            replica,
            clock,
            alive,
            shared,
            memory: Mutex::default(),
        }
    }

    /// One way. Fails where the store cannot be reached, or the caller is no more.
    async fn way(&self) -> Result<Arc<MemoryStore>, StoreError> {
        let takes = self.sim.within(self.sim.world().store);
        self.sim.sleep(takes).await;
        let reachable = self.disk.reachable.load(Ordering::Relaxed);
        match reachable && self.alive.load(Ordering::Relaxed) {
            true => Ok(self.disk.present()),
            false => Err(StoreError::Unavailable("it does not answer".into())),
        }
    }

    fn remembered(&self, prefix: &str) -> Vec<Entry> {
        let memory = lock(&self.memory);
        let own = memory.values().filter(|own| own.key.starts_with(prefix));
        own.cloned().collect()
    }

    /// The planted bug: what instances report never reaches the store.
    fn remember(&self, batch: &Batch, commit: u64) -> bool {
        let mut memory = lock(&self.memory);
        let of_instance = |key: &String| key.starts_with("subscriber/");
        let mut checks = batch.checks().iter();
        let replaces = checks.any(|(_, precondition)| *precondition != Precondition::Absent);
        if !replaces || !batch.puts().iter().all(|(key, _)| of_instance(key)) {
            return false;
        }
        for (key, value) in batch.puts() {
            let entry = Entry {
                key: key.clone(),
                value: value.clone(),
                revision: commit,
            };
            memory.insert(key.clone(), entry);
        }
        !batch.puts().is_empty()
    }

    fn written(&self, batch: &Batch) {
        let sim = &self.sim;
        let mut truth = sim.truth();
        let found = truth.committed(sim.now(), (self.replica, &self.clock), batch);
        drop(truth);
        let keys: Vec<&str> = batch.puts().iter().map(|(key, _)| kind(key)).collect();
        sim.step(format_args!("r{} writes {}", self.replica, keys.join(" ")));
        if let Err((invariant, what)) = found {
            sim.broken(invariant, format_args!("r{}: {what}", self.replica));
        }
    }
}

/// What a key of the store names, without the name.
fn kind(key: &str) -> &str {
    key.split('/').next().unwrap_or_default()
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line(r{})", self.replica)
    }
}

#[async_trait]
impl KeyStore for Line {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let store = self.way().await?;
        self.sim
            .step(format_args!("r{} reads {}", self.replica, kind(key)));
        if let Some(own) = lock(&self.memory).get(key) {
            return Ok(Some(own.clone()));
        }
        store.get(key).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let store = self.way().await?;
        self.sim
            .step(format_args!("r{} scans {}", self.replica, kind(prefix)));
        store.scan(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        let store = self.way().await?;
        if self.disk.read_only.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("it is read-only".into()));
        }
        if self.sim.has(Bug::AckInMemory) {
            let next = store.commit(Batch::new()).await?;
            if self.remember(&batch, next) {
                return Ok(next);
            }
        }
        let wanted = match self.sim.has(Bug::NoCompareAndSwap) {
            true => unchecked(&batch),
            false => batch.clone(),
        };
        let commit = store.commit(wanted).await?;
        self.written(&batch);
        let lost = self.sim.world().troubles.lost_answers;
        if self.sim.dice().in_1000(lost) {
            self.sim
                .step(format_args!("r{} does not hear of its write", self.replica));
            return Err(StoreError::Unavailable("the answer is lost".into()));
        }
        self.way().await.map(|_back| commit)
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.way().await?.snapshot().await
    }

    async fn replace(&self, replacement: Replacement) -> Result<u64, StoreError> {
        self.way().await?.replace(replacement).await
    }

    fn remains(&self) -> &'static [&'static str] {
        &[]
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.disk.present().watch()
    }

    async fn newer(&self, prefix: &str, since: u64) -> Result<Newer, StoreError> {
        let store = self.way().await?;
        let mut newer = store.newer(prefix, since).await?;
        let own = self.remembered(prefix);
        newer
            .entries
            .retain(|entry| own.iter().all(|own| own.key != entry.key));
        newer.entries.extend(own);
        self.way().await.map(|_back| newer)
    }

    fn is_shared(&self) -> bool {
        self.shared
    }
}

/// The planted bug: nothing is compared but whether a key is free.
fn unchecked(batch: &Batch) -> Batch {
    let puts = batch.puts().iter().cloned();
    let bare = puts.fold(Batch::new(), |bare, (key, value)| bare.put(key, value));
    let deletes = batch.deletes().iter();
    deletes.fold(bare, |bare, key| bare.delete(key))
}
