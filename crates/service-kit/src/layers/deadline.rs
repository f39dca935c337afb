//! Deadlines: the caller's, capped by ours.
//!
//! tonic's own server timeout answers CANCELLED; this answers DEADLINE_EXCEEDED. The deadline covers the time to
//! the head of the response, which for a unary call is the whole answer. Streams are bounded by their callers.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::HeaderMap;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Timeout, timeout_at};
use tower::{Layer, Service};

use super::{Refusals, Request, Response};

/// When the answer is due. In the extensions of every request that passed the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline that lies `remaining` ahead.
    pub fn after(remaining: Duration) -> Self {
        Self(Instant::now() + remaining)
    }

    /// The deadline of a request, where the layer was in its way.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        request.extensions().get::<Self>().copied()
    }

    /// The moment itself.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// The time that is left; zero when it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed: work that starts now is for nobody.
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }
}

/// Bounds the time to an answer.
#[derive(Clone, Debug)]
pub struct DeadlineLayer {
    longest: Duration,
    refusals: Arc<Refusals>,
}

impl DeadlineLayer {
    /// A layer that grants at most `longest`, also to those who ask for none.
    pub fn new(longest: Duration, refusals: Refusals) -> Self {
        Self {
            longest,
            refusals: Arc::new(refusals),
        }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadlined<S>;

    fn layer(&self, inner: S) -> Deadlined<S> {
        Deadlined {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service that [`DeadlineLayer`] makes.
#[derive(Clone, Debug)]
pub struct Deadlined<S> {
    inner: S,
    layer: DeadlineLayer,
}

impl<S> Service<Request> for Deadlined<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let asked = asked(request.headers()).unwrap_or(self.layer.longest);
        let deadline = Deadline::after(asked.min(self.layer.longest));
        request.extensions_mut().insert(deadline);
        let answer = timeout_at(deadline.0, self.inner.call(request));
        DeadlineFuture {
            answer,
            refusals: Arc::clone(&self.layer.refusals),
        }
    }
}

pin_project! {
    /// The answer, or DEADLINE_EXCEEDED.
    #[derive(Debug)]
    pub struct DeadlineFuture<F> {
        #[pin]
        answer: Timeout<F>,
        refusals: Arc<Refusals>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for DeadlineFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let in_time = ready!(this.answer.poll(cx));
        Poll::Ready(in_time.unwrap_or_else(|_late| Ok((this.refusals.too_late)().into_http())))
    }
}

/// The `grpc-timeout` header: at most eight digits and a unit. What is not that counts as absent.
fn asked(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = if plain {
        digits.parse().ok()?
    } else {
        return None;
    };
    match unit {
        'H' => Some(Duration::from_secs(number * 3600)),
        'M' => Some(Duration::from_secs(number * 60)),
        'S' => Some(Duration::from_secs(number)),
        'm' => Some(Duration::from_millis(number)),
        'u' => Some(Duration::from_micros(number)),
        'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::body::Body;
    use tower::ServiceExt;

    async fn answer(grpc_timeout: &str, takes: Duration) -> (Option<String>, Duration) {
        let layer = DeadlineLayer::new(Duration::from_secs(10), Refusals::default());
        let service = layer.layer(tower::service_fn(move |_request: Request| async move {
            tokio::time::sleep(takes).await;
            Ok(Response::new(Body::empty()))
        }));
        let request = http::Request::get("/a/b")
            .header("grpc-timeout", grpc_timeout)
            .body(Body::empty());
        let start = Instant::now();
        let response = service.oneshot(request.unwrap()).await.unwrap();
        let status = response.headers().get("grpc-status");
        (
            status.map(|status| status.to_str().unwrap().to_owned()),
            start.elapsed(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_deadline_exceeded_at_the_deadline() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let rows = [
            ("1S", minute, Some("4"), second),
            ("500m", second, Some("4"), Duration::from_millis(500)),
            ("5S", second, None, second),
            ("1H", minute, Some("4"), Duration::from_secs(10)),
            ("", minute, Some("4"), Duration::from_secs(10)),
        ];
        for (asked, takes, status, elapsed) in rows {
            let (found, took) = answer(asked, takes).await;
            assert_eq!(found.as_deref(), status, "{asked}");
            assert!(
                took >= elapsed && took < elapsed + Duration::from_millis(5),
                "{asked} {took:?}"
            );
        }
    }

    #[test]
    fn only_the_form_of_the_protocol_is_a_timeout() {
        let rows = [
            ("1H", Some(3_600_000_000)),
            ("2M", Some(120_000_000)),
            ("3S", Some(3_000_000)),
            ("4m", Some(4_000)),
            ("5u", Some(5)),
            ("6000n", Some(6)),
            ("99999999H", Some(359_999_996_400_000_000)),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            ("123456789S", None),
            ("1 S", None),
        ];
        for (text, micros) in rows {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(asked(&headers), micros.map(Duration::from_micros), "{text}");
        }
    }
}
