//! Counts and latencies per rpc and code.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::time::Instant;
use tonic::Code;
use tower::{Layer, Service};

use super::outcome::observe;
use super::{Request, Response};
use crate::telemetry::Metrics;

/// The label of every path that is not a known rpc: peers must not be able to make up time series.
const OTHER: &str = "other";
/// gRPC has the codes 0 to 16.
const CODES: usize = 17;

type Labels = Vec<(&'static str, String)>;

/// The metrics of a daemon's rpcs. Clones share them.
#[derive(Clone)]
pub struct RpcMetrics(Arc<Table>);

struct Table {
    by_path: HashMap<String, Arc<RpcRow>>,
    other: Arc<RpcRow>,
}

/// One rpc's metrics, looked up once per call; counting takes no lock.
struct RpcRow {
    rpc: String,
    counts: Family<Labels, Counter>,
    by_code: [OnceLock<Counter>; CODES],
    seconds: Histogram,
}

impl RpcMetrics {
    /// Registers `rpcs` and `rpc_duration_seconds` for the rpcs of these names, each `package.Service/Method`.
    pub fn new<'a>(metrics: &Metrics, rpcs: impl IntoIterator<Item = &'a str>) -> Self {
        let counts = Family::<Labels, Counter>::default();
        let seconds = Family::<Labels, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.000_05, 2.0, 18))
        });
        metrics.with(|registry| {
            registry.register("rpcs", "calls, by rpc and code", counts.clone());
            registry.register(
                "rpc_duration_seconds",
                "time to the end of the answer, by rpc",
                seconds.clone(),
            );
        });
        let row = |rpc: &str| {
            let seconds = seconds.get_or_create_owned(&vec![("rpc", rpc.to_owned())]);
            Arc::new(RpcRow {
                rpc: rpc.to_owned(),
                counts: counts.clone(),
                by_code: Default::default(),
                seconds,
            })
        };
        let by_path = rpcs
            .into_iter()
            .map(|rpc| (format!("/{rpc}"), row(rpc)))
            .collect();
        Self(Arc::new(Table {
            by_path,
            other: row(OTHER),
        }))
    }

    fn row(&self, path: &str) -> Arc<RpcRow> {
        Arc::clone(self.0.by_path.get(path).unwrap_or(&self.0.other))
    }
}

impl fmt::Debug for RpcMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcMetrics")
            .field("rpcs", &self.0.by_path.len())
            .finish_non_exhaustive()
    }
}

impl RpcRow {
    fn count(&self, code: Code, start: Instant) {
        self.seconds.observe(start.elapsed().as_secs_f64());
        let number = usize::try_from(i32::from(code)).unwrap_or_default();
        if let Some(counter) = self.by_code.get(number) {
            counter.get_or_init(|| self.counter(code)).inc();
        }
    }

    /// A series appears with its first call, so that a quiet daemon's page stays short.
    fn counter(&self, code: Code) -> Counter {
        let labels = vec![("rpc", self.rpc.clone()), ("code", format!("{code:?}"))];
        self.counts.get_or_create_owned(&labels)
    }
}

/// Counts every call.
#[derive(Clone, Debug)]
pub struct MetricsLayer(RpcMetrics);

impl MetricsLayer {
    /// A layer that counts into `metrics`.
    pub fn new(metrics: RpcMetrics) -> Self {
        Self(metrics)
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured {
            inner,
            metrics: self.0.clone(),
        }
    }
}

/// The service that [`MetricsLayer`] makes.
#[derive(Clone, Debug)]
pub struct Measured<S> {
    inner: S,
    metrics: RpcMetrics,
}

impl<S> Service<Request> for Measured<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = MeasureFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let call = Call {
            row: self.metrics.row(request.uri().path()),
            start: Instant::now(),
            counted: false,
        };
        MeasureFuture {
            answer: self.inner.call(request),
            call: Some(call),
        }
    }
}

/// A call that will be counted, also when the peer goes away before the answer.
struct Call {
    row: Arc<RpcRow>,
    start: Instant,
    counted: bool,
}

impl Call {
    fn count(mut self, code: Code) {
        self.counted = true;
        self.row.count(code, self.start);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.counted {
            self.row.count(Code::Cancelled, self.start);
        }
    }
}

pin_project! {
    /// The answer, counted at its end.
    pub struct MeasureFuture<F> {
        #[pin]
        answer: F,
        call: Option<Call>,
    }
}

impl<F> fmt::Debug for MeasureFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeasureFuture").finish_non_exhaustive()
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for MeasureFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(cx));
        let call = this.call.take();
        Poll::Ready(answer.map(|response| {
            observe(response, move |code| {
                if let Some(call) = call {
                    call.count(code);
                }
            })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
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
        let layer = MetricsLayer::new(RpcMetrics::new(&metrics, ["a.B/C"]));
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
}
