//! The stream's loop: connect, apply events, and when the stream ends connect again, elsewhere, after a pause.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crypto_proto::jwks::v1::jwks_service_client::JwksServiceClient;
use crypto_proto::jwks::v1::watch_trust_response::Event;
use crypto_proto::jwks::v1::{WatchTrustRequest, WatchTrustResponse};
use tonic::{Status, Streaming};

use super::State;
use super::lease::Lease;
use super::view::View;
use crate::error::Error;
use crate::random::jitter;

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a stream may take until its first lease.
const OPENING: Duration = Duration::from_secs(5);

/// Follows the trust stream for ever; the task is aborted with the last verifier.
pub(super) async fn follow(state: Arc<State>) {
    let mut pause = SHORTEST_PAUSE;
    let mut last = None;
    loop {
        let ended = run(&state, &mut last, &mut pause).await;
        tracing::debug!(code = %ended.code(), message = ended.message(), "trust stream ended");
        tokio::time::sleep(jitter(pause)).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// One stream, until it ends. A lease resets the pause: the next stream may start soon.
async fn run(state: &State, last: &mut Option<usize>, pause: &mut Duration) -> Error {
    let (endpoint, connection) = match state.client.channel().for_stream(*last) {
        Ok(picked) => picked,
        Err(error) => return error,
    };
    *last = Some(endpoint);
    let asked_at = state.clock.boot();
    let mut client = JwksServiceClient::new(connection);
    let request = WatchTrustRequest {
        tenant: state.follow.tenant.clone(),
        key_sets: state.follow.key_sets.clone(),
        max_token_revocations: state.follow.max_token_revocations,
    };
    let mut stream = match tokio::time::timeout(OPENING, client.watch_trust(request)).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return Error::from_status(&status),
        Err(_elapsed) => return Error::deadline(OPENING),
    };
    // Until the first lease: the sets of which tokens are revoked.
    let mut mentioned = Some(HashSet::new());
    loop {
        match next(state, &mut stream).await {
            Ok(Event::Lease(event)) => {
                if let Some(mentioned) = mentioned.take() {
                    state.change(|view| view.with_only_tokens_of(&mentioned, event.epoch));
                }
                let lease = Lease::granted(asked_at, &event);
                state.change(|view| view.with_lease(lease));
                *pause = SHORTEST_PAUSE;
            }
            Ok(Event::Jwks(event)) => state.change(|view| view.with_keys(event)),
            Ok(Event::Revocations(event)) => state.change(|view| view.with_revoked(event.kids)),
            Ok(Event::TokenRevocations(event)) => {
                if let Some(mentioned) = &mut mentioned {
                    mentioned.insert(event.key_set.clone());
                }
                let view = state.view.load();
                let Ok(next) = view.with_tokens(event, state.clock.unix()) else {
                    return Error::answer("readable revocations of tokens");
                };
                state.change(|_view| next);
            }
            Err(error) => return error,
        }
    }
}

/// The next event. A stream that brings none until the lease is over is given up: it may be half dead.
async fn next(state: &State, stream: &mut Streaming<WatchTrustResponse>) -> Result<Event, Error> {
    loop {
        let patience = state
            .view
            .load()
            .lease()
            .remaining(state.clock.boot())
            .max(OPENING);
        let message = tokio::time::timeout(patience, stream.message());
        let event = match message.await {
            Ok(Ok(Some(message))) => message.event,
            Ok(Ok(None)) => {
                return Err(Error::from_status(&Status::unavailable(
                    "the stream is over",
                )));
            }
            Ok(Err(status)) => return Err(Error::from_status(&status)),
            Err(_elapsed) => return Err(Error::deadline(patience)),
        };
        // An event of a kind that this client does not know arrives as none.
        if let Some(event) = event {
            return Ok(event);
        }
    }
}

impl State {
    /// One task writes: what it loads is still the present view when it stores.
    fn change(&self, change: impl FnOnce(&View) -> View) {
        let next = change(&self.view.load());
        self.view.store(Arc::new(next));
        self.changed.send_replace(());
    }
}
