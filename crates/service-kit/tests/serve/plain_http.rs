//! The HTTP/1.1 server.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use service_kit::clock::SystemClock;
use service_kit::config::Span;
use service_kit::serve::{Drained, HttpOptions, http};
use service_kit::shutdown::Shutdown;
use service_kit::tls::HttpsCertificate;
use testkit::{CertificateAuthority, Leaf, PemFolder};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::daemon::PATIENCE;

async fn start(
    certificate: Option<HttpsCertificate>,
    options: HttpOptions,
) -> (SocketAddr, Shutdown, JoinHandle<Drained>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let router = Router::new().route("/", get(async || "hello"));
    let server = tokio::spawn(http(
        listener,
        certificate,
        router,
        options,
        shutdown.clone(),
    ));
    (address, shutdown, server)
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .expect("answers")
        .unwrap();
    answer
}

#[tokio::test]
async fn requests_are_answered_and_idle_connections_drain() {
    let (address, shutdown, server) = start(None, HttpOptions::default()).await;
    let answer = ask(TcpStream::connect(address).await.unwrap()).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
        "{answer}"
    );
    let idle = TcpStream::connect(address).await.unwrap();
    shutdown.trigger();
    assert_eq!(server.await.unwrap(), Drained::Complete);
    drop(idle);
}

#[tokio::test]
async fn who_sends_a_head_too_slowly_is_closed() {
    let options = HttpOptions {
        header_timeout: Span::millis(200),
        ..HttpOptions::default()
    };
    let (address, _shutdown, _server) = start(None, options).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    let mut rest = Vec::new();
    let _closed = tokio::time::timeout(PATIENCE, slow.read_to_end(&mut rest))
        .await
        .expect("is closed");
}

#[tokio::test]
async fn https_needs_no_client_certificate_and_follows_its_files() {
    let (ca, folder) = (CertificateAuthority::new("ca"), PemFolder::new());
    let files = folder.write("https", &ca.issue(&Leaf::server("jwks")), &ca);
    let certificate =
        HttpsCertificate::open(&files.cert, &files.key, SystemClock::shared()).unwrap();
    let (address, _shutdown, _server) =
        start(Some(certificate.clone()), HttpOptions::default()).await;

    let mut roots = RootCertStore::empty();
    roots.add(ca.der().into()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    for _ in 0..2 {
        let expected = CertificateDer::from_pem_file(&files.cert).unwrap();
        let tcp = TcpStream::connect(address).await.unwrap();
        let tls = connector
            .connect("localhost".try_into().unwrap(), tcp)
            .await
            .unwrap();
        let (_, session) = tls.get_ref();
        assert_eq!(session.peer_certificates().unwrap(), [expected]);
        let answer = ask(tls).await;
        assert!(answer.ends_with("hello"), "{answer}");
        folder.write("https", &ca.issue(&Leaf::server("jwks")), &ca);
        certificate.check();
    }
}
