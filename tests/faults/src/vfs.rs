//! A SQLite VFS over the system's own: every call goes through, and a [`Watcher`] sees each step that changes files before it is done.
//!
//! It becomes the default of the process, so the key-manager's store runs over it unchanged. Registered once for the life of a process;
//! without a watcher it only passes on.

#![expect(
    unsafe_code,
    reason = "SQLite's VFS is a table of C functions; each block says why it holds"
)]

mod calls;

use std::{
    path::Path,
    ptr,
    sync::{Arc, Once, PoisonError, RwLock},
};

use rusqlite::ffi;

use crate::Fault;

/// A step that changes what is on disk.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A file is opened, and made where it is not there.
    Open {
        /// The file.
        file: &'a Path,
        /// Its first sync also syncs the folder: so SQLite does for journals and logs.
        syncs_folder: bool,
    },
    /// Bytes are written.
    Write {
        /// The file.
        file: &'a Path,
        /// Where.
        at: u64,
        /// What.
        data: &'a [u8],
    },
    /// A file is cut or filled up to a size.
    Truncate {
        /// The file.
        file: &'a Path,
        /// In bytes.
        size: u64,
    },
    /// What was written has to be on disk when this returns.
    Sync {
        /// The file.
        file: &'a Path,
    },
    /// A file is deleted.
    Delete {
        /// The file.
        file: &'a Path,
        /// The folder has to be on disk when this returns.
        syncs_folder: bool,
    },
}

/// The step does not happen: the caller sees an I/O error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Sees each step before it is done, in the order in which the store does them.
pub trait Watcher: Send + Sync + 'static {
    /// Lets the step happen, or not.
    ///
    /// # Errors
    /// [`Refused`] where it shall not happen.
    fn before(&self, step: Step<'_>) -> Result<(), Refused>;
}

static WATCHER: RwLock<Option<Arc<dyn Watcher>>> = RwLock::new(None);

/// Makes the VFS the default of this process, with that watcher.
///
/// # Errors
/// Where SQLite refuses it.
pub fn watch(watcher: Arc<dyn Watcher>) -> Result<(), Fault> {
    *WATCHER.write().unwrap_or_else(PoisonError::into_inner) = Some(watcher);
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(register);
    // SAFETY: a null name asks for the default; SQLite gives a pointer to a VFS that stays registered, or null
    let default = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    // SAFETY: not null was checked, and a registered VFS has a name that ends with a zero
    let ours = !default.is_null() && unsafe { (*default).zName == calls::NAME.as_ptr() };
    match ours {
        true => Ok(()),
        false => Err("SQLite did not take the watched VFS".into()),
    }
}

/// Passes everything on again.
pub fn unwatch() {
    *WATCHER.write().unwrap_or_else(PoisonError::into_inner) = None;
}

fn register() {
    let Some(system) = calls::system() else {
        return;
    };
    // SAFETY: `system` points to the system's VFS, which SQLite keeps for the life of the process; it is plain data and copied whole
    let copy = unsafe { *system };
    let ours = Box::new(calls::over(copy));
    // SAFETY: the VFS is leaked, so it outlives every connection; its functions have the types that SQLite asks for
    let _code = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(ours), 1) };
}

fn seen(step: Step<'_>) -> Result<(), Refused> {
    let watcher = WATCHER
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    watcher.map_or(Ok(()), |watcher| watcher.before(step))
}
