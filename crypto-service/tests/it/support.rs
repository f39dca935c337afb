//! A running service, callers with certificates, and keys sealed as the feed would send them.

use std::sync::Arc;
use std::time::Duration;

use crypto_proto::jwe::v1::jwe_service_client::JweServiceClient;
use crypto_proto::jwks::v1::jwks_service_client::JwksServiceClient;
use crypto_proto::jwt::v1 as jwt;
use crypto_proto::jwt::v1::jwt_service_client::JwtServiceClient;
use crypto_service::config::{Config, GrpcSettings, PolicySettings};
use crypto_service::keys::{
    Binding, KeySetSpec, KeysWriter, Profile, SealedKey, StreamKey, Terms, Times, VersionSpec,
};
use crypto_service::{Listeners, Server};
use jose::algorithm::{Algorithm, ContentEncryption};
use jose::jwe::{EncryptRequest, MemberValue};
use jose::jwk::Jwk;
use jose::key::{KeyMaterial, SymmetricKey};
use jose_aws_lc::jwe::SharedKey;
use jose_aws_lc::{AwsLc, KeySpec};
use keyring::{Publish, State, Use};
use service_kit::clock::{Clock, FakeClock};
use service_kit::shutdown::Shutdown;
use service_kit::tls::{Credentials, TlsFiles, endpoint};
use testkit::{CertificateAuthority, Leaf, PemFiles, PemFolder};
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tonic_types::StatusExt;

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const ISSUER: &str = "https://op.example.com";
const INSTANCE: &str = "spiffe://crypto.dev/crypto-service#test";

pub(crate) const POLICY: &str = r#"
[[grant]]
caller = "spiffe://crypto.dev/token"
key_sets = ["op/*"]
operations = ["sign", "verify", "encrypt", "encrypt-to-jwk"]

[[grant]]
caller = "spiffe://crypto.dev/auth"
key_sets = ["op/*"]
operations = ["verify", "decrypt"]

[[grant]]
caller = "spiffe://crypto.dev/management"
key_sets = ["op/*"]
operations = ["verify", "verify-unchecked-audience"]

[[grant]]
caller = "spiffe://crypto.dev/narrow"
key_sets = ["op/narrow"]
operations = ["sign", "verify"]
"#;

/// A running service.
pub(crate) struct World {
    pub(crate) clock: FakeClock,
    pub(crate) writer: KeysWriter,
    pub(crate) http: std::net::SocketAddr,
    pub(crate) shutdown: Shutdown,
    grpc: std::net::SocketAddr,
    ca: CertificateAuthority,
    folder: PemFolder,
    epoch: u64,
    served: tokio::task::JoinHandle<()>,
}

/// Streams of `WatchTrust` that a [`World`] serves at once.
pub(crate) const MAX_FOLLOWERS: usize = 4;

impl World {
    /// A service without keys and without a lease.
    pub(crate) async fn bare() -> Self {
        let (ca, folder) = (CertificateAuthority::new("test"), PemFolder::new());
        let clock = FakeClock::at(NOW);
        let own = folder.write(
            "crypto-service",
            &ca.issue(&Leaf::server("crypto-service")),
            &ca,
        );
        let policy = folder.path().join("policy.toml");
        std::fs::write(&policy, POLICY).unwrap();
        let config = Config {
            tls: tls(own),
            policy: PolicySettings { file: policy },
            grpc: GrpcSettings {
                max_followers: MAX_FOLLOWERS,
                ..GrpcSettings::default()
            },
            ..Config::default()
        };
        let (server, writer) = Server::build(config, clock.shared()).unwrap();
        let bound = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listeners = Listeners {
            grpc: bound().await,
            http: bound().await,
        };
        let (grpc, http) = (
            listeners.grpc.local_addr().unwrap(),
            listeners.http.local_addr().unwrap(),
        );
        let shutdown = Shutdown::new();
        let serving = server.serve(listeners, shutdown.clone());
        let served = tokio::spawn(async move { Box::pin(serving).await.unwrap() });
        Self {
            clock,
            writer,
            http,
            shutdown,
            grpc,
            ca,
            folder,
            epoch: 0,
            served,
        }
    }

    /// A service with these sets and a lease of 30 s to sign and 60 s to verify.
    pub(crate) async fn with(sets: Vec<TestSet>) -> Self {
        let mut world = Self::bare().await;
        world.replace(sets);
        world.lease();
        world
    }

