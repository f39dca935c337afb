//! The assembly: everything between the settings and the end of the process.

use std::sync::Arc;

use crypto_proto::keys::v1::{
    key_admin_service_server::KeyAdminServiceServer, key_feed_service_server::KeyFeedServiceServer,
    revocation_service_server::RevocationServiceServer,
};
use jose_aws_lc::AwsLc;
use service_kit::{
    clock::{SharedClock, SystemClock},
    grants,
    layers::{InFlight, RpcMetrics, Stack},
    serve,
    shutdown::Shutdown,
    telemetry::{self, Probe},
    tls::{Credentials, TlsError},
};
use tokio::sync::watch;
use tonic::service::Routes;
use tonic_health::ServingStatus;

use crate::{
    anchor::{Anchor, AnchorError},
    audit::{AuditError, AuditLog},
    clocks::{self, Clocks},
    config::Config,
    feed::Feed,
    grpc::{Admin, Backups, FeedServer, Revocation, refusals},
    issued::{IssuedError, IssuedLog},
    keys::KeySource,
    lifecycle::Lifecycle,
    listeners::Listeners,
    metrics::Metrics,
    rotator::Rotator,
    seal::{KekError, Keks, open_keks},
    sealer::Sealer,
    store::{self, KeyStore, OpenError, StoreError, look},
    vault::{ROOT, Vault, VaultError, check_keks, remove_left_spools},
};

/// One request at most; the feed's reports and imported keys are far below.
const MAX_REQUEST: usize = 1024 * 1024;

const RPCS: [&str; 19] = [
    "crypto.keys.v1.KeyAdminService/CreateKeySet",
    "crypto.keys.v1.KeyAdminService/GetKeySet",
    "crypto.keys.v1.KeyAdminService/ListKeySets",
    "crypto.keys.v1.KeyAdminService/UpdateKeySet",
    "crypto.keys.v1.KeyAdminService/RotateKeySet",
    "crypto.keys.v1.KeyAdminService/ImportKey",
    "crypto.keys.v1.KeyAdminService/RevokeKey",
    "crypto.keys.v1.KeyAdminService/DestroyKey",
    "crypto.keys.v1.KeyAdminService/ListSubscribers",
    "crypto.keys.v1.KeyAdminService/EvictSubscriber",
    "crypto.keys.v1.KeyAdminService/QueryAudit",
    "crypto.keys.v1.KeyAdminService/RotateDataKey",
    "crypto.keys.v1.KeyAdminService/GetSealing",
    "crypto.keys.v1.KeyAdminService/ListIssued",
    "crypto.keys.v1.KeyAdminService/Backup",
    "crypto.keys.v1.KeyAdminService/Restore",
    "crypto.keys.v1.KeyFeedService/Watch",
    "crypto.keys.v1.KeyFeedService/ShipIssued",
    "crypto.keys.v1.RevocationService/RevokeToken",
];

/// Why the key-manager does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address is taken, or not ours.
    #[error("{what}: cannot listen on {address}: {source}")]
    Bind {
        /// The setting.
        what: &'static str,
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A socket cannot be kept.
    #[error("{what}: the socket cannot be kept: {source}")]
    Listen {
        /// The setting.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The anchor does not let the store be used.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The key-encryption key is missing or wrong. The store was not touched.
    #[error(transparent)]
    Kek(#[from] KekError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The audit log cannot be written.
    #[error("audit.folder: {0}")]
    Audit(#[from] AuditError),
    /// The records of issued tokens cannot be used.
    #[error("issued.path: {0}")]
    Issued(#[from] IssuedError),
    /// What is stored cannot be used.
    #[error(transparent)]
    Vault(VaultError),
    /// TLS material cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The policy cannot be used.
    #[error("policy.file: {0}")]
    Policy(#[from] grants::PolicyError),
    /// Reflection cannot be built.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl From<VaultError> for RunError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Kek(error) => Self::Kek(error),
            other => Self::Vault(other),
        }
    }
}

impl RunError {
    /// The exit code, of sysexits.h.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Kek(error) if error.is_unavailable() => 69,
            // EX_CONFIG
            Self::Kek(_) | Self::Tls(_) | Self::Policy(_) => 78,
            Self::Store(OpenError::Tls(_) | OpenError::Password(_) | OpenError::NotBuilt) => 78,
            // EX_DATAERR
            Self::Vault(VaultError::Damaged { .. })
            | Self::Issued(IssuedError::Damaged(_))
            | Self::Anchor(AnchorError::Older { .. } | AnchorError::Unreadable { .. })
            | Self::Store(OpenError::Store(StoreError::Damaged(_))) => 65,
            // EX_UNAVAILABLE
            Self::Audit(_)
            | Self::Issued(_)
            | Self::Bind { .. }
            | Self::Store(_)
            | Self::Vault(_) => 69,
            // EX_SOFTWARE
            Self::Reflection(_) => 70,
            // EX_OSERR
            Self::Listen { .. } => 71,
            // EX_IOERR
            Self::Anchor(AnchorError::File { .. }) => 74,
        }
    }
}

/// What a run stands on besides its settings; tests bring their own.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The clock.
    pub clock: SharedClock,
    /// Where keys come from.
    pub keys: Arc<dyn KeySource>,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            clock: SystemClock::shared(),
            keys: Arc::new(AwsLc),
        }
    }
}

