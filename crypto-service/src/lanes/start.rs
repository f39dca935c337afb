//! The crypto threads' start.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use service_kit::layers::InFlight;

use super::admission::Capacity;
use super::class::{PerKind, PoolId};
use super::compute::Compute;
use super::crowd::Crowd;
use super::leader::CallersLine;
use super::pool::{Idle, Pool};
use super::stats::{Stats, nanos};
use super::{Engine, Handle, Lanes, Shared};

/// How many threads there are, and how much may wait for them.
#[derive(Clone, Debug)]
pub struct LaneOptions {
    /// What computes.
    pub engine: Engine,
    /// Threads of each of the three kinds.
    pub threads: NonZeroUsize,
    /// The work that may wait for each thread, of each class, before callers are turned away.
    pub queue: Duration,
    /// How long a batch of large RSA keys may take at idle priority before others are computed at the usual one.
    pub idle_patience: Duration,
    /// The calls in flight in the service; without it, only those that are here are known.
    pub in_flight: Option<InFlight>,
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self {
            engine: Engine::single(),
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            queue: Duration::from_millis(250),
            // eight signatures with 4096 bits take 7 to 15 ms, one with 8192 bits takes as long
            idle_patience: Duration::from_millis(150),
            in_flight: None,
        }
    }
}

impl Lanes {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(options: LaneOptions) -> io::Result<Self> {
        let LaneOptions {
            engine,
            threads,
            queue,
            idle_patience,
            in_flight,
        } = options;
        let count = u64::try_from(threads.get()).unwrap_or(u64::MAX);
        let capacity = Capacity {
            threads: count,
            bound: nanos(queue).saturating_mul(count),
        };
        let shared = Arc::new(Shared {
            compute: Compute {
                engine,
                stats: Stats::new(),
            },
            crowd: Crowd::new(in_flight),
            rsa_2048: Pool::new(PoolId::Rsa2048, capacity),
            large_rsa: Pool::new(PoolId::LargeRsa, capacity),
            cheap: Pool::new(PoolId::Cheap, capacity),
            callers: PerKind::new(|kind| CallersLine::new(kind, capacity)),
        });
        // Where a thread is refused, dropping the handle ends those that run.
        let handle = Handle(Arc::clone(&shared));
        for id in PoolId::ALL {
            for number in 0..threads.get() {
                spawn(&shared, id, number, idle_patience)?;
            }
        }
        Ok(Self(Arc::new(handle)))
    }
}

fn spawn(
    shared: &Arc<Shared>,
    id: PoolId,
    number: usize,
    idle_patience: Duration,
) -> io::Result<()> {
    let name = format!("{}-{number}", id.name());
    let idle = match id {
        PoolId::LargeRsa => {
            let name = format!("rsa-idle-{number}");
            Some(spawn_idle(shared, name, idle_patience)?)
        }
        PoolId::Rsa2048 | PoolId::Cheap => None,
    };
    let shared = Arc::clone(shared);
    let work = move || shared.pool(id).work(&shared.compute, idle);
    thread(name, work)
}

fn spawn_idle(shared: &Arc<Shared>, name: String, patience: Duration) -> io::Result<Idle> {
    let (idle, work) = Idle::pair(patience);
    let shared = Arc::clone(shared);
    let compute = move || {
        lower_priority();
        work.run(&shared.compute);
    };
    thread(name, compute).map(|()| idle)
}

/// The kernel shows 15 characters of a name.
fn thread(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name(name)
        .spawn(work)
        .map(|_runs_by_itself| ())
}

/// Of this thread alone. A low priority by itself still lets it finish its time slice, 3 ms on Linux 6.6 and later; one that is
/// idle is preempted at once by whatever wakes.
fn lower_priority() {
    static SAID: Once = Once::new();
    if let Err(error) = set_idle() {
        SAID.call_once(|| {
            tracing::warn!(%error, "the threads for large RSA keys keep the usual priority");
        });
    }
}

#[cfg(target_os = "linux")]
fn set_idle() -> Result<(), thread_priority::Error> {
    use thread_priority::unix::{
        NormalThreadSchedulePolicy::Idle, ThreadSchedulePolicy::Normal,
        set_thread_priority_and_policy, thread_native_id,
    };
    let lowest = thread_priority::ThreadPriority::Min;
    set_thread_priority_and_policy(thread_native_id(), lowest, Normal(Idle))
}

#[cfg(not(target_os = "linux"))]
fn set_idle() -> Result<(), thread_priority::Error> {
    thread_priority::set_current_thread_priority(thread_priority::ThreadPriority::Min)
}