    pub(crate) fn replace(&mut self, sets: Vec<TestSet>) {
        self.epoch += 1;
        let times = Times {
            jwks_max_age: Duration::from_secs(300),
            client_lease: Duration::from_secs(20),
        };
        let epoch = self.epoch;
        let sets = sets.into_iter().map(|set| set.spec(epoch)).collect();
        self.writer.replace(epoch, times, sets).unwrap();
    }

    pub(crate) fn change(&mut self, set: TestSet) {
        let from = self.epoch;
        self.epoch += 1;
        self.writer
            .apply(from, self.epoch, vec![set.spec(self.epoch)], &[])
            .unwrap();
    }

    pub(crate) fn remove(&mut self, name: &str) {
        let from = self.epoch;
        self.epoch += 1;
        self.writer
            .apply(
                from,
                self.epoch,
                vec![],
                &[("default".to_owned(), name.to_owned())],
            )
            .unwrap();
    }

    pub(crate) fn lease(&mut self) {
        let terms = Terms {
            sign_for: Duration::from_secs(30),
            verify_for: Duration::from_secs(60),
        };
        self.writer.grant(self.clock.boot(), terms);
    }

    pub(crate) fn channel(&self, role: &str) -> Channel {
        let files = self
            .folder
            .write(role, &self.ca.issue(&Leaf::client(role)), &self.ca);
        let credentials = Credentials::open(&tls(files), self.clock.shared()).unwrap();
        credentials.channel(&endpoint(&format!("https://{}", self.grpc)).unwrap(), None)
    }

    pub(crate) fn jwt(&self, role: &str) -> JwtServiceClient<Channel> {
        JwtServiceClient::new(self.channel(role))
    }

    pub(crate) fn jwe(&self, role: &str) -> JweServiceClient<Channel> {
        JweServiceClient::new(self.channel(role))
    }

    pub(crate) fn jwks(&self, role: &str) -> JwksServiceClient<Channel> {
        JwksServiceClient::new(self.channel(role))
    }

    pub(crate) async fn drained(self) {
        self.shutdown.trigger();
        tokio::time::timeout(Duration::from_secs(15), self.served)
            .await
            .expect("the drain ends")
            .unwrap();
    }
}

pub(crate) fn tls(files: PemFiles) -> TlsFiles {
    TlsFiles {
        cert: files.cert,
        key: files.key,
        ca: files.ca,
    }
}

/// A key with both halves.
#[derive(Clone)]
pub(crate) struct TestKey {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) material: KeyMaterial,
    pub(crate) state: State,
    /// Whether the instance holds the private half.
    pub(crate) held: bool,
    /// What the key-manager has granted; `None` = the key has no budget.
    pub(crate) invocations: Option<u64>,
}

impl TestKey {
    pub(crate) fn new(algorithm: &str) -> Self {
        Self::of(KeySpec::new(Algorithm::parse(algorithm).unwrap()))
    }

    pub(crate) fn of(spec: KeySpec) -> Self {
        let key = AwsLc.generate(&spec).unwrap();
        let kid = key.kid.as_str().to_owned();
        Self {
            kid,
            algorithm: key.algorithm,
            material: key.material,
            state: State::Active,
            held: true,
            invocations: None,
        }
    }

    pub(crate) fn state(self, state: State) -> Self {
        Self { state, ..self }
    }

    pub(crate) fn public_jwk(&self) -> Option<String> {
        self.material
            .public_key()
            .map(|key| Jwk::new(key).to_json())
    }

    fn spec(&self, tenant: &str, epoch: u64) -> VersionSpec {
        let sealed = self
            .held
            .then(|| seal(&self.material, tenant, &self.kid, epoch));
        VersionSpec {
            kid: self.kid.clone(),
            algorithm: self.algorithm,
            state: self.state,
            public_jwk: self.public_jwk(),
            sealed,
            invocations: self.invocations,
        }
    }
}

