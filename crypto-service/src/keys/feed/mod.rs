//! The key feed: one stream to the key-manager, opened again whenever it ends.
//!
//! While there is no stream the instance goes on from memory, for as long as its lease lasts.
//!
//! ```text
//! connect -> hello -> welcome -> snapshot -> ack, renewal -> (delta -> ack | renewal -> lease)* -> goodbye
//!    ^                                                                                     |
//!    +----------------------------- wait, doubling, with jitter <--------- any error -------+
//! ```

mod agreement;
mod decode;
mod handshake;
mod link;
mod session;
mod stream;

use std::fmt;
use std::time::Duration;

use aws_lc_rs::rand;
use service_kit::clock::SharedClock;
use service_kit::shutdown::Shutdown;
use service_kit::tls::Credentials;
use tonic::transport::Endpoint;

use super::sealed::SealedError;
use super::writer::{ApplyError, KeysWriter};
use crate::metrics::ServiceMetrics;
use agreement::Ephemeral;

pub use link::Link;

/// The first and the longest wait before a stream is opened again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Why a stream ended. Another one is opened, whatever it was.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The key-manager cannot be reached, or ended the stream.
    #[error("{0}")]
    Status(#[from] Box<tonic::Status>),
    /// The key-manager ended the stream without a word.
    #[error("the stream ended")]
    Ended,
    /// The key-manager does not answer.
    #[error("the key-manager does not answer")]
    Silent,
    /// The key-manager's welcome does not prove who it is.
    #[error("the key-manager's welcome is refused: {0}")]
    Welcome(String),
    /// The protocol is not kept.
    #[error("the feed's protocol is not kept: {0}")]
    Protocol(&'static str),
    /// A change does not fit what is held.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A wrapped key is not for this instance, or not what it says.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// The instance cannot sign its hello or agree on a key.
    #[error("the instance's own key fails: {0}")]
    Own(String),
}

/// What the feed stands on.
#[derive(Debug)]
pub struct FeedOptions {
    /// 128 random bits, as 32 lower-case hex digits: a restart is a new subscriber.
    pub nonce: String,
    /// Where the key-manager is.
    pub endpoint: Endpoint,
    /// The name that its certificate must carry, where one is demanded.
    pub key_manager: Option<String>,
    /// This instance's certificate and key.
    pub credentials: Credentials,
    /// Wall and boot time.
    pub clock: SharedClock,
    /// Counters.
    pub metrics: ServiceMetrics,
}

/// Who this instance is, for as long as the process lives.
pub struct Instance {
    /// 128 random bits, as hex digits: a restart is a new subscriber.
    nonce: String,
    ephemeral: Ephemeral,
    options: FeedOptions,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("nonce", &self.nonce)
            .finish_non_exhaustive()
    }
}

/// The feed, ready to run.
#[derive(Debug)]
pub struct Feed {
    instance: Instance,
    writer: KeysWriter,
}

/// The system has no randomness, or the engine made no key.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the instance cannot make its ephemeral key")]
pub struct NoEphemeralKey;

impl Instance {
    /// Makes the instance's ephemeral key.
    ///
    /// # Errors
    /// [`NoEphemeralKey`].
    pub fn new(options: FeedOptions) -> Result<Self, NoEphemeralKey> {
        Ok(Self {
            nonce: options.nonce.clone(),
            ephemeral: Ephemeral::generate().map_err(|_failed| NoEphemeralKey)?,
            options,
        })
    }
}

impl Feed {
    /// Makes the instance's ephemeral key.
    ///
    /// # Errors
    /// [`NoEphemeralKey`].
    pub fn new(options: FeedOptions, writer: KeysWriter) -> Result<Self, NoEphemeralKey> {
        let instance = Instance::new(options)?;
        Ok(Self { instance, writer })
    }

    /// Follows the key-manager until shutdown, then says goodbye and ends the lease. Shutdown must come after the
    /// servers have drained: from then on the key-manager waits for this instance no more.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut backoff = BACKOFF.0;
        while !shutdown.is_triggered() {
            let ended =
                stream::follow(&self.instance, &mut self.writer, &mut backoff, &shutdown).await;
            self.instance.options.metrics.feed_connected(false);
            let Err(error) = ended else { break };
            tracing::warn!(%error, retry_in = ?backoff, "the key feed has no stream");
            let _ended = shutdown.guard(tokio::time::sleep(jittered(backoff))).await;
            backoff = backoff.saturating_mul(2).min(BACKOFF.1);
        }
        self.writer.end_lease();
    }
}

/// Between half of the wait and all of it, so that instances that lost one key-manager do not come back together.
fn jittered(wait: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness the wait is the shortest.
    let _constant = rand::fill(&mut random);
    let [byte] = random;
    wait / 2 + wait * u32::from(byte) / 512
}
