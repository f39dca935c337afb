//! mTLS by rustls and ring, named explicitly: nothing here uses or sets a process-wide default.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::options::{Options, OptionsError, Target, TlsFiles};

/// The identity of this process. Each new connection reads the files again; while they cannot be used, because a
/// certificate was replaced and its key not yet, the last good ones serve.
#[derive(Debug)]
pub(crate) struct Identity {
    files: TlsFiles,
    last_good: ArcSwapOption<ClientConfig>,
}

impl Identity {
    pub(crate) fn new(files: TlsFiles) -> Self {
        Self {
            files,
            last_good: ArcSwapOption::empty(),
        }
    }

    async fn config(&self) -> io::Result<Arc<ClientConfig>> {
        match load(&self.files).await {
            Ok(config) => {
                let config = Arc::new(config);
                self.last_good.store(Some(Arc::clone(&config)));
                Ok(config)
            }
            Err(error) => self.last_good.load_full().ok_or(error),
        }
    }
}

async fn load(files: &TlsFiles) -> io::Result<ClientConfig> {
    let (cert, ca) = (tokio::fs::read(&files.cert), tokio::fs::read(&files.ca));
    let cert = cert
        .await
        .map_err(|error| named("certificate", &files.cert, error))?;
    let ca = ca
        .await
        .map_err(|error| named("CA certificates", &files.ca, error))?;
    let key = tokio::fs::read(&files.key)
        .await
        .map(Zeroizing::new)
        .map_err(|error| named("key", &files.key, error))?;

    let mut roots = RootCertStore::empty();
    for root in chain(&ca).map_err(|error| named("CA certificates", &files.ca, error))? {
        roots
            .add(root)
            .map_err(|error| named("CA certificates", &files.ca, error))?;
    }
    let chain = chain(&cert).map_err(|error| named("certificate", &files.cert, error))?;
    let key =
        PrivateKeyDer::from_pem_slice(&key).map_err(|error| named("key", &files.key, error))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| named("certificate and key", &files.cert, error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Connections live long, and a resumed session would carry an old certificate on.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn chain(pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)?;
    if chain.is_empty() {
        Err(io::Error::other("no certificate in the file"))
    } else {
        Ok(chain)
    }
}

fn named(what: &str, path: &std::path::Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{what} {}: {error}", path.display()))
}

/// Opens connections to one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    identity: Arc<Identity>,
    target: Arc<Target>,
    server_name: ServerName<'static>,
    timeout: Duration,
}

impl Dial {
    pub(crate) fn new(
        options: &Options,
        identity: Arc<Identity>,
        target: Target,
    ) -> Result<Self, OptionsError> {
        let name = options
            .server_name
            .clone()
            .unwrap_or_else(|| target.host.clone());
        let server_name = ServerName::try_from(name.clone())
            .map_err(|_invalid| OptionsError::ServerName { name })?;
        Ok(Self {
            identity,
            target: Arc::new(target),
            server_name,
            timeout: options.connect_timeout,
        })
    }

    async fn open(self) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let config = self.identity.config().await?;
        let tcp = TcpStream::connect((self.target.host.as_str(), self.target.port)).await?;
        tcp.set_nodelay(true)?;
        TlsConnector::from(config)
            .connect(self.server_name, tcp)
            .await
            .map(TokioIo::new)
    }

    async fn open_in_time(self) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let (authority, timeout) = (self.target.authority.clone(), self.timeout);
        let opened = tokio::time::timeout(timeout, self.open()).await;
        let error = match opened {
            Ok(Ok(io)) => return Ok(io),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("no connection within {} ms", timeout.as_millis()),
        };
        Err(io::Error::other(format!(
            "cannot connect to {authority}: {error}"
        )))
    }
}

impl tower::Service<Uri> for Dial {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _endpoint: Uri) -> Self::Future {
        Box::pin(self.clone().open_in_time())
    }
}
