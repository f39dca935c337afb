//! Entries in one SQLite file: the embedded default.
//!
//! Write-ahead log, full sync, and exclusive locking, so that a second process on the same file is refused instead of racing.
//! SQLite blocks, so one thread owns the connection and everybody else sends it work.

mod look;
mod whole;

use std::{
    fmt,
    fs::OpenOptions,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use async_trait::async_trait;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior, params,
};
use tokio::sync::{oneshot, watch};

use super::{
    Batch, Entry, KeyStore, Pair, Precondition, Replacement, Snapshot, StoreError, checked_batch,
    checked_key,
};

pub use look::peek;

/// What makes a SQLite file ours (`PRAGMA application_id`): "CKeM".
const APPLICATION_ID: i64 = 0x434b_654d;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS commits (id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL);
    INSERT OR IGNORE INTO commits (id, count) VALUES (1, 0);";

fn escaped(path: &Path) -> String {
    path.to_string_lossy()
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A store in one file.
pub struct SqliteStore {
    path: PathBuf,
    /// `None` once the store is being closed.
    jobs: Option<mpsc::Sender<Job>>,
    owner: Option<thread::JoinHandle<()>>,
    commits: watch::Sender<u64>,
}

/// The connection is closed before the process may end, so that the write-ahead log is folded into the database.
impl Drop for SqliteStore {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // a thread that panicked has dropped its connection too
        let _ended = self.owner.take().map(thread::JoinHandle::join);
    }
}

impl SqliteStore {
    /// Opens the database at `path`, or makes one with mode 0600.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another process has it, [`StoreError::Damaged`] where the file is something else.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (opened, answer) = oneshot::channel();
        let file = path.to_owned();
        let owner = move || match connect(&file) {
            Ok((mut connection, commits)) => {
                let _ = opened.send(Ok(commits));
                while let Ok(job) = queue.recv() {
                    job(&mut connection);
                }
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        let owner = thread::Builder::new()
            .name("store".to_owned())
            .spawn(owner)
            .map_err(unavailable)?;
        let commits = answer.await.map_err(unavailable)??;
        Ok(Self {
            path: path.to_owned(),
            jobs: Some(jobs),
            owner: Some(owner),
            commits: watch::Sender::new(commits),
        })
    }

    fn told(&self, commit: u64) {
        self.commits.send_if_modified(|last| {
            let newer = commit > *last;
            *last = (*last).max(commit);
            newer
        });
    }

    async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (done, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ = done.send(work(connection));
        });
        let jobs = self
            .jobs
            .as_ref()
            .ok_or_else(|| unavailable("the store is closed"))?;
        jobs.send(job).map_err(unavailable)?;
        answer.await.map_err(unavailable)?
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqliteStore({})", self.path.display())
    }
}

#[async_trait]
impl KeyStore for SqliteStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        checked_key(key)?;
        let key = key.to_owned();
        self.run(move |connection| get(connection, &key)).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.unwrap_or_default().to_owned());
        self.run(move |connection| scan(connection, &prefix, &after, limit))
            .await
    }

    async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        checked_batch(&batch)?;
        let commit = self
            .run(move |connection| commit(connection, &batch))
            .await?;
        self.told(commit);
        Ok(commit)
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let copy = whole::Copy::beside(&self.path)?;
        let path = copy.path().to_owned();
        self.run(move |connection| whole::copy_into(connection, &path))
            .await?;
        Ok(Box::new(copy.open()?))
    }

    async fn replace(&self, replacement: Replacement) -> Result<u64, StoreError> {
        let commit = self
            .run(move |connection| whole::replace(connection, replacement))
            .await?;
        self.told(commit);
        Ok(commit)
    }

    fn remains(&self) -> &'static [&'static str] {
        &[
            "blocks that the file system or the disk has set aside (snapshots, copy on write, wear levelling) may hold old pages of the database: they are gone when those are discarded",
        ]
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }
}

fn connect(path: &Path) -> Result<(Connection, u64), StoreError> {
    private(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(from_sqlite)?;
    let commits = prepare(&connection).map_err(from_sqlite)?;
    let owned: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(from_sqlite)?;
    match owned == APPLICATION_ID {
        true => {
            whole::remove_left_copies(path);
            Ok((connection, commits))
        }
        false => Err(StoreError::Damaged(
            "the database belongs to another application".into(),
        )),
    }
}

/// Makes the file where there is none, and refuses one that others may read.
fn private(path: &Path) -> Result<(), StoreError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    let file = file
        .map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display()).into()))?;
    let mode = file.metadata().map_err(unavailable)?.permissions().mode();
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(StoreError::Refused(
            format!(
                "{}: others may read it (mode {:03o}): chmod 600",
                path.display(),
                mode & 0o777
            )
            .into(),
        )),
    }
}

