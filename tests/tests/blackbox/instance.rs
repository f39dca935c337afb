//! An instance that does only what it is told: it follows the feed as the crypto-service does, and acknowledges when a test says so.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blackbox::{PATIENCE, Stack, now, read};
use crypto_proto::keys::v1::{
    self as proto, key_feed_service_client::KeyFeedServiceClient, watch_request::Message as Up,
    watch_response::Message as Down,
};
use futures::channel::mpsc::{UnboundedSender, unbounded};
use jose::provider::SecureRandom as _;
use jose_aws_lc::AwsLc;
use rcgen::{KeyPair, SigningKey as _};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::task::JoinHandle;

use crate::support::{channel, eventually};

/// `ecdsa_secp256r1_sha256` in the TLS SignatureScheme registry.
const ECDSA_P256: [u8; 2] = [4, 3];

/// A live subscriber of the feed.
pub(crate) struct Instance {
    up: UnboundedSender<proto::WatchRequest>,
    received: Arc<Mutex<Vec<proto::WatchResponse>>>,
    reader: JoinHandle<()>,
    renewals: u64,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Instance {
    /// Says hello as the crypto-service's identity, and waits for the snapshot. Nothing is acknowledged.
    pub(crate) async fn connect(stack: &Stack) -> Self {
        let channel = channel(stack, stack.keys.grpc, "crypto-service");
        let connection = channel.call(client_core::Repeat::Harmless, |attempt| async move {
            Ok(tonic::Response::new(attempt.connection()))
        });
        let mut client = KeyFeedServiceClient::new(connection.await.unwrap())
            .max_decoding_message_size(8 * 1024 * 1024);
        let (up, requests) = unbounded();
        let hello = proto::WatchRequest {
            message: Some(Up::Hello(hello(stack))),
        };
        up.unbounded_send(hello).unwrap();
        let mut stream = client.watch(requests).await.expect("the feed").into_inner();
        let received: Arc<Mutex<Vec<_>>> = Arc::default();
        let keep = Arc::clone(&received);
        let reader = tokio::spawn(async move {
            while let Ok(Some(message)) = stream.message().await {
                keep.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(message);
            }
        });
        let instance = Self {
            up,
            received,
            reader,
            renewals: 0,
        };
        assert!(
            eventually(PATIENCE, async || instance.epoch().is_some()).await,
            "no snapshot"
        );
        instance
    }

    /// Everything that came.
    pub(crate) fn received(&self) -> Vec<proto::WatchResponse> {
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The name that the key-manager gave it.
    pub(crate) fn name(&self) -> String {
        let mut welcomes =
            self.received()
                .into_iter()
                .filter_map(|message| match message.message {
                    Some(Down::Welcome(welcome)) => Some(welcome.subscriber),
                    _ => None,
                });
        welcomes.next_back().expect("a welcome")
    }

    /// The epoch that everything received so far leads to; `None` before the snapshot is complete.
    pub(crate) fn epoch(&self) -> Option<u64> {
        let mut epochs = self
            .received()
            .into_iter()
            .filter_map(|message| match message.message {
                Some(Down::Snapshot(chunk)) if chunk.last => Some(chunk.epoch),
                Some(Down::Delta(delta)) => Some(delta.epoch),
                _ => None,
            });
        epochs.next_back()
    }

    /// Acknowledges everything received so far.
    pub(crate) fn ack(&self) {
        let epoch = self.epoch().expect("a snapshot");
        let ack = proto::Ack {
            epoch,
            clock: Some(now().into()),
            ..proto::Ack::default()
        };
        self.send(Up::Ack(ack));
    }

    /// Acknowledges, asks for a lease and waits until it is granted.
    pub(crate) async fn lease(&mut self) {
        self.ack();
        self.renewals += 1;
        let (id, epoch) = (self.renewals, self.epoch().expect("a snapshot"));
        let clock = Some(now().into());
        self.send(Up::Renewal(proto::Renewal {
            id,
            epoch,
            clock,
            ..proto::Renewal::default()
        }));
        let leased = async || {
            self.received().iter().any(
                |message| matches!(&message.message, Some(Down::Lease(lease)) if lease.id == id),
            )
        };
        assert!(
            eventually(Duration::from_secs(10), leased).await,
            "no lease"
        );
    }

    fn send(&self, message: Up) {
        self.up
            .unbounded_send(proto::WatchRequest {
                message: Some(message),
            })
            .expect("the stream lives");
    }
}

/// Signed with the identity's own TLS key, as in a TLS 1.3 CertificateVerify with a context of its own.
fn hello(stack: &Stack) -> proto::Hello {
    let mut random = [0; 48];
    AwsLc.fill(&mut random).unwrap();
    let (nonce, public_key) = random.split_at(16);
    let nonce: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = [
        &[b' '; 64],
        b"crypto-feed-v1/hello\0".as_slice(),
        nonce.as_bytes(),
        public_key,
    ]
    .concat();
    let file = |name: &str| read(&stack.dev().join(name));
    let key = String::from_utf8(file("crypto-service.key")).unwrap();
    let signature = KeyPair::from_pem(&key).unwrap().sign(&text).unwrap();
    let chain = CertificateDer::from_pem_slice(&file("crypto-service.crt")).unwrap();
    proto::Hello {
        nonce,
        public_key: public_key.to_vec(),
        certificate_chain: vec![chain.to_vec()],
        signature: [ECDSA_P256.as_slice(), &signature].concat(),
        highest_epoch: 0,
    }
}
