//! The feed against a key-manager that the test plays.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use crypto_proto::keys::v1 as proto;
use crypto_service::Server;
use crypto_service::config::{Config, FeedSettings, PolicySettings};
use crypto_service::keys::KeysReader;
use crypto_service::keys::feed::Feed;
use jose::jwe::MemberValue;
use proto::key_feed_service_server::{KeyFeedService, KeyFeedServiceServer};
use proto::watch_request::Message as Up;
use proto::watch_response::Message as Down;
use service_kit::clock::{FakeClock, SystemClock};
use service_kit::layers::{InFlight, Refusals, RpcMetrics, Stack};
use service_kit::serve::GrpcOptions;
use service_kit::shutdown::Shutdown;
use service_kit::telemetry::Metrics;
use service_kit::tls::{Credentials, TlsSignature};
use testkit::{CertificateAuthority, Leaf, PemFolder};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::support::{NOW, TestKey, tls, wrap};

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

/// The sending ends of the streams, so that a test can end them.
type Ends = Arc<Mutex<Vec<mpsc::Sender<Result<proto::WatchResponse, Status>>>>>;

/// What the played key-manager does on each stream.
#[derive(Clone)]
struct Played {
    credentials: Credentials,
    key: TestKey,
    /// The epoch of the snapshot.
    epoch: u64,
    /// Signs the welcome for somebody else.
    forged: bool,
    heard: mpsc::Sender<Up>,
    ends: Ends,
}

impl Played {
    fn welcome(&self, hello: &proto::Hello) -> (proto::Welcome, [u8; 32]) {
        let subscriber = format!("spiffe://crypto.dev/crypto-service#{}", hello.nonce);
        let (scheme, bytes) = hello.signature.split_first_chunk::<2>().unwrap();
        let signature = TlsSignature {
            scheme: u16::from_be_bytes(*scheme),
            bytes: bytes.to_vec(),
        };
        let chain: Vec<_> = hello
            .certificate_chain
            .iter()
            .map(|der| der.clone().into())
            .collect();
        let message = [hello.nonce.as_bytes(), &hello.public_key].concat();
        let signer = self
            .credentials
            .verify(&chain, "crypto-feed-v1/hello", &message, &signature)
            .unwrap();
        assert_eq!(signer.name(), "spiffe://crypto.dev/crypto-service");

        let own = PrivateKey::generate(&X25519).unwrap();
        let public_key = own.compute_public_key().unwrap().as_ref().to_vec();
        let salt = Salt::new(
            HKDF_SHA256,
            &[hello.public_key.as_slice(), &public_key].concat(),
        );
        let mut secret = [0; 32];
        agree(
            &own,
            UnparsedPublicKey::new(&X25519, &hello.public_key),
            (),
            |shared| {
                let info = [&b"crypto-feed-v1/key\0"[..], subscriber.as_bytes()];
                salt.extract(shared)
                    .expand(&info, Length)
                    .and_then(|okm| okm.fill(&mut secret))
                    .map_err(drop)
            },
        )
        .unwrap();
        let signed = if self.forged { "somebody" } else { &subscriber };
        let message = [signed.as_bytes(), &hello.public_key, &public_key].concat();
        let signature = self
            .credentials
            .sign("crypto-feed-v1/welcome", &message)
            .unwrap();
        let signature = [&signature.scheme.to_be_bytes(), signature.bytes.as_slice()].concat();
        let certificate_chain = self
            .credentials
            .chain()
            .iter()
            .map(|der| der.to_vec())
            .collect();
        (
            proto::Welcome {
                subscriber,
                public_key,
                certificate_chain,
                signature,
            },
            secret,
        )
    }

    fn snapshot(&self, secret: &[u8; 32], instance: &str) -> proto::SnapshotChunk {
        let header = [
            ("tenant", MemberValue::String("default")),
            ("instance", MemberValue::String(instance)),
            ("epoch", MemberValue::Number(self.epoch)),
        ];
        let version = proto::FedVersion {
            kid: self.key.kid.clone(),
            algorithm: self.key.algorithm.name().to_owned(),
            state: proto::KeyState::Active.into(),
            public_jwk: self.key.public_jwk().unwrap_or_default(),
            wrapped_key: wrap(secret, &self.key.material, header, &self.key.kid),
            invocations: 0,
        };
        let set = proto::FedKeySet {
            tenant: "default".to_owned(),
            name: "op/a".to_owned(),
            r#use: proto::KeyUse::Sign.into(),
            versions: vec![version],
            ..proto::FedKeySet::default()
        };
        proto::SnapshotChunk {
            epoch: self.epoch,
            key_sets: vec![set],
            last: true,
            times: None,
        }
    }
}

fn down(message: Down) -> Result<proto::WatchResponse, Status> {
    Ok(proto::WatchResponse {
        message: Some(message),
    })
}

