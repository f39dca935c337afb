//! Calls over one stream.

#![expect(clippy::unwrap_used, reason = "tests")]

mod serve;
mod streamer;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use client_core::request::{RejectReason, Sign, SignedToken, Verdict, Verify};
use client_core::{Code, CryptoClient, Error, Reason, SignStream};
use serve::{Pki, Served};
use streamer::Streamer;
use tokio::task::JoinHandle;

async fn world() -> (Pki, Served, Arc<Streamer>, CryptoClient) {
    let (pki, fake) = (Pki::new(), Streamer::new());
    let served = fake.serve(&pki).await;
    let options = pki.options(&served).deadline(Duration::from_secs(60));
    let client = CryptoClient::new(options.channel().unwrap());
    (pki, served, fake, client)
}

/// A call that is on its way when this returns.
async fn begun(stream: &SignStream, id: &str) -> JoinHandle<Result<SignedToken, Error>> {
    let (stream, id) = (stream.clone(), id.to_owned());
    let mut call = Box::pin(async move {
        let sign = Sign::json("op/x", "{}").request_id(id);
        stream.sign(&sign).await
    });
    match std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
        Poll::Ready(done) => tokio::spawn(async { done }),
        Poll::Pending => tokio::spawn(call),
    }
}

#[tokio::test]
async fn answers_find_their_callers_in_any_order() {
    let (_pki, _served, fake, client) = world().await;
    let stream = client.sign_stream();
    let mut calls = Vec::new();
    for number in 0..10 {
        calls.push(begun(&stream, &number.to_string()).await);
    }
    let mut asked = fake.arrived(10).await;
    asked.sort_by(|a, b| b.cmp(a));
    for id in asked {
        fake.sign(&id);
    }
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap().jti, number.to_string());
    }
    assert_eq!(fake.streams(), 1);
}

#[tokio::test]
async fn an_item_that_is_refused_fails_alone() {
    let (_pki, _served, fake, client) = world().await;
    let stream = client.sign_stream();
    let (a, b) = (begun(&stream, "a").await, begun(&stream, "b").await);
    let empty = begun(&stream, "empty").await;
    fake.arrived(3).await;
    fake.refuse("a");
    fake.answer_nothing("empty");
    fake.sign("b");
    let error = a.await.unwrap().unwrap_err();
    assert_eq!(
        (error.code(), error.reason()),
        (Code::ResourceExhausted, Some(&Reason::Overloaded))
    );
    assert_eq!(error.violations()[0].field, "lifetime");
    assert_eq!(error.retry_after(), Some(Duration::from_millis(5)));
    assert_eq!(empty.await.unwrap().unwrap_err().code(), Code::Internal);
    assert_eq!(b.await.unwrap().unwrap().jti, "b");
}

#[tokio::test]
async fn a_request_that_is_too_large_fails_alone() {
    let (_pki, _served, fake, client) = world().await;
    let stream = client.sign_stream();
    let small = begun(&stream, "small").await;
    let claims = format!(r#"{{"x":"{}"}}"#, "x".repeat(1 << 20));
    let error = stream.sign(&Sign::json("op/x", claims)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.reason()),
        (Code::ResourceExhausted, Some(&Reason::MessageTooLarge))
    );
    fake.arrived(1).await;
    fake.sign("small");
    assert_eq!(small.await.unwrap().unwrap().jti, "small");
}

#[tokio::test]
async fn a_stream_that_breaks_fails_everybody_and_the_next_call_opens_another() {
    let (_pki, _served, fake, client) = world().await;
    let stream = client.sign_stream();
    let clean = Ok(());
    let said = Err(tonic::Status::unavailable("draining"));
    for (round, end) in [(1, clean), (2, said)] {
        let calls = [begun(&stream, "a").await, begun(&stream, "b").await];
        fake.arrived(2).await;
        fake.end(end);
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
        }
        assert_eq!(fake.streams(), round);
    }
    let call = begun(&stream, "again").await;
    fake.arrived(1).await;
    fake.sign("again");
    assert_eq!(call.await.unwrap().unwrap().jti, "again");
    assert_eq!(fake.streams(), 3);
}

