//! The folder: who has it, and what earlier processes left in it.
//!
//! ```text
//! lock                     held by the process that uses the folder; others use the sub-folders 2, 3, ...
//! <nonce>.process          a process that has not said yet that everything of it is shipped
//! <nonce>-<number>.issued  a segment of that process
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use issued_log::{Frames, HEADER_LEN, Header};

const SEGMENT: &str = "issued";
const PROCESS: &str = "process";

/// So many processes may share a folder.
const PROCESSES: usize = 64;

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("issued.folder: {path}: {problem}")]
pub struct FolderError {
    path: String,
    problem: String,
}

impl FolderError {
    pub(super) fn new(path: &Path, problem: impl ToString) -> Self {
        Self {
            path: path.display().to_string(),
            problem: problem.to_string(),
        }
    }

    fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::new(path, error)
    }
}

/// The folder of this process.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Held open for its lock.
    _lock: File,
    /// Processes that ended before this one began.
    pub(super) earlier: Vec<String>,
}

/// A segment that an earlier process left.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) process: String,
    pub(super) header: Vec<u8>,
    /// The bytes of header and whole frames.
    pub(super) len: u64,
    /// The bytes behind them, cut off.
    pub(super) torn: u64,
}

impl Folder {
    /// Makes the folder where there is none, locks it, and leaves the mark of this process. Where another process has it, one of its numbered sub-folders is
    /// taken, so that instances that are configured alike can run side by side.
    pub(super) fn open(path: &Path, own: &str) -> Result<Self, FolderError> {
        let (path, lock) = lock(path)?;
        let folder = Self {
            earlier: names(&path, PROCESS).map_err(FolderError::at(&path))?,
            path,
            _lock: lock,
        };
        let mark = folder.mark(own);
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&mark);
        made.and_then(|file| file.sync_all())
            .and_then(|()| sync_folder(&folder.path))
            .map_err(FolderError::at(&mark))?;
        Ok(folder)
    }

    /// The folder that is locked.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Everything of the process is shipped.
    pub(super) fn forget(&self, process: &str) {
        if let Err(error) = fs::remove_file(self.mark(process)) {
            tracing::warn!(%error, process, "the mark of a process stays in the folder of issued tokens");
        }
    }

    fn mark(&self, process: &str) -> PathBuf {
        self.path.join(format!("{process}.{PROCESS}"))
    }

    /// The segments of earlier processes, oldest first; what a crash tore is cut off, and what holds nothing is removed.
    pub(super) fn segments(&self) -> Result<Vec<Found>, FolderError> {
        let mut found = Vec::new();
        for name in names(&self.path, SEGMENT).map_err(FolderError::at(&self.path))? {
            let path = self.path.join(format!("{name}.{SEGMENT}"));
            found.extend(inspect(&path).map_err(FolderError::at(&path))?);
        }
        Ok(found)
    }
}

/// The name of a segment of this process.
pub(super) fn segment_path(folder: &Path, process: &str, number: u64) -> PathBuf {
    folder.join(format!("{process}-{number:010}.{SEGMENT}"))
}

/// The folder's list of names is on the disk.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn lock(folder: &Path) -> Result<(PathBuf, File), FolderError> {
    let beside = (2..=PROCESSES).map(|number| folder.join(number.to_string()));
    for place in std::iter::once(folder.to_owned()).chain(beside) {
        if let Some(lock) = lock_one(&place)? {
            return Ok((place, lock));
        }
    }
    let problem = "other processes use it: each instance needs a folder of its own";
    Err(FolderError::new(folder, problem))
}

/// `None` where another process has it.
fn lock_one(folder: &Path) -> Result<Option<File>, FolderError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(FolderError::at(folder))?;
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(FolderError::at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(FolderError::new(&path, error)),
    }
}

/// Names of files with that ending, without it, in their order.
fn names(folder: &Path, ending: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let fits = path.extension().is_some_and(|found| found == ending);
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        names.extend(stem.filter(|_stem| fits));
    }
    names.sort_unstable();
    Ok(names)
}

fn inspect(path: &Path) -> io::Result<Option<Found>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let header = bytes.get(..HEADER_LEN).and_then(Header::read);
    let Some(header) = header else {
        // It was being made: there is nothing in it that was promised to be kept.
        tracing::warn!(file = %path.display(), bytes = size, "a segment of issued tokens has no whole header, and is removed");
        fs::remove_file(path)?;
        return Ok(None);
    };
    let mut frames = Frames::new(bytes.get(HEADER_LEN..).unwrap_or_default());
    let count = frames.by_ref().count();
    let whole = HEADER_LEN.saturating_add(frames.whole());
    let len = u64::try_from(whole).unwrap_or(u64::MAX);
    if count == 0 {
        fs::remove_file(path)?;
        return Ok(None);
    }
    if len < size {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(len)?;
        file.sync_all()?;
    }
    let process = header.process.iter().map(|byte| format!("{byte:02x}"));
    Ok(Some(Found {
        path: path.to_owned(),
        process: process.collect(),
        header: header.bytes(),
        len,
        torn: size.saturating_sub(len),
    }))
}
