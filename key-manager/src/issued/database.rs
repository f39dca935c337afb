//! The database: one connection to write and one to read, each on a thread of its own, because SQLite blocks. Counting millions of entries does
//! not keep instances waiting that ship.

use std::{
    fmt,
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use aws_lc_rs::rand;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::oneshot;

use super::IssuedError;

/// What makes a SQLite file ours (`PRAGMA application_id`): "CIsR".
const APPLICATION_ID: i64 = 0x4349_7352;

/// For a lock that the other connection, or a backup, holds.
const BUSY: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE about (id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL);
    CREATE TABLE processes (id INTEGER PRIMARY KEY, nonce TEXT NOT NULL UNIQUE, caller TEXT NOT NULL,
        complete_until INTEGER NOT NULL, finished INTEGER NOT NULL, unrecorded INTEGER NOT NULL, seen_at INTEGER NOT NULL);
    CREATE TABLE segments (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, process INTEGER NOT NULL,
        next_frame INTEGER NOT NULL, ended INTEGER NOT NULL, taken_at INTEGER NOT NULL);
    CREATE TABLE sets (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (tenant, name));
    CREATE TABLE keys (id INTEGER PRIMARY KEY, set_id INTEGER NOT NULL, kid TEXT NOT NULL, UNIQUE (set_id, kid));
    CREATE TABLE callers (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE entries (id INTEGER PRIMARY KEY, segment INTEGER NOT NULL, frame INTEGER NOT NULL, place INTEGER NOT NULL,
        at INTEGER NOT NULL, set_id INTEGER NOT NULL, key_id INTEGER NOT NULL, caller_id INTEGER NOT NULL,
        jti TEXT NOT NULL, subject BLOB, exp INTEGER, ends INTEGER NOT NULL);
    CREATE INDEX entries_by_key ON entries (key_id, at);
    CREATE INDEX entries_by_set ON entries (set_id, at);
    CREATE INDEX entries_by_caller ON entries (caller_id, at);
    CREATE INDEX entries_by_subject ON entries (subject, at) WHERE subject IS NOT NULL;
    CREATE INDEX entries_by_end ON entries (ends);";

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A connection and its thread.
pub(super) struct Database {
    path: PathBuf,
    /// `None` once it is being closed.
    jobs: Option<mpsc::Sender<Job>>,
    owner: Option<thread::JoinHandle<()>>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({})", self.path.display())
    }
}

/// The connection is closed before the process may end, so that the write-ahead log is folded into the database.
impl Drop for Database {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // a thread that panicked has dropped its connection too
        let _ended = self.owner.take().map(thread::JoinHandle::join);
    }
}

impl Database {
    pub(super) async fn open(
        path: &Path,
        prepare: fn(&Path) -> Result<Connection, IssuedError>,
    ) -> Result<Self, IssuedError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (opened, answer) = oneshot::channel();
        let file = path.to_owned();
        let owner = move || {
            let mut connection = match prepare(&file) {
                Ok(connection) => connection,
                Err(error) => {
                    let _gone = opened.send(Err(error));
                    return;
                }
            };
            let _gone = opened.send(Ok(()));
            while let Ok(job) = queue.recv() {
                job(&mut connection);
            }
        };
        let owner = thread::Builder::new()
            .name("issued".to_owned())
            .spawn(owner)
            .map_err(IssuedError::database)?;
        answer.await.map_err(IssuedError::database)??;
        Ok(Self {
            path: path.to_owned(),
            jobs: Some(jobs),
            owner: Some(owner),
        })
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, IssuedError> + Send + 'static,
    ) -> Result<T, IssuedError> {
        let (done, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // who asked may have gone
            let _gone = done.send(work(connection));
        });
        let closed = || IssuedError::database("the database is closed");
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(job).map_err(IssuedError::database)?;
        answer.await.map_err(IssuedError::database)?
    }
}

/// Makes the file and its tables where there are none.
pub(super) fn prepare(path: &Path) -> Result<Connection, IssuedError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    file.map_err(|error| IssuedError::database(format!("{}: {error}", path.display())))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        make(&mut connection)?;
    }
    check_owner(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // What is acknowledged is on the disk: the instance deletes its segment then.
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// The file is there and has its tables.
pub(super) fn prepare_to_read(path: &Path) -> Result<Connection, IssuedError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", "ON")?;
    check_owner(&connection)?;
    Ok(connection)
}

fn make(connection: &mut Connection) -> Result<(), IssuedError> {
    let mut name = [0; 16];
    rand::fill(&mut name).map_err(|_unspecified| IssuedError::Key)?;
    let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    transaction.execute("INSERT INTO about (id, name) VALUES (1, ?1)", [name])?;
    Ok(transaction.commit()?)
}

fn check_owner(connection: &Connection) -> Result<(), IssuedError> {
    let owner: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    match owner == APPLICATION_ID {
        true => Ok(()),
        false => Err(IssuedError::Damaged(
            "the database belongs to another application".into(),
        )),
    }
}
