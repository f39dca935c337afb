//! The one writer of a chain: appends, flushes, and takes back what the disk refused.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use audit_log::{Act, Body, Head, Outcome, Segment, Statement, file_name};
use jose_aws_lc::AwsLc;

use super::{Anchor, AuditError, Signer, recover};

/// Who writes planned steps, and what the log says about itself.
pub(super) const SELF: &str = "key-manager";

/// The end of a log, and what is needed to go on.
pub(super) struct Writer {
    folder: PathBuf,
    /// Held open for its lock.
    _lock: File,
    signer: Arc<Signer>,
    segment_bytes: u64,
    chain: String,
    head: Head,
    path: PathBuf,
    /// `None` while there is no segment that can be written.
    file: Option<File>,
    /// The bytes of the segment that hold whole entries.
    len: u64,
    /// Entries since the last checkpoint.
    unsigned: u64,
    /// What a new chain says about how it came to be, until that is written.
    owed: Option<Body>,
}

impl Writer {
    pub(super) fn open(
        folder: &Path,
        signer: Arc<Signer>,
        anchors: &[Anchor],
        at: u64,
        segment_bytes: u64,
    ) -> Result<Self, AuditError> {
        let (folder, lock) = recover::lock(folder)?;
        let found = recover::last_chain(&folder, anchors)?;
        let mut writer = Self {
            folder,
            _lock: lock,
            signer,
            segment_bytes,
            chain: String::new(),
            head: Head::default(),
            path: PathBuf::new(),
            file: None,
            len: 0,
            unsigned: 0,
            owed: None,
        };
        match found {
            recover::Found::Nothing => writer.begin_chain(at, None)?,
            recover::Found::Broken(problem) => {
                tracing::error!(
                    problem,
                    "the audit log was changed or cut off: a new chain begins"
                );
                writer.begin_chain(at, Some(problem))?;
            }
            recover::Found::Whole {
                chain,
                path,
                head,
                len,
                torn,
            } => {
                (writer.chain, writer.path, writer.head, writer.len) = (chain, path, head, len);
                writer.reopen()?;
                if torn > 0 {
                    let text = format!("{torn} bytes of an unfinished entry were cut off");
                    writer.append(at, note("RecoverLog", text), true)?;
                }
                // What the last run left unsigned is covered by the first checkpoint of this one.
                writer.unsigned = 1;
            }
        }
        Ok(writer)
    }

    /// The folder that it has locked.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Entries since the last checkpoint.
    pub(super) fn unsigned(&self) -> u64 {
        self.unsigned
    }

    /// Appends an entry, on the disk before this returns where it is `durable`. Gives its number.
    pub(super) fn append(&mut self, at: u64, body: Body, durable: bool) -> Result<u64, AuditError> {
        self.ensure(at)?;
        if self.len >= self.segment_bytes {
            self.next_segment(at)?;
        }
        self.put(at, body, durable)?;
        self.unsigned = self.unsigned.saturating_add(1);
        Ok(self.head.seq)
    }

    /// Signs what was written since the last one.
    pub(super) fn checkpoint(&mut self, at: u64) -> Result<Option<Anchor>, AuditError> {
        if self.unsigned == 0 {
            return Ok(None);
        }
        self.ensure(at)?;
        let (kid, key) = (self.signer.kid(), self.signer.key());
        let (statement, jws) = Statement::sign(&self.chain, &self.head, at, kid, key)
            .map_err(|_failed| AuditError::Signing)?;
        self.put(at, Body::Checkpoint(jws.clone()), true)?;
        self.unsigned = 0;
        Ok(Some(Anchor { statement, jws }))
    }

    /// A segment to write to: the one that there is, or where it was taken away a new chain that says so.
    fn ensure(&mut self, at: u64) -> Result<(), AuditError> {
        let linked = |file: &File| file.metadata().is_ok_and(|data| data.nlink() > 0);
        if !(self.file.as_ref().is_some_and(linked) && self.path.is_file()) {
            self.file = None;
            match self.reopen() {
                Ok(()) => {}
                Err(Reopen::Disk(error)) => return Err(error),
                Err(Reopen::Lost(problem)) => {
                    tracing::error!(problem, "the audit log was cut off: a new chain begins");
                    return self.begin_chain(at, Some(problem));
                }
            }
        }
        self.say_what_is_owed(at)
    }

    fn say_what_is_owed(&mut self, at: u64) -> Result<(), AuditError> {
        if let Some(body) = self.owed.clone() {
            self.put(at, body, true)?;
            self.owed = None;
        }
        Ok(())
    }

