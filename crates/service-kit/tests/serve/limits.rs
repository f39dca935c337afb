//! Time and number: handshakes, connections, deadlines.

use std::sync::Arc;
use std::time::Duration;

use service_kit::config::Span;
use service_kit::serve::GrpcOptions;
use testkit::Leaf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::daemon::{Daemon, PATIENCE, Setup, check, check_until_ok, health, held};

fn options(change: impl FnOnce(&mut GrpcOptions)) -> Setup {
    let mut setup = Setup::default();
    change(&mut setup.options);
    setup
}

async fn closed_by_peer(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = Vec::new();
    // An abrupt close is one, too.
    let _closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("is closed");
}

#[tokio::test]
async fn who_does_not_shake_hands_in_time_is_closed() {
    let setup = options(|options| options.handshake_timeout = Span::millis(100));
    let daemon = Daemon::with(setup, health()).await;
    let mut silent = TcpStream::connect(daemon.address).await.unwrap();
    closed_by_peer(&mut silent).await;
    let mut slow = TcpStream::connect(daemon.address).await.unwrap();
    slow.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    closed_by_peer(&mut slow).await;
}

#[tokio::test]
async fn who_does_not_speak_http2_in_time_is_closed() {
    let setup = options(|options| options.handshake_timeout = Span::millis(200));
    let daemon = Daemon::with(setup, health()).await;
    let client = daemon.client(&Leaf::client("token"));
    let uri = format!("https://{}", daemon.address).parse().unwrap();
    for beginning in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM"] {
        let mut connection = client.connect(&uri, None).await.unwrap();
        connection.write_all(beginning).await.unwrap();
        connection.flush().await.unwrap();
        closed_by_peer(&mut connection).await;
    }
}

#[tokio::test]
async fn connections_beyond_the_cap_are_closed_and_a_freed_place_is_used_again() {
    let daemon = Daemon::with(options(|options| options.max_connections = 1), health()).await;
    let client = daemon.client(&Leaf::client("token"));
    let first = daemon.channel(&client);
    check(first.clone()).await.unwrap();
    for _ in 0..3 {
        assert!(check(daemon.channel(&client)).await.is_err());
    }
    check(first.clone()).await.unwrap();
    drop(first);
    check_until_ok(|| daemon.channel(&client)).await;
}

#[tokio::test]
async fn a_late_answer_is_deadline_exceeded() {
    let (never, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let setup = Setup {
        longest_deadline: Duration::from_millis(300),
        ..Setup::default()
    };
    let daemon = Daemon::with(setup, held(never, entered)).await;
    let client = daemon.client(&Leaf::client("token"));
    // tonic's channel keeps a caller's deadline itself, so what the server says is asked without it.
    for asked in ["50m", "1H", "nonsense"] {
        let uri = format!("https://{}", daemon.address).parse().unwrap();
        let stream = client.connect(&uri, None).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::post("https://host/a.B/C")
            .header("grpc-timeout", asked)
            .body(())
            .unwrap();
        let (response, _body) = sender
            .ready()
            .await
            .unwrap()
            .send_request(request, true)
            .unwrap();
        let response = tokio::time::timeout(PATIENCE, response)
            .await
            .expect("answers")
            .unwrap();
        assert_eq!(response.headers()["grpc-status"], "4", "{asked}");
        assert_eq!(
            response.headers()["content-type"],
            "application/grpc",
            "{asked}"
        );
        connection.abort();
    }
    let text = daemon.metrics.render();
    assert!(
        text.contains(r#"test_rpcs_total{rpc="other",code="DeadlineExceeded"} 3"#),
        "{text}"
    );
}