/// Wraps a private half as the key-manager does.
pub(crate) fn wrap(
    secret: &[u8; 32],
    material: &KeyMaterial,
    header: [(&str, MemberValue<'_>); 3],
    kid: &str,
) -> String {
    let secret = SymmetricKey::new(secret).unwrap();
    let key = SharedKey::direct(ContentEncryption::A256Gcm, &secret).unwrap();
    let request = EncryptRequest {
        kid: Some(kid),
        extra: &header,
        ..EncryptRequest::default()
    };
    jose::jwe::encrypt(
        &request,
        &material.to_bytes(),
        &key,
        ContentEncryption::A256Gcm,
        &AwsLc,
    )
    .unwrap()
}

fn seal(material: &KeyMaterial, tenant: &str, kid: &str, epoch: u64) -> SealedKey {
    use MemberValue::{Number, String};
    const SECRET: [u8; 32] = [9; 32];
    let header = [
        ("tenant", String(tenant)),
        ("instance", String(INSTANCE)),
        ("epoch", Number(epoch)),
    ];
    let opener = Arc::new(StreamKey::new(&SECRET, INSTANCE).unwrap());
    SealedKey::receive(
        wrap(&SECRET, material, header, kid),
        &opener,
        Binding { tenant, kid, epoch },
    )
    .unwrap()
}

/// A key set under construction.
#[derive(Clone)]
pub(crate) struct TestSet {
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) key_use: Use,
    pub(crate) issuer: String,
    pub(crate) publish: Publish,
    pub(crate) profile: Profile,
    pub(crate) keys: Vec<TestKey>,
    pub(crate) enc: Option<ContentEncryption>,
    pub(crate) next_change: Option<u64>,
    pub(crate) ready_at: Option<u64>,
}

impl TestSet {
    /// A public signing set of the default tenant with the usual issuer.
    pub(crate) fn sign(name: &str, keys: Vec<TestKey>) -> Self {
        Self {
            tenant: "default".to_owned(),
            name: name.to_owned(),
            key_use: Use::Sign,
            issuer: ISSUER.to_owned(),
            publish: Publish::Public,
            profile: Profile::default(),
            keys,
            enc: None,
            next_change: None,
            ready_at: None,
        }
    }

    pub(crate) fn encrypt(name: &str, keys: Vec<TestKey>) -> Self {
        Self {
            key_use: Use::Encrypt,
            ..Self::sign(name, keys)
        }
    }

    pub(crate) fn spec(self, epoch: u64) -> KeySetSpec {
        KeySetSpec {
            versions: self
                .keys
                .iter()
                .map(|key| key.spec(&self.tenant, epoch))
                .collect(),
            tenant: self.tenant,
            name: self.name,
            key_use: self.key_use,
            issuer: self.issuer,
            publish: self.publish,
            profile: self.profile,
            enc: self.enc,
            next_change: self.next_change,
            ready_at: self.ready_at,
        }
    }
}

pub(crate) fn sign(key_set: &str, claims: &str) -> jwt::SignRequest {
    jwt::SignRequest {
        key_set: key_set.to_owned(),
        claims_input: Some(jwt::sign_request::ClaimsInput::ClaimsJson(
            claims.to_owned(),
        )),
        ..jwt::SignRequest::default()
    }
}

pub(crate) fn verify(token: &str) -> jwt::VerifyRequest {
    jwt::VerifyRequest {
        token: token.to_owned(),
        audiences: vec!["api".to_owned()],
        ..jwt::VerifyRequest::default()
    }
}

/// Claims, or the reason.
pub(crate) fn verdict(response: jwt::VerifyResponse) -> Result<jwt::ValidToken, jwt::RejectReason> {
    match response.verdict.expect("a verdict") {
        jwt::verify_response::Verdict::Valid(valid) => Ok(valid),
        jwt::verify_response::Verdict::Rejected(rejected) => Err(rejected.reason()),
    }
}

pub(crate) async fn judged(
    client: &mut JwtServiceClient<Channel>,
    token: &str,
) -> Result<jwt::ValidToken, jwt::RejectReason> {
    verdict(client.verify(verify(token)).await.unwrap().into_inner())
}

/// Code and reason of a refusal.
pub(crate) fn refusal(status: &tonic::Status) -> (tonic::Code, String) {
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.domain, "crypto-service");
    (status.code(), info.reason)
}

/// The fields that a refusal names.
pub(crate) fn fields(status: &tonic::Status) -> Vec<String> {
    assert_eq!(
        refusal(status),
        (tonic::Code::InvalidArgument, "FIELD_INVALID".to_owned()),
        "{status:?}"
    );
    let violations = status
        .get_details_bad_request()
        .expect("a BadRequest")
        .field_violations;
    violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}
