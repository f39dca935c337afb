//! The status code of a call, wherever gRPC puts it: in the head of the response, or in the trailers of its body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tonic::{Code, Status};

use super::Response;

/// Calls `done` with the code of the response once that is known; CANCELLED when the response is dropped first.
pub(super) fn observe(response: Response, done: impl FnOnce(Code) + Send + 'static) -> Response {
    if let Some(code) = code_in(response.headers()) {
        done(code);
        return response;
    }
    response.map(|body| {
        Body::new(Observed {
            body,
            done: Done(Some(done)),
        })
    })
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers
        .get("grpc-status")
        .map(|code| Code::from_bytes(code.as_bytes()))
}

/// A callback that runs once, also when nobody waits for the end.
struct Done<F: FnOnce(Code)>(Option<F>);

impl<F: FnOnce(Code)> Done<F> {
    fn with(&mut self, code: Code) {
        if let Some(done) = self.0.take() {
            done(code);
        }
    }
}

impl<F: FnOnce(Code)> Drop for Done<F> {
    fn drop(&mut self) {
        self.with(Code::Cancelled);
    }
}

pin_project! {
    struct Observed<F: FnOnce(Code)> {
        #[pin]
        body: Body,
        done: Done<F>,
    }
}

impl<F: FnOnce(Code) + Send> HttpBody for Observed<F> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        match &frame {
            None => this.done.with(Code::Unknown),
            Some(Err(status)) => this.done.with(status.code()),
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(code_in) {
                    this.done.with(code);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
