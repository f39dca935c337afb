//! Where crypto runs: cheap operations on the caller's thread, RSA private operations on threads of their own.
//!
//! An RSA-2048 signature takes 277 us, an ES256 one 16: a thread that serves connections can afford the second, not the first.
//! The queue is bounded, and a full one is said at once: waiting longer than a deadline helps nobody.

mod queue;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;

use queue::{Job, Queue};

/// How many jobs wait per crypto thread before callers are turned away: about 70 ms of RSA-2048.
const WAITING_PER_THREAD: usize = 256;

/// Why a job has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// The queue is full.
    #[error("too many RSA operations are waiting")]
    Overloaded,
    /// The crypto thread ended without an answer.
    #[error("the crypto thread gave no answer")]
    Lost,
}

/// What an operation costs, and so where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Tens of microseconds: on the caller's thread.
    Inline,
    /// Hundreds of microseconds and more: on a crypto thread.
    Queued,
}

/// A handle to the crypto threads. They end when the last handle is gone.
#[derive(Clone, Debug)]
pub struct Lanes {
    queue: Arc<Handle>,
}

/// Closes the queue with the last handle; the threads hold only the queue.
#[derive(Debug)]
struct Handle(Arc<Queue>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Lanes {
    /// Starts as many threads as the machine has processors.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start() -> std::io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self::with(threads, threads.saturating_mul(WAITING_PER_THREAD))
    }

    /// Starts `threads` threads behind a queue of `capacity` jobs.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn with(threads: usize, capacity: usize) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::new(capacity));
        let handle = Self {
            queue: Arc::new(Handle(Arc::clone(&queue))),
        };
        for number in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("crypto-{number}"))
                .spawn(move || queue.work())?;
        }
        Ok(handle)
    }

    /// Runs `work` where its cost says. Work whose caller has gone is not begun.
    ///
    /// # Errors
    /// [`LaneError`]; an inline job has none.
    pub async fn run<T, F>(&self, cost: Cost, work: F) -> Result<T, LaneError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        match cost {
            Cost::Inline => Ok(work()),
            Cost::Queued => self.queued(work).await,
        }
    }

    /// Jobs that wait now.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.queue.0.depth()
    }

    async fn queued<T, F>(&self, work: F) -> Result<T, LaneError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move || {
            if !reply.is_closed() {
                // The caller may go while the work is done; nobody else wants the result.
                let _gone = reply.send(work());
            }
        });
        self.queue.0.push(job)?;
        answer.await.map_err(|_dropped| LaneError::Lost)
    }
}

#[cfg(test)]
mod tests;
