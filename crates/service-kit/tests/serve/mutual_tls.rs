//! Who may connect, and who may call.

use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use service_kit::clock::FakeClock;
use testkit::{CertificateAuthority, Leaf};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Code;

use crate::daemon::{Daemon, Setup, check, check_until_ok, health};

#[tokio::test]
async fn a_caller_with_one_name_is_served_and_counted() {
    let daemon = Daemon::start().await;
    let client = daemon.client(&Leaf::client("token"));
    check(daemon.channel(&client)).await.unwrap();
    let text = daemon.metrics.render();
    assert!(
        text.contains(r#"test_rpcs_total{rpc="grpc.health.v1.Health/Check",code="Ok"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn a_certificate_that_names_nobody_or_two_is_unauthenticated() {
    let daemon = Daemon::start().await;
    let rows = [
        ("no name", Leaf::new()),
        ("dns only", Leaf::new().dns("token.example")),
        (
            "two names",
            Leaf::client("token").uri("spiffe://crypto.dev/admin"),
        ),
        ("no spiffe", Leaf::new().uri("https://crypto.dev/token")),
    ];
    for (name, leaf) in rows {
        let status = check(daemon.channel(&daemon.client(&leaf)))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{name}: {status}");
        assert!(
            status.message().contains("subject alternative name"),
            "{name}: {status}"
        );
    }
}

#[tokio::test]
async fn a_chain_that_does_not_verify_ends_in_the_handshake() {
    let daemon = Daemon::start().await;
    let foreign = CertificateAuthority::new("ca");
    let rows = [
        (
            "foreign authority",
            daemon.client_of(&foreign, &Leaf::client("token")),
        ),
        ("expired", daemon.client(&Leaf::client("token").expired())),
        (
            "not yet valid",
            daemon.client(&Leaf::client("token").valid(3_700_000_000, 3_786_912_000)),
        ),
    ];
    for (name, client) in rows {
        let status = check(daemon.channel(&client)).await.unwrap_err();
        assert_ne!(
            status.code(),
            Code::Unauthenticated,
            "{name} must not get as far as a request: {status}"
        );
    }
    let text = daemon.metrics.render();
    assert!(!text.contains("test_rpcs_total{"), "{text}");
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let daemon = Daemon::start().await;
    let mut roots = RootCertStore::empty();
    roots.add(daemon.ca.der().into()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(daemon.address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    // In TLS 1.3 the client is done before the server has looked: the alert comes with the first read.
    let outcome = async {
        let mut tls = connector
            .connect("localhost".try_into().unwrap(), tcp)
            .await?;
        tls.read_u8().await
    };
    let error = outcome.await.unwrap_err().to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_somebody_else_is_refused() {
    let daemon = Daemon::start().await;
    let client = daemon.client(&Leaf::client("token"));
    let uri = format!("https://{}", daemon.address).parse().unwrap();
    client
        .connect(&uri, Some("spiffe://crypto.dev/server"))
        .await
        .unwrap();
    let error = client
        .connect(&uri, Some("spiffe://crypto.dev/key-manager"))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("spiffe://crypto.dev/server, not"),
        "{error}"
    );
}

#[tokio::test]
async fn a_certificate_that_expires_on_a_living_connection_stops_its_calls_until_it_is_renewed() {
    let clock = FakeClock::at(1_800_000_000);
    let daemon = Daemon::with(
        Setup {
            clock: clock.shared(),
            ..Setup::default()
        },
        health(),
    )
    .await;
    let client = daemon.client(&Leaf::client("token").valid(1_700_000_000, 1_800_003_600));
    let channel = daemon.channel(&client);
    check(channel.clone()).await.unwrap();

    clock.advance(Duration::from_secs(3601));
    let status = check(channel.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().contains("expired"), "{status}");

    daemon.folder.write(
        "client",
        &daemon.ca.issue(&Leaf::client("token")),
        &daemon.ca,
    );
    client.check();
    check_until_ok(|| channel.clone()).await;
}
