//! The settings: `key-manager.example.toml` is their manual.

mod kek;
mod secret;
mod store;

use std::{net::SocketAddr, path::PathBuf};

use keyring::{Refusal, Times};
use serde::{Deserialize, Serialize};
use service_kit::{
    config::{Loader, Mistake, Settings, Span},
    serve::{GrpcOptions, HttpOptions},
    telemetry::LogSettings,
    tls::TlsFiles,
};

pub use kek::{AwsKmsKey, Kek, KekSource, Pkcs11Key};
pub use secret::SecretSource;
pub use store::{Store, StoreAuth};

use crate::lifecycle::MAX_REVOCATIONS;

/// The prefix of the environment variables.
pub const PREFIX: &str = "KEY_MANAGER";

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// gRPC: administration and the feed.
    pub grpc: Grpc,
    /// HTTP: health and metrics.
    pub http: Http,
    /// This process's certificate, its key, and whom it trusts.
    pub tls: TlsFiles,
    /// Who may do what.
    pub policy: PolicyFile,
    /// Where keys are kept.
    pub store: Store,
    /// What they are sealed with.
    pub kek: Kek,
    /// Where it is recorded who did what.
    pub audit: Audit,
    /// How long things take in the life of a key.
    pub times: LifeTimes,
    /// Revocations of tokens.
    pub tokens: Tokens,
    /// Records of issued tokens.
    pub issued: Issued,
    /// Logs.
    pub log: LogSettings,
}

/// `[grpc]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grpc {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Calls at once.
    pub max_in_flight: usize,
    /// The longest time to an answer.
    pub longest_deadline: Span,
    /// Limits of connections.
    pub limits: GrpcOptions,
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 50052)),
            max_in_flight: 1024,
            longest_deadline: Span::secs(30),
            limits: GrpcOptions::default(),
        }
    }
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Limits of connections.
    pub limits: HttpOptions,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8082)),
            limits: HttpOptions::default(),
        }
    }
}

/// `[policy]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyFile {
    /// The file with the grants.
    pub file: PathBuf,
}

/// `[audit]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The folder of the log; made with mode 0700 where there is none. One key-manager at a time.
    pub folder: PathBuf,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("audit"),
        }
    }
}

impl Config {
    /// The folder in which a backup that is being restored is kept until it is verified.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        let here = PathBuf::from(".");
        if !self.store.spool.as_os_str().is_empty() {
            return self.store.spool.clone();
        }
        match self.store.path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => here,
            Some(folder) => folder.to_owned(),
            None => self.audit.folder.clone(),
        }
    }
}

/// `[tokens]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// How many revocations live at once.
    pub max_revocations: usize,
}

impl Tokens {
    /// Beyond it the filter of one key set would fit in no message.
    const MOST: usize = 2_000_000;

    fn mistakes(&self) -> Option<Mistake> {
        let fits = (1..=Self::MOST).contains(&self.max_revocations);
        (!fits).then(|| Mistake::new("tokens.max_revocations", "must be 1 to 2000000"))
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            max_revocations: MAX_REVOCATIONS,
        }
    }
}

/// `[issued]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Issued {
    /// The database of the records; empty = none are kept, and no key set may ask for them.
    pub path: PathBuf,
    /// How long a record is kept after its token has expired.
    pub retention: Span,
}

impl Default for Issued {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            retention: Span::secs(90 * 24 * 60 * 60),
        }
    }
}

impl Issued {
    fn mistakes(&self, store: &Store) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if !self.path.as_os_str().is_empty() && self.path == store.path {
            let problem =
                "must not be the file of store.path: the records have a database of their own";
            mistakes.push(Mistake::new("issued.path", problem));
        }
        if self.retention.get().is_zero() {
            mistakes.push(Mistake::new(
                "issued.retention",
                "must be longer than nothing",
            ));
        }
        mistakes
    }

    /// As the records take it.
    #[must_use]
    pub fn retention(&self) -> keyring::Span {
        keyring::Span::from_millis(
            u64::try_from(self.retention.get().as_millis()).unwrap_or(u64::MAX),
        )
    }
}

/// `[times]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LifeTimes {
    /// The longest max-age of a JWK Set.
    pub jwks_cap: Span,
    /// How long a key is published before it signs.
    pub lead: Span,
    /// How far apart clocks may be.
    pub skew: Span,
    /// How long an instance signs without hearing from here.
    pub max_sign_staleness: Span,
    /// How long it verifies.
    pub max_verify_staleness: Span,
    /// How long a thin client verifies without hearing from its instance.
    pub client_lease: Span,
}

impl Default for LifeTimes {
    fn default() -> Self {
        let span = |span: keyring::Span| Span::millis(span.as_millis());
        let times = Times::DEFAULT;
        Self {
            jwks_cap: span(times.jwks_cap),
            lead: span(times.publication_lead),
            skew: span(times.skew),
            max_sign_staleness: span(times.max_sign_staleness),
            max_verify_staleness: span(times.max_verify_staleness),
            client_lease: span(times.client_lease),
        }
    }
}

impl LifeTimes {
    /// As the lifecycle takes them.
    #[must_use]
    pub fn times(&self) -> Times {
        let span = |span: Span| {
            keyring::Span::from_millis(u64::try_from(span.get().as_millis()).unwrap_or(u64::MAX))
        };
        Times {
            jwks_cap: span(self.jwks_cap),
            publication_lead: span(self.lead),
            skew: span(self.skew),
            max_sign_staleness: span(self.max_sign_staleness),
            max_verify_staleness: span(self.max_verify_staleness),
            client_lease: span(self.client_lease),
        }
    }

    fn mistakes(&self) -> Vec<Mistake> {
        let mistake = |refusal: Refusal| match refusal {
            Refusal::Field {
                field: "publication_lead",
                problem,
            } => Mistake::new("times.lead", problem),
            Refusal::Field { field, problem } => Mistake::new(format!("times.{field}"), problem),
            other => Mistake::new("times", other.to_string()),
        };
        match self.times().checked() {
            Ok(_) => Vec::new(),
            Err(Refusal::Fields(all)) => all.into_iter().map(mistake).collect(),
            Err(one) => vec![mistake(one)],
        }
    }
}

impl Settings for Config {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = self.times.mistakes();
        mistakes.extend(self.tokens.mistakes());
        mistakes.extend(self.issued.mistakes(&self.store));
        let required = [
            ("tls.cert", &self.tls.cert, "the certificate chain, PEM"),
            ("tls.key", &self.tls.key, "its private key, PEM"),
            ("tls.ca", &self.tls.ca, "the authorities of callers, PEM"),
            ("policy.file", &self.policy.file, "the file with the grants"),
            (
                "audit.folder",
                &self.audit.folder,
                "the folder of the audit log",
            ),
        ];
        let missing = required
            .iter()
            .filter(|(_, path, _)| path.as_os_str().is_empty());
        mistakes.extend(
            missing.map(|(place, _, what)| Mistake::new(*place, format!("is required: {what}"))),
        );
        mistakes.extend(self.store.mistakes());
        mistakes.extend(self.kek.mistakes("kek"));
        mistakes
    }
}

/// The layers of the settings, over this process's environment.
#[must_use]
pub fn loader() -> Loader {
    Loader::new(PREFIX)
        .alias("KEYS_GRPC", "grpc.listen")
        .alias("KEYS_HTTP", "http.listen")
}
