//! The pooled channel: which connection a call takes, its deadline, and its repetitions.
//!
//! tonic's own balancing cannot be used: it takes no connector, so neither the crypto provider nor the reload of certificates would be
//! ours, and it draws endpoints without regard to load or to failures. A pool of a few connections needs a dozen lines.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::Uri;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tonic::transport::{Channel as Connection, Endpoint};
use tonic::{Response, Status};

use crate::clock::Clock;
use crate::coalesce::Lots;
use crate::error::{Code, Error};
use crate::options::{Coalescing, Options, OptionsError, Target};
use crate::retry::{Budget, Next, Repeat, RetryPolicy, Standing};
use crate::tls::{Dial, Identity};

/// How long an endpoint that could not be reached comes last.
const REST: Duration = Duration::from_secs(1);

/// A handle on the connections to a service; cheap to clone.
#[derive(Clone)]
pub struct Channel {
    pub(crate) pool: Arc<Pool>,
    deadline: Duration,
}

/// What the handles share.
pub(crate) struct Pool {
    members: Vec<Member>,
    endpoints: usize,
    turn: AtomicUsize,
    budget: Budget,
    retry: RetryPolicy,
    clock: Arc<dyn Clock>,
    /// Calls that wait to go out together; none where coalescing is off.
    pub(crate) lots: Option<Lots>,
    /// Where batches and streams are driven, so that they depend on no caller's task.
    pub(crate) runtime: Handle,
}

/// One connection.
pub(crate) struct Member {
    pub(crate) endpoint: usize,
    connection: Connection,
    in_flight: AtomicUsize,
    /// On the boot clock, in milliseconds; until then the endpoint comes last.
    rests_until: AtomicU64,
}

/// One try of a call: the connection that it takes and the time that it has.
#[derive(Debug, Clone)]
pub struct Attempt {
    connection: Connection,
    remaining: Duration,
}

/// How far a call has come: what it tried, and when it has to be done.
pub(crate) struct Course {
    pub(crate) end: Instant,
    pub(crate) tried: Vec<usize>,
    attempts: u32,
}

impl Attempt {
    pub(crate) fn new(member: &Member, end: Instant) -> Self {
        Self {
            connection: member.connection.clone(),
            remaining: end.saturating_duration_since(Instant::now()),
        }
    }

    /// The connection, for a generated client.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// The message with its deadline, which the service is told.
    pub fn request<M>(&self, message: M) -> tonic::Request<M> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.remaining);
        request
    }
}

impl Channel {
    pub(crate) fn new(options: &Options) -> Result<Self, OptionsError> {
        let identity = Arc::new(Identity::new(options.tls.clone()));
        let targets = options.targets()?;
        let mut members = Vec::with_capacity(targets.len() * options.connections);
        for (endpoint, target) in targets.iter().enumerate() {
            for _ in 0..options.connections {
                let dial = Dial::new(options, Arc::clone(&identity), target.clone())?;
                members.push(Member::new(endpoint, connection(options, target, dial)?));
            }
        }
        let pool = Pool {
            members,
            endpoints: targets.len(),
            turn: AtomicUsize::new(0),
            budget: Budget::full(),
            retry: options.retry,
            clock: Arc::clone(&options.clock),
            lots: (options.coalescing == Coalescing::On).then(Lots::default),
            // The connections above are driven by the same runtime: without one they have panicked already.
            runtime: Handle::current(),
        };
        Ok(Self {
            pool: Arc::new(pool),
            deadline: options.deadline,
        })
    }

