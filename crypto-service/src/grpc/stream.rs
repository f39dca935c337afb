//! Streams of requests and answers, whatever the requests are.
//!
//! ```text
//! messages that are there (up to 64) -> one wave of work -> answers in groups, as each is made
//! ```
//!
//! A wave takes what has arrived, without a timer: a stream with one message waits for no other, and a busy one is as cheap as a
//! batch. What is worked on, or is answered and not fetched yet, is bounded; beyond that nothing is read, so that a client
//! that does not read its answers is held back by flow control.
//!
//! ```text
//! the client ends its side            -> what is in work is answered -> OK
//! the instance drains, the caller's
//! certificate expires                 -> what is in work is answered -> UNAVAILABLE, UNAUTHENTICATED
//! a message cannot be read            -> what is in work is dropped  -> the reason
//! the client goes                     -> what is in work is dropped
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use service_kit::identity::{Caller, IdentityError};
use service_kit::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tonic::codegen::BoxStream;
use tonic::{Code, Status};
use tracing::{Instrument, Span};

use crate::refusal::Refusal;
use crate::usecase::DataPlane;

/// Requests that are worked on at once, with those whose answers wait to be fetched.
const MOST_IN_WORK: usize = 256;
/// Requests in one wave.
const LARGEST_WAVE: usize = 64;

/// What becomes of the requests of a stream.
pub(super) trait Work: Send + Sync + 'static {
    /// A message of the client.
    type Request: Send + 'static;
    /// A message to the client.
    type Answer: Send + Unpin + 'static;

    /// Whether the stream may go on; asked before each wave.
    fn admits(&self) -> Result<(), Status>;

    /// Works on what arrived together. Each request gets exactly one answer; `answers` takes them as they are made.
    fn run(
        &self,
        wave: Vec<Self::Request>,
        answers: Answers<Self::Answer>,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// The way of answers to their stream.
pub(super) struct Answers<A>(mpsc::UnboundedSender<Vec<A>>);

impl<A> Answers<A> {
    /// Sends answers that were made together. There are never more than requests in work, so nothing waits here for long.
    pub(super) fn send(&self, answers: Vec<A>) {
        // A stream that has ended has nobody to tell.
        let _unheard = self.0.send(answers);
    }
}

/// A stream outlives the request that opened it, and possibly the certificate of its caller: each wave looks again.
pub(super) fn still_admitted(plane: &DataPlane, caller: &Caller) -> Result<(), Status> {
    if caller.expired_at(plane.clock().wall()) {
        let refusals = super::refusals();
        return Err((refusals.unauthenticated)(&IdentityError::Expired));
    }
    Ok(())
}

/// Serves a stream until one of its ends.
pub(super) fn serve<S, W>(incoming: S, work: W, shutdown: &Shutdown) -> BoxStream<W::Answer>
where
    S: Stream<Item = Result<W::Request, Status>> + Send + Unpin + 'static,
    W: Work + Unpin,
{
    Box::pin(Served::new(incoming, work, shutdown))
}

/// Whether more is read, and how the stream ends once nothing is in work any more.
enum Side {
    Open,
    Closed(Option<Status>),
}

struct Served<S, W: Work> {
    incoming: S,
    work: W,
    /// The span of the rpc; its waves run on tasks of their own.
    span: Span,
    drains: Pin<Box<dyn Future<Output = ()> + Send>>,
    side: Side,
    /// Dropped, and so ended, with the stream.
    waves: JoinSet<()>,
    sender: mpsc::UnboundedSender<Vec<W::Answer>>,
    made: mpsc::UnboundedReceiver<Vec<W::Answer>>,
    in_work: usize,
    answers: VecDeque<W::Answer>,
}

impl<S, W> Served<S, W>
where
    S: Stream<Item = Result<W::Request, Status>> + Unpin,
    W: Work,
{
    fn new(incoming: S, work: W, shutdown: &Shutdown) -> Self {
        let (sender, made) = mpsc::unbounded_channel();
        Self {
            incoming,
            work,
            span: Span::current(),
            drains: Box::pin(shutdown.triggered()),
            side: Side::Open,
            waves: JoinSet::new(),
            sender,
            made,
            in_work: 0,
            answers: VecDeque::new(),
        }
    }

    /// Reads what is there and begins to work on it, as far as the bound permits.
    fn read(&mut self, cx: &mut Context<'_>) {
        if matches!(self.side, Side::Open) && self.drains.as_mut().poll(cx).is_ready() {
            self.close(Refusal::not_ready("the instance drains"));
        }
        loop {
            let room = MOST_IN_WORK.saturating_sub(self.in_work + self.answers.len());
            let (wave, more) = self.next_wave(cx, room.min(LARGEST_WAVE));
            if wave.is_empty() {
                return;
            }
            if let Err(status) = self.work.admits() {
                return self.close(status);
            }
            self.in_work += wave.len();
            let answers = Answers(self.sender.clone());
            let wave = self.work.run(wave, answers);
            self.waves.spawn(wave.instrument(self.span.clone()));
            if !more {
                return;
            }
        }
    }

    /// What is there, and whether there may be more.
    fn next_wave(&mut self, cx: &mut Context<'_>, room: usize) -> (Vec<W::Request>, bool) {
        let mut wave = Vec::new();
        while wave.len() < room && matches!(self.side, Side::Open) {
            match Pin::new(&mut self.incoming).poll_next(cx) {
                Poll::Ready(Some(Ok(request))) => wave.push(request),
                Poll::Ready(Some(Err(status))) => {
                    self.drop_work();
                    self.close(worded(status));
                    return (Vec::new(), false);
                }
                Poll::Ready(None) => self.side = Side::Closed(None),
                Poll::Pending => return (wave, false),
            }
        }
        (wave, true)
    }

    /// Takes the answers that have been made.
    fn collect(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(made)) = self.made.poll_recv(cx) {
            self.in_work = self.in_work.saturating_sub(made.len());
            self.answers.extend(made);
        }
        while let Poll::Ready(Some(ended)) = self.waves.poll_join_next(cx) {
            if ended.is_err() && self.in_work > 0 {
                // A wave that panicked answers nothing any more, and nobody can tell which requests were its own.
                self.drop_work();
                self.close(Refusal::Internal("the work on the stream was lost"));
            }
        }
    }

    fn close(&mut self, reason: impl Into<Status>) {
        self.side = Side::Closed(Some(reason.into()));
    }

    fn drop_work(&mut self) {
        self.waves.abort_all();
        self.answers.clear();
        self.in_work = 0;
    }
}

impl<S, W> Stream for Served<S, W>
where
    S: Stream<Item = Result<W::Request, Status>> + Unpin,
    W: Work + Unpin,
{
    type Item = Result<W::Answer, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.answers.is_empty() {
            this.collect(cx);
            this.read(cx);
            // A set of waves that was empty a moment ago has no waker yet.
            this.collect(cx);
        }
        if let Some(answer) = this.answers.pop_front() {
            return Poll::Ready(Some(Ok(answer)));
        }
        match &mut this.side {
            Side::Closed(reason) if this.in_work == 0 => Poll::Ready(reason.take().map(Err)),
            _ => Poll::Pending,
        }
    }
}

/// tonic refuses messages beyond their limit with a code that nothing here answers with; see [`super::limit`].
fn worded(status: Status) -> Status {
    match status.code() {
        Code::OutOfRange => Refusal::TooLarge("the message is larger than 1 MiB").into(),
        _ => status,
    }
}

impl<A> fmt::Debug for Answers<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
