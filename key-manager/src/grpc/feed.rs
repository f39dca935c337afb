//! `KeyFeedService`: a stream up, a stream down, and the feed between them.

use crypto_proto::keys::v1::{
    self as proto, key_feed_service_server::KeyFeedService, watch_request::Message as UpMessage,
    watch_response::Message as DownMessage,
};
use futures::StreamExt;
use keyring::{Time, Times};
use service_kit::identity::Caller;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::{encode, fields::time, status::Failure};
use crate::feed::{Down, FedTokens, Feed, FeedError, Hello, OUTBOX, Report, Up};

/// The service.
#[derive(Clone, Debug)]
pub struct FeedServer {
    feed: Feed,
}

impl FeedServer {
    /// A service over the feed.
    #[must_use]
    pub fn new(feed: Feed) -> Self {
        Self { feed }
    }
}

#[tonic::async_trait]
impl KeyFeedService for FeedServer {
    async fn watch(
        &self,
        request: Request<Streaming<proto::WatchRequest>>,
    ) -> Result<Response<BoxStream<proto::WatchResponse>>, Status> {
        let caller = Caller::of(&request).map_err(Failure::from)?.clone();
        self.feed.admit(&caller).map_err(Failure::from)?;
        let (to_feed, up) = mpsc::channel(OUTBOX);
        let (down, from_feed) = mpsc::channel(OUTBOX);
        tokio::spawn(read(request.into_inner(), to_feed));
        tokio::spawn(self.feed.clone().follow(caller, up, down));
        let times = *self.feed.times();
        let encoded = ReceiverStream::new(from_feed).map(move |message| match message {
            Ok(message) => Ok(proto::WatchResponse {
                message: Some(down_message(message, &times)),
            }),
            Err(error) => Err(Failure::from(error).into()),
        });
        Ok(Response::new(encoded.boxed()))
    }

    async fn ship_issued(
        &self,
        request: Request<proto::ShipIssuedRequest>,
    ) -> Result<Response<proto::ShipIssuedResponse>, Status> {
        let caller = Caller::of(&request).map_err(Failure::from)?.clone();
        let shipment = super::issued::shipment(&caller, request.into_inner())?;
        let next_frame = self.feed.ship(&caller, shipment).await;
        let next_frame = next_frame.map_err(Failure::from)?;
        Ok(Response::new(proto::ShipIssuedResponse { next_frame }))
    }
}

/// Ends when either side does.
async fn read(
    mut stream: Streaming<proto::WatchRequest>,
    feed: mpsc::Sender<Result<Up, FeedError>>,
) {
    loop {
        let received = tokio::select! {
            received = stream.message() => received,
            () = feed.closed() => return,
        };
        let message = match received {
            Ok(None) => return,
            Ok(Some(message)) => up_message(message),
            Err(_broken) => Err(FeedError::Broken),
        };
        if feed.send(message).await.is_err() {
            return;
        }
    }
}

/// A message of an instance, as the feed takes it.
///
/// # Errors
/// [`FeedError::Protocol`].
pub fn up_message(message: proto::WatchRequest) -> Result<Up, FeedError> {
    let missing = FeedError::Protocol {
        field: "message",
        problem: "is required",
    };
    Ok(match message.message.ok_or(missing)? {
        UpMessage::Hello(hello) => Up::Hello(Hello {
            nonce: hello.nonce,
            public_key: hello.public_key,
            certificate_chain: hello.certificate_chain,
            signature: hello.signature,
            highest_epoch: hello.highest_epoch,
        }),
        UpMessage::Ack(ack) => Up::Ack(report(
            ack.epoch,
            ack.clock,
            ack.high_water,
            ack.in_flight_kids,
            ack.invocations,
        )?),
        UpMessage::Renewal(renewal) => Up::Renewal {
            id: renewal.id,
            report: report(
                renewal.epoch,
                renewal.clock,
                renewal.high_water,
                renewal.in_flight_kids,
                renewal.invocations,
            )?,
        },
        UpMessage::Goodbye(proto::Goodbye {}) => Up::Goodbye,
    })
}

