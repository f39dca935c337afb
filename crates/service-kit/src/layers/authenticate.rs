//! Who calls: from the connection's certificate to the request's [`Caller`].

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::Either;
use tower::{Layer, Service};

use super::{Refusals, Request, Response};
use crate::clock::SharedClock;
use crate::identity::{Caller, IdentityError};
use crate::shutdown::Shutdown;

/// The other end of a TLS connection; the accept loop attaches it to each request of the connection.
#[derive(Clone, Debug)]
pub struct Peer {
    identity: Result<Caller, IdentityError>,
    /// Drains the connection, so that the client comes back with a renewed certificate.
    drain: Shutdown,
}

impl Peer {
    /// A peer whose chain TLS has verified.
    pub(crate) fn new(identity: Result<Caller, IdentityError>, drain: Shutdown) -> Self {
        Self { identity, drain }
    }

    /// Who it is, where its certificate says so; whether that still holds is the layer's to judge.
    pub(super) fn caller(&self) -> Option<&Caller> {
        self.identity.as_ref().ok()
    }
}

/// Attaches the [`Caller`], or answers UNAUTHENTICATED.
#[derive(Clone, Debug)]
pub struct AuthenticateLayer {
    clock: SharedClock,
    refusals: Arc<Refusals>,
}

impl AuthenticateLayer {
    /// A layer that judges expiry by `clock`.
    pub fn new(clock: SharedClock, refusals: Refusals) -> Self {
        Self {
            clock,
            refusals: Arc::new(refusals),
        }
    }

    /// A handshake looks at the certificate once; a connection may live for days. So each request looks again.
    fn identify(&self, request: &Request) -> Result<Caller, IdentityError> {
        let peer = request
            .extensions()
            .get::<Peer>()
            .ok_or(IdentityError::NoName)?;
        let caller = peer.identity.clone()?;
        if caller.expired_at(self.clock.wall()) {
            peer.drain.trigger();
            return Err(IdentityError::Expired);
        }
        Ok(caller)
    }
}

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Authenticate<S> {
        Authenticate {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service that [`AuthenticateLayer`] makes.
#[derive(Clone, Debug)]
pub struct Authenticate<S> {
    inner: S,
    layer: AuthenticateLayer,
}

impl<S> Service<Request> for Authenticate<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        match self.layer.identify(&request) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Either::Left(self.inner.call(request))
            }
            Err(error) => {
                tracing::debug!(%error, "caller refused");
                let status = (self.layer.refusals.unauthenticated)(&error);
                Either::Right(ready(Ok(status.into_http())))
            }
        }
    }
}
