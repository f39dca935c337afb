//! A handle on a stream that opens when it is needed.

use std::sync::{Arc, Mutex, PoisonError};

use prost::Message as _;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use super::kind::Kind;
use super::live::{Live, Waiting};
use crate::channel::Channel;
use crate::error::{Code, Error};

/// As many as the service works on at once; more would only wait in the stream, where they cannot be given up.
const IN_FLIGHT: usize = 256;

/// The largest message that the service takes.
const LARGEST: usize = 1 << 20;

/// A stream's handle; its clones share it.
pub(super) struct Pipeline<K: Kind>(Arc<Shared<K>>);

struct Shared<K: Kind> {
    channel: Channel,
    places: Semaphore,
    live: Mutex<State<K>>,
}

struct State<K: Kind> {
    stream: Option<Arc<Live<K>>>,
    /// The endpoint of the last stream: the next one goes elsewhere.
    last: Option<usize>,
}

impl<K: Kind> Pipeline<K> {
    pub(super) fn new(channel: Channel) -> Self {
        Self(Arc::new(Shared {
            channel,
            places: Semaphore::new(IN_FLIGHT),
            live: Mutex::new(State {
                stream: None,
                last: None,
            }),
        }))
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.0.channel
    }

    pub(super) async fn call(&self, ask: &K::Ask) -> Result<K::Answer, Error> {
        let channel = &self.0.channel;
        let end = Instant::now() + channel.deadline();
        timeout_at(end, self.ask(ask, end))
            .await
            .unwrap_or_else(|_elapsed| Err(channel.too_late()))
    }

    async fn ask(&self, ask: &K::Ask, end: Instant) -> Result<K::Answer, Error> {
        let broken = || Error::new(Code::Unavailable, "the stream has ended");
        let _place = self.0.places.acquire().await.map_err(|_closed| broken())?;
        let (reply, replied) = oneshot::channel();
        let waiting = self.enlist(reply)?;
        let left = end.saturating_duration_since(Instant::now());
        let request = K::request(waiting.id(), ask, left);
        // The service ends a stream that carries more: one call must not cost the others theirs.
        if request.encoded_len() > LARGEST {
            return Err(Error::too_large());
        }
        waiting.send(request).await;
        // Whoever drops a stream tells those that wait; only the end of the runtime tells nobody.
        replied.await.map_err(|_dropped| broken())?
    }

    /// Waits for an answer of the open stream, or of a new one.
    fn enlist(
        &self,
        reply: oneshot::Sender<Result<K::Answer, Error>>,
    ) -> Result<Waiting<K>, Error> {
        let mut state = self.0.live.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = match &state.stream {
            Some(live) => match Live::enlist(live, reply) {
                Ok(waiting) => return Ok(waiting),
                Err(reply) => reply,
            },
            None => reply,
        };
        let (endpoint, connection) = self.0.channel.for_stream(state.last)?;
        let live = Live::open(&self.0.channel.pool, endpoint, connection);
        state.last = Some(endpoint);
        state.stream = Some(Arc::clone(&live));
        Live::enlist(&live, reply)
            .map_err(|_reply| Error::new(Code::Unavailable, "the stream has ended"))
    }
}

impl<K: Kind> Clone for Pipeline<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
