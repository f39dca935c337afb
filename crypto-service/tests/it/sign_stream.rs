//! `SignStream`: answers as they are made, each with its id.

use std::time::Duration;

use crypto_proto::jwt::v1 as jwt;
use jwt::sign_stream_response::Result as Signed;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::sign_batch::CLAIMS;
use crate::support::{TestKey, TestSet, World, judged, refusal, sign};

struct Open {
    requests: mpsc::UnboundedSender<jwt::SignStreamRequest>,
    answers: Streaming<jwt::SignStreamResponse>,
}

impl Open {
    async fn on(world: &World, role: &str) -> Self {
        let (requests, messages) = mpsc::unbounded_channel();
        let messages = UnboundedReceiverStream::new(messages);
        let answers = world.jwt(role).sign_stream(messages).await.unwrap();
        let answers = answers.into_inner();
        Self { requests, answers }
    }

    fn send(&self, id: u64, sign: jwt::SignRequest) {
        self.requests.send(request(id, Some(sign))).unwrap();
    }

    async fn next(&mut self) -> Result<Option<(u64, Signed)>, Status> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.answers.message());
        let next = next.await.expect("an answer in time")?;
        Ok(next.map(|answer| (answer.id, answer.result.expect("a result"))))
    }

    async fn answer(&mut self) -> (u64, Signed) {
        self.next().await.unwrap().expect("an answer")
    }
}

fn request(id: u64, sign: Option<jwt::SignRequest>) -> jwt::SignStreamRequest {
    jwt::SignStreamRequest {
        id,
        sign,
        ..jwt::SignStreamRequest::default()
    }
}

fn token(signed: Signed) -> String {
    match signed {
        Signed::Signed(signed) => signed.token,
        Signed::Error(error) => panic!("{error:?}"),
    }
}

fn refused(signed: Signed) -> (Code, String, Vec<String>) {
    match signed {
        Signed::Error(error) => {
            let fields = error.field_violations.into_iter().map(|one| one.field);
            (Code::from(error.code), error.reason, fields.collect())
        }
        Signed::Signed(_) => panic!("a token"),
    }
}

#[tokio::test]
async fn every_message_is_answered_once_with_its_id() {
    let world = World::with(vec![
        TestSet::sign("op/a", vec![TestKey::new("ES256")]),
        TestSet::sign("op/b", vec![TestKey::new("RS256")]),
    ])
    .await;
    let mut open = Open::on(&world, "token").await;
    for id in 0..600 {
        let key_set = if id % 10 == 0 { "op/b" } else { "op/a" };
        open.send(id, sign(key_set, CLAIMS));
    }
    drop(std::mem::replace(
        &mut open.requests,
        mpsc::unbounded_channel().0,
    ));
    let mut ids = Vec::new();
    let mut last = String::new();
    while let Some((id, signed)) = open.next().await.unwrap() {
        ids.push(id);
        last = token(signed);
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..600).collect::<Vec<_>>());
    judged(&mut world.jwt("auth"), &last).await.unwrap();
}

#[tokio::test]
async fn a_cheap_signature_does_not_wait_for_a_dear_one_before_it() {
    let world = World::with(vec![
        TestSet::sign("op/slow", vec![TestKey::new("RS512")]),
        TestSet::sign("op/fast", vec![TestKey::new("ES256")]),
    ])
    .await;
    let mut open = Open::on(&world, "token").await;
    // Both keys are parsed by now.
    open.send(0, sign("op/slow", CLAIMS));
    open.answer().await;
    for id in 0..32 {
        open.send(id, sign("op/slow", CLAIMS));
    }
    open.send(99, sign("op/fast", CLAIMS));
    let mut order = Vec::new();
    while order.len() < 33 {
        order.push(open.answer().await.0);
    }
    assert_ne!(order.last(), Some(&99), "{order:?}");
}

