//! One span per call: rpc, caller, code, elapsed. Never a body.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::Code;
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument, Span, instrument::Instrumented};

use super::outcome::observe;
use super::{Request, Response};

/// Opens the span of a call and says at its end how it went.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceLayer;

impl<S> Layer<S> for TraceLayer {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner }
    }
}

/// The service that [`TraceLayer`] makes.
#[derive(Clone, Debug)]
pub struct Traced<S> {
    inner: S,
}

impl<S> Service<Request> for Traced<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = TraceFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // A path is the peer's text: shown as a quoted string, so that it cannot forge a line.
        let span = tracing::info_span!("rpc", path = ?request.uri().path(), caller = Empty);
        let start = Instant::now();
        let answer = span.in_scope(|| self.inner.call(request));
        TraceFuture {
            answer: answer.instrument(span),
            start,
        }
    }
}

pin_project! {
    /// The answer, within its span.
    #[derive(Debug)]
    pub struct TraceFuture<F> {
        #[pin]
        answer: Instrumented<F>,
        start: Instant,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for TraceFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let span = this.answer.span().clone();
        let start = *this.start;
        let response = match ready!(this.answer.poll(cx)) {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if span.is_disabled() {
            return Poll::Ready(Ok(response));
        }
        Poll::Ready(Ok(observe(response, move |code| say(&span, code, start))))
    }
}

/// Our own faults are worth a warning; everything else is the caller's business.
fn say(span: &Span, code: Code, start: Instant) {
    let elapsed = start.elapsed();
    span.in_scope(|| match code {
        Code::Internal | Code::Unknown | Code::DataLoss => {
            tracing::warn!(?code, ?elapsed, "failed")
        }
        code => tracing::debug!(?code, ?elapsed, "answered"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::identity::{Caller, IdentityRules};
    use crate::layers::{AuthenticateLayer, Peer, Refusals};
    use crate::shutdown::Shutdown;
    use http_body_util::BodyExt;
    use std::io;
    use std::sync::{Arc, Mutex};
    use testkit::{CertificateAuthority, Leaf};
    use tonic::Status;
    use tonic::body::Body;
    use tower::ServiceExt;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_line_says_who_called_what_and_how_it_ended_and_nothing_of_the_body() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let _logging = tracing::subscriber::set_default(subscriber);

        let leaf = CertificateAuthority::new("ca").issue(&Leaf::client("token"));
        let caller = Caller::from_leaf(&leaf.der(), IdentityRules::default());
        let authenticate = AuthenticateLayer::new(SystemClock::shared(), Refusals::default());
        let service = TraceLayer.layer(authenticate.layer(tower::service_fn(
            async |request: Request| {
                request.into_body().collect().await.unwrap();
                Ok(Status::internal("secret-message").into_http())
            },
        )));
        let body = Body::new("secret-body".to_owned());
        let mut request = http::Request::post("/a.B/C").body(body).unwrap();
        request
            .extensions_mut()
            .insert(Peer::new(caller, Shutdown::new()));
        service.oneshot(request).await.unwrap();

        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        for part in [
            "WARN",
            "path=\"/a.B/C",
            "caller=\"spiffe://crypto.dev/token\"",
            "code=Internal",
            "elapsed=",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains("secret"), "{text}");
    }
}
