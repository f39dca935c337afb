//! gRPC: HTTP/2 over mutual TLS.

use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::HandshakeKind;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::body::Body;
use tower::Service;

use super::accept::{Drained, Signals, accept_loop};
use super::batched::{Batched, held};
use super::counted::{Counted, Received};
use crate::config::Span;
use crate::identity::{Caller, IdentityError};
use crate::layers::{GrpcService, Peer, Request, Response};
use crate::shutdown::Shutdown;
use crate::tls::Credentials;

/// The client's preface of RFC 9113, section 3.4: the magic and the header of a SETTINGS frame.
const PREFACE: usize = 24 + 9;
/// How long before a client's certificate expires its connection is drained, so that no call of a client that
/// renews in time meets the expiry.
const RENEWAL_LEAD: Duration = Duration::from_secs(60);

/// Limits of a gRPC server. Usable as a section of a daemon's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcOptions {
    /// Time for the TLS handshake, and again for the first bytes of HTTP/2.
    pub handshake_timeout: Span,
    /// Connections at once; more are closed at accept.
    pub max_connections: usize,
    /// Calls at once on one connection.
    pub max_concurrent_streams: u32,
    /// Streams that a client may reset before they are accepted, and that wait to be accepted.
    pub max_pending_accept_reset_streams: usize,
    /// Streams that we reset for a client's errors before its connection is closed.
    pub max_local_error_reset_streams: usize,
    /// Largest HTTP/2 frame, in bytes.
    pub max_frame_size: u32,
    /// Largest set of request headers, in bytes.
    pub max_header_list_size: u32,
    /// Flow-control window of one stream, in bytes.
    pub stream_window: u32,
    /// Flow-control window of one connection, in bytes.
    pub connection_window: u32,
    /// Idle time after which a connection is pinged.
    pub keepalive_interval: Span,
    /// Time for the answer to a ping.
    pub keepalive_timeout: Span,
    /// Time for calls under way when a connection is drained; then it is cut.
    pub drain_limit: Span,
}

impl Default for GrpcOptions {
    fn default() -> Self {
        Self {
            handshake_timeout: Span::secs(5),
            max_connections: 1024,
            max_concurrent_streams: 1024,
            max_pending_accept_reset_streams: 20,
            max_local_error_reset_streams: 1024,
            max_frame_size: 16 * 1024,
            max_header_list_size: 16 * 1024,
            stream_window: 1024 * 1024,
            connection_window: 4 * 1024 * 1024,
            keepalive_interval: Span::secs(20),
            keepalive_timeout: Span::secs(10),
            drain_limit: Span::secs(8),
        }
    }
}

impl GrpcOptions {
    fn http2(&self) -> http2::Builder<TokioExecutor> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            // gRPC has no use for it
            .auto_date_header(false)
            .max_concurrent_streams(self.max_concurrent_streams)
            .max_pending_accept_reset_streams(self.max_pending_accept_reset_streams)
            .max_local_error_reset_streams(self.max_local_error_reset_streams)
            .max_frame_size(self.max_frame_size)
            .max_header_list_size(self.max_header_list_size)
            .initial_stream_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .keep_alive_interval(self.keepalive_interval.get())
            .keep_alive_timeout(self.keepalive_timeout.get());
        builder
    }
}

/// Serves `service`, usually from [`Stack::around`](crate::layers::Stack::around), until shutdown, and drains.
pub async fn grpc<S: GrpcService>(
    listener: TcpListener,
    credentials: Credentials,
    service: S,
    options: GrpcOptions,
    shutdown: Shutdown,
) -> Drained {
    let (cap, drain_limit) = (options.max_connections, options.drain_limit.get());
    let server = Server {
        credentials,
        options,
    };
    accept_loop(
        listener,
        cap,
        drain_limit,
        shutdown,
        move |stream, signals| server.clone().connection(stream, service.clone(), signals),
    )
    .await
}

#[derive(Clone)]
struct Server {
    credentials: Credentials,
    options: GrpcOptions,
}

