//! Assembly: the parts are built once here, served, and drained in order.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::rand;
use axum::Router;
use service_kit::clock::{SharedClock, SystemClock};
use service_kit::grants::{self, PolicyError, PolicyHandle};
use service_kit::layers::{InFlight, RpcMetrics, Stack};
use service_kit::serve::{self, Drained, HttpOptions};
use service_kit::shutdown::Shutdown;
use service_kit::telemetry::{Metrics, Probe, operations_router};
use service_kit::tls::{Credentials, EndpointError, HttpsCertificate, TlsError, endpoint};
use service_kit::watched::POLL_INTERVAL;
use tokio::net::TcpListener;
use tonic::transport::Endpoint;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::{Config, Engine, LaneSettings};
use crate::grpc;
use crate::http;
use crate::issued::{FolderError, GrpcCarrier, Recorder, Running, Shipper};
use crate::keys::feed::{Feed, FeedOptions, NoEphemeralKey};
use crate::keys::{KeysReader, KeysWriter, PrivateKeys, pair};
use crate::lanes::{self, LaneOptions, Lanes};
use crate::metrics::{ServiceMetrics, StateCollector};
use crate::policy::Access;
use crate::usecase::{DataPlane, Parts};

/// How often readiness is looked at besides each turn of the keys: a lease runs out by itself.
const READINESS_INTERVAL: Duration = Duration::from_millis(500);

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be bound.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// TLS material cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The policy file cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The key-manager's endpoint cannot be used.
    #[error("feed.endpoint: {0}")]
    Endpoint(#[from] EndpointError),
    /// The engine that the configuration demands is not there.
    #[error("lanes.engine: {0}")]
    Engine(#[from] lanes::Unavailable),
    /// Crypto threads cannot be started.
    #[error("cannot start the crypto threads: {0}")]
    Threads(#[source] io::Error),
    /// The reflection service cannot be built.
    #[error("cannot build the reflection service: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// No ephemeral key.
    #[error(transparent)]
    Key(#[from] NoEphemeralKey),
    /// The folder for records of issued tokens cannot be used.
    #[error(transparent)]
    Issued(#[from] FolderError),
}

/// Bound ports. Tests bind port 0.
#[derive(Debug)]
pub struct Listeners {
    /// For callers.
    pub grpc: TcpListener,
    /// For everybody.
    pub http: TcpListener,
}

impl Listeners {
    /// Binds the configured ports.
    ///
    /// # Errors
    /// [`StartError::Bind`].
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        Ok(Self {
            grpc: bind(config.grpc.listen).await?,
            http: bind(config.http.listen).await?,
        })
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::Bind { address, error })
}

/// Runs the service until shutdown: servers drain first, then the feed says goodbye.
///
/// # Errors
/// [`StartError`]; once it serves there is none.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let (mut server, writer) = Server::build(config, SystemClock::shared())?;
    let feed = Feed::new(server.feed_options()?, writer)?;
    let shipper = server.shipper()?;
    let (stop_feed, stop_shipper) = (Shutdown::new(), Shutdown::new());
    let feed = tokio::spawn(Box::pin(feed.run(stop_feed.clone())));
    let shipper = shipper.map(|shipper| tokio::spawn(Box::pin(shipper.run(stop_shipper.clone()))));
    let served = Box::pin(server.serve(listeners, shutdown)).await;
    // Nothing is issued any more: what is recorded is shipped before the key-manager hears a goodbye.
    stop_shipper.trigger();
    if let Some(shipper) = shipper
        && shipper.await.is_err()
    {
        tracing::error!("the shipper of issued tokens ended in a panic");
    }
    stop_feed.trigger();
    if feed.await.is_err() {
        tracing::error!("the key feed ended in a panic");
    }
    served
}

/// The service without its feed. Whoever holds the [`KeysWriter`] of its pair says which keys there are.
#[derive(Debug)]
pub struct Server {
    config: Config,
    in_flight: InFlight,
    credentials: Credentials,
    https: Option<HttpsCertificate>,
    policy: PolicyHandle,
    plane: DataPlane,
    nonce: [u8; 16],
    recording: Option<Running>,
    clock: SharedClock,
    metrics: Metrics,
    service_metrics: ServiceMetrics,
}

impl Server {
    /// Reads files and builds every part.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn build(config: Config, clock: SharedClock) -> Result<(Self, KeysWriter), StartError> {
        let credentials = Credentials::open(&config.tls, clock.clone())?;
        let has_https = !config.http.cert.as_os_str().is_empty();
        let https = has_https
            .then(|| HttpsCertificate::open(&config.http.cert, &config.http.key, clock.clone()));
        let https = https.transpose()?;
        let policy = grants::open(&config.policy.file)?;
        let in_flight = InFlight::new(config.grpc.max_in_flight);
        let lanes = start_lanes(&config.lanes, in_flight.clone())?;
        let metrics = Metrics::new("crypto_service", env!("CARGO_PKG_VERSION"));
        credentials.register(&metrics);
        policy.register(&metrics);
        let service_metrics = ServiceMetrics::new(&metrics);
        let (writer, keys) = pair(clock.clone(), config.feed.terms());
        let private = PrivateKeys::new(config.cache.keys, lanes.engine().clone());
        StateCollector {
            keys: keys.clone(),
            private: private.clone(),
            lanes: lanes.clone(),
        }
        .register(&metrics);
        let mut nonce = [0; 16];
        rand::fill(&mut nonce).map_err(|_unspecified| NoEphemeralKey)?;
        let settings = config.issued.clone();
        let (issued, recording) =
            Recorder::start(settings, keys.clone(), clock.clone(), &metrics, nonce)?;
        let plane = DataPlane::new(Parts {
            issued,
            keys,
            access: Access::new(policy.clone()),
            lanes,
            private,
            clock: clock.clone(),
            metrics: service_metrics.clone(),
        });
        let server = Self {
            config,
            in_flight,
            credentials,
            https,
            policy,
            plane,
            nonce,
            recording,
            clock,
            metrics,
            service_metrics,
        };
        Ok((server, writer))
    }

    /// The use cases.
    #[must_use]
    pub fn plane(&self) -> &DataPlane {
        &self.plane
    }

    /// What the feed of this server stands on.
    ///
    /// # Errors
    /// [`StartError::Endpoint`].
    pub fn feed_options(&self) -> Result<FeedOptions, StartError> {
        Ok(FeedOptions {
            nonce: self
                .nonce
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            endpoint: self.key_manager()?,
            key_manager: self.key_manager_name().map(str::to_owned),
            credentials: self.credentials.clone(),
            clock: self.clock.clone(),
            metrics: self.service_metrics.clone(),
        })
    }

    /// What ships the records of issued tokens, once, where there is a folder for them.
    fn shipper(&mut self) -> Result<Option<Shipper<GrpcCarrier>>, StartError> {
        let Some(running) = self.recording.take() else {
            return Ok(None);
        };
        let (endpoint, name) = (self.key_manager()?, self.key_manager_name());
        let carrier = GrpcCarrier::new(&self.credentials, &endpoint, name);
        let recorder = self.plane.issued().clone();
        Ok(Some(Shipper::new(recorder, running, carrier)))
    }

    fn key_manager(&self) -> Result<Endpoint, StartError> {
        Ok(endpoint(&self.config.feed.endpoint)?
            .connect_timeout(Duration::from_secs(3))
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true))
    }

    fn key_manager_name(&self) -> Option<&str> {
        Some(self.config.feed.key_manager.as_str()).filter(|name| !name.is_empty())
    }

    /// Serves until shutdown and drains: health first, then streams and calls.
    ///
    /// # Errors
    /// [`StartError::Reflection`].
    pub async fn serve(self, listeners: Listeners, shutdown: Shutdown) -> Result<(), StartError> {
        let stop = Shutdown::new();
        let (health, health_service) = tonic_health::server::health_reporter();
        say_health(&health, ServingStatus::NotServing).await;
        health
            .set_service_status(grpc::SIGNING, ServingStatus::NotServing)
            .await;
        let routes = grpc::routes(
            &self.plane,
            health_service,
            stop.clone(),
            self.config.grpc.max_followers,
        )?;
        let stack = Stack {
            metrics: RpcMetrics::new(&self.metrics, grpc::RPCS),
            clock: self.clock.clone(),
            in_flight: self.in_flight.clone(),
            longest_deadline: self.config.grpc.longest_deadline.get(),
            refusals: grpc::refusals(),
        };
        tokio::spawn(self.credentials.clone().watch(stop.clone()));
        tokio::spawn(self.policy.clone().watch(POLL_INTERVAL, stop.clone()));
        if let Some(https) = &self.https {
            tokio::spawn(https.clone().watch(stop.clone()));
        }
        tokio::spawn(follow_readiness(
            self.plane.keys().clone(),
            health,
            shutdown,
            stop.clone(),
        ));
        say_where(&listeners, self.plane.lanes().engine().name());
        let router = self.router(stop.clone());
        let credentials = self.credentials.clone();
        let (grpc, http) = tokio::join!(
            Box::pin(serve::grpc(
                listeners.grpc,
                credentials,
                stack.around(routes),
                self.config.limits.clone(),
                stop.clone()
            )),
            Box::pin(serve::http(
                listeners.http,
                self.https.clone(),
                router,
                HttpOptions::default(),
                stop
            )),
        );
        for (port, drained) in [("grpc", grpc), ("http", http)] {
            if let Drained::Cut(connections) = drained {
                tracing::warn!(
                    port,
                    connections,
                    "connections were cut at the end of the drain"
                );
            }
        }
        Ok(())
    }

    fn router(&self, stop: Shutdown) -> Router {
        let keys = self.plane.keys().clone();
        let ready = move || {
            if stop.is_triggered() {
                Probe::Failing("draining".into())
            } else {
                probe(&keys)
            }
        };
        let operations = operations_router(self.metrics.clone(), || Probe::Ok, ready);
        operations.merge(http::router(
            self.plane.clone(),
            Some(self.config.http.jwks_max_age.get()),
        ))
    }
}

