//! HTTP/1.1 for JWKS, health and metrics; TLS where a certificate is given.

use std::pin::pin;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::accept::{Drained, Signals, accept_loop};
use crate::config::Span;
use crate::shutdown::Shutdown;
use crate::tls::HttpsCertificate;

/// Limits of an HTTP server. Usable as a section of a daemon's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpOptions {
    /// Time for the TLS handshake.
    pub handshake_timeout: Span,
    /// Time for the whole head of a request, counted from the end of the last one.
    pub header_timeout: Span,
    /// Connections at once; more are closed at accept.
    pub max_connections: usize,
    /// Header fields of a request.
    pub max_headers: usize,
    /// Time for requests under way at shutdown; then connections are cut.
    pub drain_limit: Span,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            handshake_timeout: Span::secs(5),
            header_timeout: Span::secs(10),
            max_connections: 1024,
            max_headers: 64,
            drain_limit: Span::secs(5),
        }
    }
}

/// Serves `router` until shutdown, and drains; over TLS where `certificate` is given.
pub async fn http(
    listener: TcpListener,
    certificate: Option<HttpsCertificate>,
    router: Router,
    options: HttpOptions,
    shutdown: Shutdown,
) -> Drained {
    let (cap, drain_limit) = (options.max_connections, options.drain_limit.get());
    let server = Server {
        certificate,
        router,
        options,
    };
    accept_loop(
        listener,
        cap,
        drain_limit,
        shutdown,
        move |stream, signals| server.clone().connection(stream, signals),
    )
    .await
}

#[derive(Clone)]
struct Server {
    certificate: Option<HttpsCertificate>,
    router: Router,
    options: HttpOptions,
}

impl Server {
    async fn connection(self, stream: TcpStream, signals: Signals) {
        let Some(certificate) = &self.certificate else {
            return self.speak(stream, signals).await;
        };
        let acceptor = TlsAcceptor::from(certificate.server_config());
        let handshake = timeout(
            self.options.handshake_timeout.get(),
            acceptor.accept(stream),
        );
        match signals.shutdown.guard(handshake).await {
            Some(Ok(Ok(stream))) => self.speak(stream, signals).await,
            Some(Ok(Err(error))) => tracing::debug!(%error, "handshake failed"),
            Some(Err(_)) | None => {}
        }
    }

    async fn speak<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: T,
        signals: Signals,
    ) {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.header_timeout.get())
            .max_headers(self.options.max_headers);
        let service = TowerToHyperService::new(self.router.clone());
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection.as_mut() => return say_end(ended),
            () = signals.shutdown.triggered() => connection.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            ended = connection => say_end(ended),
            () = signals.cut.triggered() => {}
        }
    }
}

fn say_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
