//! What the last run left: its last chain, checked as far as the store's checkpoint and the last segment say.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use audit_log::{Head, parse_file_name, read_line};
use jose::provider::SecureRandom as _;
use jose_aws_lc::AwsLc;

use super::{Anchor, AuditError};

/// What stands in a folder.
pub(super) enum Found {
    /// No log.
    Nothing,
    /// A chain that goes on.
    Whole {
        chain: String,
        path: PathBuf,
        head: Head,
        /// The bytes of its last file that hold whole entries.
        len: u64,
        /// The bytes behind them: an entry that was not finished.
        torn: u64,
    },
    /// A chain that was changed or cut off, and how.
    Broken(String),
}

/// So many key-managers may share a folder.
const WRITERS: usize = 64;

/// Makes the folder where there is none, and locks it: a chain has one writer. Where another key-manager has it, one of its numbered
/// sub-folders is taken, so that replicas that are configured alike do not wait for each other.
pub(super) fn lock(folder: &Path) -> Result<(PathBuf, File), AuditError> {
    let beside = (2..=WRITERS).map(|number| folder.join(number.to_string()));
    for place in std::iter::once(folder.to_owned()).chain(beside) {
        match lock_one(&place) {
            Ok(lock) => return Ok((place, lock)),
            Err(AuditError::InUse(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(AuditError::InUse(folder.display().to_string().into()))
}

fn lock_one(folder: &Path) -> Result<File, AuditError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(AuditError::at(folder))?;
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(AuditError::at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(AuditError::InUse(folder.display().to_string().into()))
        }
        Err(TryLockError::Error(error)) => Err(AuditError::disk(&path, error)),
    }
}

/// The segments of a folder, in the order of their names.
pub(super) fn segments(folder: &Path) -> Result<Vec<String>, AuditError> {
    let listed = std::fs::read_dir(folder).map_err(AuditError::at(folder))?;
    let mut names = Vec::new();
    for entry in listed {
        let entry = entry.map_err(AuditError::at(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && parse_file_name(&name).is_some() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Finds the newest chain. Chains are named by when they began, so that names sort by time.
pub(super) fn last_chain(folder: &Path, anchors: &[Anchor]) -> Result<Found, AuditError> {
    let mut names = segments(folder)?;
    // A segment whose first entry was never finished: what it should hold was never begun.
    while let Some(name) = names
        .last()
        .filter(|name| is_unfinished(&folder.join(name)))
    {
        let path = folder.join(name);
        std::fs::remove_file(&path).map_err(AuditError::at(&path))?;
        names.pop();
    }
    let Some((name, (chain, first))) = names
        .last()
        .and_then(|name| Some((name, parse_file_name(name)?)))
    else {
        return Ok(Found::Nothing);
    };
    let path = folder.join(name);
    let bytes = std::fs::read(&path).map_err(AuditError::at(&path))?;
    let broken = |problem: String| Ok(Found::Broken(format!("{name}: {problem}")));
    let anchor = anchors
        .iter()
        .find(|anchor| anchor.statement.chain == chain);
    let (mut head, mut len) = (None::<Head>, 0_usize);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else {
            break;
        };
        let read = match read_line(&AwsLc, head.as_ref(), text) {
            Ok(read) => read,
            Err(error) => {
                let next = head.map_or(first, |head| head.seq.saturating_add(1));
                return broken(format!("entry {next} {error}"));
            }
        };
        let stated = anchor.filter(|anchor| anchor.statement.seq == read.head.seq);
        if stated.is_some_and(|anchor| anchor.statement.hash != read.head.hash) {
            return broken(format!(
                "entry {} is not the one that its checkpoint covers",
                read.head.seq
            ));
        }
        head = Some(read.head);
        len += line.len();
    }
    let Some(head) = head else {
        return broken("has no entry".to_owned());
    };
    if let Some(anchor) = anchor.filter(|anchor| anchor.statement.seq > head.seq) {
        let covered = anchor.statement.seq;
        return broken(format!(
            "ends at entry {}, a checkpoint covers {covered}",
            head.seq
        ));
    }
    Ok(Found::Whole {
        chain: chain.to_owned(),
        torn: u64::try_from(bytes.len() - len).unwrap_or(u64::MAX),
        len: u64::try_from(len).unwrap_or(u64::MAX),
        path,
        head,
    })
}

/// Whether the file holds no whole line.
pub(super) fn is_unfinished(path: &Path) -> bool {
    path.is_file() && std::fs::read(path).is_ok_and(|bytes| !bytes.contains(&b'\n'))
}

/// When it began, and 32 random bits, so that replicas do not share one.
pub(super) fn chain_name(at: u64) -> Result<String, AuditError> {
    let mut random = [0; 4];
    AwsLc
        .fill(&mut random)
        .map_err(|_failed| AuditError::Signing)?;
    Ok(format!("{at:013}-{:08x}", u32::from_be_bytes(random)))
}