/// Ready is who can verify. That an instance may no longer sign does not take its traffic away: health says it under a
/// name of its own, and metrics show the seconds.
fn probe(keys: &KeysReader) -> Probe {
    match (keys.is_ready(), keys.verify_lease().is_ok()) {
        (true, _) => Probe::Ok,
        (false, true) => Probe::Failing("no keys have been received yet".into()),
        (false, false) => Probe::Failing(
            "there is no lease: the key-manager has not been heard from for too long".into(),
        ),
    }
}

/// Turns health with readiness. At shutdown it turns back first, and only then lets the servers drain.
async fn follow_readiness(
    keys: KeysReader,
    health: HealthReporter,
    shutdown: Shutdown,
    stop: Shutdown,
) {
    let mut turns = keys.turns();
    let (mut serving, mut signing) = (false, false);
    loop {
        if keys.is_ready() != serving {
            serving = !serving;
            tracing::info!(serving, "readiness turns");
            say_health(&health, status(serving)).await;
        }
        if keys.sign_lease().is_ok() != signing {
            signing = !signing;
            tracing::info!(signing, "readiness to sign turns");
            health
                .set_service_status(grpc::SIGNING, status(signing))
                .await;
        }
        tokio::select! {
            () = shutdown.triggered() => break,
            Ok(()) = turns.changed() => {}
            () = tokio::time::sleep(READINESS_INTERVAL) => {}
        }
    }
    health
        .set_service_status(grpc::SIGNING, ServingStatus::NotServing)
        .await;
    say_health(&health, ServingStatus::NotServing).await;
    stop.trigger();
}

