//! Fakes of the services behind real mTLS on 127.0.0.1.

#![expect(
    clippy::unwrap_used,
    reason = "a server that cannot be made fails the test that wanted it"
)]

use std::sync::Arc;
use std::time::Duration;

use client_core::{Options, TlsFiles};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use testkit::{CertificateAuthority, Leaf, PemFolder};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;

/// An authority, a client's files, and the servers that trust them.
pub(crate) struct Pki {
    ca: CertificateAuthority,
    _folder: PemFolder,
    pub(crate) files: TlsFiles,
}

/// A running server; dropping it breaks its connections.
pub(crate) struct Served {
    pub(crate) endpoint: String,
    task: AbortHandle,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pki {
    pub(crate) fn new() -> Self {
        let ca = CertificateAuthority::new("test");
        let folder = PemFolder::new();
        let files = folder.write("client", &ca.issue(&Leaf::client("client")), &ca);
        let files = TlsFiles {
            cert: files.cert,
            key: files.key,
            ca: files.ca,
        };
        Self {
            ca,
            _folder: folder,
            files,
        }
    }

    pub(crate) fn options(&self, served: &Served) -> Options {
        Options::new(&served.endpoint, self.files.clone())
    }

    /// Serves on `address`; port 0 takes a free one.
    pub(crate) async fn serve(&self, address: &str, routes: Routes) -> Served {
        let acceptor = TlsAcceptor::from(Arc::new(self.server_config()));
        let listener = bind(address).await;
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, routes) = (acceptor.clone(), routes.clone());
                connections.spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let service = TowerToHyperService::new(routes);
                    let _ = Builder::new(TokioExecutor::new())
                        .http2_only()
                        .serve_connection(TokioIo::new(tls), service)
                        .await;
                });
            }
        });
        Served {
            endpoint,
            task: task.abort_handle(),
        }
    }

    fn server_config(&self) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let issued = self.ca.issue(&Leaf::server("crypto-service"));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.ca.der())).unwrap();
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .unwrap();
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem().as_bytes()).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![issued.der()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

/// A port that a server has just left may be busy for a moment.
async fn bind(address: &str) -> TcpListener {
    for _ in 0..100 {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_busy) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    TcpListener::bind(address).await.unwrap()
}