impl Server {
    async fn connection<S: GrpcService>(self, stream: TcpStream, service: S, signals: Signals) {
        // Subscribed before the configuration is read: a reload in between is seen below.
        let changes = self.credentials.changes();
        let handshake = timeout(self.options.handshake_timeout.get(), self.handshake(stream));
        let Some(Ok(accepted)) = signals.shutdown.guard(handshake).await else {
            return;
        };
        match accepted {
            Ok((stream, chain)) => self.speak(stream, chain, service, changes, signals).await,
            Err(error) => tracing::debug!(%error, "handshake failed"),
        }
    }

    async fn handshake(&self, stream: TcpStream) -> std::io::Result<(TlsStream<TcpStream>, Chain)> {
        let acceptor = TlsAcceptor::from(self.credentials.server_config());
        let stream = acceptor.accept(stream).await?;
        let (_, tls) = stream.get_ref();
        let chain: Chain = tls.peer_certificates().unwrap_or_default().to_vec();
        // A resumed session brings the chain of an earlier handshake, which nobody has looked at today.
        if tls.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.credentials
                .verify_chain(&chain)
                .map_err(std::io::Error::other)?;
        }
        Ok((stream, chain))
    }

    async fn speak<S: GrpcService>(
        &self,
        stream: TlsStream<TcpStream>,
        chain: Chain,
        inner: S,
        changes: watch::Receiver<u64>,
        signals: Signals,
    ) {
        let identity = match chain.first() {
            Some(leaf) => Caller::from_leaf(leaf, self.credentials.rules()),
            None => Err(IdentityError::NoName),
        };
        let expiry = identity
            .as_ref()
            .ok()
            .map(|caller| drain_after(self.credentials.remaining(caller)));
        let (stream, received) = Counted::new(stream);
        let (stream, held) = held(stream);
        let drain = signals.shutdown.child();
        let service = TowerToHyperService::new(WithPeer {
            inner,
            peer: Peer::new(identity, drain.clone()),
        });
        let connection = self
            .options
            .http2()
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(Batched::new(connection, held));

        let reason = tokio::select! {
            ended = connection.as_mut() => return say_end(ended),
            reason = self.reason_to_drain(&chain, expiry, changes, &drain) => reason,
            () = self.silence(&received) => return tracing::debug!("no HTTP/2 preface in time"),
            () = signals.cut.triggered() => return,
        };
        tracing::debug!(reason, "draining connection");
        connection.as_mut().connection().graceful_shutdown();
        tokio::select! {
            ended = connection => say_end(ended),
            // At shutdown the accept loop keeps the time, and counts what it cuts.
            () = sleep(self.options.drain_limit.get()), if !signals.shutdown.is_triggered() => {}
            () = signals.cut.triggered() => {}
        }
    }

    /// Resolves when the connection must take no more calls.
    async fn reason_to_drain(
        &self,
        chain: &[CertificateDer<'static>],
        expiry: Option<Duration>,
        changes: watch::Receiver<u64>,
        drain: &Shutdown,
    ) -> &'static str {
        let expired = async {
            match expiry {
                Some(after) => sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = drain.triggered() => "shutdown, or a certificate that expired",
            () = expired => "the client certificate expires",
            () = self.distrusted(chain, changes) => "the client certificate no longer verifies",
        }
    }

    /// Resolves when a reload brings authorities that the chain does not lead to.
    async fn distrusted(
        &self,
        chain: &[CertificateDer<'static>],
        mut changes: watch::Receiver<u64>,
    ) {
        while changes.changed().await.is_ok() {
            if self.credentials.verify_chain(chain).is_err() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Resolves when the client has not even begun to speak in time; keepalive takes over from there.
    async fn silence(&self, received: &Received) {
        sleep(self.options.handshake_timeout.get()).await;
        if received.bytes() >= PREFACE {
            std::future::pending().await
        }
    }
}

type Chain = Vec<CertificateDer<'static>>;

/// A minute before the end; a certificate in its last minute is used up.
fn drain_after(remaining: Duration) -> Duration {
    remaining
        .checked_sub(RENEWAL_LEAD)
        .filter(|after| !after.is_zero())
        .unwrap_or(remaining)
}

fn say_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Attaches the peer to each request of its connection.
#[derive(Clone)]
struct WithPeer<S> {
    inner: S,
    peer: Peer,
}

impl<S: GrpcService> Service<http::Request<Incoming>> for WithPeer<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Incoming>) -> S::Future {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(self.peer.clone());
        self.inner.call(request)
    }
}
