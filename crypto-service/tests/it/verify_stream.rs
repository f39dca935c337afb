use std::collections::BTreeMap;
use std::time::Duration;

use crypto_proto::jwt::v1 as jwt;
use jwt::verify_stream_response::Result as R;
use keyring::State;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::support::{TestKey, TestSet, World, sign, verify};

struct Open {
    requests: mpsc::Sender<jwt::VerifyStreamRequest>,
    answers: Streaming<jwt::VerifyStreamResponse>,
}

impl Open {
    async fn by(world: &World, role: &str) -> Self {
        let (requests, outgoing) = mpsc::channel(8);
        let mut client = world.jwt(role);
        let answers = client.verify_stream(ReceiverStream::new(outgoing)).await;
        Self {
            requests,
            answers: answers.unwrap().into_inner(),
        }
    }

    async fn ask(&self, id: u64, verify: Option<jwt::VerifyRequest>) {
        let request = jwt::VerifyStreamRequest {
            id,
            verify,
            timeout: None,
        };
        self.requests.send(request).await.unwrap();
    }

    async fn answer(&mut self) -> (u64, R) {
        let next = tokio::time::timeout(Duration::from_secs(20), self.answers.next());
        let answer = next.await.expect("in time").expect("an answer").unwrap();
        (answer.id, answer.result.expect("a result"))
    }
}

async fn signed(world: &World) -> String {
    let request = sign("op/a", r#"{"aud":"api"}"#);
    let response = world.jwt("token").sign(request).await.unwrap();
    response.into_inner().token
}

#[tokio::test]
async fn every_message_is_answered_once_under_its_id_and_the_stream_ends_after_the_last() {
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let token = signed(&world).await;
    let Open {
        requests,
        mut answers,
    } = Open::by(&world, "auth").await;
    let sending = tokio::spawn(async move {
        for id in 0..700_u64 {
            let verify = match id % 3 {
                0 => Some(verify(&token)),
                1 => Some(verify("a.b.c")),
                _ => None,
            };
            let request = jwt::VerifyStreamRequest {
                // ids are the client's own, in whatever order
                id: u64::MAX - id,
                verify,
                timeout: None,
            };
            requests.send(request).await.unwrap();
        }
    });
    let mut found = BTreeMap::new();
    while let Some(answer) = answers.next().await {
        let answer = answer.unwrap();
        let earlier = found.insert(u64::MAX - answer.id, answer.result.unwrap());
        assert!(earlier.is_none(), "{}", answer.id);
    }
    sending.await.unwrap();
    assert_eq!(found.len(), 700);
    for (id, result) in found {
        match (id % 3, result) {
            (0, R::Valid(valid)) => assert_eq!(valid.key_set, "op/a"),
            (1, R::Rejected(rejected)) => {
                assert_eq!(rejected.reason(), jwt::RejectReason::Malformed);
            }
            (_, R::Error(error)) => assert_eq!(error.field_violations[0].field, "verify"),
            (_, other) => panic!("{id}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_message_is_answered_while_the_stream_is_open_and_by_the_keys_of_its_moment() {
    let key = TestKey::new("ES256");
    let mut world = World::with(vec![TestSet::sign("op/a", vec![key.clone()])]).await;
    let token = signed(&world).await;
    let mut stream = Open::by(&world, "auth").await;
    stream.ask(7, Some(verify(&token))).await;
    let (id, result) = stream.answer().await;
    assert!(matches!((id, result), (7, R::Valid(_))));
    world.replace(vec![TestSet::sign("op/a", vec![key.state(State::Revoked)])]);
    stream.ask(7, Some(verify(&token))).await;
    let (id, result) = stream.answer().await;
    let R::Rejected(rejected) = result else {
        panic!("{result:?}");
    };
    assert_eq!((id, rejected.reason()), (7, jwt::RejectReason::KeyRevoked));
    world.clock.advance(Duration::from_secs(61));
    stream.ask(8, Some(verify(&token))).await;
    let (id, result) = stream.answer().await;
    let R::Error(error) = result else {
        panic!("{result:?}");
    };
    assert_eq!((id, Code::from(error.code)), (8, Code::Unavailable));
}

#[tokio::test]
async fn an_item_of_a_stream_fails_alone() {
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let token = signed(&world).await;
    let mut stream = Open::by(&world, "auth").await;
    let without_audience = jwt::VerifyRequest {
        audiences: Vec::new(),
        ..verify(&token)
    };
    let late = jwt::VerifyStreamRequest {
        id: 2,
        verify: Some(verify(&token)),
        timeout: Some(prost_types::Duration {
            seconds: 0,
            nanos: 1,
        }),
    };
    stream.ask(1, Some(without_audience)).await;
    stream.requests.send(late).await.unwrap();
    stream.ask(3, Some(verify(&token))).await;
    let mut answers = BTreeMap::new();
    for _ in 0..3 {
        let (id, result) = stream.answer().await;
        answers.insert(id, result);
    }
    let error = |id| match &answers[&id] {
        R::Error(error) => error.clone(),
        other => panic!("{id}: {other:?}"),
    };
    assert_eq!(error(1).field_violations[0].field, "verify.audiences");
    assert_eq!(Code::from(error(2).code), Code::DeadlineExceeded);
    assert!(matches!(answers[&3], R::Valid(_)));
}
