//! Where crypto runs: cheap operations on the thread of their caller, slow ones on threads of their own, and both up to
//! eight at once where the machine has lanes for them.
//!
//! ```text
//! sign, verify --cheap--> alone in the service?  done at once
//!              |          else                   line -> the leader among the callers takes up to eight   (leader.rs)
//!              \--slow--> line of its kind ----> a crypto thread takes up to eight                        (pool.rs)
//! ```
//!
//! There is no timer: whoever is free takes what waits. Lines are fair between tenants by cost ([`fair`]), bounded by the
//! work that waits in them, and closed to what cannot be done before its deadline ([`admission`]). RSA-2048 and larger
//! keys have threads of their own, the larger ones at a lower priority, so that nothing waits behind what takes longer.

mod admission;
mod agree;
mod call;
mod class;
mod compute;
mod crowd;
mod engine;
mod fair;
mod group;
mod job;
mod leader;
mod multi;
mod pool;
mod report;
mod start;
mod stats;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jose::jws::UnsignedToken;
use jose::provider::Failed;
use tokio::time::Instant;

pub use agree::{AgreedSecret, AgreeingKey, Agreement};
pub use class::Class;
pub(crate) use engine::SigningKeyPointer;
pub use engine::{Engine, SigningKey, Unavailable, VerifyingKey};
pub(crate) use report::{LineReport, Report};
pub use start::LaneOptions;

use call::{Call, Caller, Event};
use class::{Kind, PerKind, PoolId};
use compute::{Compute, caught};
use crowd::Crowd;
use job::{Entry, LaneJob, Other};
use leader::{CallersLine, Leading, Role};
use pool::{Newcomer, Pool};

/// Why a job has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// More waits than can be done in time.
    #[error("too many operations of this cost are waiting")]
    Overloaded {
        /// When the line will have moved on.
        retry_in: Duration,
    },
    /// The deadline has passed, or cannot be met: the work has not begun.
    #[error("the deadline has passed")]
    DeadlineExceeded,
    /// The crypto thread ended without an answer.
    #[error("the crypto thread gave no answer")]
    Lost,
    /// The engine failed.
    #[error("the crypto engine failed")]
    Failed,
}

/// For whom, and until when.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Whose work it is: tenants share the threads fairly.
    pub tenant: Arc<str>,
    /// When the answer is worth nothing any more.
    pub deadline: Option<Instant>,
}

impl Ask {
    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }
}

/// A token to sign.
#[derive(Debug)]
pub struct SignJob {
    /// The key.
    pub key: SigningKey,
    /// The token, made with the key's algorithm and signature length.
    pub token: UnsignedToken,
}

/// A signature to check.
#[derive(Debug)]
pub struct VerifyJob {
    /// The key.
    pub key: VerifyingKey,
    /// The message.
    pub message: Message,
    /// The signature.
    pub signature: Vec<u8>,
}

/// What was signed: the head of a text, such as a token without its signature.
#[derive(Clone)]
pub struct Message {
    text: String,
    len: usize,
}

impl Message {
    /// The first `len` bytes of `text`; all of it, where it is shorter.
    #[must_use]
    pub const fn head(text: String, len: usize) -> Self {
        Self { text, len }
    }

    fn bytes(&self) -> &[u8] {
        let bytes = self.text.as_bytes();
        bytes.get(..self.len).unwrap_or(bytes)
    }
}

/// Shows the length and nothing of the text.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.len)
    }
}

/// A handle to the crypto threads. They end when the last handle is gone.
#[derive(Clone, Debug)]
pub struct Lanes(Arc<Handle>);

/// Closes the lines with the last handle; the threads hold only what is shared.
#[derive(Debug)]
struct Handle(Arc<Shared>);

/// What handles and threads share.
#[derive(Debug)]
struct Shared {
    compute: Compute,
    crowd: Crowd,
    rsa_2048: Pool,
    large_rsa: Pool,
    cheap: Pool,
    callers: PerKind<CallersLine>,
}

impl Shared {
    const fn pool(&self, id: PoolId) -> &Pool {
        match id {
            PoolId::Rsa2048 => &self.rsa_2048,
            PoolId::LargeRsa => &self.large_rsa,
            PoolId::Cheap => &self.cheap,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        for id in PoolId::ALL {
            self.0.pool(id).close();
        }
    }
}

impl Lanes {
    /// What keys are prepared with.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.shared().compute.engine
    }

    /// Signs a token. The answer is the token with its signature.
    ///
    /// # Errors
    /// [`LaneError`].
    pub async fn sign(&self, ask: Ask, job: SignJob) -> Result<String, LaneError> {
        self.one(ask, job).await
    }

    /// Signs tokens, each for its own ask. Answers come in the order of the jobs.
    pub async fn sign_all(&self, jobs: Vec<(Ask, SignJob)>) -> Vec<Result<String, LaneError>> {
        group::all(self.shared(), jobs).await
    }

