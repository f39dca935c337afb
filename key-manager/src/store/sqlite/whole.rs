//! The whole database: a copy of one moment, and the replacement of everything in one transaction.

use std::{
    fmt,
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{check, escaped, from_sqlite, next_commit, put, scan, unavailable};
use crate::{
    seal::random,
    store::{Entry, Replacement, Snapshot, StoreError},
};

/// What the name of a copy has behind that of its database, before random digits.
const SUFFIX: &str = ".copy-";

/// A copy of the database, for as long as this lives. One connection has the database to itself, so nobody else could read from it while it is written.
#[derive(Debug)]
pub(super) struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        // where it is gone already there is nothing to do
        let _gone = std::fs::remove_file(&self.0);
    }
}

impl Copy {
    /// A new and empty file beside the database, of mode 0600. Copies that a killed process has left go: one process has the database.
    pub(super) fn beside(database: &Path) -> Result<Self, StoreError> {
        let name = database
            .file_name()
            .ok_or_else(|| unavailable("the database has no name"))?
            .to_string_lossy()
            .into_owned();
        let number = random::<8>().map_err(unavailable)?;
        let number = u64::from_be_bytes(number);
        let copy = Self(database.with_file_name(format!("{name}{SUFFIX}{number:016x}")));
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&copy.0);
        made.map_err(|error| unavailable(format_args!("{}: {error}", copy.0.display())))?;
        Ok(copy)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Opens the copy that [`copy_into`] has filled.
    pub(super) fn open(self) -> Result<CopyReader, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let uri = format!("file:{}?immutable=1", escaped(&self.0));
        let connection = Connection::open_with_flags(uri, flags).map_err(from_sqlite)?;
        Ok(CopyReader {
            connection: Arc::new(Mutex::new(connection)),
            copy: self,
        })
    }
}

/// Removes the copies that a killed process has left beside the database, which nobody else has open.
pub(super) fn remove_left_copies(database: &Path) {
    let (Some(folder), Some(name)) = (database.parent(), database.file_name()) else {
        return;
    };
    let here = Path::new(".");
    let folder = if folder.as_os_str().is_empty() {
        here
    } else {
        folder
    };
    let prefix = format!("{}{SUFFIX}", name.to_string_lossy());
    let listed = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for left in listed.filter(|file| file.file_name().to_string_lossy().starts_with(&prefix)) {
        if let Err(error) = std::fs::remove_file(left.path()) {
            tracing::warn!(%error, file = %left.path().display(), "a copy of the database stays");
        }
    }
}

/// Copies the database as it stands into an empty file.
pub(super) fn copy_into(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let name = path.to_string_lossy();
    connection
        .execute("VACUUM INTO ?1", [name.as_ref()])
        .map(|_rows| ())
        .map_err(from_sqlite)
}

/// Everything as it stood when the copy was made.
pub(super) struct CopyReader {
    connection: Arc<Mutex<Connection>>,
    copy: Copy,
}

impl fmt::Debug for CopyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CopyReader({})", self.copy.0.display())
    }
}

#[async_trait]
impl Snapshot for CopyReader {
    async fn page(&self, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let (connection, after) = (
            Arc::clone(&self.connection),
            after.unwrap_or_default().to_owned(),
        );
        let read = tokio::task::spawn_blocking(move || {
            let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            scan(&connection, "", &after, limit)
        });
        read.await.map_err(unavailable)?
    }
}

/// In one transaction: a process that is killed in it has changed nothing.
pub(super) fn replace(
    connection: &mut Connection,
    mut replacement: Replacement,
) -> Result<u64, StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(from_sqlite)?;
    check(&transaction, &replacement.checks)?;
    transaction
        .execute("DELETE FROM entries", [])
        .map_err(from_sqlite)?;
    let number = next_commit(&transaction).map_err(from_sqlite)?;
    while let Some(part) = replacement.blocking_next()? {
        put(&transaction, &part, number).map_err(from_sqlite)?;
    }
    transaction.commit().map_err(from_sqlite)?;
    // What was there before leaves the log as well; where that fails, with the next start.
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::warn!(%error, "the log of the database is emptied at the next start");
    }
    Ok(u64::try_from(number).unwrap_or_default())
}
