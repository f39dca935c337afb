//! The segment that is being written.
//!
//! What is sealed is kept until it is flushed. Where the disk refuses, the file is cut back to what is flushed and the same bytes are written again: so neither a half-written
//! frame nor one that a failed flush has dropped stays behind, and no number is sealed twice.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use issued_log::{Recipient, Sealer, pack};

use super::catalog::BEGINNING;
use super::folder::{segment_path, sync_folder};

#[derive(Debug)]
pub(super) struct OpenSegment {
    /// In the catalog.
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) recipient: Recipient,
    pub(super) synced: u64,
    sealer: Sealer,
    /// Sealed, and not flushed: from `synced` on.
    kept: Vec<u8>,
    /// The last write or flush was refused.
    pub(super) broken: bool,
}

impl OpenSegment {
    /// Makes the file; its header and its name are on the disk when this returns.
    pub(super) fn begin(
        folder: &Path,
        (process, name): ([u8; 16], &str),
        number: u64,
        recipient: Recipient,
    ) -> io::Result<Self> {
        let sealer = Sealer::begin(&recipient, process).map_err(io::Error::other)?;
        let path = segment_path(folder, name, number);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let made = file
            .write_all_at(&sealer.header().bytes(), 0)
            .and_then(|()| file.sync_all())
            .and_then(|()| sync_folder(folder));
        if let Err(error) = made {
            // what is left is removed at the next start
            let _left = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self {
            number,
            path,
            file: Arc::new(file),
            recipient,
            synced: BEGINNING,
            sealer,
            kept: Vec::new(),
            broken: false,
        })
    }

    pub(super) fn header(&self) -> Vec<u8> {
        self.sealer.header().bytes()
    }

    /// Up to where the file is, or will be once it is repaired.
    pub(super) fn len(&self) -> u64 {
        let kept = u64::try_from(self.kept.len()).unwrap_or(u64::MAX);
        self.synced.saturating_add(kept)
    }

    /// Seals a frame and writes it. Once sealed it is not lost: where the disk refuses it is written with the repair.
    pub(super) fn append(&mut self, text: Vec<u8>, last: bool) -> io::Result<()> {
        let body = self.sealer.seal(text, last).map_err(io::Error::other)?;
        let frame = pack(&body);
        let at = self.len();
        self.kept.extend_from_slice(&frame);
        if self.broken {
            return Err(io::Error::other("the segment is not repaired yet"));
        }
        let written = self.file.write_all_at(&frame, at);
        self.broken |= written.is_err();
        written
    }

    /// Whether somebody has removed the file.
    pub(super) fn is_gone(&self) -> bool {
        self.file.metadata().is_ok_and(|data| data.nlink() == 0)
    }

    /// Flushed up to there.
    pub(super) fn flushed(&mut self, len: u64) {
        let more = len.saturating_sub(self.synced);
        let more = usize::try_from(more).unwrap_or(usize::MAX);
        self.kept.drain(..more.min(self.kept.len()));
        self.synced = self.synced.max(len);
    }

    /// Puts everything that is not flushed in its place again, and flushes it.
    pub(super) fn repair(&mut self) -> io::Result<()> {
        self.broken = true;
        self.file.set_len(self.synced)?;
        self.file.write_all_at(&self.kept, self.synced)?;
        self.file.sync_data()?;
        self.broken = false;
        let len = self.len();
        self.flushed(len);
        Ok(())
    }
}
