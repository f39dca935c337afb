//! What a channel is made from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use crate::channel::Channel;
use crate::clock::{Clock, SystemClock};
use crate::retry::RetryPolicy;

/// Where the files are that make this process known, and that tell it whom to trust. They are read for each new connection,
/// so replacing them is enough to renew a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, PEM, leaf first. Its URI SAN names the caller.
    pub cert: PathBuf,
    /// The private key, PEM, PKCS#8 without a password.
    pub key: PathBuf,
    /// The certificates that the service's chain has to end in, PEM.
    pub ca: PathBuf,
}

impl TlsFiles {
    /// `<role>.crt`, `<role>.key` and `ca.crt` of one folder, as `cryptoctl dev init` lays them out.
    #[must_use]
    pub fn in_folder(folder: impl AsRef<Path>, role: &str) -> Self {
        let folder = folder.as_ref();
        Self {
            cert: folder.join(format!("{role}.crt")),
            key: folder.join(format!("{role}.key")),
            ca: folder.join("ca.crt"),
        }
    }
}

/// Whether concurrent calls of a channel share rpcs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coalescing {
    /// Four calls of a kind and a cost go out at once, each as it is; what arrives while they are out goes out as one batch as
    /// soon as one of them returns. Nothing waits for a timer.
    ///
    /// A call that went out as it is keeps its place until its future ends or is dropped: a future that was begun and is then no
    /// longer polled lets others wait for it, for a second at worst.
    #[default]
    On,
    /// Every call is an rpc of its own.
    Off,
}

/// Why a channel cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// No endpoint is named.
    #[error("endpoints: at least one is needed, such as https://127.0.0.1:50051")]
    NoEndpoint,
    /// An endpoint is not a URI of the wanted form.
    #[error("endpoints: {endpoint:?} is not of the form https://host:port")]
    Endpoint {
        /// The endpoint as given.
        endpoint: String,
    },
    /// The name that the service's certificate has to carry is not a DNS name or an IP address.
    #[error("server_name: {name:?} is neither a DNS name nor an IP address")]
    ServerName {
        /// The name.
        name: String,
    },
}

/// Endpoints, identity and limits of a [`Channel`]. Every default is in the documentation of its setter.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) endpoints: Vec<String>,
    pub(crate) tls: TlsFiles,
    pub(crate) server_name: Option<String>,
    pub(crate) connections: usize,
    pub(crate) deadline: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) keep_alive: (Duration, Duration),
    pub(crate) windows: (u32, u32),
    pub(crate) retry: RetryPolicy,
    pub(crate) coalescing: Coalescing,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Options {
    /// A channel to `endpoint`, such as `https://127.0.0.1:50051`, as the caller that `tls` names.
    #[must_use]
    pub fn new(endpoint: impl Into<String>, tls: TlsFiles) -> Self {
        Self {
            endpoints: vec![endpoint.into()],
            tls,
            server_name: None,
            connections: 1,
            deadline: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(1),
            keep_alive: (Duration::from_secs(10), Duration::from_secs(5)),
            windows: (1 << 20, 4 << 20),
            retry: RetryPolicy::default(),
            coalescing: Coalescing::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Adds another instance of the same service; calls go to the less busy of two.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoints.push(endpoint.into());
        self
    }

    /// The name that the service's certificate has to carry. Default: the host of the endpoint.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// HTTP/2 connections to each endpoint, 1 to 64. Default 1; more where one thread cannot carry the calls.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.clamp(1, 64);
        self
    }

    /// How long a call may take, repetitions included. Default 2 s; [`Channel::within`] changes it for one call.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long a connection may take until TLS is up. Default 1 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How often a connection is asked for a sign of life, also while idle, and how long that may take. Default 10 s and 5 s.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.keep_alive = (interval, timeout);
        self
    }

    /// The HTTP/2 flow-control windows in bytes, for a stream and for a connection. Default 1 MiB and 4 MiB.
    #[must_use]
    pub fn windows(mut self, stream: u32, connection: u32) -> Self {
        self.windows = (stream, connection);
        self
    }

    /// How often a call is repeated. Default: three attempts.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Whether calls that would have to wait go out together. Default: [`Coalescing::On`].
    #[must_use]
    pub fn coalescing(mut self, coalescing: Coalescing) -> Self {
        self.coalescing = coalescing;
        self
    }

    /// Another clock. Default: the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes the channel. It connects at the first call, and has to be made inside a tokio runtime.
    ///
    /// # Errors
    /// [`OptionsError`], naming the option.
    pub fn channel(self) -> Result<Channel, OptionsError> {
        Channel::new(&self)
    }

    pub(crate) fn targets(&self) -> Result<Vec<Target>, OptionsError> {
        if self.endpoints.is_empty() {
            return Err(OptionsError::NoEndpoint);
        }
        self.endpoints
            .iter()
            .map(|endpoint| Target::parse(endpoint))
            .collect()
    }
}

/// One endpoint, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authority: String,
}

impl Target {
    fn parse(endpoint: &str) -> Result<Self, OptionsError> {
        Self::read(endpoint).ok_or_else(|| OptionsError::Endpoint {
            endpoint: endpoint.to_owned(),
        })
    }

    fn read(endpoint: &str) -> Option<Self> {
        let uri: Uri = endpoint.parse().ok()?;
        let port = uri.port_u16()?;
        let bare = uri.scheme_str() == Some("https")
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none();
        let host = uri.host()?.trim_matches(['[', ']']).to_owned();
        let authority = uri.authority()?.as_str().to_owned();
        (bare && !authority.contains('@')).then_some(Self {
            host,
            port,
            authority,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_https_with_a_port_and_nothing_else() {
        for (endpoint, expected) in [
            ("https://127.0.0.1:50051", Some(("127.0.0.1", 50051))),
            (
                "https://crypto.internal:443/",
                Some(("crypto.internal", 443)),
            ),
            ("https://[::1]:50051", Some(("::1", 50051))),
            ("http://127.0.0.1:50051", None),
            ("https://127.0.0.1", None),
            ("127.0.0.1:50051", None),
            ("https://127.0.0.1:50051/path", None),
            ("https://user@127.0.0.1:50051", None),
            ("https://127.0.0.1:99999", None),
            ("", None),
        ] {
            let target = Target::parse(endpoint);
            let read = target
                .as_ref()
                .ok()
                .map(|target| (target.host.as_str(), target.port));
            assert_eq!(read, expected, "{endpoint:?}");
            assert!(
                target.is_ok() || target.unwrap_err().to_string().starts_with("endpoints: "),
                "{endpoint:?}"
            );
        }
    }
}