fn report(
    epoch: u64,
    clock: Option<prost_types::Timestamp>,
    high_water: Vec<proto::HighWater>,
    in_flight: Vec<String>,
    invocations: Vec<proto::Invocations>,
) -> Result<Report, FeedError> {
    let clock = clock.as_ref().and_then(time);
    let clock = clock.ok_or(FeedError::Protocol {
        field: "clock",
        problem: "is required: the instance's wall clock",
    })?;
    let mark = |mark: proto::HighWater| -> Result<(String, String, Time), FeedError> {
        let expires_at = mark.expires_at.as_ref().and_then(time);
        let expires_at = expires_at.ok_or(FeedError::Protocol {
            field: "high_water.expires_at",
            problem: "is required",
        })?;
        if mark.tenant.len() > 64 || !jose::key::is_kid(&mark.kid) {
            return Err(FeedError::Protocol {
                field: "high_water.kid",
                problem: "must name a key of a tenant",
            });
        }
        Ok((mark.tenant, mark.kid, expires_at))
    };
    if !in_flight.iter().all(|kid| jose::key::is_kid(kid)) {
        return Err(FeedError::Protocol {
            field: "in_flight_kids",
            problem: "must name keys",
        });
    }
    let made = |made: proto::Invocations| match jose::key::is_kid(&made.kid) {
        true if made.tenant.len() <= 64 => Ok((made.tenant, made.kid, made.used)),
        _ => Err(FeedError::Protocol {
            field: "invocations.kid",
            problem: "must name a key of a tenant",
        }),
    };
    Ok(Report {
        epoch,
        clock,
        high_water: high_water.into_iter().map(mark).collect::<Result<_, _>>()?,
        in_flight,
        invocations: invocations
            .into_iter()
            .map(made)
            .collect::<Result<_, _>>()?,
    })
}

fn fed_tokens(tokens: FedTokens) -> proto::FedRevocations {
    proto::FedRevocations {
        tenant: tokens.name.tenant,
        key_set: tokens.name.name,
        entries: jose::revocation::encode(tokens.entries),
    }
}

/// A message to an instance, as it is sent.
#[must_use]
pub fn down_message(message: Down, times: &Times) -> DownMessage {
    match message {
        Down::Welcome(welcome) => DownMessage::Welcome(proto::Welcome {
            subscriber: welcome.subscriber,
            public_key: welcome.public_key,
            certificate_chain: welcome.certificate_chain,
            signature: welcome.signature,
        }),
        Down::Snapshot {
            epoch,
            sets,
            tokens,
            issued,
            last,
        } => DownMessage::Snapshot(proto::SnapshotChunk {
            epoch,
            key_sets: sets.into_iter().map(encode::fed).collect(),
            last,
            times: Some(encode::feed_times(times)),
            revocations: tokens.into_iter().map(fed_tokens).collect(),
            issued: issued.map(|keys| proto::IssuedKeys {
                public_key: keys.public_key,
                subject_key: keys.subject_key,
            }),
        }),
        Down::Delta {
            from,
            epoch,
            changed,
            tokens,
            forgotten,
        } => DownMessage::Delta(proto::Delta {
            from_epoch: from,
            epoch,
            changed: changed.into_iter().map(encode::fed).collect(),
            removed: Vec::new(),
            revocations: tokens.into_iter().map(fed_tokens).collect(),
            revocations_forgotten: forgotten.map(|seconds| prost_types::Timestamp {
                seconds: seconds.into(),
                nanos: 0,
            }),
        }),
        Down::Lease { id, epoch } => DownMessage::Lease(proto::Lease {
            id,
            epoch,
            sign_for: Some(encode::duration(times.max_sign_staleness)),
            verify_for: Some(encode::duration(times.max_verify_staleness)),
        }),
    }
}