#[tonic::async_trait]
impl KeyFeedService for Played {
    async fn watch(
        &self,
        request: Request<Streaming<proto::WatchRequest>>,
    ) -> Result<Response<BoxStream<proto::WatchResponse>>, Status> {
        let (sender, receiver) = mpsc::channel(16);
        let played = self.clone();
        self.ends.lock().unwrap().push(sender.clone());
        tokio::spawn(async move {
            let mut messages = request.into_inner();
            while let Ok(Some(message)) = messages.message().await {
                let message = message.message.unwrap();
                match &message {
                    Up::Hello(hello) => {
                        let (welcome, secret) = played.welcome(hello);
                        let snapshot = played.snapshot(&secret, &welcome.subscriber);
                        sender.send(down(Down::Welcome(welcome))).await.unwrap();
                        // A forged welcome ends the stream before the snapshot.
                        let _refused = sender.send(down(Down::Snapshot(snapshot))).await;
                    }
                    Up::Renewal(renewal) => {
                        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
                        let lease = proto::Lease {
                            id: renewal.id,
                            epoch: renewal.epoch,
                            sign_for: seconds(30),
                            verify_for: seconds(60),
                        };
                        let _gone = sender.send(down(Down::Lease(lease))).await;
                    }
                    Up::Ack(_) | Up::Goodbye(_) => {}
                }
                let _unheard = played.heard.send(message).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

struct World {
    keys: KeysReader,
    heard: mpsc::Receiver<Up>,
    ends: Ends,
    key_manager: Shutdown,
    feed: tokio::task::JoinHandle<()>,
    stop_feed: Shutdown,
    _folder: PemFolder,
}

impl World {
    async fn new(forged: bool) -> Self {
        let (ca, folder) = (CertificateAuthority::new("test"), PemFolder::new());
        let files = |role: &str| tls(folder.write(role, &ca.issue(&Leaf::server(role)), &ca));
        let clock = FakeClock::at(NOW);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        let credentials = Credentials::open(&files("key-manager"), clock.shared()).unwrap();
        let (heard_sender, heard) = mpsc::channel(1024);
        let ends = Ends::default();
        let played = Played {
            credentials: credentials.clone(),
            key: TestKey::new("ES256"),
            epoch: 3,
            forged,
            heard: heard_sender,
            ends: Arc::clone(&ends),
        };
        let routes = tonic::service::Routes::new(KeyFeedServiceServer::new(played));
        let stack = Stack {
            metrics: RpcMetrics::new(&Metrics::new("played", "0"), []),
            clock: clock.shared(),
            in_flight: InFlight::new(10),
            longest_deadline: Duration::from_secs(60),
            refusals: Refusals::default(),
        };
        let key_manager = Shutdown::new();
        let serving = service_kit::serve::grpc(
            listener,
            credentials,
            stack.around(routes),
            GrpcOptions::default(),
            key_manager.clone(),
        );
        tokio::spawn(Box::pin(serving));

        let policy = folder.path().join("policy.toml");
        std::fs::write(&policy, "").unwrap();
        let config = Config {
            tls: files("crypto-service"),
            policy: PolicySettings { file: policy },
            feed: FeedSettings {
                endpoint,
                key_manager: "spiffe://crypto.dev/key-manager".to_owned(),
                ..FeedSettings::default()
            },
            ..Config::default()
        };
        let (server, writer) = Server::build(config, SystemClock::shared()).unwrap();
        let feed = Feed::new(server.feed_options().unwrap(), writer).unwrap();
        let stop_feed = Shutdown::new();
        let feed = tokio::spawn(Box::pin(feed.run(stop_feed.clone())));
        let keys = server.plane().keys().clone();
        Self {
            keys,
            heard,
            ends,
            key_manager,
            feed,
            stop_feed,
            _folder: folder,
        }
    }

    async fn hears(&mut self, what: &str, mut wanted: impl FnMut(&Up) -> bool) -> Up {
        let deadline = tokio::time::sleep(Duration::from_secs(20));
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                message = self.heard.recv() => {
                    let message = message.expect("a key-manager");
                    if wanted(&message) {
                        return message;
                    }
                }
                () = &mut deadline => panic!("{what} was not heard"),
            }
        }
    }

    async fn becomes_ready(&self) {
        for _ in 0..200 {
            if self.keys.is_ready() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the instance did not become ready");
    }
}

#[tokio::test]
async fn an_instance_is_fed_acks_renews_and_says_goodbye() {
    let mut world = World::new(false).await;
    world
        .hears(
            "an ack of the snapshot",
            |up| matches!(up, Up::Ack(ack) if ack.epoch == 3),
        )
        .await;
    world
        .hears(
            "a renewal",
            |up| matches!(up, Up::Renewal(renewal) if renewal.epoch == 3),
        )
        .await;
    world.becomes_ready().await;
    assert!(world.keys.sign_lease().unwrap() <= Duration::from_secs(30));
    world.stop_feed.trigger();
    world
        .hears("a goodbye", |up| matches!(up, Up::Goodbye(_)))
        .await;
    world.feed.await.unwrap();
    assert!(world.keys.sign_lease().is_err() && world.keys.verify_lease().is_err());
}

#[tokio::test]
async fn a_lost_stream_is_opened_again_with_the_same_nonce_and_the_instance_serves_meanwhile() {
    let mut world = World::new(false).await;
    let Up::Hello(first) = world
        .hears("a hello", |up| matches!(up, Up::Hello(_)))
        .await
    else {
        unreachable!()
    };
    assert_eq!((first.nonce.len(), first.highest_epoch), (32, 0));
    world.becomes_ready().await;
    let sender = world.ends.lock().unwrap().pop().unwrap();
    sender
        .send(Err(Status::unavailable("drains")))
        .await
        .unwrap();
    assert!(world.keys.is_ready(), "memory goes on");
    let Up::Hello(second) = world
        .hears("a second hello", |up| matches!(up, Up::Hello(_)))
        .await
    else {
        unreachable!()
    };
    assert_eq!((&second.nonce, second.highest_epoch), (&first.nonce, 3));
    world.key_manager.trigger();
    assert!(
        world.keys.is_ready(),
        "memory goes on without any key-manager"
    );
}

#[tokio::test]
async fn a_welcome_that_is_not_signed_for_this_instance_is_refused() {
    let mut world = World::new(true).await;
    for _ in 0..2 {
        world
            .hears("a hello", |up| matches!(up, Up::Hello(_)))
            .await;
    }
    assert_eq!(world.keys.snapshot().epoch(), 0);
    assert!(!world.keys.is_ready());
}