#[tokio::test]
async fn a_connection_that_is_cut_is_unavailable() {
    let (_pki, served, fake, client) = world().await;
    let stream = client.sign_stream();
    let call = begun(&stream, "a").await;
    fake.arrived(1).await;
    drop(served);
    let error = call.await.unwrap().unwrap_err();
    assert!(error.is_transport(), "{error}");
}

#[tokio::test]
async fn a_service_that_refuses_the_stream_says_so_to_its_callers() {
    let (_pki, _served, fake, client) = world().await;
    fake.refuse_streams(tonic::Status::unimplemented("no such rpc"));
    let error = begun(&client.sign_stream(), "a").await.await.unwrap();
    assert_eq!(error.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_caller_that_goes_away_gives_up_its_place_and_harms_nobody() {
    let (_pki, _served, fake, client) = world().await;
    let stream = client.sign_stream();
    let mut calls = Vec::new();
    for number in 0..256 {
        calls.push(begun(&stream, &number.to_string()).await);
    }
    fake.arrived(256).await;
    // 256 are in flight: the next one waits.
    let next = begun(&stream, "next").await;
    calls.remove(17).abort();
    assert!(fake.arrived(257).await.contains(&"next".to_owned()));
    for id in fake.arrived(257).await {
        fake.sign(&id);
    }
    assert_eq!(next.await.unwrap().unwrap().jti, "next");
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_call_over_a_stream_ends_at_its_deadline_and_the_stream_goes_on() {
    let (_pki, _served, fake, client) = world().await;
    let stream = client.within(Duration::from_millis(300)).sign_stream();
    let late = begun(&stream, "late").await;
    let error = late.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    let call = begun(&stream, "next").await;
    fake.sign_when_asked("next").await;
    // The answer comes in time or not; it never is another's.
    if let Ok(signed) = call.await.unwrap() {
        assert_eq!(signed.jti, "next");
    }
    assert_eq!(fake.streams(), 1);
    let timeouts = fake.timeouts();
    assert!(
        timeouts
            .iter()
            .all(|timeout| *timeout <= Duration::from_millis(300)),
        "{timeouts:?}"
    );
}

#[tokio::test]
async fn a_stream_ends_with_its_last_handle() {
    let (_pki, _served, fake, client) = world().await;
    let stream = client.sign_stream();
    let call = begun(&stream, "a").await;
    fake.arrived(1).await;
    fake.sign("a");
    call.await.unwrap().unwrap();
    drop(stream.clone());
    let call = begun(&stream, "b").await;
    fake.arrived(1).await;
    fake.sign("b");
    call.await.unwrap().unwrap();
    drop(stream);
    fake.ended(1).await;
}

#[tokio::test]
async fn tokens_are_verified_over_a_stream() {
    let (_pki, _served, _fake, client) = world().await;
    let stream = client.verify_stream();
    let verify = |id: &str| Verify::new("a.b.c", "api").request_id(id);
    let verdict = stream.verify(&verify("valid")).await.unwrap();
    assert_eq!(verdict.into_result().unwrap().kid, "valid");
    let verdict = stream.verify(&verify("expired")).await.unwrap();
    assert_eq!(verdict, Verdict::Rejected(RejectReason::Expired));
    let refused = stream.verify(&verify("refused")).await.unwrap_err();
    assert_eq!(refused.violations()[0].field, "leeway");
    let nothing = stream.verify(&verify("nothing")).await.unwrap_err();
    assert_eq!(nothing.code(), Code::Internal);
    assert!(format!("{stream:?}").starts_with("VerifyStream"));
    assert!(format!("{:?}", client.sign_stream()).starts_with("SignStream"));
}