/// The schema is made before the log is turned on, so that the database file alone is always ours to see.
fn prepare(connection: &Connection) -> rusqlite::Result<u64> {
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "secure_delete", "ON")?;
    let pages: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if pages == 0 {
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // In exclusive mode the lock is taken by the first write and kept.
    connection.execute_batch("BEGIN IMMEDIATE; UPDATE commits SET count = count; COMMIT;")?;
    // A process that was killed between an erasure and the end of its log left pages there that were overwritten.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.query_row("SELECT count FROM commits", [], |row| unsigned(row, 0))
}

fn get(connection: &Connection, key: &str) -> Result<Option<Entry>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT key, value, revision FROM entries WHERE key = ?1")
        .map_err(from_sqlite)?;
    statement
        .query_row([key], entry)
        .optional()
        .map_err(from_sqlite)
}

fn scan(
    connection: &Connection,
    prefix: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    // Text compares by its bytes; U+10FFFF is above every character that a key may hold.
    let sql = "SELECT key, value, revision FROM entries WHERE key >= ?1 AND key < ?1 || char(1114111) AND key > ?2 ORDER BY key LIMIT ?3";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(sql).map_err(from_sqlite)?;
    let rows = statement
        .query_map(params![prefix, after, limit], entry)
        .map_err(from_sqlite)?;
    rows.collect::<rusqlite::Result<_>>().map_err(from_sqlite)
}

fn commit(connection: &mut Connection, batch: &Batch) -> Result<u64, StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(from_sqlite)?;
    check(&transaction, &batch.checks)?;
    let number = write(&transaction, batch).map_err(from_sqlite)?;
    transaction.commit().map_err(from_sqlite)?;
    if batch.erase {
        // Deleted pages are overwritten already (`secure_delete`); their old contents also leave the log.
        connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(from_sqlite)?;
    }
    Ok(number)
}

fn check(connection: &Connection, checks: &[(String, Precondition)]) -> Result<(), StoreError> {
    for (key, precondition) in checks {
        let present = revision_of(connection, key).map_err(from_sqlite)?;
        if !precondition.holds(present) {
            return Err(StoreError::Conflict { key: key.clone() });
        }
    }
    Ok(())
}

fn revision_of(connection: &Connection, key: &str) -> rusqlite::Result<Option<u64>> {
    let mut statement = connection.prepare_cached("SELECT revision FROM entries WHERE key = ?1")?;
    statement
        .query_row([key], |row| unsigned(row, 0))
        .optional()
}

fn write(connection: &Connection, batch: &Batch) -> rusqlite::Result<u64> {
    let number = next_commit(connection)?;
    for key in &batch.deletes {
        connection
            .prepare_cached("DELETE FROM entries WHERE key = ?1")?
            .execute([key])?;
    }
    put(connection, &batch.puts, number)?;
    Ok(u64::try_from(number).unwrap_or_default())
}

fn next_commit(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("UPDATE commits SET count = count + 1")?
        .execute([])?;
    connection.query_row("SELECT count FROM commits", [], |row| row.get(0))
}

fn put(connection: &Connection, pairs: &[Pair], commit: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO entries (key, value, revision) VALUES (?1, ?2, ?3)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision";
    for (key, value) in pairs {
        connection
            .prepare_cached(sql)?
            .execute(params![key, value, commit])?;
    }
    Ok(())
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        key: row.get(0)?,
        value: row.get(1)?,
        revision: unsigned(row, 2)?,
    })
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column)
        .map(|number| u64::try_from(number).unwrap_or_default())
}

fn unavailable(error: impl fmt::Display) -> StoreError {
    StoreError::Unavailable(error.to_string().into())
}

fn from_sqlite(error: rusqlite::Error) -> StoreError {
    let text = error.to_string().into();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse(text),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged(text),
        Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => {
            StoreError::Refused(text)
        }
        _ => StoreError::Unavailable(text),
    }
}

#[cfg(test)]
mod tests;
