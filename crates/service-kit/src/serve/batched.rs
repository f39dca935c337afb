//! Answers that become ready together leave together.
//!
//! HTTP/2 wakes the task of a connection for each response, and tokio runs a task that was just woken next: so under
//! load each response would have a TLS record and a system call of its own, which cost more than the request. Here the
//! connection waits, without a timer, until every task that is ready now has run, and what it writes then is held until
//! its turn ends: one record of up to 16 KiB, one system call.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The plaintext of one TLS record.
const RECORD: usize = 16 * 1024;

/// The two ends of a stream whose writes are held: one for HTTP/2, one for whoever drives it.
pub(super) fn held<T>(inner: T) -> (Held<T>, Held<T>) {
    let shared = Arc::new(Mutex::new(Buffered {
        inner,
        waiting: Vec::new(),
        written: 0,
        broken: None,
    }));
    (Held(Arc::clone(&shared)), Held(shared))
}

/// One end. Both belong to the same task, so the lock is never contended.
pub(super) struct Held<T>(Arc<Mutex<Buffered<T>>>);

struct Buffered<T> {
    inner: T,
    waiting: Vec<u8>,
    /// How much of `waiting` has left.
    written: usize,
    /// A flush at the end of a turn failed: the next write says so.
    broken: Option<io::ErrorKind>,
}

