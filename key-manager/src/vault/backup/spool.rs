//! What is received of a file, in a database of its own: never whole in memory, and gone with whoever receives it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    seal::random,
    store::{Batch, KeyStore as _, Pair, SqliteStore, StoreError},
};

/// What the name of a spool begins with, before random digits.
const PREFIX: &str = "restore-";
const SUFFIX: &str = ".spool";

/// A database that is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Spool {
    store: Option<Arc<SqliteStore>>,
    path: PathBuf,
}

impl Drop for Spool {
    fn drop(&mut self) {
        drop(self.store.take());
        remove(&self.path);
    }
}

impl Spool {
    pub(super) async fn new(folder: &Path) -> Result<Self, StoreError> {
        let number =
            random::<8>().map_err(|error| StoreError::Unavailable(error.to_string().into()))?;
        let number = u64::from_be_bytes(number);
        let path = folder.join(format!("{PREFIX}{number:016x}{SUFFIX}"));
        let store = SqliteStore::open(&path).await?;
        Ok(Self {
            store: Some(Arc::new(store)),
            path,
        })
    }

    pub(super) fn store(&self) -> Result<Arc<SqliteStore>, StoreError> {
        let closed = || StoreError::Unavailable("the spool is closed".into());
        self.store.clone().ok_or_else(closed)
    }

    pub(super) async fn put(&self, records: Vec<Pair>) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let put = |batch: Batch, (key, value): Pair| batch.put(key, value);
        let batch = records.into_iter().fold(Batch::new(), put);
        self.store()?.commit(batch).await.map(|_commit| ())
    }
}

/// Removes what killed processes have left in the folder. What another one is receiving is locked, and stays.
pub async fn remove_left_spools(folder: &Path) {
    let listed = fs::read_dir(folder).into_iter().flatten().flatten();
    for left in listed.map(|file| file.path()) {
        let name = left.file_name().unwrap_or_default().to_string_lossy();
        let ours = name.starts_with(PREFIX) && name.ends_with(SUFFIX);
        if ours && !matches!(SqliteStore::open(&left).await, Err(StoreError::InUse(_))) {
            remove(&left);
        }
    }
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // most of them are not there
        let _gone = fs::remove_file(PathBuf::from(name));
    }
}
