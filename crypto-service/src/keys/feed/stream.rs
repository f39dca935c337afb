//! One stream, from connect to its end.

use std::time::Duration;

use crypto_proto::keys::v1 as proto;
use proto::key_feed_service_client::KeyFeedServiceClient;
use proto::watch_request::Message as Up;
use proto::watch_response::Message as Down;
use service_kit::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{BACKOFF, FeedError, Instance, Link};
use crate::keys::writer::KeysWriter;

/// Between renewals: the shortest lease to sign is 30 s in development, so several may be lost.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);
/// For connect, hello and welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages that wait to be sent.
const OUTBOX: usize = 32;
/// The key-manager's answers are at most 4 MiB; with room for what it may send later.
const MAX_MESSAGE: usize = 8 * 1024 * 1024;

/// Follows the feed on one stream; `Ok` after shutdown. A stream that brought a snapshot was a sound one: the wait before
/// the next begins small again.
pub(super) async fn follow(
    instance: &Instance,
    writer: &mut KeysWriter,
    backoff: &mut Duration,
    shutdown: &Shutdown,
) -> Result<(), FeedError> {
    let (outbox, inbox) = mpsc::channel(OUTBOX);
    let (mut link, hello) = Link::open(instance, writer)?;
    send(&outbox, hello)?;
    let opening = timeout(WELCOME_TIMEOUT, open(instance, ReceiverStream::new(inbox)));
    let opened = shutdown.guard(opening).await;
    let Some(opened) = opened else { return Ok(()) };
    let (mut messages, welcome) = opened.map_err(|_elapsed| FeedError::Silent)??;

    let subscriber = welcome.subscriber.clone();
    link.receive(instance, writer, Down::Welcome(welcome))?;
    instance.options.metrics.feed_connected(true);
    tracing::info!(subscriber, "the key feed is connected");
    let mut renewals = interval(RENEWAL_INTERVAL);
    renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.triggered() => return leave(&outbox, messages).await,
            message = next(&mut messages) => {
                for answer in link.receive(instance, writer, message?)? {
                    send(&outbox, answer)?;
                }
                if link.is_following() {
                    *backoff = BACKOFF.0;
                }
            }
            _ = renewals.tick() => {
                if let Some(renewal) = link.renew(writer)? {
                    send(&outbox, renewal)?;
                }
            }
        }
    }
}

async fn open(
    instance: &Instance,
    requests: ReceiverStream<proto::WatchRequest>,
) -> Result<(Streaming<proto::WatchResponse>, proto::Welcome), FeedError> {
    let options = &instance.options;
    let channel = options
        .credentials
        .channel(&options.endpoint, options.key_manager.as_deref());
    let mut client = KeyFeedServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let mut messages = client.watch(requests).await.map_err(Box::new)?.into_inner();
    match next(&mut messages).await? {
        Down::Welcome(welcome) => Ok((messages, welcome)),
        _ => Err(FeedError::Protocol("no welcome")),
    }
}

async fn next(messages: &mut Streaming<proto::WatchResponse>) -> Result<Down, FeedError> {
    let message = messages
        .message()
        .await
        .map_err(Box::new)?
        .ok_or(FeedError::Ended)?;
    message
        .message
        .ok_or(FeedError::Protocol("an empty message"))
}

/// The outbox is never waited for: a stream that takes nothing any more is given up.
fn send(outbox: &mpsc::Sender<proto::WatchRequest>, message: Up) -> Result<(), FeedError> {
    outbox
        .try_send(proto::WatchRequest {
            message: Some(message),
        })
        .map_err(|_full| FeedError::Silent)
}

/// The lease ends now. The stream is closed from this side, and the key-manager's end is awaited for a moment, so that
/// the goodbye is not cut off with the connection.
async fn leave(
    outbox: &mpsc::Sender<proto::WatchRequest>,
    mut messages: Streaming<proto::WatchResponse>,
) -> Result<(), FeedError> {
    send(outbox, Up::Goodbye(proto::Goodbye {}))?;
    let ended = async { while let Ok(Some(_late)) = messages.message().await {} };
    let _elapsed = timeout(Duration::from_millis(500), ended).await;
    Ok(())
}