impl<T> Held<T> {
    fn lock(&self) -> MutexGuard<'_, Buffered<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: AsyncWrite + Unpin> Buffered<T> {
    /// Hands everything on.
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self
            .waiting
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += sent;
        }
        self.waiting.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// The end of a turn. Where the stream takes no more, its own waker brings the next one.
    fn let_go(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(Err(error)) = self.poll_out(cx) {
            self.broken = Some(error.kind());
            self.waiting.clear();
            self.written = 0;
        }
    }

    /// Takes as much as the record has room for; hands on what waits when there is none.
    fn poll_take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(kind) = self.broken {
            return Poll::Ready(Err(kind.into()));
        }
        if self.waiting.len() >= RECORD {
            ready!(self.poll_empty(cx))?;
        }
        let room = RECORD.saturating_sub(self.waiting.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.waiting.extend_from_slice(taken);
        Poll::Ready(Ok(taken.len()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Held<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Held<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_take(cx, bytes)
    }

    /// Says yes: whoever drives the connection flushes at the end of each turn.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffered = self.lock();
        ready!(buffered.poll_out(cx))?;
        Pin::new(&mut buffered.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut buffered = self.lock();
        let mut taken = 0;
        for bytes in slices.iter().filter(|bytes| !bytes.is_empty()) {
            match buffered.poll_take(cx, bytes) {
                Poll::Ready(Ok(more)) => taken += more,
                Poll::Ready(Err(error)) if taken == 0 => return Poll::Ready(Err(error)),
                Poll::Pending if taken == 0 => return Poll::Pending,
                // What was taken counts; the rest comes again.
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
            if buffered.waiting.len() >= RECORD {
                break;
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

pin_project! {
    /// A connection that takes its turns after everybody else, and lets go of what it wrote at the end of each.
    pub(super) struct Batched<C, T> {
        #[pin]
        connection: C,
        stream: Held<T>,
        turn: Arc<Turn>,
    }
}

/// Whose turn it is. One lock around all of it: the turn may come on another thread than the one that asked for it.
#[derive(Default)]
struct Turn(Mutex<Whose>);

/// `Others --poll--> Asked --wake--> Ours --poll--> Others`
#[derive(Default)]
enum Whose {
    /// Nobody has asked.
    #[default]
    Others,
    /// It will come, and wake this task.
    Asked(Waker),
    /// It has come.
    Ours,
}

impl Turn {
    fn whose(&self) -> MutexGuard<'_, Whose> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the turn has come; asks for the next one where it has not.
    fn poll(self: &Arc<Self>, cx: &mut Context<'_>) -> bool {
        let mut whose = self.whose();
        match &mut *whose {
            Whose::Ours => {
                *whose = Whose::Others;
                return true;
            }
            Whose::Asked(waker) => {
                waker.clone_from(cx.waker());
                return false;
            }
            Whose::Others => *whose = Whose::Asked(cx.waker().clone()),
        }
        drop(whose);
        let turn = Waker::from(Arc::clone(self));
        // The runtime wakes who yields after every task that is ready now.
        let _pending = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&turn));
        false
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        let asked = std::mem::replace(&mut *self.whose(), Whose::Ours);
        if let Whose::Asked(task) = asked {
            task.wake();
        }
    }
}

impl<C, T> Batched<C, T> {
    /// `stream` is the other end of the one that `connection` writes to.
    pub(super) fn new(connection: C, stream: Held<T>) -> Self {
        Self {
            connection,
            stream,
            turn: Arc::default(),
        }
    }

    /// The connection itself.
    pub(super) fn connection(self: Pin<&mut Self>) -> Pin<&mut C> {
        self.project().connection
    }
}

impl<C: Future, T: AsyncWrite + Unpin> Future for Batched<C, T> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.project();
        if !this.turn.poll(cx) {
            return Poll::Pending;
        }
        let ended = this.connection.poll(cx);
        this.stream.lock().let_go(cx);
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Notes the length of each write; fails them all when it is told to.
    #[derive(Clone, Default)]
    struct Sink {
        writes: Arc<Mutex<Vec<usize>>>,
        broken: bool,
    }

    impl AsyncWrite for Sink {
        fn poll_write(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            self.writes.lock().unwrap().push(bytes.len());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_written_in_one_turn_leaves_in_one_write() {
        let sink = Sink::default();
        let (mut stream, other) = held(sink.clone());
        Batched::new(
            async move {
                for _ in 0..10 {
                    stream.write_all(&[7; 100]).await.unwrap();
                    stream.flush().await.unwrap();
                }
            },
            other,
        )
        .await;
        assert_eq!(*sink.writes.lock().unwrap(), [1000]);
    }

    #[tokio::test]
    async fn more_than_a_record_is_not_held() {
        let sink = Sink::default();
        let (mut stream, other) = held(sink.clone());
        Batched::new(
            async move { stream.write_all(&vec![7; RECORD * 2 + 5]).await.unwrap() },
            other,
        )
        .await;
        assert_eq!(*sink.writes.lock().unwrap(), [RECORD, RECORD, 5]);
    }

    #[tokio::test]
    async fn slices_beyond_the_record_come_again() {
        let sink = Sink::default();
        let (mut stream, other) = held(sink.clone());
        let (long, short) = (vec![1; RECORD - 1], [2; 3]);
        let slices = [io::IoSlice::new(&long), io::IoSlice::new(&short)];
        let taken = poll_fn(|cx| Pin::new(&mut stream).poll_write_vectored(cx, &slices)).await;
        assert_eq!(taken.unwrap(), RECORD);
        drop(other);
    }

    #[tokio::test]
    async fn a_stream_that_breaks_at_the_end_of_a_turn_fails_the_next_write() {
        let sink = Sink {
            broken: true,
            ..Sink::default()
        };
        let (mut stream, other) = held(sink);
        let outcome = Batched::new(
            async move {
                stream.write_all(b"first").await.unwrap();
                tokio::task::yield_now().await;
                stream.write_all(b"second").await.unwrap_err().kind()
            },
            other,
        )
        .await;
        assert_eq!(outcome, io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_connection_takes_its_turn_after_everybody_who_is_ready() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let (_stream, other) = held(Sink::default());
        let at_last = Arc::clone(&order);
        let connection = tokio::spawn(Batched::new(
            async move { at_last.lock().unwrap().push("connection") },
            other,
        ));
        let ready: Vec<_> = (0..3)
            .map(|_| {
                let order = Arc::clone(&order);
                tokio::spawn(async move { order.lock().unwrap().push("call") })
            })
            .collect();
        connection.await.unwrap();
        for call in ready {
            call.await.unwrap();
        }
        assert_eq!(
            *order.lock().unwrap(),
            ["call", "call", "call", "connection"]
        );
    }

    #[tokio::test]
    async fn both_directions_pass_and_the_end_flushes() {
        let (near, mut far) = tokio::io::duplex(64);
        let (mut stream, other) = held(near);
        let served = tokio::spawn(Batched::new(
            async move {
                let mut asked = [0; 4];
                stream.read_exact(&mut asked).await.unwrap();
                stream.write_all(&asked).await.unwrap();
                stream.shutdown().await.unwrap();
            },
            other,
        ));
        far.write_all(b"ping").await.unwrap();
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await.unwrap();
        served.await.unwrap();
        assert_eq!(answer, b"ping");
    }
}
