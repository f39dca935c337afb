//! The request's side: a permit before the work, an entry before the answer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use issued_log::Subject;
use service_kit::clock::{BootTime, SharedClock};
use service_kit::identity::Caller;
use service_kit::telemetry::Metrics;
use tokio::sync::Notify;

use super::catalog::Catalog;
use super::counters::Counters;
use super::folder::{Folder, FolderError};
use super::hindrance::{self, hindered};
use super::queue::Queue;
use super::settings::{IssuedSettings, WhenUnrecordable};
use super::writer::Writer;
use crate::keys::{KeySet, KeysReader};
use crate::refusal::Refusal;

/// An issued token, to be recorded.
pub struct Issued {
    pub(crate) set: Arc<KeySet>,
    pub(crate) kid: Arc<str>,
    pub(crate) caller: Caller,
    pub(crate) jti: String,
    pub(crate) subject: Option<Subject>,
    pub(crate) expires_at: Option<u64>,
}

/// The claims in it are not shown.
impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Records what is issued. Clones share it.
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("hindrances", &self.0.hindrances)
            .finish_non_exhaustive()
    }
}

/// What request, writer and shipper share.
pub(super) struct Shared {
    pub(super) settings: IssuedSettings,
    pub(super) clock: SharedClock,
    pub(super) queue: Queue,
    pub(super) catalog: Catalog,
    /// Tells the shipper that there is something to ship.
    pub(super) shippable: Notify,
    pub(super) keys: KeysReader,
    /// The nonce of this process, in hex.
    pub(super) process: String,
    pub(super) counters: Counters,
    hindrances: AtomicU8,
    /// Permits, and entries in the queue.
    pending: AtomicUsize,
    /// When the first frame was written that is not flushed yet, in milliseconds of boot time; 0 = none.
    unsynced_since: AtomicU64,
}

/// The part of the recorder that runs: the thread that writes.
#[derive(Debug)]
pub(crate) struct Running {
    pub(super) folder: Folder,
    thread: Option<std::thread::JoinHandle<bool>>,
}

impl Running {
    /// Waits until the writer has ended; false where it has not written everything.
    pub(super) async fn stop(&mut self) -> bool {
        let Some(thread) = self.thread.take() else {
            return true;
        };
        let joined = tokio::task::spawn_blocking(move || thread.join());
        match joined.await {
            Ok(Ok(whole)) => whole,
            _panic => {
                tracing::error!("the writer of issued tokens ended in a panic");
                false
            }
        }
    }
}

impl Recorder {
    /// Records nothing: key sets that ask for it are not signed with.
    #[must_use]
    pub fn off(keys: KeysReader, clock: SharedClock) -> Self {
        let settings = IssuedSettings::default();
        Self::with(settings, keys, clock, String::new(), hindrance::OFF)
    }

    /// Opens the folder of the settings, takes in what earlier processes left there, and starts to write. `process` is the nonce of this process.
    pub(crate) fn start(
        settings: IssuedSettings,
        keys: KeysReader,
        clock: SharedClock,
        metrics: &Metrics,
        process: [u8; 16],
    ) -> Result<(Self, Option<Running>), FolderError> {
        let name: String = process.iter().map(|byte| format!("{byte:02x}")).collect();
        let configured = settings.folder.clone();
        let off = configured.as_os_str().is_empty();
        let hindrance = if off {
            hindrance::OFF
        } else {
            hindrance::UNREGISTERED
        };
        let recorder = Self::with(settings, keys, clock, name, hindrance);
        let shared = Arc::clone(&recorder.0);
        shared.counters.register(metrics);
        if off {
            return Ok((recorder, None));
        }
        let folder = Folder::open(&configured, &shared.process)?;
        let path = folder.path().to_owned();
        shared.take_in(&folder)?;
        let writer = Writer::new(Arc::clone(&shared), path.clone(), process)
            .map_err(|error| FolderError::new(&path, error))?;
        let thread = std::thread::Builder::new()
            .name("issued".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| FolderError::new(&path, error))?;
        Ok((
            recorder,
            Some(Running {
                folder,
                thread: Some(thread),
            }),
        ))
    }

    fn with(
        settings: IssuedSettings,
        keys: KeysReader,
        clock: SharedClock,
        process: String,
        hindrance: u8,
    ) -> Self {
        Self(Arc::new(Shared {
            settings,
            queue: Queue::new(clock.clone()),
            clock,
            catalog: Catalog::default(),
            shippable: Notify::new(),
            keys,
            process,
            counters: Counters::default(),
            hindrances: AtomicU8::new(hindrance),
            pending: AtomicUsize::new(0),
            unsynced_since: AtomicU64::new(0),
        }))
    }

