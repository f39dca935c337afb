//! Flushes files to the disk on a thread of its own: that may take long, and entries are written meanwhile.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use service_kit::clock::BootTime;

/// A file, up to where it is written, and when that was asked.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) file: Arc<File>,
    pub(super) len: u64,
    pub(super) asked_at: BootTime,
}

/// The thread's other end. It ends with this.
#[derive(Debug)]
pub(super) struct Syncer {
    jobs: Sender<Job>,
    done: Receiver<(Job, io::Result<()>)>,
    busy: bool,
}

impl Syncer {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let (finished, done) = channel();
        thread::Builder::new()
            .name("issued-sync".to_owned())
            .spawn(move || {
                while let Ok(job) = queue.recv() {
                    let result = job.file.sync_data();
                    if finished.send((job, result)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            jobs,
            done,
            busy: false,
        })
    }

    /// Whether a file is being flushed.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    pub(super) fn begin(&mut self, job: Job) {
        // the thread ends only with this
        self.busy = self.jobs.send(job).is_ok();
    }

    /// What was flushed since, if it is done.
    pub(super) fn poll(&mut self) -> Option<(Job, io::Result<()>)> {
        let done = self.done.try_recv().ok()?;
        self.busy = false;
        Some(done)
    }

    /// Waits for what is being flushed.
    pub(super) fn wait(&mut self) -> Option<(Job, io::Result<()>)> {
        if !self.busy {
            return None;
        }
        self.busy = false;
        self.done.recv().ok()
    }
}