/// Runs until shutdown, and drains.
///
/// # Errors
/// [`RunError`], before anything was served.
pub async fn run(config: Config, listeners: Listeners, shutdown: Shutdown) -> Result<(), RunError> {
    run_in(Environment::default(), config, listeners, shutdown).await
}

/// As [`run`], with a clock and a source of keys of one's own.
///
/// # Errors
/// [`RunError`], before anything was served.
pub async fn run_in(
    environment: Environment,
    config: Config,
    listeners: Listeners,
    shutdown: Shutdown,
) -> Result<(), RunError> {
    let opening = Opening::new(&config).await?;
    remove_left_spools(&config.spool()).await;
    let (mut listeners, mut log) = (listeners, None::<AuditLog>);
    loop {
        let vault = opening.vault().await?;
        let clock = Arc::clone(&environment.clock);
        let audit = match log {
            None => AuditLog::open(&config.audit.folder, Arc::clone(&vault), clock).await?,
            Some(log) => log.over(Arc::clone(&vault)),
        };
        let (now, later) = listeners.twice()?;
        let run = serve(&environment, &config, vault, audit.clone(), now, &shutdown);
        if run.await? == Ended::Stopped {
            return Ok(());
        }
        tracing::info!("the store was restored: serving anew from it");
        (listeners, log) = (later, Some(audit));
    }
}

/// Why serving has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Stopped,
    /// The store was restored from a backup, here or by another key-manager.
    Replaced,
}

/// Serves what one vault holds, until shutdown or until its store is restored.
async fn serve(
    environment: &Environment,
    config: &Config,
    vault: Arc<Vault>,
    audit: AuditLog,
    listeners: Listeners,
    process: &Shutdown,
) -> Result<Ended, RunError> {
    let shutdown = process.child();
    let replaced = tokio::spawn(stop_when_replaced(Arc::clone(&vault), shutdown.clone()));
    let credentials = Credentials::open(&config.tls, Arc::clone(&environment.clock))?;
    let policy = grants::open(&config.policy.file)?;
    let (registry, metrics) = (
        telemetry::Metrics::new("key_manager", env!("CARGO_PKG_VERSION")),
        Metrics::default(),
    );
    metrics.register(&registry);
    credentials.register(&registry);
    policy.register(&registry);
    let issued = open_issued(config, &vault, &environment.clock).await?;
    if let Some(issued) = &issued {
        issued.metrics().register(&registry);
    }
    let anchoring = Anchor::of(&config.store)
        .map(|anchor| tokio::spawn(anchor.follow(Arc::clone(&vault), shutdown.clone())));
    let comparing = Clocks::of(
        &vault,
        &environment.clock,
        Clocks::own_name().map_err(VaultError::from)?,
        clocks::INTERVAL,
    );
    let lifecycle = Lifecycle::new(
        Arc::clone(&vault),
        Arc::clone(&environment.keys),
        config.times.times(),
        Arc::clone(&environment.clock),
        metrics,
    )
    .with_max_revocations(config.tokens.max_revocations)
    .recorded(audit.clone())
    .with_issued(issued)
    .comparing(comparing.clone());
    let recording = tokio::spawn(audit.clone().run(shutdown.clone()));

    tokio::spawn(Arc::clone(lifecycle.vault()).follow(shutdown.clone()));
    tokio::spawn(credentials.clone().watch(shutdown.clone()));
    tokio::spawn(
        policy
            .clone()
            .watch(service_kit::watched::POLL_INTERVAL, shutdown.clone()),
    );
    let comparing = comparing.map(|clocks| tokio::spawn(clocks.run(shutdown.clone())));
    let rotator = Rotator::new(lifecycle.clone());
    rotator.round().await;
    let rotating = tokio::spawn(rotator.run(shutdown.clone()));
    let sealing = tokio::spawn(Sealer::new(lifecycle.clone()).run(shutdown.clone()));

    let (health, health_server) = tonic_health::server::health_reporter();
    health.set_service_status("", ServingStatus::Serving).await;
    let feed = Feed::new(
        lifecycle.clone(),
        credentials.clone(),
        policy.clone(),
        shutdown.clone(),
    );
    let revocation = Revocation::new(lifecycle.clone(), policy.clone());
    let routes = Routes::new(health_server)
        .add_service(
            RevocationServiceServer::new(revocation).max_decoding_message_size(MAX_REQUEST),
        )
        .add_service(
            KeyAdminServiceServer::new(
                Admin::new(lifecycle, policy)
                    .with_backups(Backups::new(config.spool(), &config.kek.place())),
            )
            .max_decoding_message_size(MAX_REQUEST),
        )
        .add_service(
            KeyFeedServiceServer::new(FeedServer::new(feed)).max_decoding_message_size(MAX_REQUEST),
        )
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let stack = Stack {
        metrics: RpcMetrics::new(&registry, RPCS),
        clock: Arc::clone(&environment.clock),
        in_flight: InFlight::new(config.grpc.max_in_flight),
        longest_deadline: config.grpc.longest_deadline.get(),
        refusals: refusals(),
    };
    let (ready, readiness) = watch::channel(true);
    let probe = move || {
        if *readiness.borrow() {
            Probe::Ok
        } else {
            Probe::Failing("draining".into())
        }
    };
    let operations = telemetry::operations_router(registry, || Probe::Ok, probe);
    let draining = turn_away(shutdown.clone(), health, ready);
    let grpc = serve::grpc(
        listeners.grpc,
        credentials,
        stack.around(routes.prepare()),
        config.grpc.limits.clone(),
        shutdown.clone(),
    );
    let http = serve::http(
        listeners.http,
        None,
        operations,
        config.http.limits.clone(),
        shutdown,
    );
    tracing::info!("serving");
    tokio::join!(grpc, http, draining);
    // Rotator and sealer end between two steps; each of them is whole.
    let _ended = rotating.await;
    let _ended = sealing.await;
    let _ended = recording.await;
    for aside in [anchoring, comparing].into_iter().flatten() {
        let _ended = aside.await;
    }
    replaced.abort();
    // What came of a restore is covered by the first checkpoint over the restored store.
    match vault.is_replaced() && !process.is_triggered() {
        true => Ok(Ended::Replaced),
        false => {
            audit.checkpoint_or_say().await;
            Ok(Ended::Stopped)
        }
    }
}