    /// Permits a token to be issued.
    ///
    /// # Errors
    /// Why it cannot be recorded.
    pub(crate) fn admit(&self) -> Result<Permit, Refusal> {
        let shared = &self.0;
        match shared.admit() {
            Ok(()) => Ok(Permit(Some(Arc::clone(shared)))),
            Err(refusal) => match shared.settings.when_unrecordable {
                WhenUnrecordable::Refuse => {
                    shared.counters.refused.inc();
                    Err(refusal)
                }
                WhenUnrecordable::Sign => {
                    shared.counters.unrecorded.inc();
                    Ok(Permit(None))
                }
            },
        }
    }

    /// No permit is given any more; what was issued is written.
    pub(crate) fn stop(&self) {
        self.0.hinder(hindrance::STOPPED);
        self.0.queue.stop();
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

/// The right to issue one token. Unused, it is given back.
#[derive(Debug)]
pub struct Permit(Option<Arc<Shared>>);

impl Permit {
    /// Records the token. From here on it will be written, unless the process is killed first.
    pub(crate) fn record(mut self, issued: Issued) {
        if let Some(shared) = self.0.take() {
            shared.queue.push(issued);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.release(1);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn admit(&self) -> Result<(), Refusal> {
        let hindrances = self.hindrances.load(Ordering::Acquire);
        if hindrances != 0 {
            return Err(hindered(hindrances));
        }
        if self.keys.issued_keys().is_none() {
            return Err(hindered(hindrance::UNREGISTERED));
        }
        if self.queue.waited() > self.settings.max_unwritten.get()
            || self.unsynced_for() > self.settings.max_unsynced.get()
        {
            return Err(hindered(hindrance::FAILING));
        }
        if self.pending.fetch_add(1, Ordering::AcqRel) >= self.settings.queue {
            self.release(1);
            return Err(Refusal::Unrecordable(
                "more tokens are issued than can be recorded in time; try again",
            ));
        }
        Ok(())
    }

    /// So many entries have been taken out of the queue, or permits given back.
    pub(super) fn release(&self, count: usize) {
        self.pending.fetch_sub(count, Ordering::AcqRel);
    }

    pub(super) fn hinder(&self, what: u8) {
        let before = self.hindrances.fetch_or(what, Ordering::AcqRel);
        self.counters.recording.set(0);
        if before & what == 0 {
            match what {
                hindrance::FULL => tracing::error!(
                    max_bytes = self.settings.max_bytes,
                    "records of issued tokens fill their folder: tokens of key sets that record are refused until a key-manager takes records"
                ),
                hindrance::FAILING => tracing::error!(
                    "the disk refuses records of issued tokens: tokens of key sets that record are refused"
                ),
                _ => {}
            }
        }
    }

    pub(super) fn unhinder(&self, what: u8) {
        let before = self.hindrances.fetch_and(!what, Ordering::AcqRel);
        self.counters.recording.set(i64::from(before & !what == 0));
        if before & what != 0 {
            tracing::info!(
                recording = before & !what == 0,
                "what hindered records of issued tokens is over"
            );
        }
    }

    #[cfg(test)]
    pub(super) fn hindrances(&self) -> u8 {
        self.hindrances.load(Ordering::Acquire)
    }

    /// Looks whether the segments take more than they may.
    pub(super) fn weigh(&self) {
        let bytes = self.catalog.bytes();
        self.counters
            .bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
        if bytes >= self.settings.max_bytes {
            self.hinder(hindrance::FULL);
        } else if self.hindrances.load(Ordering::Acquire) & hindrance::FULL != 0 {
            self.unhinder(hindrance::FULL);
        }
    }

    /// Something is written and not flushed yet; or with `None` nothing is.
    pub(super) fn unsynced(&self, since: Option<BootTime>) {
        let millis = since.map_or(0, |at| millis(at).max(1));
        self.unsynced_since.store(millis, Ordering::Release);
    }

    fn unsynced_for(&self) -> Duration {
        match self.unsynced_since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => Duration::from_millis(millis(self.clock.boot()).saturating_sub(since)),
        }
    }

    /// What earlier processes left.
    fn take_in(&self, folder: &Folder) -> Result<(), FolderError> {
        for found in folder.segments()? {
            if found.torn > 0 {
                self.counters.lost_bytes.inc_by(found.torn);
                tracing::warn!(
                    file = %found.path.display(),
                    bytes = found.torn,
                    "a segment of issued tokens was torn by a crash: its unfinished end is cut off"
                );
            }
            self.catalog.found(found);
        }
        self.weigh();
        Ok(())
    }
}

fn millis(at: BootTime) -> u64 {
    u64::try_from(at.since_zero().as_millis()).unwrap_or(u64::MAX)
}
