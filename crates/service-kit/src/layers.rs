//! The tower layers around tonic's routes, one per file, and the order in which they stand.
//!
//! From the outside in:
//!
//! 1. [`CallsLayer`]: counts everything that arrives, also what the layers below refuse, and has the span that their
//!    lines belong to.
//! 2. [`AuthenticateLayer`]: nothing below runs without a [`Caller`](crate::identity::Caller).
//! 3. [`ShedLayer`]: refuses what is too much, before it costs anything; only callers count against the bound.
//! 4. [`DeadlineLayer`]: innermost, so that its time is spent on work and its answer frees the place in the bound.

mod authenticate;
mod calls;
mod deadline;
mod metrics;
mod outcome;
mod shed;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

pub use authenticate::{Authenticate, AuthenticateLayer, Peer};
pub use calls::{CallsLayer, Observed};
pub use deadline::{Deadline, DeadlineLayer, Deadlined};
pub use metrics::RpcMetrics;
pub use shed::{InFlight, Shed, ShedLayer};

use crate::clock::SharedClock;
use crate::identity::IdentityError;

/// A request as it travels through the layers.
pub type Request = http::Request<Body>;
/// A response as it travels through the layers.
pub type Response = http::Response<Body>;

/// What the accept loop serves: tonic's routes, bare or wrapped.
pub trait GrpcService:
    Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> GrpcService for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// How the layers put their refusals into words; a daemon gives its own, with its status details.
#[derive(Clone)]
pub struct Refusals {
    /// The peer names no caller.
    pub unauthenticated: Arc<dyn Fn(&IdentityError) -> Status + Send + Sync>,
    /// Too many calls are in flight.
    pub overloaded: Arc<dyn Fn() -> Status + Send + Sync>,
    /// The deadline has passed.
    pub too_late: Arc<dyn Fn() -> Status + Send + Sync>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            unauthenticated: Arc::new(|error| Status::unauthenticated(error.to_string())),
            overloaded: Arc::new(|| {
                Status::resource_exhausted("too many calls in flight; try again later")
            }),
            too_late: Arc::new(|| Status::deadline_exceeded("the deadline has passed")),
        }
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").finish_non_exhaustive()
    }
}

/// What the whole stack needs.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Where calls are counted.
    pub metrics: RpcMetrics,
    /// The clock by which a client's certificate expires.
    pub clock: SharedClock,
    /// How many calls may be in flight.
    pub in_flight: InFlight,
    /// The longest time to an answer, whatever the caller asks for.
    pub longest_deadline: Duration,
    /// How refusals are worded.
    pub refusals: Refusals,
}

impl Stack {
    /// The layers around `service`, usually [`tonic::service::Routes`], in the order that this module explains.
    pub fn around<S: GrpcService>(self, service: S) -> impl GrpcService {
        let service =
            DeadlineLayer::new(self.longest_deadline, self.refusals.clone()).layer(service);
        let service = ShedLayer::new(self.in_flight, self.refusals.clone()).layer(service);
        let service = AuthenticateLayer::new(self.clock, self.refusals).layer(service);
        CallsLayer::new(self.metrics).layer(service)
    }
}
