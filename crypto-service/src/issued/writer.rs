//! The thread that writes. It takes what has gathered, seals it in frames, and has the file flushed from time to time.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use issued_log::{EntryRef, FrameBuilder};
use service_kit::clock::BootTime;

use super::hindrance;
use super::queue::Timed;
use super::recorder::Shared;
use super::segment::OpenSegment;
use super::syncer::{Job, Syncer};

/// A frame is ended when its text has grown to this.
const FRAME_BYTES: usize = 192 * 1024;

/// How often it is tried to write what could not be written, when the process ends.
const LAST_TRIES: usize = 3;

pub(super) struct Writer {
    shared: Arc<Shared>,
    folder: PathBuf,
    process: [u8; 16],
    segment: Option<OpenSegment>,
    /// The number of the next segment's file.
    next: u64,
    /// Taken, and not sealed yet.
    backlog: Vec<Timed>,
    /// Everything up to then was taken, and everything up to then is sealed.
    boundary: u64,
    sealed: u64,
    builder: FrameBuilder,
    syncer: Syncer,
    last_sync: Option<BootTime>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, folder: PathBuf, process: [u8; 16]) -> io::Result<Self> {
        Ok(Self {
            shared,
            folder,
            process,
            segment: None,
            next: 0,
            backlog: Vec::new(),
            boundary: 0,
            sealed: 0,
            builder: FrameBuilder::default(),
            syncer: Syncer::start()?,
            last_sync: None,
        })
    }

    /// True where everything was written in the end.
    pub(super) fn run(mut self) -> bool {
        loop {
            let interval = self.shared.settings.write_interval.get();
            let batch = self.shared.queue.take(interval, self.is_busy());
            self.shared.release(batch.entries.len());
            self.backlog.extend(batch.entries);
            self.boundary = batch.boundary;
            self.round();
            if batch.last {
                return self.end();
            }
        }
    }

    /// Whether there is something to do without a new entry.
    fn is_busy(&self) -> bool {
        let unsynced = |segment: &OpenSegment| segment.broken || segment.synced < segment.len();
        !self.backlog.is_empty() || self.segment.as_ref().is_some_and(unsynced)
    }

    fn round(&mut self) {
        self.take_flushed();
        match self.write() {
            Ok(()) => {
                self.shared.queue.put_down();
                self.sync_if_due();
            }
            Err(error) => self.refused(&error),
        }
        self.shared.weigh();
    }

    fn refused(&self, error: &io::Error) {
        tracing::warn!(%error, waiting = self.backlog.len(), "records of issued tokens cannot be written yet");
        self.shared.hinder(hindrance::FAILING);
    }

    /// Repairs what the disk has refused, and writes the backlog.
    fn write(&mut self) -> io::Result<()> {
        self.give_up_what_is_gone();
        if let Some(segment) = self.segment.as_mut().filter(|segment| segment.broken) {
            // What is being flushed is of no use any more.
            let _done = self.syncer.wait();
            segment.repair()?;
            let (number, len) = (segment.number, segment.len());
            self.shared.catalog.written(number, len, self.sealed);
            self.last_sync = None;
            self.shared.unsynced(None);
            self.synced(number, len);
        }
        if !self.backlog.is_empty() {
            self.write_backlog()?;
        }
        self.shared.unhinder(hindrance::FAILING);
        self.rotate_if_full()
    }

    fn write_backlog(&mut self) -> io::Result<()> {
        self.ensure_segment()?;
        let Some(segment) = &mut self.segment else {
            return Err(io::Error::other("there is no segment"));
        };
        let count = u64::try_from(self.backlog.len()).unwrap_or_default();
        let mut outcome = Ok(());
        for (at, issued) in self.backlog.drain(..) {
            self.builder.push(&EntryRef {
                at,
                tenant: &issued.set.tenant,
                key_set: &issued.set.name,
                kid: &issued.kid,
                caller: issued.caller.name(),
                jti: &issued.jti,
                subject: issued.subject,
                expires_at: issued.expires_at,
            });
            if self.builder.len() >= FRAME_BYTES {
                let appended = segment.append(self.builder.take(), false);
                outcome = outcome.and(appended);
            }
        }
        if !self.builder.is_empty() {
            let appended = segment.append(self.builder.take(), false);
            outcome = outcome.and(appended);
        }
        self.sealed = self.boundary;
        // Also where the disk has refused: what is sealed is written with the repair, under the same numbers.
        self.shared.counters.recorded.inc_by(count);
        if self.last_sync.is_none() {
            self.shared.unsynced(Some(self.shared.clock.boot()));
            self.last_sync = Some(self.shared.clock.boot());
        }
        outcome?;
        let (number, len) = (segment.number, segment.len());
        self.shared.catalog.written(number, len, self.boundary);
        Ok(())
    }

    /// A segment to write to: the one that there is, unless records are sealed to another key by now.
    fn ensure_segment(&mut self) -> io::Result<()> {
        let keys = match (self.shared.keys.issued_keys(), &self.segment) {
            (Some(keys), _) => keys,
            // The key-manager of the moment takes none: what was permitted before goes where it was to go.
            (None, Some(_)) => return Ok(()),
            (None, None) => return Err(io::Error::other("there is no key to seal records to")),
        };
        let other = |segment: &OpenSegment| segment.recipient != keys.recipient;
        if self.segment.as_ref().is_some_and(other) {
            self.close()?;
        }
        if self.segment.is_some() {
            return Ok(());
        }
        let name = self.shared.process.as_str();
        let mut segment = OpenSegment::begin(
            &self.folder,
            (self.process, name),
            self.next,
            keys.recipient,
        )?;
        self.next = self.next.saturating_add(1);
        let catalog = &self.shared.catalog;
        segment.number = catalog.begun(segment.path.clone(), name, segment.header());
        self.segment = Some(segment);
        Ok(())
    }

    fn rotate_if_full(&mut self) -> io::Result<()> {
        let full = |segment: &OpenSegment| segment.len() >= self.shared.settings.segment_bytes;
        match self.segment.as_ref().is_some_and(full) {
            true => self.close(),
            false => Ok(()),
        }
    }

    /// Ends the segment: its last frame is on the disk when this returns.
    fn close(&mut self) -> io::Result<()> {
        let _done = self.syncer.wait();
        let Some(mut segment) = self.segment.take() else {
            return Ok(());
        };
        // Where the disk refuses it, the repair writes it.
        let _kept = segment.append(Vec::new(), true);
        if let Err(error) = segment.repair() {
            // It is repaired, and ended again, in the next round.
            segment.broken = true;
            self.segment = Some(segment);
            return Err(error);
        }
        self.shared.catalog.closed(segment.number, segment.len());
        self.last_sync = None;
        self.shared.unsynced(None);
        self.shared.shippable.notify_one();
        Ok(())
    }

    fn give_up_what_is_gone(&mut self) {
        let Some(segment) = self.segment.take_if(|segment| segment.is_gone()) else {
            return;
        };
        let _done = self.syncer.wait();
        let lost = self.shared.catalog.lost(segment.number);
        self.shared.counters.lost_bytes.inc_by(lost);
        tracing::error!(
            file = %segment.path.display(),
            bytes = lost,
            "somebody has removed a segment of issued tokens: what was not shipped of it is lost"
        );
    }

    fn sync_if_due(&mut self) {
        let (now, interval) = (
            self.shared.clock.boot(),
            self.shared.settings.sync_interval.get(),
        );
        let waited = |since: BootTime| now.saturating_since(since) >= interval;
        let Some(segment) = &self.segment else { return };
        if self.syncer.is_busy()
            || segment.synced >= segment.len()
            || !self.last_sync.is_some_and(waited)
        {
            return;
        }
        self.last_sync = Some(now);
        self.syncer.begin(Job {
            number: segment.number,
            file: Arc::clone(&segment.file),
            len: segment.len(),
            asked_at: now,
        });
    }

    /// What the syncer has done since.
    fn take_flushed(&mut self) {
        let Some((job, result)) = self.syncer.poll() else {
            return;
        };
        let Some(segment) = &mut self.segment else {
            return;
        };
        if segment.number != job.number {
            return;
        }
        match result {
            Ok(()) => {
                segment.flushed(job.len);
                let all = segment.synced >= segment.len();
                self.shared.unsynced((!all).then_some(job.asked_at));
                if all {
                    self.last_sync = None;
                }
                self.synced(job.number, job.len);
            }
            Err(error) => {
                segment.broken = true;
                self.refused(&error);
            }
        }
    }

    fn synced(&self, number: u64, len: u64) {
        self.shared.catalog.synced(number, len);
        self.shared.shippable.notify_one();
    }

    /// The process ends: what is there is written, flushed and closed.
    fn end(mut self) -> bool {
        for _try in 0..LAST_TRIES {
            match self.write().and_then(|()| self.close()) {
                Ok(()) => {
                    self.shared.queue.put_down();
                    return true;
                }
                Err(error) => self.refused(&error),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        tracing::error!(
            entries = self.backlog.len(),
            "the process ends with issued tokens that it could not record"
        );
        false
    }
}
