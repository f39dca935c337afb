//! TLS for both sides, from PEM files that may be renewed at any time.
//!
//! - The provider is aws-lc-rs, named in each configuration; nothing installs or relies on a process default.
//! - TLS 1.3 and 1.2, ALPN `h2`, and a client certificate is mandatory on every gRPC port.
//! - A reload swaps whole configurations, with fresh session storage and a fresh ticketer: rustls resumes a
//!   session with the client chain it stored, without verifying it again, so old tickets must die with the old CA.
//! - Configurations take their time from [`SharedClock`].

mod connect;
mod https;
mod load;
mod signature;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use connect::{ConnectError, EndpointError, endpoint};
pub use https::HttpsCertificate;
use load::Loaded;
pub use signature::{SignatureError, TlsSignature};

use crate::clock::SharedClock;
use crate::identity::{Caller, IdentityError, IdentityRules};
use crate::shutdown::Shutdown;
use crate::telemetry::Metrics;
use crate::watched::{Outcome, POLL_INTERVAL, ReadError, Watched, WatchedFile};

/// The `[tls]` section: PEM files, followed while the daemon runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsFiles {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// The private key, unencrypted; mode 0600.
    pub key: PathBuf,
    /// The authorities that the other side's certificate must come from.
    pub ca: PathBuf,
}

/// Why TLS material is refused.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file is not PEM, or its PEM is cut short.
    #[error("tls.{0} is not a PEM file with what belongs there: {1}")]
    Pem(&'static str, rustls_pki_types::pem::Error),
    /// A file holds no certificate.
    #[error("tls.{0} holds no certificate")]
    NoCertificate(&'static str),
    /// The authorities cannot be used.
    #[error("tls.ca holds an unusable certificate: {0}")]
    Authority(#[source] rustls::Error),
    /// The key is of no supported kind.
    #[error("tls.key is not a supported private key: {0}")]
    Key(#[source] rustls::Error),
    /// The key is not the certificate's.
    #[error("tls.key does not belong to the certificate in tls.cert: {0}")]
    Mismatch(#[source] rustls::Error),
    /// The verifier of client certificates cannot be built.
    #[error("tls.ca makes no verifier: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// Anything else that rustls refuses.
    #[error("tls: {0}")]
    Config(#[from] rustls::Error),
}

/// This process's certificate, key and authorities, as they are now. Clones share them.
#[derive(Clone, Debug)]
pub struct Credentials {
    loaded: Watched<Loaded>,
    clock: SharedClock,
    rules: IdentityRules,
}

impl Credentials {
    /// Reads the three files.
    pub fn open(files: &TlsFiles, clock: SharedClock) -> Result<Self, TlsError> {
        let watched = vec![
            WatchedFile::public(&files.cert),
            WatchedFile::private(&files.key),
            WatchedFile::public(&files.ca),
        ];
        let time = clock.clone();
        let loaded = Watched::open("tls", watched, move |contents| {
            load::credentials(contents, &time)
        })?;
        Ok(Self {
            loaded,
            clock,
            rules: IdentityRules::default(),
        })
    }

    /// Sets which names of a peer's certificate count.
    pub fn with_rules(self, rules: IdentityRules) -> Self {
        Self { rules, ..self }
    }

    /// Follows the files until shutdown; spawn it.
    pub async fn watch(self, shutdown: Shutdown) {
        self.loaded.watch(POLL_INTERVAL, shutdown).await;
    }

    /// Looks at the files now. Blocks on the file system.
    pub fn check(&self) -> Outcome {
        self.loaded.check()
    }

    /// A receiver whose value changes with each reload.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.loaded.changes()
    }

    /// Registers the counters of reloads.
    pub fn register(&self, metrics: &Metrics) {
        self.loaded.register(metrics);
    }

    /// The configuration for accepting connections: client certificates are mandatory.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded.current().server)
    }

    /// The configuration for making connections.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.loaded.current().client)
    }

    /// Which names of a peer's certificate count.
    pub fn rules(&self) -> IdentityRules {
        self.rules
    }

    /// The clock by which certificates are judged.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// This process's own chain, leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.loaded.current().certified.cert.clone()
    }

    /// This process's own name, as peers see it.
    pub fn own_identity(&self) -> Result<Caller, IdentityError> {
        let chain = self.chain();
        let leaf = chain.first().ok_or(IdentityError::Malformed)?;
        Caller::from_leaf(leaf, self.rules)
    }

    /// Whether a client's chain verifies against the present authorities, now.
    pub fn verify_chain(&self, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let (leaf, intermediates) = chain
            .split_first()
            .ok_or(rustls::Error::NoCertificatesPresented)?;
        let verifier = Arc::clone(&self.loaded.current().client_verifier);
        verifier
            .verify_client_cert(leaf, intermediates, self.now())
            .map(|_verified| ())
    }

    fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(self.clock.since_epoch())
    }

    /// How long `caller`'s certificate is valid from now.
    pub(crate) fn remaining(&self, caller: &Caller) -> Duration {
        caller
            .not_after()
            .duration_since(self.clock.wall())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
