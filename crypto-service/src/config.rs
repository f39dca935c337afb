//! The settings: one struct, whose `Default` is the documentation of every default.
//!
//! `crypto-service.example.toml` shows them all with comments; a test keeps it equal to this file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use serde::{Deserialize, Serialize};
use service_kit::config::{ConfigArgs, ConfigErrors, Loader, Mistake, Settings, Span, Start};
use service_kit::serve::GrpcOptions;
use service_kit::telemetry::LogSettings;
use service_kit::tls::TlsFiles;

use crate::issued::IssuedSettings;
use crate::keys::Terms;
use crate::lanes;

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The gRPC port.
    pub grpc: GrpcSettings,
    /// The HTTP port.
    pub http: HttpSettings,
    /// This instance's certificate, its key, and the authorities of callers and key-manager.
    pub tls: TlsFiles,
    /// Where keys come from.
    pub feed: FeedSettings,
    /// Who may do what.
    pub policy: PolicySettings,
    /// Where crypto runs.
    pub lanes: LaneSettings,
    /// Parsed keys.
    pub cache: CacheSettings,
    /// Records of issued tokens.
    pub issued: IssuedSettings,
    /// Limits of connections to the gRPC port.
    pub limits: GrpcOptions,
    /// Logging.
    pub log: LogSettings,
}

/// `[grpc]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Calls at once; more are refused as OVERLOADED.
    pub max_in_flight: usize,
    /// Streams of `WatchTrust` at once; more are refused as OVERLOADED.
    pub max_followers: usize,
    /// The longest time to an answer, whatever the caller asks for.
    pub longest_deadline: Span,
}

impl Default for GrpcSettings {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 50051));
        Self {
            listen,
            max_in_flight: 4096,
            max_followers: 1024,
            longest_deadline: Span::secs(30),
        }
    }
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The certificate chain for TLS; empty = plain HTTP, for development.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Longest max-age of a JWK Set; it only shortens what the key-manager says.
    pub jwks_max_age: Span,
}

impl Default for HttpSettings {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8081));
        Self {
            listen,
            cert: PathBuf::new(),
            key: PathBuf::new(),
            jwks_max_age: Span::secs(300),
        }
    }
}

/// `[feed]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeedSettings {
    /// The key-manager.
    pub endpoint: String,
    /// The name that its certificate must carry; empty = any name, as long as the chain leads to `tls.ca`.
    pub key_manager: String,
    /// How long to sign without a renewed lease; it only shortens what the key-manager grants.
    pub max_sign_staleness: Span,
    /// How long to verify, decrypt and publish without one; it only shortens too.
    pub max_verify_staleness: Span,
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self {
            endpoint: "https://127.0.0.1:50052".to_owned(),
            key_manager: String::new(),
            max_sign_staleness: Span::secs(5 * 60),
            max_verify_staleness: Span::secs(15 * 60),
        }
    }
}

impl FeedSettings {
    /// The instance's own bounds on its lease.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms {
            sign_for: self.max_sign_staleness.get(),
            verify_for: self.max_verify_staleness.get(),
        }
    }
}

/// `[policy]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySettings {
    /// The policy file; a change is in force within a second.
    pub file: PathBuf,
}

/// `[lanes]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LaneSettings {
    /// What computes signatures.
    pub engine: Engine,
    /// The work that may wait for each crypto thread, of each class, before callers are turned away.
    pub queue: Span,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self {
            engine: Engine::default(),
            queue: Span::millis(250),
        }
    }
}

impl LaneSettings {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.engine == Engine::Multibuffer
            && let Err(missing) = lanes::Engine::multibuffer()
        {
            mistakes.push(Mistake::new(
                "lanes.engine",
                format!("multibuffer is not to be had: {missing}"),
            ));
        }
        if self.queue.get().is_zero() {
            mistakes.push(Mistake::new("lanes.queue", "must be longer than nothing"));
        }
        mistakes
    }
}

/// What computes signatures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Eight at once where this was built with the library and the CPU has the instructions, else aws-lc.
    #[default]
    Auto,
    /// Eight at once, or no start.
    Multibuffer,
    /// aws-lc, one at a time.
    AwsLc,
}

/// `[cache]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSettings {
    /// Parsed private keys that are kept; the least recently used go first.
    pub keys: u64,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { keys: 131_072 }
    }
}

impl Settings for Config {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let files = [
            ("tls.cert", &self.tls.cert),
            ("tls.key", &self.tls.key),
            ("tls.ca", &self.tls.ca),
            ("policy.file", &self.policy.file),
        ];
        for (key, path) in files {
            if path.as_os_str().is_empty() {
                mistakes.push(Mistake::new(key, "is required: name a file"));
            }
        }
        if self.http.cert.as_os_str().is_empty() != self.http.key.as_os_str().is_empty() {
            mistakes.push(Mistake::new(
                "http.cert",
                "comes with http.key: name both, or neither",
            ));
        }
        if let Err(error) = service_kit::tls::endpoint(&self.feed.endpoint) {
            mistakes.push(Mistake::new("feed.endpoint", error.to_string()));
        }
        if self.feed.max_sign_staleness > self.feed.max_verify_staleness {
            mistakes.push(Mistake::new(
                "feed.max_sign_staleness",
                "must not be longer than feed.max_verify_staleness",
            ));
        }
        let counts = [
            ("cache.keys", self.cache.keys == 0),
            ("grpc.max_in_flight", self.grpc.max_in_flight == 0),
        ];
        for (key, _) in counts.iter().filter(|(_, zero)| *zero) {
            mistakes.push(Mistake::new(*key, "must be at least 1"));
        }
        mistakes.extend(self.lanes.mistakes());
        mistakes.extend(self.issued.mistakes());
        mistakes
    }
}

