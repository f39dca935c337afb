//! What carries records to the key-manager.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crypto_proto::keys::v1 as proto;
use proto::key_feed_service_client::KeyFeedServiceClient;
use service_kit::tls::Credentials;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// For one shipment: the key-manager flushes it to its disk.
const DEADLINE: Duration = Duration::from_secs(10);

/// What is shipped: frames of one segment, or how far a process has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shipment {
    /// The process that issued.
    pub(crate) process: String,
    /// Header, number of the first frame, bodies.
    pub(crate) frames: Option<(Vec<u8>, u32, Vec<Vec<u8>>)>,
    /// In milliseconds since the epoch.
    pub(crate) complete_until: Option<u64>,
    pub(crate) finished: bool,
    pub(crate) unrecorded: u64,
}

/// Why it did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CarrierError {
    /// The key-manager will not take it, however often it is sent.
    #[error("{0}")]
    Refused(String),
    /// It may be taken later.
    #[error("{0}")]
    Away(String),
}

/// Carries shipments.
pub(crate) trait Carrier: Send + Sync + 'static {
    /// On the disk of a key-manager when this is `Ok`.
    fn ship(&self, shipment: Shipment) -> impl Future<Output = Result<(), CarrierError>> + Send;
}

/// Carries them over the channel of the feed.
pub struct GrpcCarrier {
    channel: Channel,
}

impl fmt::Debug for GrpcCarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcCarrier").finish_non_exhaustive()
    }
}

impl GrpcCarrier {
    /// To the key-manager at that endpoint, with the name that its certificate must carry, where one is demanded.
    #[must_use]
    pub fn new(credentials: &Credentials, endpoint: &Endpoint, key_manager: Option<&str>) -> Self {
        Self {
            channel: credentials.channel(endpoint, key_manager),
        }
    }
}

impl Carrier for GrpcCarrier {
    async fn ship(&self, shipment: Shipment) -> Result<(), CarrierError> {
        let mut client = KeyFeedServiceClient::new(self.channel.clone());
        let mut request = tonic::Request::new(message(shipment));
        request.set_timeout(DEADLINE);
        let shipped = tokio::time::timeout(DEADLINE, client.ship_issued(request)).await;
        match shipped {
            Ok(Ok(_next)) => Ok(()),
            Ok(Err(status)) => Err(failed(&status)),
            Err(_elapsed) => Err(CarrierError::Away("no answer in time".to_owned())),
        }
    }
}

fn failed(status: &tonic::Status) -> CarrierError {
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::InvalidArgument | Code::PermissionDenied => CarrierError::Refused(text),
        _ => CarrierError::Away(text),
    }
}

fn message(shipment: Shipment) -> proto::ShipIssuedRequest {
    let frames = |(header, first_frame, frames)| proto::IssuedFrames {
        header,
        first_frame,
        frames,
    };
    let time = |millis: u64| {
        let nanos = i32::try_from(millis % 1_000).unwrap_or_default();
        prost_types::Timestamp {
            seconds: i64::try_from(millis / 1_000).unwrap_or(i64::MAX),
            nanos: nanos.saturating_mul(1_000_000),
        }
    };
    proto::ShipIssuedRequest {
        nonce: shipment.process,
        frames: shipment.frames.map(frames),
        complete_until: shipment.complete_until.map(time),
        finished: shipment.finished,
        unrecorded: shipment.unrecorded,
    }
}
