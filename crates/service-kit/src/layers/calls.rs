//! What is known of each call from outside: a count and a latency per rpc and code, and how it went.
//!
//! One layer for both, because each look at the end of an answer costs a wrapper around its body. The span exists at
//! debug level only: at info level a call that went well leaves no line, and making a span for it would be a tenth of
//! what the call costs. A failure of our own says rpc and caller itself. Never a body.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::Code;
use tower::{Layer, Service};
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span};

use super::authenticate::Peer;
use super::metrics::{RpcMetrics, RpcRow};
use super::outcome::observe;
use super::{Request, Response};
use crate::identity::Caller;

/// Counts every call, and says at its end how it went.
#[derive(Clone, Debug)]
pub struct CallsLayer(RpcMetrics);

impl CallsLayer {
    /// A layer that counts into `metrics`.
    pub fn new(metrics: RpcMetrics) -> Self {
        Self(metrics)
    }
}

impl<S> Layer<S> for CallsLayer {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed {
            inner,
            metrics: self.0.clone(),
        }
    }
}

/// The service that [`CallsLayer`] makes.
#[derive(Clone, Debug)]
pub struct Observed<S> {
    inner: S,
    metrics: RpcMetrics,
}

impl<S> Service<Request> for Observed<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let path = request.uri().path();
        let caller = request.extensions().get().and_then(Peer::caller).cloned();
        // A path is the peer's text: shown as a quoted string, so that it cannot forge a line.
        let span = tracing::debug_span!("rpc", ?path, caller = name(caller.as_ref()));
        let call = Call {
            row: self.metrics.row(path),
            start: Instant::now(),
            caller,
            span: span.clone(),
            ended: false,
        };
        let answer = span.in_scope(|| self.inner.call(request));
        ObserveFuture {
            answer: answer.instrument(span),
            call: Some(call),
        }
    }
}

/// A call that will be counted, also when the peer goes away before the answer.
struct Call {
    row: Arc<RpcRow>,
    start: Instant,
    caller: Option<Caller>,
    span: Span,
    ended: bool,
}

impl Call {
    fn end(&mut self, code: Code) {
        self.ended = true;
        self.row.count(code, self.start);
        let _within = self.span.enter();
        match code {
            // Our own faults are worth a warning; everything else is the caller's business.
            Code::Internal | Code::Unknown | Code::DataLoss => tracing::warn!(
                rpc = self.row.rpc(),
                caller = name(self.caller.as_ref()),
                ?code,
                elapsed = ?self.start.elapsed(),
                "failed"
            ),
            code => tracing::debug!(?code, elapsed = ?self.start.elapsed(), "answered"),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Code::Cancelled);
        }
    }
}

fn name(caller: Option<&Caller>) -> &str {
    caller.map_or("none", Caller::name)
}

pin_project! {
    /// The answer, counted at its end.
    pub struct ObserveFuture<F> {
        #[pin]
        answer: Instrumented<F>,
        call: Option<Call>,
    }
}

impl<F> fmt::Debug for ObserveFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserveFuture").finish_non_exhaustive()
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for ObserveFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(cx));
        let call = this.call.take();
        Poll::Ready(answer.map(|response| {
            observe(response, move |code| {
                if let Some(mut call) = call {
                    call.end(code);
                }
            })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::identity::IdentityRules;
    use crate::layers::{AuthenticateLayer, Refusals};
    use crate::shutdown::Shutdown;
    use crate::telemetry::Metrics;
    use http_body_util::BodyExt;
    use std::io;
    use std::sync::Mutex;
    use testkit::{CertificateAuthority, Leaf};
    use tonic::Status;
    use tonic::body::Body;
    use tower::ServiceExt;

    async fn call<S>(service: S, path: &str)
    where
        S: Service<Request, Response = Response, Error = Infallible>,
    {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let response = service.oneshot(request).await.unwrap();
        // An error in the body is one of the outcomes under test.
        let _outcome = response.into_body().collect().await;
    }

    #[tokio::test]
    async fn each_rpc_and_code_is_counted_and_unknown_paths_are_one() {
        let metrics = Metrics::new("kit", "0");
        let layer = CallsLayer::new(RpcMetrics::new(&metrics, ["a.B/C"]));
        let refused = layer.layer(tower::service_fn(async |_: Request| {
            Ok(Status::not_found("x").into_http())
        }));
        let trailers = layer.layer(tower::service_fn(async |_: Request| {
            let mut end = http::HeaderMap::new();
            end.insert("grpc-status", "0".parse().unwrap());
            let frames =
                futures::stream::iter([Ok::<_, Status>(hyper::body::Frame::trailers(end))]);
            Ok(Response::new(Body::new(http_body_util::StreamBody::new(
                frames,
            ))))
        }));
        let pending = layer.layer(tower::service_fn(|_: Request| std::future::pending()));

        call(refused.clone(), "/a.B/C").await;
        call(refused.clone(), "/a.B/C").await;
        call(trailers, "/a.B/C").await;
        call(refused.clone(), "/made/up").await;
        call(refused, "/made/up2").await;
        let cut = tokio::time::timeout(std::time::Duration::ZERO, call(pending, "/a.B/C")).await;
        assert!(cut.is_err());

        let text = metrics.render();
        for line in [
            r#"kit_rpcs_total{rpc="a.B/C",code="NotFound"} 2"#,
            r#"kit_rpcs_total{rpc="a.B/C",code="Ok"} 1"#,
            r#"kit_rpcs_total{rpc="a.B/C",code="Cancelled"} 1"#,
            r#"kit_rpcs_total{rpc="other",code="NotFound"} 2"#,
            r#"kit_rpc_duration_seconds_count{rpc="a.B/C"} 4"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("made"), "{text}");
    }

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
        let service = CallsLayer::new(RpcMetrics::new(&Metrics::new("kit", "0"), ["a.B/C"])).layer(
            authenticate.layer(tower::service_fn(async |request: Request| {
                request.into_body().collect().await.unwrap();
                Ok(Status::internal("secret-message").into_http())
            })),
        );
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
