//! One open stream: who waits on it, what it sends, and the task that reads it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tonic::codegen::tokio_stream::Stream;
use tonic::transport::Channel as Connection;

use super::kind::Kind;
use crate::channel::Pool;
use crate::error::{Code, Error};

/// Requests that are handed over and not on the wire yet.
const HANDED_OVER: usize = 32;

type Reply<K> = oneshot::Sender<Result<<K as Kind>::Answer, Error>>;

/// An open stream. Dropping it ends the stream.
pub(super) struct Live<K: Kind> {
    table: Arc<Table<K>>,
    requests: mpsc::Sender<K::Request>,
    reader: AbortHandle,
}

/// Who waits for which answer.
struct Table<K: Kind>(Mutex<Entries<K>>);

struct Entries<K: Kind> {
    next: u64,
    waiting: HashMap<u64, Reply<K>>,
    ended: bool,
}

/// A place in the table; dropping it gives the answer up.
pub(super) struct Waiting<K: Kind> {
    live: Arc<Live<K>>,
    id: u64,
}

/// What the stream sends: requests whose callers still wait.
pub(super) struct Requests<K: Kind> {
    from: mpsc::Receiver<K::Request>,
    table: Arc<Table<K>>,
}

impl<K: Kind> Live<K> {
    pub(super) fn open(pool: &Arc<Pool>, endpoint: usize, connection: Connection) -> Arc<Self> {
        let table = Arc::new(Table(Mutex::new(Entries {
            next: 0,
            waiting: HashMap::new(),
            ended: false,
        })));
        let (requests, from) = mpsc::channel(HANDED_OVER);
        let reading = read(
            Arc::clone(&table),
            Arc::clone(pool),
            endpoint,
            connection,
            from,
        );
        let reader = pool.runtime.spawn(reading).abort_handle();
        Arc::new(Self {
            table,
            requests,
            reader,
        })
    }

    /// A place for one more, or its reply where the stream has ended.
    pub(super) fn enlist(live: &Arc<Self>, reply: Reply<K>) -> Result<Waiting<K>, Reply<K>> {
        let mut entries = live.table.lock();
        if entries.ended || live.reader.is_finished() {
            return Err(reply);
        }
        let id = entries.next;
        entries.next += 1;
        entries.waiting.insert(id, reply);
        Ok(Waiting {
            live: Arc::clone(live),
            id,
        })
    }
}

impl<K: Kind> Drop for Live<K> {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl<K: Kind> Table<K> {
    fn lock(&self) -> MutexGuard<'_, Entries<K>> {
        // Each change is done before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream is over: everybody who waits is told.
    fn end(&self, error: &Error) {
        let waiting = {
            let mut entries = self.lock();
            entries.ended = true;
            std::mem::take(&mut entries.waiting)
        };
        for reply in waiting.into_values() {
            // A caller that is gone wants no answer.
            let _ = reply.send(Err(error.clone()));
        }
    }
}

impl<K: Kind> Waiting<K> {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Hands a request over. A stream that has ended meanwhile says so in the reply.
    pub(super) async fn send(&self, request: K::Request) {
        let _ = self.live.requests.send(request).await;
    }
}

impl<K: Kind> Drop for Waiting<K> {
    fn drop(&mut self) {
        self.live.table.lock().waiting.remove(&self.id);
    }
}

impl<K: Kind> Stream for Requests<K> {
    type Item = K::Request;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<K::Request>> {
        loop {
            let Some(request) = ready!(self.from.poll_recv(cx)) else {
                return Poll::Ready(None);
            };
            if self.table.lock().waiting.contains_key(&K::id(&request)) {
                return Poll::Ready(Some(request));
            }
        }
    }
}

/// Opens the stream and gives each answer to who waits for it, until the stream ends.
async fn read<K: Kind>(
    table: Arc<Table<K>>,
    pool: Arc<Pool>,
    endpoint: usize,
    connection: Connection,
    from: mpsc::Receiver<K::Request>,
) {
    let requests = Requests {
        from,
        table: Arc::clone(&table),
    };
    let error = route::<K>(&table, connection, requests).await;
    pool.rest(endpoint, &error);
    tracing::debug!(code = %error.code(), message = error.message(), "stream ended");
    table.end(&error);
}

/// Why the stream ended.
async fn route<K: Kind>(table: &Table<K>, connection: Connection, requests: Requests<K>) -> Error {
    let mut answers = match K::open(connection, requests).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Error::from_status(&status),
    };
    loop {
        match answers.message().await {
            Ok(Some(response)) => {
                let (id, answer) = K::read(response);
                let reply = table.lock().waiting.remove(&id);
                // An answer that nobody waits for any more is dropped.
                let _ = reply.map(|reply| reply.send(answer));
            }
            Ok(None) => return Error::new(Code::Unavailable, "the service ended the stream"),
            Err(status) => return Error::from_status(&status),
        }
    }
}