async fn stop_when_replaced(vault: Arc<Vault>, shutdown: Shutdown) {
    vault.replaced().await;
    shutdown.trigger();
}

/// Health says so before anything is refused.
async fn turn_away(
    shutdown: Shutdown,
    health: tonic_health::server::HealthReporter,
    ready: watch::Sender<bool>,
) {
    shutdown.triggered().await;
    health
        .set_service_status("", ServingStatus::NotServing)
        .await;
    ready.send_replace(false);
}

/// What is listed is what is served: the descriptors hold the whole contract.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(crypto_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("crypto.keys.v1.KeyAdminService")
        .with_service_name("crypto.keys.v1.KeyFeedService")
        .with_service_name("crypto.keys.v1.RevocationService")
        .with_service_name("grpc.health.v1.Health")
}

/// The records of issued tokens, where they are asked for.
async fn open_issued(
    config: &Config,
    vault: &Vault,
    clock: &SharedClock,
) -> Result<Option<IssuedLog>, IssuedError> {
    let settings = &config.issued;
    if settings.path.as_os_str().is_empty() {
        return Ok(None);
    }
    let (retention, clock) = (settings.retention(), Arc::clone(clock));
    IssuedLog::open(&settings.path, vault, retention, clock)
        .await
        .map(Some)
}

/// The store, and what opens vaults over it.
struct Opening<'a> {
    config: &'a Config,
    keks: Keks,
    store: Arc<dyn KeyStore>,
}

impl<'a> Opening<'a> {
    /// The key-encryption key is proved on a store that is only read; where it is wrong, nothing has changed.
    async fn new(config: &'a Config) -> Result<Self, RunError> {
        let keks = open_keks(&config.kek).await?;
        check_keks(&keks, look(&config.store, ROOT).await?.as_ref()).await?;
        let store = store::open(&config.store, true).await?;
        Ok(Self {
            config,
            keks,
            store,
        })
    }

    async fn vault(&self) -> Result<Arc<Vault>, RunError> {
        let mut opened = Vault::open(Arc::clone(&self.store), self.keks.clone()).await;
        if let Err(VaultError::Store(StoreError::Replaced)) = opened {
            // Another key-manager has restored it while it was read.
            opened = Vault::open(Arc::clone(&self.store), self.keks.clone()).await;
        }
        let vault = opened?;
        if let Some(anchor) = Anchor::of(&self.config.store) {
            anchor.check(&vault)?;
        }
        Ok(Arc::new(vault))
    }
}
