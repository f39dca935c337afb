//! Load shedding: a bound on the calls in flight.
//!
//! A call counts until the head of its response, so a long stream holds a place only while it is being opened.
//! Health checks always pass: an overloaded instance is busy, not dead.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::Either;
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

use super::{Refusals, Request, Response};

const HEALTH: &str = "/grpc.health.v1.Health/";

/// The places for calls in flight. Clones share them.
#[derive(Clone, Debug)]
pub struct InFlight {
    places: Arc<Semaphore>,
    bound: usize,
}

impl InFlight {
    /// Room for `bound` calls.
    pub fn new(bound: usize) -> Self {
        let bound = bound.min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(bound)),
            bound,
        }
    }

    /// How many calls are in flight now.
    pub fn count(&self) -> usize {
        self.bound.saturating_sub(self.places.available_permits())
    }
}

/// Refuses calls beyond the bound.
#[derive(Clone, Debug)]
pub struct ShedLayer {
    in_flight: InFlight,
    refusals: Arc<Refusals>,
}

impl ShedLayer {
    /// A layer over these places.
    pub fn new(in_flight: InFlight, refusals: Refusals) -> Self {
        Self {
            in_flight,
            refusals: Arc::new(refusals),
        }
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service that [`ShedLayer`] makes.
#[derive(Clone, Debug)]
pub struct Shed<S> {
    inner: S,
    layer: ShedLayer,
}

impl<S> Service<Request> for Shed<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Placed<S::Future>, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let place = Arc::clone(&self.layer.in_flight.places)
            .try_acquire_owned()
            .ok();
        if place.is_some() || request.uri().path().starts_with(HEALTH) {
            return Either::Left(Placed {
                answer: self.inner.call(request),
                place,
            });
        }
        Either::Right(ready(Ok((self.layer.refusals.overloaded)().into_http())))
    }
}

pin_project! {
    /// An answer in the making, and its place.
    #[derive(Debug)]
    pub struct Placed<F> {
        #[pin]
        answer: F,
        place: Option<OwnedSemaphorePermit>,
    }
}

impl<F: Future> Future for Placed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answer = this.answer.poll(cx);
        if answer.is_ready() {
            this.place.take();
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::body::Body;
    use tower::ServiceExt;

    fn request(path: &str) -> Request {
        http::Request::get(path).body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn calls_beyond_the_bound_are_refused_and_health_is_not() {
        let in_flight = InFlight::new(1);
        let layer = ShedLayer::new(in_flight.clone(), Refusals::default());
        let waiting = layer.layer(tower::service_fn(|_request: Request| {
            std::future::pending()
        }));
        let quick = layer.layer(tower::service_fn(async |_request: Request| {
            Ok(Response::new(Body::empty()))
        }));

        let first = tokio::spawn(waiting.oneshot(request("/a/b")));
        while in_flight.count() == 0 {
            tokio::task::yield_now().await;
        }
        let refused = quick.clone().oneshot(request("/a/b")).await.unwrap();
        assert_eq!(refused.headers()["grpc-status"], "8");
        let health = quick
            .clone()
            .oneshot(request("/grpc.health.v1.Health/Check"))
            .await
            .unwrap();
        assert!(!health.headers().contains_key("grpc-status"));

        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let accepted = quick.oneshot(request("/a/b")).await.unwrap();
        assert!(!accepted.headers().contains_key("grpc-status"));
        assert_eq!(in_flight.count(), 0);
    }
}