const EXAMPLES: &str = "\
Examples:
  crypto-service --config var/dev/crypto-service.toml
  crypto-service --config /etc/crypto-service.toml --check-config
  crypto-service --config var/dev/crypto-service.toml --set grpc.listen=127.0.0.1:0 --die-with-parent
  CRYPTO_SERVICE_LOG_FILTER=debug crypto-service --config var/dev/crypto-service.toml

Every setting is described in crypto-service.example.toml. CRYPTO_GRPC and CRYPTO_HTTP move the ports, KEYS_GRPC names
the key-manager's.";

/// Signs, verifies, encrypts and decrypts for callers that never hold a key.
#[derive(Debug, Parser)]
#[command(name = "crypto-service", version, about, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Arguments {
    /// Whether to end with the process that started this one.
    #[must_use]
    pub fn die_with_parent(&self) -> bool {
        self.config.die_with_parent
    }

    /// Reads file, environment and flags.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn load(&self) -> Result<Start<Config>, ConfigErrors> {
        self.config.load(loader())
    }
}

fn loader() -> Loader {
    Loader::new("CRYPTO_SERVICE")
        .alias("CRYPTO_GRPC", "grpc.listen")
        .alias("CRYPTO_HTTP", "http.listen")
        .alias_with("KEYS_GRPC", "feed.endpoint", |address| {
            format!("https://{address}")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../crypto-service.example.toml");

    /// What the example sets besides the defaults, because it is required.
    fn example() -> Config {
        Config {
            tls: TlsFiles {
                cert: "/etc/crypto-service/tls.crt".into(),
                key: "/etc/crypto-service/tls.key".into(),
                ca: "/etc/crypto-service/ca.crt".into(),
            },
            policy: PolicySettings {
                file: "/etc/crypto-service/policy.toml".into(),
            },
            ..Config::default()
        }
    }

    #[test]
    fn the_example_shows_every_key_with_its_default() {
        let shown: toml::Table = EXAMPLE.parse().unwrap();
        let expected = toml::Table::try_from(example()).unwrap();
        assert_eq!(shown, expected);
        assert_eq!(example().mistakes(), []);
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let config = Config {
            feed: FeedSettings {
                endpoint: "127.0.0.1:50052".to_owned(),
                max_sign_staleness: Span::secs(3600),
                ..FeedSettings::default()
            },
            http: HttpSettings {
                cert: "x".into(),
                ..HttpSettings::default()
            },
            cache: CacheSettings { keys: 0 },
            lanes: LaneSettings {
                queue: Span::secs(0),
                ..LaneSettings::default()
            },
            issued: IssuedSettings {
                queue: 0,
                max_unwritten: Span::millis(300),
                max_unsynced: Span::secs(1),
                segment_bytes: 1,
                max_bytes: 0,
                ..IssuedSettings::default()
            },
            ..Config::default()
        };
        let places: Vec<_> = config
            .mistakes()
            .into_iter()
            .map(|mistake| mistake.place)
            .collect();
        let expected = [
            "tls.cert",
            "tls.key",
            "tls.ca",
            "policy.file",
            "http.cert",
            "feed.endpoint",
            "feed.max_sign_staleness",
            "cache.keys",
            "lanes.queue",
            "issued.queue",
            "issued.max_unwritten",
            "issued.max_unsynced",
            "issued.segment_bytes",
            "issued.max_bytes",
        ];
        assert_eq!(places, expected);
    }

    #[test]
    fn lanes_that_are_demanded_and_cannot_be_had_are_a_mistake_that_says_why() {
        let config = Config {
            lanes: LaneSettings {
                engine: Engine::Multibuffer,
                ..LaneSettings::default()
            },
            ..example()
        };
        let missing = lanes::Engine::multibuffer().err();
        let said: Vec<_> = config
            .mistakes()
            .into_iter()
            .map(|mistake| (mistake.place, mistake.problem))
            .collect();
        let expected: Vec<_> = missing
            .map(|why| {
                (
                    "lanes.engine".to_owned(),
                    format!("multibuffer is not to be had: {why}"),
                )
            })
            .into_iter()
            .collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn short_variables_move_the_ports() {
        let required = [
            ("CRYPTO_SERVICE_TLS_CERT", "a"),
            ("CRYPTO_SERVICE_TLS_KEY", "b"),
            ("CRYPTO_SERVICE_TLS_CA", "c"),
            ("CRYPTO_SERVICE_POLICY_FILE", "d"),
        ];
        let short = [
            ("CRYPTO_GRPC", "127.0.0.1:1"),
            ("CRYPTO_HTTP", "127.0.0.1:2"),
            ("KEYS_GRPC", "127.0.0.1:3"),
        ];
        let config: Config = loader()
            .environment(required.into_iter().chain(short))
            .load()
            .unwrap();
        assert_eq!(
            (config.grpc.listen.port(), config.http.listen.port()),
            (1, 2)
        );
        assert_eq!(config.feed.endpoint, "https://127.0.0.1:3");
        let own = [
            ("CRYPTO_SERVICE_LANES_ENGINE", "aws-lc"),
            ("CRYPTO_SERVICE_FEED_MAX_SIGN_STALENESS", "30s"),
        ];
        let config: Config = loader()
            .environment(required.into_iter().chain(own))
            .load()
            .unwrap();
        assert_eq!(
            (config.lanes.engine, config.feed.max_sign_staleness),
            (Engine::AwsLc, Span::secs(30))
        );
    }
}
