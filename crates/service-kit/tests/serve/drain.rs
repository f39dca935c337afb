//! Shutdown: what is under way is finished, and no longer than the limit.

use std::sync::Arc;

use service_kit::config::Span;
use service_kit::serve::Drained;
use testkit::Leaf;
use tokio::sync::Semaphore;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::daemon::{Daemon, Setup, call, check, health, held};

#[tokio::test]
async fn a_call_under_way_is_answered_and_the_next_is_not_accepted() {
    let (gate, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let daemon = Daemon::with(Setup::default(), held(gate.clone(), entered.clone())).await;
    let client = daemon.client(&Leaf::client("token"));
    let channel = daemon.channel(&client);
    let under_way = tokio::spawn(call(channel, "/a.B/C"));
    entered.acquire().await.unwrap().forget();

    daemon.shutdown.trigger();
    let fresh = daemon.channel(&client);
    // The listener closes with the trigger; a connection may still slip in before that, and is then not served.
    let refused = tokio::time::timeout(std::time::Duration::from_secs(5), check(fresh)).await;
    assert!(refused.expect("answers").is_err());
    gate.add_permits(1);
    assert_eq!(under_way.await.unwrap().unwrap(), Code::Ok);
    assert_eq!(daemon.drained().await, Drained::Complete);
}

#[tokio::test]
async fn a_stream_that_does_not_end_is_cut_at_the_limit() {
    let mut setup = Setup::default();
    setup.options.drain_limit = Span::millis(200);
    let daemon = Daemon::with(setup, health()).await;
    let client = daemon.client(&Leaf::client("token"));
    let mut stream = HealthClient::new(daemon.channel(&client))
        .watch(HealthCheckRequest {
            service: String::new(),
        })
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());

    daemon.shutdown.trigger();
    assert!(stream.message().await.is_err(), "the stream is cut");
    assert_eq!(daemon.drained().await, Drained::Cut(1));
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_drain() {
    let daemon = Daemon::start().await;
    let client = daemon.client(&Leaf::client("token"));
    let channel = daemon.channel(&client);
    check(channel.clone()).await.unwrap();
    daemon.shutdown.trigger();
    assert_eq!(daemon.drained().await, Drained::Complete);
    drop(channel);
}
