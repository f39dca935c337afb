//! Certificates change while calls run.

use std::time::Duration;

use service_kit::watched::Outcome;
use testkit::{CertificateAuthority, Leaf};
use tokio::task::JoinSet;

use crate::daemon::{Daemon, PATIENCE, check, check_until_ok};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_certificates_are_renewed() {
    const TASKS: usize = 8;
    const CALLS: usize = 125;
    let daemon = Daemon::start().await;
    let client = daemon.client(&Leaf::client("token"));
    let mut calls = JoinSet::new();
    for _ in 0..TASKS {
        let (client, address) = (client.clone(), daemon.address);
        let endpoint = service_kit::tls::endpoint(&format!("https://{address}")).unwrap();
        calls.spawn(async move {
            let mut channel = client.channel(&endpoint, None);
            let mut done = 0_usize;
            for call in 0..CALLS {
                // Old connections go on, and new ones are made all the time.
                if call % 25 == 0 {
                    channel = client.channel(&endpoint, None);
                }
                check(channel.clone())
                    .await
                    .unwrap_or_else(|status| panic!("call {call}: {status}"));
                done += 1;
            }
            done
        });
    }
    let mut done = 0;
    let mut reloads = 0;
    while !calls.is_empty() {
        let (server, caller) = (
            daemon.ca.issue(&Leaf::server("server")),
            daemon.ca.issue(&Leaf::client("token")),
        );
        daemon.folder.write("server", &server, &daemon.ca);
        daemon.folder.write("client", &caller, &daemon.ca);
        assert!(matches!(daemon.credentials.check(), Outcome::Reloaded));
        assert!(matches!(client.check(), Outcome::Reloaded));
        reloads += 1;
        let next = tokio::time::timeout(Duration::from_millis(20), calls.join_next()).await;
        done += next.ok().flatten().map_or(0, Result::unwrap);
    }
    assert_eq!(done, TASKS * CALLS);
    assert!(reloads >= 2, "only {reloads} reloads while calls ran");
}

#[tokio::test]
async fn a_new_authority_drains_the_old_connections_and_lets_nobody_resume() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client(&Leaf::client("token"));
    let channel = daemon.channel(&client);
    check(channel.clone()).await.unwrap();

    // The server keeps its own certificate and trusts another authority from now on.
    let next = CertificateAuthority::new("next");
    let server = daemon.ca.issue(&Leaf::server("server"));
    daemon.folder.write("server", &server, &next);
    assert!(matches!(daemon.credentials.check(), Outcome::Reloaded));

    // The connection drains, and its successor does not get in, with a session ticket or without.
    let refused = async {
        while check(channel.clone()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused)
        .await
        .expect("the old connection ends");
    for _ in 0..5 {
        assert!(check(daemon.channel(&client)).await.is_err());
    }

    let renewed = next.issue(&Leaf::client("token"));
    daemon.folder.write("client", &renewed, &daemon.ca);
    assert!(matches!(client.check(), Outcome::Reloaded));
    check_until_ok(|| channel.clone()).await;
    daemon.shutdown.trigger();
    daemon.ca = next;
    daemon.drained().await;
}

#[tokio::test]
async fn an_added_authority_leaves_connections_alone() {
    let daemon = Daemon::start().await;
    let client = daemon.client(&Leaf::client("token"));
    let uri = format!("https://{}", daemon.address).parse().unwrap();
    let mut connection = client.connect(&uri, None).await.unwrap();
    let both = format!(
        "{}{}",
        daemon.ca.pem(),
        CertificateAuthority::new("next").pem()
    );
    std::fs::write(daemon.folder.path().join("server-ca.crt"), both).unwrap();
    assert!(matches!(daemon.credentials.check(), Outcome::Reloaded));
    check(daemon.channel(&client)).await.unwrap();

    // Still open: the server's SETTINGS are there to read, and then nothing.
    let mut buffer = [0_u8; 4096];
    loop {
        let read = tokio::io::AsyncReadExt::read(&mut connection, &mut buffer);
        match tokio::time::timeout(Duration::from_millis(50), read).await {
            Ok(Ok(received)) => assert!(received > 0, "closed"),
            Ok(Err(error)) => panic!("cut: {error}"),
            Err(_nothing_more) => break,
        }
    }
}