#[tokio::test]
async fn a_bad_message_is_answered_and_the_stream_goes_on() {
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let mut open = Open::on(&world, "token").await;
    let late = jwt::SignStreamRequest {
        timeout: Some(prost_types::Duration {
            seconds: 0,
            nanos: 1,
        }),
        ..request(4, Some(sign("op/a", CLAIMS)))
    };
    let never = jwt::SignStreamRequest {
        timeout: Some(prost_types::Duration::default()),
        ..request(5, Some(sign("op/a", "[]")))
    };
    let field = "FIELD_INVALID";
    for (message, code, reason, fields) in [
        (request(1, None), Code::InvalidArgument, field, vec!["sign"]),
        (
            request(2, Some(sign("op/a", "{"))),
            Code::InvalidArgument,
            field,
            vec!["sign.claims_json"],
        ),
        (
            request(3, Some(sign("other/a", CLAIMS))),
            Code::PermissionDenied,
            "NOT_GRANTED",
            vec![],
        ),
        (late, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", vec![]),
        (
            never,
            Code::InvalidArgument,
            field,
            vec!["timeout", "sign.claims_json"],
        ),
        (
            request(6, Some(sign("op/none", CLAIMS))),
            Code::NotFound,
            "KEY_SET_NOT_FOUND",
            vec![],
        ),
    ] {
        let id = message.id;
        open.requests.send(message).unwrap();
        let (answered, result) = open.answer().await;
        assert_eq!(answered, id);
        let fields = fields.into_iter().map(str::to_owned).collect();
        assert_eq!(refused(result), (code, reason.to_owned(), fields), "{id}");
    }
    open.send(7, sign("op/a", CLAIMS));
    let (id, signed) = open.answer().await;
    assert_eq!(id, 7);
    judged(&mut world.jwt("auth"), &token(signed))
        .await
        .unwrap();
}

#[tokio::test]
async fn lease_and_keys_are_looked_at_for_each_message() {
    let key = TestKey::new("ES256");
    let mut world = World::with(vec![TestSet::sign("op/a", vec![key.clone()])]).await;
    let mut open = Open::on(&world, "token").await;
    open.send(1, sign("op/a", CLAIMS));
    token(open.answer().await.1);
    world.clock.advance(Duration::from_secs(31));
    open.send(2, sign("op/a", CLAIMS));
    assert_eq!(refused(open.answer().await.1).0, Code::Unavailable);
    world.lease();
    world.change(TestSet::sign(
        "op/a",
        vec![key.state(keyring::State::Revoked)],
    ));
    open.send(3, sign("op/a", CLAIMS));
    assert_eq!(refused(open.answer().await.1).0, Code::Unavailable);
}

#[tokio::test]
async fn a_certificate_that_expires_ends_the_stream() {
    let mut world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let mut open = Open::on(&world, "token").await;
    open.send(1, sign("op/a", CLAIMS));
    token(open.answer().await.1);
    world.clock.set_wall(u64::from(u32::MAX) * 2);
    world.lease();
    open.send(2, sign("op/a", CLAIMS));
    let status = open.next().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_drain_ends_the_stream_so_that_the_client_goes_elsewhere() {
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let mut open = Open::on(&world, "token").await;
    open.send(1, sign("op/a", CLAIMS));
    token(open.answer().await.1);
    let drained = tokio::spawn(world.drained());
    let status = open.next().await.unwrap_err();
    assert_eq!(
        refusal(&status),
        (Code::Unavailable, "NOT_READY".to_owned())
    );
    drop(open);
    drained.await.unwrap();
}

#[tokio::test]
async fn a_message_beyond_its_limit_ends_the_stream_in_our_words() {
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let mut open = Open::on(&world, "token").await;
    open.send(1, sign("op/a", &"x".repeat(1024 * 1024 + 1)));
    let status = open.next().await.unwrap_err();
    let too_large = (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned());
    assert_eq!(refusal(&status), too_large);
}
