//! TLS for plain HTTP listeners, such as JWKS in production: anybody may connect.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;

use super::{TlsError, load};
use crate::clock::SharedClock;
use crate::shutdown::Shutdown;
use crate::watched::{Outcome, POLL_INTERVAL, Watched, WatchedFile};

/// A server's certificate and key, as they are now; clients present none. ALPN `http/1.1`.
#[derive(Clone, Debug)]
pub struct HttpsCertificate(Watched<Arc<ServerConfig>>);

impl HttpsCertificate {
    /// Reads the chain and its key (mode 0600).
    pub fn open(cert: &Path, key: &Path, clock: SharedClock) -> Result<Self, TlsError> {
        let files = vec![WatchedFile::public(cert), WatchedFile::private(key)];
        let loaded = Watched::open("https", files, move |contents| {
            load::https(contents, &clock)
        })?;
        Ok(Self(loaded))
    }

    /// Follows the files until shutdown; spawn it.
    pub async fn watch(self, shutdown: Shutdown) {
        self.0.watch(POLL_INTERVAL, shutdown).await;
    }

    /// Looks at the files now. Blocks on the file system.
    pub fn check(&self) -> Outcome {
        self.0.check()
    }

    /// The present configuration.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.current())
    }
}
