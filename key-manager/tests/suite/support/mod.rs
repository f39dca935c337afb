//! A key-manager in this process, on free ports, with real certificates and a clock that the test moves.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use crypto_proto::keys::v1::{
    self as proto, key_admin_service_client::KeyAdminServiceClient,
    key_feed_service_client::KeyFeedServiceClient,
};
use key_manager::{Environment, Listeners, RunError, config::Config, keys::KeySource, run_in};
use service_kit::{
    clock::FakeClock,
    shutdown::Shutdown,
    tls::{Credentials, TlsFiles, endpoint},
};
use testkit::{CertificateAuthority, Leaf, PemFolder, write_private};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::transport::Channel;

pub(crate) mod instance;

pub(crate) const NOW: u64 = 1_800_000_000;

const POLICY: &str = r#"
[[grant]]
caller = "spiffe://crypto.dev/admin"
key_sets = ["op/*"]
operations = ["administer"]

[[grant]]
caller = "spiffe://crypto.dev/crypto-service"
key_sets = ["op/*"]
operations = ["feed"]

[[grant]]
caller = "spiffe://crypto.dev/management"
key_sets = ["op/*"]
operations = ["revoke-tokens"]

[[grant]]
caller = "spiffe://crypto.dev/keeper"
key_sets = ["*"]
operations = ["backup", "restore"]

[[grant]]
caller = "spiffe://crypto.dev/root"
key_sets = ["*"]
operations = ["administer", "revoke-tokens"]
"#;

/// The files of a deployment.
pub(crate) struct Deployment {
    pub(crate) folder: PemFolder,
    pub(crate) config: Config,
    ca: CertificateAuthority,
}

impl Deployment {
    pub(crate) fn new() -> Self {
        let (folder, ca) = (PemFolder::new(), CertificateAuthority::new("test"));
        let tls = write(&folder, &ca, "key-manager", &Leaf::server("key-manager"));
        std::fs::write(folder.path().join("policy.toml"), POLICY).unwrap();
        write_private(&folder.path().join("kek"), &"5a".repeat(32));
        let mut config = Config {
            tls,
            ..Config::default()
        };
        config.policy.file = folder.path().join("policy.toml");
        config.store.path = folder.path().join("keys.db");
        config.audit.folder = folder.path().join("audit");
        config.issued.path = folder.path().join("issued.db");
        config.kek.file = folder.path().join("kek");
        let span = |text: &str| text.parse().unwrap();
        config.times.jwks_cap = span("5s");
        config.times.lead = span("5s");
        config.times.max_sign_staleness = span("30s");
        config.times.max_verify_staleness = span("60s");
        config.grpc.limits.drain_limit = span("1s");
        Self { folder, config, ca }
    }

    pub(crate) fn credentials(&self, role: &str, clock: &FakeClock) -> Credentials {
        let files = write(&self.folder, &self.ca, role, &Leaf::client(role));
        Credentials::open(&files, clock.shared()).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_with(Arc::new(jose_aws_lc::AwsLc)).await
    }

    /// One of several key-managers with one store; each has an audit log of its own.
    #[cfg(feature = "etcd")]
    pub(crate) async fn start_replica(&self, number: usize) -> Running {
        let mut config = self.config.clone();
        config.audit.folder = self.path(&format!("audit-{number}"));
        config.issued.path = self.path(&format!("issued-{number}.db"));
        self.start_as(config, Arc::new(jose_aws_lc::AwsLc)).await
    }

    pub(crate) async fn start_with(&self, keys: Arc<dyn KeySource>) -> Running {
        self.start_as(self.config.clone(), keys).await
    }

    async fn start_as(&self, config: Config, keys: Arc<dyn KeySource>) -> Running {
        let clock = FakeClock::at(NOW);
        let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listeners = Listeners {
            grpc: bind().await,
            http: bind().await,
        };
        let (grpc, http) = (
            listeners.grpc.local_addr().unwrap(),
            listeners.http.local_addr().unwrap(),
        );
        let shutdown = Shutdown::new();
        let environment = Environment {
            clock: clock.shared(),
            keys,
        };
        let handle = tokio::spawn(run_in(environment, config, listeners, shutdown.clone()));
        Running {
            grpc,
            http,
            clock,
            shutdown,
            handle,
        }
    }
}

fn write(folder: &PemFolder, ca: &CertificateAuthority, role: &str, leaf: &Leaf) -> TlsFiles {
    let files = folder.write(role, &ca.issue(leaf), ca);
    TlsFiles {
        cert: files.cert,
        key: files.key,
        ca: files.ca,
    }
}

/// A running key-manager.
pub(crate) struct Running {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) clock: FakeClock,
    shutdown: Shutdown,
    handle: JoinHandle<Result<(), RunError>>,
}

impl Running {
    pub(crate) fn channel(&self, credentials: &Credentials) -> Channel {
        credentials.channel(
            &endpoint(&format!("https://{}", self.grpc)).unwrap(),
            Some("spiffe://crypto.dev/key-manager"),
        )
    }

    pub(crate) fn admin(
        &self,
        deployment: &Deployment,
        role: &str,
    ) -> KeyAdminServiceClient<Channel> {
        KeyAdminServiceClient::new(self.channel(&deployment.credentials(role, &self.clock)))
    }

    pub(crate) fn feed(&self, credentials: &Credentials) -> KeyFeedServiceClient<Channel> {
        KeyFeedServiceClient::new(self.channel(credentials))
    }

    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        self.handle.await.unwrap().unwrap();
    }

    pub(crate) async fn failed(self) -> RunError {
        self.handle.await.unwrap().unwrap_err()
    }
}

pub(crate) fn new_set(name: &str, algorithm: &str) -> proto::KeySet {
    let encrypts = algorithm.contains("OAEP") || algorithm.contains("ECDH") || algorithm == "dir";
    let key_use = if encrypts {
        proto::KeyUse::Encrypt
    } else {
        proto::KeyUse::Sign
    };
    proto::KeySet {
        name: name.to_owned(),
        r#use: i32::from(key_use),
        policy: Some(proto::KeyPolicy {
            algorithm: algorithm.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) async fn create(
    admin: &mut KeyAdminServiceClient<Channel>,
    name: &str,
    algorithm: &str,
) -> proto::KeySet {
    let request = proto::CreateKeySetRequest {
        key_set: Some(new_set(name, algorithm)),
        request_id: String::new(),
    };
    admin
        .create_key_set(request)
        .await
        .unwrap()
        .into_inner()
        .key_set
        .unwrap()
}

pub(crate) async fn show(
    admin: &mut KeyAdminServiceClient<Channel>,
    name: &str,
) -> proto::GetKeySetResponse {
    let request = proto::GetKeySetRequest {
        key_set: name.to_owned(),
        ..Default::default()
    };
    admin.get_key_set(request).await.unwrap().into_inner()
}

pub(crate) async fn rotate(
    admin: &mut KeyAdminServiceClient<Channel>,
    name: &str,
    force: bool,
) -> proto::RotateKeySetResponse {
    let request = proto::RotateKeySetRequest {
        key_set: name.to_owned(),
        force,
        ..Default::default()
    };
    admin.rotate_key_set(request).await.unwrap().into_inner()
}

/// The kids of the set's keys in that state.
pub(crate) fn kids(set: &proto::KeySet, state: proto::KeyState) -> Vec<String> {
    set.versions
        .iter()
        .filter(|version| version.state() == state)
        .map(|version| version.kid.clone())
        .collect()
}

/// Waits for something that the rotator does in its next rounds.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..100 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not seen within 5 s: {what}");
}
