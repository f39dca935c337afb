//! Ships what is flushed, oldest first, and says how far this process has come.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use issued_log::Frames;
use service_kit::clock::BootTime;
use service_kit::shutdown::Shutdown;

use super::carrier::{Carrier, CarrierError, Shipment};
use super::catalog::Due;
use super::hindrance;
use super::recorder::{Recorder, Running, Shared};

/// Bodies in one shipment: with a frame more and all that stands around them they stay below the 1 MiB that a key-manager reads.
const SHIPMENT_BYTES: usize = 512 * 1024;
/// What is read of a file at once: more than two frames.
const CHUNK: u64 = 768 * 1024;
/// How often it is said that there is nothing to ship.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// The first and the longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// After so long a refused segment is tried again.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);
/// For what is left when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The task that ships.
pub struct Shipper<C> {
    shared: Arc<Shared>,
    recorder: Recorder,
    running: Running,
    carrier: C,
    /// Earlier processes of which it is not said yet that everything is shipped.
    earlier: Vec<String>,
    again_at: BootTime,
    said: Option<CarrierError>,
}

impl<C> fmt::Debug for Shipper<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shipper").finish_non_exhaustive()
    }
}

#[expect(
    private_bounds,
    reason = "the ways to carry are this crate's; the type is named where it is assembled"
)]
impl<C: Carrier> Shipper<C> {
    pub(crate) fn new(recorder: Recorder, running: Running, carrier: C) -> Self {
        let shared = Arc::clone(recorder.shared());
        Self {
            earlier: running.folder.earlier.clone(),
            again_at: shared.clock.boot(),
            shared,
            recorder,
            running,
            carrier,
            said: None,
        }
    }