    /// The same connections with another deadline for each call.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            deadline,
        }
    }

    /// The clocks that this channel was made with.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.pool.clock)
    }

    /// Makes a call, and repeats it as [`RetryPolicy`] and `repeat` say.
    ///
    /// # Errors
    /// The error of the last attempt, or DEADLINE_EXCEEDED.
    pub async fn call<T, F, A>(&self, repeat: Repeat, attempt: F) -> Result<T, Error>
    where
        F: Fn(Attempt) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        self.repeated(repeat, |next| {
            let made = attempt(next);
            async move {
                made.await
                    .map(Response::into_inner)
                    .map_err(|status| Error::from_status(&status))
            }
        })
        .await
    }

    /// As [`Channel::call`], where the attempt reads its own answer.
    pub(crate) async fn repeated<T, F, A>(&self, repeat: Repeat, attempt: F) -> Result<T, Error>
    where
        F: Fn(Attempt) -> A,
        A: Future<Output = Result<T, Error>>,
    {
        let mut course = self.begin();
        loop {
            let member = self.pool.pick(&course.tried)?;
            let error = match self.attempt(member, course.end, &attempt).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            self.again(&mut course, repeat, error, Some(member.endpoint))
                .await?;
        }
    }

    /// A call begins.
    pub(crate) fn begin(&self) -> Course {
        Course {
            end: Instant::now() + self.deadline,
            tried: Vec::new(),
            attempts: 0,
        }
    }

    /// After a failed attempt at `endpoint`: returns when it is time for the next one, or with the error where there is none.
    pub(crate) async fn again(
        &self,
        course: &mut Course,
        repeat: Repeat,
        error: Error,
        endpoint: Option<usize>,
    ) -> Result<(), Error> {
        course.attempts += 1;
        course.tried.extend(endpoint);
        let untried = (0..self.pool.endpoints).any(|endpoint| !course.tried.contains(&endpoint));
        let standing = Standing {
            attempts: course.attempts,
            untried,
            remaining: course.end.saturating_duration_since(Instant::now()),
        };
        match self.pool.retry.next(&error, repeat, standing) {
            Next::Elsewhere if self.pool.budget.withdraw() => Ok(()),
            Next::After(pause) if self.pool.budget.withdraw() => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// One try over `member`.
    pub(crate) async fn attempt<T, F, A>(
        &self,
        member: &Member,
        end: Instant,
        attempt: F,
    ) -> Result<T, Error>
    where
        F: FnOnce(Attempt) -> A,
        A: Future<Output = Result<T, Error>>,
    {
        let busy = Busy::new(member, 1);
        let made = attempt(Attempt::new(member, end));
        let result = match tokio::time::timeout_at(end, made).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(self.too_late()),
        };
        drop(busy);
        self.pool.note(member, &result);
        result
    }

    /// What a call fails with when its deadline has passed.
    pub(crate) fn too_late(&self) -> Error {
        Error::deadline(self.deadline)
    }

    /// How long a call may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// A connection for a stream that has no deadline, not to the endpoint `after` where there is another.
    pub(crate) fn for_stream(&self, after: Option<usize>) -> Result<(usize, Connection), Error> {
        let member = self.pool.pick(after.as_slice())?;
        Ok((member.endpoint, member.connection.clone()))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("connections", &self.pool.members.len())
            .field("deadline", &self.deadline)
            .finish()
    }
}

impl Pool {
    /// The least busy one, in turn among equals; endpoints that were tried, or could not be reached a moment ago, come last.
    pub(crate) fn pick(&self, tried: &[usize]) -> Result<&Member, Error> {
        let now = millis(self.clock.boot());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (before, from) = self.members.split_at(turn % self.members.len().max(1));
        let rank = |member: &&Member| {
            let resting = now < member.rests_until.load(Ordering::Relaxed);
            (
                tried.contains(&member.endpoint),
                resting,
                member.in_flight.load(Ordering::Relaxed),
            )
        };
        let picked = from.iter().chain(before).min_by_key(rank);
        picked.ok_or_else(|| Error::new(Code::Unavailable, "the channel has no endpoint"))
    }

    /// An endpoint whose stream has ended comes last for a while.
    pub(crate) fn rest(&self, endpoint: usize, error: &Error) {
        let result: Result<(), _> = Err(error.clone());
        let at_endpoint = |member: &&Member| member.endpoint == endpoint;
        self.members
            .iter()
            .filter(at_endpoint)
            .for_each(|member| self.note(member, &result));
    }

    /// What an answer, or the want of one, says about the endpoint.
    pub(crate) fn note<T>(&self, member: &Member, result: &Result<T, Error>) {
        match result {
            Ok(_) => self.budget.deposit(),
            Err(error) if error.code() == Code::Unavailable => {
                member
                    .rests_until
                    .store(millis(self.clock.boot() + REST), Ordering::Relaxed);
            }
            Err(_) => {}
        }
    }
}

impl Member {
    fn new(endpoint: usize, connection: Connection) -> Self {
        Self {
            endpoint,
            connection,
            in_flight: AtomicUsize::new(0),
            rests_until: AtomicU64::new(0),
        }
    }
}

/// Counts calls while they are in flight, also when their future is dropped.
pub(crate) struct Busy<'a> {
    in_flight: &'a AtomicUsize,
    calls: usize,
}

impl<'a> Busy<'a> {
    pub(crate) fn new(member: &'a Member, calls: usize) -> Self {
        member.in_flight.fetch_add(calls, Ordering::Relaxed);
        Self {
            in_flight: &member.in_flight,
            calls,
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(self.calls, Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn connection(options: &Options, target: &Target, dial: Dial) -> Result<Connection, OptionsError> {
    let refused = |_error| OptionsError::Endpoint {
        endpoint: target.authority.clone(),
    };
    let uri = |scheme: &str| -> Result<Uri, OptionsError> {
        Uri::builder()
            .scheme(scheme)
            .authority(target.authority.as_str())
            .path_and_query("/")
            .build()
            .map_err(|_error| OptionsError::Endpoint {
                endpoint: target.authority.clone(),
            })
    };
    // `http` keeps tonic's own TLS out, whichever of its features another crate turns on; what the service sees is the origin.
    let endpoint = Endpoint::from(uri("http")?)
        .origin(uri("https")?)
        .user_agent(concat!("client-core/", env!("CARGO_PKG_VERSION")))
        .map_err(refused)?
        .http2_keep_alive_interval(options.keep_alive.0)
        .keep_alive_timeout(options.keep_alive.1)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(options.windows.0)
        .initial_connection_window_size(options.windows.1);
    Ok(endpoint.connect_with_connector_lazy(dial))
}
