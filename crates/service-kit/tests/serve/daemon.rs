//! A small daemon under test, and its clients.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use service_kit::clock::{SharedClock, SystemClock};
use service_kit::layers::{GrpcService, InFlight, Refusals, Request, Response, RpcMetrics, Stack};
use service_kit::serve::{Drained, GrpcOptions, grpc};
use service_kit::shutdown::Shutdown;
use service_kit::telemetry::Metrics;
use service_kit::tls::{Credentials, TlsFiles, endpoint};
use testkit::{CertificateAuthority, Issued, Leaf, PemFolder};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{Service, ServiceExt};

/// No test takes longer; a hang is a failure and not a hanging suite.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Daemon {
    pub(crate) address: SocketAddr,
    pub(crate) ca: CertificateAuthority,
    pub(crate) folder: PemFolder,
    pub(crate) credentials: Credentials,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
    pub(crate) server: JoinHandle<Drained>,
}

pub(crate) struct Setup {
    pub(crate) options: GrpcOptions,
    pub(crate) clock: SharedClock,
    pub(crate) longest_deadline: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        let longest_deadline = Duration::from_secs(30);
        Self {
            options: GrpcOptions::default(),
            clock: SystemClock::shared(),
            longest_deadline,
        }
    }
}

pub(crate) fn health() -> Routes {
    let (_reporter, service) = tonic_health::server::health_reporter();
    Routes::new(service)
}

/// Answers `ok` once a permit of `gate` is there, and says on `entered` that it waits.
pub(crate) fn held(gate: Arc<Semaphore>, entered: Arc<Semaphore>) -> impl GrpcService {
    tower::service_fn(move |_request: Request| {
        let (gate, entered) = (gate.clone(), entered.clone());
        async move {
            entered.add_permits(1);
            gate.acquire().await.unwrap().forget();
            Ok::<Response, Infallible>(Status::ok("").into_http())
        }
    })
}

impl Daemon {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default(), health()).await
    }

    pub(crate) async fn with(setup: Setup, service: impl GrpcService) -> Self {
        let (ca, folder) = (CertificateAuthority::new("ca"), PemFolder::new());
        let credentials = open(
            &folder,
            &ca,
            "server",
            &ca.issue(&Leaf::server("server")),
            setup.clock.clone(),
        );
        let metrics = Metrics::new("test", "0");
        let stack = Stack {
            metrics: RpcMetrics::new(&metrics, ["grpc.health.v1.Health/Check"]),
            clock: setup.clock,
            in_flight: InFlight::new(1000),
            longest_deadline: setup.longest_deadline,
            refusals: Refusals::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let served = grpc(
            listener,
            credentials.clone(),
            stack.around(service),
            setup.options,
            shutdown.clone(),
        );
        let server = tokio::spawn(served);
        Self {
            address,
            ca,
            folder,
            credentials,
            metrics,
            shutdown,
            server,
        }
    }

    /// A client whose certificate comes from the daemon's authority.
    pub(crate) fn client(&self, leaf: &Leaf) -> Credentials {
        self.client_of(&self.ca, leaf)
    }

    /// A client whose certificate comes from `ca`, and that trusts the daemon's authority.
    pub(crate) fn client_of(&self, ca: &CertificateAuthority, leaf: &Leaf) -> Credentials {
        open(
            &self.folder,
            &self.ca,
            "client",
            &ca.issue(leaf),
            SystemClock::shared(),
        )
    }

    pub(crate) fn channel(&self, client: &Credentials) -> Channel {
        client.channel(
            &endpoint(&format!("https://{}", self.address)).unwrap(),
            Some("spiffe://crypto.dev/server"),
        )
    }

    pub(crate) async fn drained(self) -> Drained {
        tokio::time::timeout(PATIENCE, self.server)
            .await
            .expect("drains")
            .unwrap()
    }
}

fn open(
    folder: &PemFolder,
    ca: &CertificateAuthority,
    role: &str,
    issued: &Issued,
    clock: SharedClock,
) -> Credentials {
    let files = folder.write(role, issued, ca);
    let files = TlsFiles {
        cert: files.cert,
        key: files.key,
        ca: files.ca,
    };
    Credentials::open(&files, clock).unwrap()
}

/// One health check.
pub(crate) async fn check(channel: Channel) -> Result<(), Status> {
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let mut client = HealthClient::new(channel);
    let answer = tokio::time::timeout(PATIENCE, client.check(request));
    answer.await.expect("answers").map(|_answer| ())
}

/// Health checks until one succeeds: for what becomes true when a connection has been replaced.
pub(crate) async fn check_until_ok(mut channel: impl FnMut() -> Channel) {
    let until_ok = async {
        while check(channel()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, until_ok)
        .await
        .expect("a check succeeds in the end");
}

/// A raw call of `path`; the code is the head's or the trailers'.
pub(crate) async fn call(
    mut channel: Channel,
    path: &str,
) -> Result<Code, tonic::transport::Error> {
    let request = http::Request::post(format!("http://host{path}"))
        .body(Body::empty())
        .unwrap();
    let response = channel.ready().await?.call(request).await?;
    let head = response.headers().get("grpc-status").cloned();
    let code = match head {
        Some(code) => code,
        None => {
            let body = response.into_body().collect().await.unwrap();
            body.trailers().unwrap()["grpc-status"].clone()
        }
    };
    Ok(Code::from_bytes(code.as_bytes()))
}
