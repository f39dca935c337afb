use std::time::Duration;

use crypto_proto::jwe::v1 as jwe;
use crypto_proto::jwt::v1 as jwt;
use crypto_service::keys::{ApplyError, Times};
use keyring::State;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::support::{NOW, TestKey, TestSet, World, judged, refusal, sign, verify};

fn not_ready() -> (Code, String) {
    (Code::Unavailable, "NOT_READY".to_owned())
}

async fn health(world: &World) -> ServingStatus {
    health_of(world, "crypto.jwt.v1.JwtService").await
}

async fn health_of(world: &World, service: &str) -> ServingStatus {
    let request = tonic_health::pb::HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut client = HealthClient::new(world.channel("stranger"));
    client.check(request).await.unwrap().into_inner().status()
}

async fn health_turns(world: &World, expected: ServingStatus) {
    for _ in 0..100 {
        if health(world).await == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("health did not turn to {expected:?}");
}

#[tokio::test]
async fn a_lease_that_runs_out_stops_signing_first_and_then_verifying() {
    let encryption = TestSet::encrypt("op/encryption", vec![TestKey::new("ECDH-ES+A256KW")]);
    let mut world = World::with(vec![
        TestSet::sign("op/a", vec![TestKey::new("ES256")]),
        encryption,
    ])
    .await;
    health_turns(&world, ServingStatus::Serving).await;
    let (mut token, mut auth, mut decrypting) =
        (world.jwt("token"), world.jwt("auth"), world.jwe("auth"));
    let signed = token
        .sign(sign("op/a", r#"{"aud":"api"}"#))
        .await
        .unwrap()
        .into_inner()
        .token;

    world.clock.advance(Duration::from_secs(31));
    assert_eq!(
        refusal(&token.sign(sign("op/a", "{}")).await.unwrap_err()),
        not_ready()
    );
    assert!(judged(&mut auth, &signed).await.is_ok());
    assert_eq!(health(&world).await, ServingStatus::Serving);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(
        health_of(&world, "crypto.jwt.v1.JwtService/Sign").await,
        ServingStatus::NotServing
    );

    world.clock.advance(Duration::from_secs(30));
    assert_eq!(
        refusal(&auth.verify(verify(&signed)).await.unwrap_err()),
        not_ready()
    );
    assert_eq!(
        refusal(
            &decrypting
                .decrypt(jwe::DecryptRequest::default())
                .await
                .unwrap_err()
        ),
        not_ready()
    );
    let watched = world
        .jwks("auth")
        .watch_trust(crypto_proto::jwks::v1::WatchTrustRequest::default())
        .await;
    assert_eq!(refusal(&watched.unwrap_err()), not_ready());
    health_turns(&world, ServingStatus::NotServing).await;

    // The key-manager is back.
    world.lease();
    assert!(token.sign(sign("op/a", "{}")).await.is_ok());
    health_turns(&world, ServingStatus::Serving).await;
}

#[tokio::test]
async fn nothing_is_answered_before_the_first_snapshot() {
    let mut world = World::bare().await;
    assert_eq!(health(&world).await, ServingStatus::NotServing);
    world.lease();
    assert_eq!(
        refusal(
            &world
                .jwt("token")
                .sign(sign("op/a", "{}"))
                .await
                .unwrap_err()
        ),
        not_ready()
    );
    assert_eq!(
        refusal(&world.jwt("auth").verify(verify("x")).await.unwrap_err()),
        not_ready()
    );
    let watched = world
        .jwks("auth")
        .watch_trust(crypto_proto::jwks::v1::WatchTrustRequest::default())
        .await;
    assert_eq!(
        refusal(&watched.unwrap_err()),
        not_ready(),
        "an empty trust would reject every token"
    );
    world.replace(vec![]);
    world.lease();
    let status = world
        .jwt("token")
        .sign(sign("op/a", "{}"))
        .await
        .unwrap_err();
    assert_eq!(refusal(&status).0, Code::NotFound);
}

#[tokio::test]
async fn a_set_without_an_active_key_says_when_to_come_back() {
    let standby = TestKey {
        held: false,
        ..TestKey::new("ES256").state(State::Prepared)
    };
    let set = TestSet {
        ready_at: Some(NOW + 42),
        ..TestSet::sign("op/a", vec![standby])
    };
    let world = World::with(vec![set]).await;
    let status = world
        .jwt("token")
        .sign(sign("op/a", "{}"))
        .await
        .unwrap_err();
    assert_eq!(refusal(&status), not_ready());
    let delay = status
        .get_details_retry_info()
        .unwrap()
        .retry_delay
        .unwrap();
    assert_eq!(delay.as_secs(), 42);
}

#[tokio::test]
async fn revoked_key_verifies_nothing_from_the_next_message_on_and_cannot_come_back_from_the_cache()
{
    for algorithm in ["ES256", "RS256", "HS256"] {
        let (key, next) = (TestKey::new(algorithm), TestKey::new(algorithm));
        let mut world = World::with(vec![TestSet::sign("op/a", vec![key.clone()])]).await;
        let (mut token, mut auth) = (world.jwt("token"), world.jwt("auth"));
        let signed = token
            .sign(sign("op/a", r#"{"aud":"api"}"#))
            .await
            .unwrap()
            .into_inner()
            .token;
        assert!(judged(&mut auth, &signed).await.is_ok(), "{algorithm}");
        world.change(TestSet::sign(
            "op/a",
            vec![key.clone().state(State::Revoked), next.clone()],
        ));
        for _ in 0..20 {
            assert_eq!(
                judged(&mut auth, &signed).await,
                Err(jwt::RejectReason::KeyRevoked),
                "{algorithm}"
            );
            let kid = token
                .sign(sign("op/a", r#"{"aud":"api"}"#))
                .await
                .unwrap()
                .into_inner()
                .kid;
            assert_eq!(kid, next.kid, "{algorithm}");
        }
        world.remove("op/a");
        assert_eq!(
            judged(&mut auth, &signed).await,
            Err(jwt::RejectReason::UnknownKey),
            "{algorithm}"
        );
    }
}

#[tokio::test]
async fn a_delta_over_a_gap_and_an_older_epoch_change_nothing() {
    let mut world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let removed = [("default".to_owned(), "op/a".to_owned())];
    assert_eq!(
        world.writer.apply(5, 6, vec![], &removed),
        Err(ApplyError::Gap { from: 5, at: 1 })
    );
    assert_eq!(
        world.writer.apply(1, 0, vec![], &removed),
        Err(ApplyError::Older {
            offered: 0,
            seen: 1
        })
    );
    assert_eq!(
        world.writer.replace(0, Times::default(), vec![]),
        Err(ApplyError::Older {
            offered: 0,
            seen: 1
        })
    );
    assert!(world.jwt("token").sign(sign("op/a", "{}")).await.is_ok());
}

#[tokio::test]
async fn draining_turns_health_back_and_ends_streams() {
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    health_turns(&world, ServingStatus::Serving).await;
    let request = crypto_proto::jwks::v1::WatchTrustRequest::default();
    let mut stream = world
        .jwks("auth")
        .watch_trust(request)
        .await
        .unwrap()
        .into_inner();
    world.shutdown.trigger();
    let end = loop {
        match stream.message().await {
            Ok(Some(_event)) => {}
            Ok(None) => panic!("the stream ended without a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(refusal(&end), not_ready());
    drop(stream);
    world.drained().await;
}