    /// Opens the segment again and takes back what stands behind its last whole entry: a write that was refused.
    fn reopen(&mut self) -> Result<(), Reopen> {
        let lost = |problem: &str| Reopen::Lost(format!("{}: {problem}", self.path.display()));
        let file = match OpenOptions::new().append(true).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.folder.is_dir() => {
                return Err(lost("is gone"));
            }
            Err(error) => return Err(AuditError::disk(&self.path, error).into()),
        };
        let found = file.metadata().map_err(AuditError::at(&self.path))?.len();
        if found < self.len {
            return Err(lost("was cut off"));
        }
        if found > self.len {
            file.set_len(self.len).map_err(AuditError::at(&self.path))?;
        }
        self.file = Some(file);
        Ok(())
    }

    fn begin_chain(&mut self, at: u64, problem: Option<String>) -> Result<(), AuditError> {
        let chain = recover::chain_name(at)?;
        let (before, head) = (std::mem::replace(&mut self.chain, chain), Head::default());
        if let Err(error) = self.begin_segment(at, head) {
            // The next act tries again, and finds the same.
            self.chain = before;
            return Err(error);
        }
        self.owed = Some(match problem {
            Some(problem) => note("RecoverLog", problem),
            None => note("BeginLog", String::new()),
        });
        self.say_what_is_owed(at)
    }

    /// Ends the segment with a checkpoint, so that whole files can be kept elsewhere.
    fn next_segment(&mut self, at: u64) -> Result<(), AuditError> {
        // The store is told with the next checkpoint.
        self.checkpoint(at)?;
        let head = self.head.clone();
        self.begin_segment(at, head)
    }

    /// The present segment stays in place until the next one has its first entry on the disk.
    fn begin_segment(&mut self, at: u64, head: Head) -> Result<(), AuditError> {
        let path = self
            .folder
            .join(file_name(&self.chain, head.seq.saturating_add(1)));
        let body = Body::Segment(Segment {
            chain: self.chain.clone(),
            previous: head.hash.clone(),
        });
        let (line, next) = next_line(&head, at, body, &path)?;
        let file =
            begin_file(&self.folder, &path, line.as_bytes()).map_err(AuditError::at(&path))?;
        self.file = Some(file);
        (self.path, self.head) = (path, next);
        self.len = u64::try_from(line.len()).unwrap_or(u64::MAX);
        self.unsigned = self.unsigned.saturating_add(1);
        Ok(())
    }

    fn put(&mut self, at: u64, body: Body, durable: bool) -> Result<(), AuditError> {
        let (line, next) = next_line(&self.head, at, body, &self.path)?;
        let Some(file) = &mut self.file else {
            return Err(AuditError::disk(&self.path, "is not open"));
        };
        let flushed = |file: &mut File| match durable {
            true => file.sync_data(),
            false => Ok(()),
        };
        let written = file.write_all(line.as_bytes()).and_then(|()| flushed(file));
        if let Err(error) = written {
            if file.set_len(self.len).is_err() {
                // Taken back when it is opened again.
                self.file = None;
            }
            return Err(AuditError::disk(&self.path, error));
        }
        self.len = self
            .len
            .saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        self.head = next;
        Ok(())
    }
}

/// Why a segment is not open.
enum Reopen {
    /// The disk refuses; later it may not.
    Disk(AuditError),
    /// It is not what was written.
    Lost(String),
}

impl From<AuditError> for Reopen {
    fn from(error: AuditError) -> Self {
        Self::Disk(error)
    }
}

impl From<Reopen> for AuditError {
    fn from(reopen: Reopen) -> Self {
        match reopen {
            Reopen::Disk(error) => error,
            Reopen::Lost(problem) => Self::Disk {
                path: "".into(),
                problem: problem.into(),
            },
        }
    }
}

fn next_line(head: &Head, at: u64, body: Body, path: &Path) -> Result<(String, Head), AuditError> {
    head.next(&AwsLc, at, body)
        .map_err(|error| AuditError::disk(path, error))
}

fn begin_file(folder: &Path, path: &Path, line: &[u8]) -> io::Result<File> {
    if recover::is_unfinished(path) {
        std::fs::remove_file(path)?;
    }
    let mut file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(line)?;
    file.sync_all()?;
    // The file's name is on the disk, too.
    File::open(folder)?.sync_all()?;
    Ok(file)
}

/// What the log says about itself.
fn note(act: &str, reason: String) -> Body {
    Body::Act(Box::new(Act {
        caller: SELF.to_owned(),
        act: act.to_owned(),
        outcome: Outcome::Done,
        reason,
        ..Act::default()
    }))
}