    /// Ships until shutdown, which must come after the last token was issued; then what is left.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut backoff = BACKOFF.0;
        while !shutdown.is_triggered() {
            let wait = match self.round().await {
                Ok(()) => {
                    backoff = BACKOFF.0;
                    REPORT_INTERVAL
                }
                Err(error) => {
                    self.say(error);
                    let wait = backoff;
                    backoff = backoff.saturating_mul(2).min(BACKOFF.1);
                    wait
                }
            };
            let wake = async {
                // After a failure the clock alone wakes.
                match wait == REPORT_INTERVAL {
                    true => self.shared.shippable.notified().await,
                    false => std::future::pending().await,
                }
            };
            let wait = tokio::time::timeout(wait, wake);
            let _woken = shutdown.guard(wait).await;
        }
        self.end().await;
    }

    /// What is due, then a report.
    async fn round(&mut self) -> Result<(), CarrierError> {
        let now = self.shared.clock.boot();
        if now.saturating_since(self.again_at) >= REFUSED_AGAIN {
            self.again_at = now;
            self.shared.catalog.try_again();
        }
        while self.ship_next().await? {}
        self.finish_earlier().await?;
        self.report(false).await?;
        self.shared.unhinder(hindrance::UNREGISTERED);
        if self.said.take().is_some() {
            tracing::info!("records of issued tokens are shipped again");
        }
        Ok(())
    }

    /// False where nothing is due.
    async fn ship_next(&mut self) -> Result<bool, CarrierError> {
        let Some(due) = self.shared.catalog.due() else {
            return Ok(false);
        };
        let read = {
            let due = due.clone();
            tokio::task::spawn_blocking(move || read(&due.path, due.from, due.until)).await
        };
        let (bodies, len) = match read {
            Ok(Ok((bodies, len))) if !bodies.is_empty() => (bodies, len),
            unread => {
                self.give_up(&due, unread.ok().and_then(Result::err));
                return Ok(true);
            }
        };
        let (count, end) = (bodies.len(), due.from.saturating_add(len));
        let complete_until = due.own.then(|| self.reach(Some((due.number, end))));
        let shipment = Shipment {
            process: due.process.clone(),
            frames: Some((due.header, due.first_frame, bodies)),
            complete_until,
            finished: false,
            unrecorded: self.unrecorded(due.own),
        };
        match self.carrier.ship(shipment).await {
            Ok(()) => {
                self.arrived(due.number, end, count);
                Ok(true)
            }
            Err(CarrierError::Refused(problem)) => {
                tracing::error!(
                    file = %due.path.display(),
                    problem,
                    "the key-manager refuses a segment of issued tokens: it is kept, and tried again later"
                );
                self.shared.catalog.refused(due.number);
                Ok(true)
            }
            Err(away) => Err(away),
        }
    }

    fn arrived(&self, number: u64, end: u64, count: usize) {
        let shared = &self.shared;
        let frames = u32::try_from(count).unwrap_or(u32::MAX);
        shared.counters.shipped.inc_by(frames.into());
        if let Some(path) = shared.catalog.acked(number, end, frames)
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(%error, file = %path.display(), "a shipped segment of issued tokens stays");
        }
        shared.weigh();
    }

    /// The file is gone, or its bytes are not what was written.
    fn give_up(&self, due: &Due, error: Option<io::Error>) {
        let lost = self.shared.catalog.lost(due.number);
        self.shared.counters.lost_bytes.inc_by(lost);
        let problem = error.map_or_else(|| "its frames are damaged".to_owned(), |e| e.to_string());
        tracing::error!(
            file = %due.path.display(),
            bytes = lost,
            problem,
            "a segment of issued tokens cannot be read: what was not shipped of it is lost"
        );
    }

    async fn finish_earlier(&mut self) -> Result<(), CarrierError> {
        let mut left = Vec::new();
        for process in std::mem::take(&mut self.earlier) {
            if !self.shared.catalog.is_free_of(&process) {
                left.push(process);
                continue;
            }
            let shipment = Shipment {
                process: process.clone(),
                finished: true,
                ..Shipment::default()
            };
            match self.carrier.ship(shipment).await {
                Ok(()) => self.running.folder.forget(&process),
                Err(CarrierError::Refused(problem)) => {
                    tracing::warn!(
                        process,
                        problem,
                        "the key-manager does not take the end of an earlier process"
                    );
                    self.running.folder.forget(&process);
                }
                Err(away) => {
                    left.push(process);
                    self.earlier.append(&mut left);
                    return Err(away);
                }
            }
        }
        self.earlier = left;
        Ok(())
    }

    async fn report(&self, finished: bool) -> Result<(), CarrierError> {
        let shipment = Shipment {
            process: self.shared.process.clone(),
            frames: None,
            complete_until: Some(self.reach(None)),
            finished,
            unrecorded: self.unrecorded(true),
        };
        self.carrier.ship(shipment).await
    }

    fn reach(&self, shipped: Option<(u64, u64)>) -> u64 {
        let shared = &self.shared;
        shared
            .catalog
            .reach(shipped, || shared.queue.nothing_since())
    }

    fn unrecorded(&self, own: bool) -> u64 {
        match own {
            true => self.shared.counters.unrecorded.get(),
            false => 0,
        }
    }

    /// Said once, and again when it changes.
    fn say(&mut self, error: CarrierError) {
        if self.said.as_ref() != Some(&error) {
            tracing::warn!(%error, "records of issued tokens are not shipped; they stay in their folder");
            self.said = Some(error);
        }
    }

    /// Nothing is issued any more: what is left is written, shipped, and said to be all.
    async fn end(mut self) {
        self.recorder.stop();
        let stopped = self.running.stop().await;
        let last = async {
            while self.ship_next().await? {}
            self.finish_earlier().await?;
            let process = self.shared.process.clone();
            match stopped && self.shared.catalog.is_free_of(&process) {
                true => self.report(true).await.map(|()| true),
                false => Ok(false),
            }
        };
        match tokio::time::timeout(LAST_WORDS, last).await {
            Ok(Ok(true)) => self.running.folder.forget(&self.shared.process),
            Ok(Ok(false)) => {
                tracing::warn!(
                    "records of issued tokens stay in their folder, for the next process"
                );
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "records of issued tokens stay in their folder, for the next process");
            }
            Err(_elapsed) => {
                tracing::warn!(
                    "there was no time to ship all records of issued tokens; they stay in their folder, for the next process"
                );
            }
        }
    }
}

/// Whole frames from `from` on, up to `until`, and their length in the file.
fn read(path: &Path, from: u64, until: u64) -> io::Result<(Vec<Vec<u8>>, u64)> {
    let length = until.saturating_sub(from).min(CHUNK);
    let mut chunk = vec![0; usize::try_from(length).unwrap_or_default()];
    File::open(path)?.read_exact_at(&mut chunk, from)?;
    let mut frames = Frames::new(&chunk);
    let (mut bodies, mut bytes) = (Vec::new(), 0_usize);
    while bytes < SHIPMENT_BYTES
        && let Some(body) = frames.next()
    {
        bytes = bytes.saturating_add(body.len());
        bodies.push(body.to_vec());
    }
    let whole = u64::try_from(frames.whole()).unwrap_or_default();
    Ok((bodies, whole))
}
