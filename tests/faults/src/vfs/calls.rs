//! The functions of the table. A file of ours is a header of ours, and behind it the system's file in the same memory.

#![expect(
    non_snake_case,
    reason = "the arguments have the names of SQLite's documentation"
)]

use std::{
    ffi::{CStr, OsStr, c_char, c_int, c_void},
    mem::size_of,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    ptr,
};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_vfs};

use super::{Step, seen};

pub(super) const NAME: &CStr = c"watched";
const SYSTEM: &CStr = c"unix";

/// What stands before the system's file.
#[repr(C)]
struct File {
    /// First, because SQLite sees a `sqlite3_file`.
    base: sqlite3_file,
    /// A box; null for files without a name, which nobody finds after a crash.
    path: *mut PathBuf,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // 2: with shared memory for the log's index, without mapping the database, so that every write is seen
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The system's VFS; `None` where this platform has another.
pub(super) fn system() -> Option<*mut sqlite3_vfs> {
    // SAFETY: the name ends with a zero; SQLite gives a VFS that it keeps for the life of the process, or null
    let found = unsafe { ffi::sqlite3_vfs_find(SYSTEM.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// The VFS whose files are watched, over a copy of the system's: what is not replaced is the system's own function.
pub(super) fn over(system: sqlite3_vfs) -> sqlite3_vfs {
    let header = c_int::try_from(size_of::<File>()).unwrap_or(c_int::MAX);
    sqlite3_vfs {
        szOsFile: system.szOsFile.saturating_add(header),
        pNext: ptr::null_mut(),
        zName: NAME.as_ptr(),
        xOpen: Some(open),
        xDelete: Some(delete),
        ..system
    }
}

/// The system's file behind ours.
///
/// # Safety
/// `file` is a file that [`open`] was given: our header and the system's file lie in one allocation of SQLite's.
unsafe fn real(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: SQLite allocated `szOsFile` bytes, aligned for pointers, and the header's size is a multiple of its alignment
    unsafe { file.cast::<File>().add(1).cast() }
}

/// Calls a method of the system's file.
macro_rules! pass {
    ($file:expr, $method:ident($($argument:expr),*)) => {{
        // SAFETY: SQLite calls methods only on files that were opened, by `open` of this module; the system's file
        // is open too then, and has its table of methods
        unsafe {
            let real = real($file);
            match (*real).pMethods.as_ref().and_then(|methods| methods.$method) {
                Some(method) => method(real $(, $argument)*),
                None => ffi::SQLITE_IOERR,
            }
        }
    }};
}

/// Whether the step may happen; files without a name are not watched.
fn allowed<'a>(file: *mut sqlite3_file, step: impl FnOnce(&'a Path) -> Step<'a>) -> bool {
    // SAFETY: as in `pass`: the header was written by `open`, and its box lives until `close`
    let path = unsafe { (*file.cast::<File>()).path.as_ref() };
    path.is_none_or(|path| seen(step(path)).is_ok())
}

fn unsigned(number: sqlite3_int64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// The path of a name of SQLite's.
///
/// # Safety
/// `name` is null or ends with a zero.
unsafe fn path(name: *const c_char) -> Option<PathBuf> {
    // SAFETY: the caller promises the zero, and the bytes are copied before SQLite can free them
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) })?;
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

unsafe extern "C" fn open(
    _vfs: *mut sqlite3_vfs,
    zName: ffi::sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    pOutFlags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives `szOsFile` bytes to write to; a file without methods is not closed
    unsafe { (*file).pMethods = ptr::null() };
    // SAFETY: SQLite's names end with a zero
    let path = unsafe { path(zName) };
    let journals =
        ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;
    let syncs_folder = flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & journals != 0;
    if let Some(file) = &path
        && seen(Step::Open { file, syncs_folder }).is_err()
    {
        return ffi::SQLITE_CANTOPEN;
    }
    let Some(system) = system() else {
        return ffi::SQLITE_CANTOPEN;
    };
    // SAFETY: `system` is a registered VFS, and behind our header there is room for its file
    let code = unsafe {
        match (*system).xOpen {
            Some(method) => method(system, zName, real(file), flags, pOutFlags),
            None => ffi::SQLITE_CANTOPEN,
        }
    };
    if code == ffi::SQLITE_OK {
        let path = path.map_or(ptr::null_mut(), |path| Box::into_raw(Box::new(path)));
        let base = sqlite3_file {
            pMethods: &raw const METHODS,
        };
        // SAFETY: the header lies at the beginning of what SQLite allocated for us
        unsafe { file.cast::<File>().write(File { base, path }) };
    }
    code
}

unsafe extern "C" fn delete(_vfs: *mut sqlite3_vfs, zName: *const c_char, syncDir: c_int) -> c_int {
    // SAFETY: SQLite's names end with a zero
    if let Some(file) = unsafe { path(zName) }
        && seen(Step::Delete {
            file: &file,
            syncs_folder: syncDir != 0,
        })
        .is_err()
    {
        return ffi::SQLITE_IOERR_DELETE;
    }
    let Some(system) = system() else {
        return ffi::SQLITE_IOERR_DELETE;
    };
    // SAFETY: `system` is a registered VFS, and the name is passed on as it came
    unsafe {
        match (*system).xDelete {
            Some(method) => method(system, zName, syncDir),
            None => ffi::SQLITE_IOERR_DELETE,
        }
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let code = pass!(file, xClose());
    // SAFETY: `open` made the box, SQLite closes a file once, and the pointer is not used after it
    unsafe {
        let path = (*file.cast::<File>()).path;
        if !path.is_null() {
            drop(Box::from_raw(path));
        }
    }
    code
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    into: *mut c_void,
    iAmt: c_int,
    iOfst: sqlite3_int64,
) -> c_int {
    pass!(file, xRead(into, iAmt, iOfst))
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    iAmt: c_int,
    iOfst: sqlite3_int64,
) -> c_int {
    let len = usize::try_from(iAmt).unwrap_or_default();
    // SAFETY: SQLite gives `iAmt` bytes to read for the time of this call
    let data = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), len) };
    let at = unsigned(iOfst);
    match allowed(file, |file| Step::Write { file, at, data }) {
        true => pass!(file, xWrite(from, iAmt, iOfst)),
        false => ffi::SQLITE_IOERR_WRITE,
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    let bytes = unsigned(size);
    match allowed(file, |file| Step::Truncate { file, size: bytes }) {
        true => pass!(file, xTruncate(size)),
        false => ffi::SQLITE_IOERR_TRUNCATE,
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    match allowed(file, |file| Step::Sync { file }) {
        true => pass!(file, xSync(flags)),
        false => ffi::SQLITE_IOERR_FSYNC,
    }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, pSize: *mut sqlite3_int64) -> c_int {
    pass!(file, xFileSize(pSize))
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    pass!(file, xLock(level))
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    pass!(file, xUnlock(level))
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, pResOut: *mut c_int) -> c_int {
    pass!(file, xCheckReservedLock(pResOut))
}

unsafe extern "C" fn file_control(file: *mut sqlite3_file, op: c_int, pArg: *mut c_void) -> c_int {
    pass!(file, xFileControl(op, pArg))
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    pass!(file, xSectorSize())
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    pass!(file, xDeviceCharacteristics())
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    iPg: c_int,
    pgsz: c_int,
    extend: c_int,
    pp: *mut *mut c_void,
) -> c_int {
    pass!(file, xShmMap(iPg, pgsz, extend, pp))
}

unsafe extern "C" fn shm_lock(
    file: *mut sqlite3_file,
    offset: c_int,
    n: c_int,
    flags: c_int,
) -> c_int {
    pass!(file, xShmLock(offset, n, flags))
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: as in `pass`; this one method gives nothing back
    unsafe {
        let real = real(file);
        if let Some(method) = (*real)
            .pMethods
            .as_ref()
            .and_then(|methods| methods.xShmBarrier)
        {
            method(real);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, deleteFlag: c_int) -> c_int {
    pass!(file, xShmUnmap(deleteFlag))
}