    /// Checks a signature.
    ///
    /// # Errors
    /// [`LaneError`]; a signature that does not verify is in the verdict.
    pub async fn verify(&self, ask: Ask, job: VerifyJob) -> Result<Result<(), Failed>, LaneError> {
        self.one(ask, job).await
    }

    /// Checks signatures, each for its own ask. Verdicts come in the order of the jobs.
    pub async fn verify_all(
        &self,
        jobs: Vec<(Ask, VerifyJob)>,
    ) -> Vec<Result<Result<(), Failed>, LaneError>> {
        group::all(self.shared(), jobs).await
    }

    /// Runs `work` where its class says, one at a time. Work whose caller has gone is not begun.
    ///
    /// # Errors
    /// [`LaneError`].
    pub async fn run<T, F>(&self, ask: Ask, class: Class, work: F) -> Result<T, LaneError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.agree(ask, class, None, move |_none| work()).await
    }

    /// Runs many works, each for its own ask and in its own class. Results come in the order of the works.
    pub async fn run_all<T, F>(&self, works: Vec<(Ask, Class, F)>) -> Vec<Result<T, LaneError>>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let works = works.into_iter();
        let works = works.map(|(ask, class, work)| (ask, class, None, move |_none| work()));
        self.agree_all(works.collect()).await
    }

    /// As [`Lanes::run`], with the secret of a key agreement where lanes have made it; without one the work agrees by itself.
    ///
    /// # Errors
    /// [`LaneError`].
    pub async fn agree<T, F>(
        &self,
        ask: Ask,
        class: Class,
        agreement: Option<Agreement>,
        work: F,
    ) -> Result<T, LaneError>
    where
        T: Send + 'static,
        F: FnOnce(Option<AgreedSecret>) -> T + Send + 'static,
    {
        let other = Other {
            class,
            agreement,
            work,
        };
        self.one(ask, other).await
    }

    /// As [`Lanes::agree`], for many. Results come in the order of the works.
    pub async fn agree_all<T, F>(
        &self,
        works: Vec<(Ask, Class, Option<Agreement>, F)>,
    ) -> Vec<Result<T, LaneError>>
    where
        T: Send + 'static,
        F: FnOnce(Option<AgreedSecret>) -> T + Send + 'static,
    {
        let jobs = works.into_iter().map(|(ask, class, agreement, work)| {
            let other = Other {
                class,
                agreement,
                work,
            };
            (ask, other)
        });
        group::all(self.shared(), jobs.collect()).await
    }

    /// Jobs that wait for a crypto thread now.
    #[must_use]
    pub fn depth(&self) -> usize {
        let stats = &self.shared().compute.stats;
        let lines = Kind::all().map(|kind| stats.book(kind).load(stats::Lines::Threads).depth());
        lines.sum()
    }

    /// What waits and what was done, for metrics.
    pub(crate) fn report(&self) -> Report {
        report::of(self.shared())
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }

    async fn one<J: LaneJob>(&self, ask: Ask, job: J) -> Result<J::Answer, LaneError> {
        let (shared, kind) = (self.shared(), job.kind());
        if kind.class().is_slow() {
            return on_a_thread(shared, ask, job).await;
        }
        let _one_more = shared.crowd.enter();
        if ask.is_late() {
            let error = LaneError::DeadlineExceeded;
            shared.compute.stats.refused(error);
            return Err(error);
        }
        if matches!(kind, Kind::Lanes(..) | Kind::Agree) && shared.crowd.is_crowded() {
            return among_callers(shared, ask, job).await;
        }
        shared.compute.stats.book(kind).alone();
        caught(|| job.alone()).and_then(|answer| answer)
    }
}

async fn on_a_thread<J: LaneJob>(
    shared: &Shared,
    ask: Ask,
    job: J,
) -> Result<J::Answer, LaneError> {
    let (kind, call, stats) = (job.kind(), Call::one(), &shared.compute.stats);
    let newcomer = Newcomer {
        tenant: ask.tenant,
        kind,
        entry: Entry {
            job: job.queued(call.ticket(0)),
            deadline: ask.deadline,
        },
    };
    shared.pool(kind.pool()).push(stats, newcomer)?;
    let line = None;
    Caller { call, stats, line }.answer().await
}

async fn among_callers<J: LaneJob>(
    shared: &Shared,
    ask: Ask,
    job: J,
) -> Result<J::Answer, LaneError> {
    let (call, stats) = (Call::one(), &shared.compute.stats);
    let leading = Leading {
        line: shared.callers.of(job.kind()),
        compute: &shared.compute,
    };
    let entry = Entry {
        job: job.queued(call.ticket(0)),
        deadline: ask.deadline,
    };
    let role = leading.push(&ask.tenant, entry)?;
    let mut caller = Caller {
        call,
        stats,
        line: Some(leading),
    };
    if role != Role::Wait {
        leading.lead(&caller.call, role).await;
    }
    loop {
        match caller.event().await {
            Event::Lead => leading.lead(&caller.call, Role::LeadNow).await,
            Event::Done => return caller.take(),
        }
    }
}

#[cfg(test)]
mod tests;