fn status(serving: bool) -> ServingStatus {
    if serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

async fn say_health(health: &HealthReporter, status: ServingStatus) {
    for service in grpc::SERVICES {
        health.set_service_status(service, status).await;
    }
}

/// Starts the crypto threads. The calls in flight tell them whether a caller is alone.
fn start_lanes(settings: &LaneSettings, in_flight: InFlight) -> Result<Lanes, StartError> {
    let engine = match settings.engine {
        Engine::AwsLc => lanes::Engine::single(),
        Engine::Multibuffer => lanes::Engine::multibuffer()?,
        Engine::Auto => lanes::Engine::multibuffer().unwrap_or_else(|missing| {
            tracing::info!(%missing, "signatures are made one at a time");
            lanes::Engine::single()
        }),
    };
    let options = LaneOptions {
        engine,
        queue: settings.queue.get(),
        in_flight: Some(in_flight),
        ..LaneOptions::default()
    };
    Lanes::start(options).map_err(StartError::Threads)
}

fn say_where(listeners: &Listeners, engine: &str) {
    let address = |listener: &TcpListener| {
        listener
            .local_addr()
            .map(|address| address.to_string())
            .unwrap_or_default()
    };
    let (grpc, http) = (address(&listeners.grpc), address(&listeners.http));
    tracing::info!(grpc, http, engine, "listening");
}
