//! A look at a database that changes nothing.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, config::DbConfig};

use super::{beside, escaped, from_sqlite, get};
use crate::store::{Entry, StoreError};

/// Reads one entry of a database without changing a byte of it or leaving a file beside it.
///
/// # Errors
/// [`StoreError`] where there is a file that is no database of ours. No file is no error.
pub fn peek(path: &Path, key: &str) -> Result<Option<Entry>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let index = beside(path, "-shm");
    let indexed = index.exists();
    let looked = look(path, key);
    if !indexed {
        // made to read the log of a killed process; nobody else has it, the database is locked exclusively
        let _none = std::fs::remove_file(index);
    }
    looked
}

fn look(path: &Path, key: &str) -> Result<Option<Entry>, StoreError> {
    let connection = open_to_look(path).map_err(from_sqlite)?;
    let table: Option<String> = connection
        .query_row(
            "SELECT name FROM sqlite_schema WHERE name = 'entries'",
            [],
            |row| row.get(0),
        )
        .optional()
        .map_err(from_sqlite)?;
    match table {
        Some(_) => get(&connection, key),
        None => Ok(None),
    }
}

/// `immutable` makes no side files; but it does not read a write-ahead log, so where a killed process left one the
/// log is read too, and closing does not fold it into the database.
fn open_to_look(path: &Path) -> rusqlite::Result<Connection> {
    let log_left = std::fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    let mode = if log_left { "mode=ro" } else { "immutable=1" };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(format!("file:{}?{mode}", escaped(path)), flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}
