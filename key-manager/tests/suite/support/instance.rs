//! The instance's side of the feed, message by message.

use std::time::Duration;

use aws_lc_rs::{
    agreement::{PrivateKey, UnparsedPublicKey, X25519, agree},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use crypto_proto::keys::v1::{
    self as proto, watch_request::Message as Up, watch_response::Message as Down,
};
use jose::{algorithm::ContentEncryption, key::SymmetricKey};
use jose_aws_lc::jwe::SharedKey;
use prost::Message;
use service_kit::{
    clock::Clock,
    tls::{Credentials, TlsSignature},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Deployment, Running};

pub(crate) struct FakeInstance {
    pub(crate) credentials: Credentials,
    pub(crate) nonce: String,
    pub(crate) subscriber: String,
    pub(crate) epoch: u64,
    /// Every message that came, as it was encoded.
    pub(crate) recorded: Vec<u8>,
    /// The revocations of tokens of the snapshot.
    pub(crate) revoked: Vec<proto::FedRevocations>,
    /// What records of issued tokens are sealed with.
    pub(crate) issued: Option<proto::IssuedKeys>,
    pub(crate) wall: prost_types::Timestamp,
    private: PrivateKey,
    key: Option<SharedKey>,
    up: mpsc::Sender<proto::WatchRequest>,
    down: Streaming<proto::WatchResponse>,
}

struct Key32;

impl KeyType for Key32 {
    fn len(&self) -> usize {
        32
    }
}

/// How long "a while" is.
const QUIET: Duration = Duration::from_millis(300);

pub(crate) fn hello(credentials: &Credentials, nonce: &str, public: &[u8]) -> proto::Hello {
    let signature = credentials
        .sign("crypto-feed-v1/hello", &[nonce.as_bytes(), public].concat())
        .unwrap();
    proto::Hello {
        nonce: nonce.to_owned(),
        public_key: public.to_vec(),
        certificate_chain: credentials.chain().iter().map(|der| der.to_vec()).collect(),
        signature: [&signature.scheme.to_be_bytes(), signature.bytes.as_slice()].concat(),
        highest_epoch: 0,
    }
}

/// Opens a stream with this first message, and gives the first answer.
pub(crate) async fn open(
    running: &Running,
    credentials: &Credentials,
    first: Up,
) -> Result<
    (
        mpsc::Sender<proto::WatchRequest>,
        Streaming<proto::WatchResponse>,
        Down,
    ),
    Status,
> {
    let (up, requests) = mpsc::channel(16);
    up.send(proto::WatchRequest {
        message: Some(first),
    })
    .await
    .unwrap();
    let mut down = running
        .feed(credentials)
        .watch(ReceiverStream::new(requests))
        .await?
        .into_inner();
    let message = down.message().await?.unwrap().message.unwrap();
    Ok((up, down, message))
}

impl FakeInstance {
    /// Connects, and applies the snapshot without acknowledging it.
    pub(crate) async fn connect(
        deployment: &Deployment,
        running: &Running,
        nonce: char,
    ) -> (Self, Vec<proto::FedKeySet>) {
        let credentials = deployment.credentials("crypto-service", &running.clock);
        let private = PrivateKey::generate(&X25519).unwrap();
        let public = private.compute_public_key().unwrap().as_ref().to_vec();
        let nonce = nonce.to_string().repeat(32);
        let first = Up::Hello(hello(&credentials, &nonce, &public));
        let (up, down, welcome) = open(running, &credentials, first).await.unwrap();
        let Down::Welcome(welcome) = welcome else {
            panic!("no welcome: {welcome:?}")
        };
        let wall = prost_types::Timestamp::from(running.clock.wall());
        let mut instance = Self {
            credentials,
            nonce,
            subscriber: welcome.subscriber.clone(),
            epoch: 0,
            recorded: Vec::new(),
            revoked: Vec::new(),
            issued: None,
            private,
            key: None,
            up,
            down,
            wall,
        };
        instance.agree(&public, &welcome);
        let sets = instance.snapshot().await;
        (instance, sets)
    }

    fn agree(&mut self, public: &[u8], welcome: &proto::Welcome) {
        assert_eq!(
            welcome.subscriber,
            format!("spiffe://crypto.dev/crypto-service#{}", self.nonce)
        );
        let (scheme, bytes) = welcome.signature.split_first_chunk::<2>().unwrap();
        let signature = TlsSignature {
            scheme: u16::from_be_bytes(*scheme),
            bytes: bytes.to_vec(),
        };
        let chain: Vec<_> = welcome
            .certificate_chain
            .iter()
            .map(|der| der.clone().into())
            .collect();
        let message = [welcome.subscriber.as_bytes(), public, &welcome.public_key].concat();
        let signer = self
            .credentials
            .verify(&chain, "crypto-feed-v1/welcome", &message, &signature)
            .unwrap();
        assert_eq!(signer.name(), "spiffe://crypto.dev/key-manager");
        let peer = UnparsedPublicKey::new(&X25519, &welcome.public_key);
        let salt = [public, &welcome.public_key].concat();
        let secret = agree(&self.private, peer, "no agreement", |shared| {
            let info = [
                b"crypto-feed-v1/key\0".as_slice(),
                welcome.subscriber.as_bytes(),
            ];
            let mut secret = [0; 32];
            Salt::new(HKDF_SHA256, &salt)
                .extract(shared)
                .expand(&info, Key32)
                .unwrap()
                .fill(&mut secret)
                .unwrap();
            Ok(secret)
        });
        let secret = SymmetricKey::new(&secret.unwrap()).unwrap();
        self.key = Some(SharedKey::direct(ContentEncryption::A256Gcm, &secret).unwrap());
    }

    async fn snapshot(&mut self) -> Vec<proto::FedKeySet> {
        let mut sets = Vec::new();
        loop {
            match self.next().await {
                Down::Snapshot(chunk) => {
                    assert!(chunk.encoded_len() < 4 * 1024 * 1024);
                    sets.extend(chunk.key_sets);
                    self.revoked.extend(chunk.revocations);
                    self.epoch = chunk.epoch;
                    if chunk.last {
                        self.issued = chunk.issued;
                        return sets;
                    }
                }
                other => panic!("no snapshot: {other:?}"),
            }
        }
    }

    pub(crate) async fn try_next(&mut self) -> Result<Option<Down>, Status> {
        let waiting = tokio::time::timeout(Duration::from_secs(5), self.down.message());
        let Some(message) = waiting.await.expect("a message within 5 s")? else {
            return Ok(None);
        };
        self.recorded.extend(message.encode_to_vec());
        Ok(message.message)
    }

    pub(crate) async fn next(&mut self) -> Down {
        self.try_next().await.unwrap().unwrap()
    }

    /// The next message that is no lease, applied where it fits.
    pub(crate) async fn delta(&mut self) -> proto::Delta {
        loop {
            match self.next().await {
                Down::Delta(delta) => {
                    assert_eq!(delta.from_epoch, self.epoch, "deltas have no gaps");
                    assert!(delta.epoch > delta.from_epoch);
                    self.epoch = delta.epoch;
                    return delta;
                }
                Down::Lease(_) => {}
                other => panic!("no delta: {other:?}"),
            }
        }
    }

    /// Applies deltas up to one with revocations of tokens.
    pub(crate) async fn delta_of_tokens(&mut self) -> proto::Delta {
        loop {
            let delta = self.delta().await;
            if !delta.revocations.is_empty() {
                return delta;
            }
        }
    }

    /// Applies deltas up to one that forgets revocations of tokens; gives back up to when.
    pub(crate) async fn forgotten(&mut self) -> u64 {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(2), self.down.message()).await;
            let Ok(message) = message else {
                continue;
            };
            if let Some(Down::Delta(delta)) = message.unwrap().unwrap().message {
                self.epoch = delta.epoch;
                if let Some(until) = delta.revocations_forgotten {
                    return until.seconds.try_into().unwrap();
                }
            }
        }
    }

    /// Applies deltas up to one in which the set satisfies `wanted`.
    pub(crate) async fn until(
        &mut self,
        name: &str,
        wanted: impl Fn(&proto::FedKeySet) -> bool,
    ) -> proto::FedKeySet {
        loop {
            let delta = self.delta().await;
            if let Some(set) = delta
                .changed
                .into_iter()
                .find(|set| set.name == name && wanted(set))
            {
                return set;
            }
        }
    }

    /// Applies deltas until none comes for a while.
    pub(crate) async fn catch_up(&mut self) {
        while tokio::time::timeout(QUIET, self.delta()).await.is_ok() {}
    }

    /// Whether nothing comes for a while.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(QUIET, self.down.message())
            .await
            .is_err()
    }

    pub(crate) async fn send(&self, message: Up) {
        self.up
            .send(proto::WatchRequest {
                message: Some(message),
            })
            .await
            .unwrap();
    }

    /// Tells the key-manager the time by the fake clock.
    pub(crate) fn tell(&mut self, running: &Running) {
        self.wall = prost_types::Timestamp::from(running.clock.wall());
    }

    pub(crate) async fn ack(&self) {
        self.send(Up::Ack(proto::Ack {
            epoch: self.epoch,
            clock: Some(self.wall),
            ..Default::default()
        }))
        .await;
    }

    pub(crate) async fn renew(&self, id: u64) {
        self.send(Up::Renewal(proto::Renewal {
            id,
            epoch: self.epoch,
            clock: Some(self.wall),
            ..Default::default()
        }))
        .await;
    }

    pub(crate) async fn lease(&mut self) -> proto::Lease {
        loop {
            match self.next().await {
                Down::Lease(lease) => return lease,
                Down::Delta(delta) => self.epoch = delta.epoch,
                other => panic!("no lease: {other:?}"),
            }
        }
    }

    /// Opens what subjects are hashed with.
    pub(crate) fn subject_key(&self) -> Vec<u8> {
        let keys = self.issued.clone().unwrap();
        let version = proto::FedVersion {
            kid: "issued-subjects".to_owned(),
            wrapped_key: keys.subject_key,
            ..Default::default()
        };
        self.open("", &version, self.epoch)
    }

    /// Opens a wrapped key, and checks what its header says.
    pub(crate) fn open(&self, tenant: &str, version: &proto::FedVersion, epoch: u64) -> Vec<u8> {
        let opened = jose::jwe::decrypt(&version.wrapped_key, self.key.as_ref().unwrap()).unwrap();
        assert_eq!(opened.header.kid(), Some(version.kid.as_str()));
        assert_eq!(opened.header.string("tenant").as_deref(), Some(tenant));
        assert_eq!(
            opened.header.string("instance").as_deref(),
            Some(self.subscriber.as_str())
        );
        assert_eq!(
            opened.header.member("epoch").unwrap().raw(),
            epoch.to_string()
        );
        opened.payload.to_vec()
    }
}
