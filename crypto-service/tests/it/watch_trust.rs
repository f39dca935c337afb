use std::time::Duration;

use crypto_proto::jwks::v1 as jwks;
use crypto_service::keys::Profile;
use jwks::TrustState;
use jwks::watch_trust_response::Event;
use keyring::{Publish, State};
use tonic::{Code, Streaming};

use crate::support::{MAX_FOLLOWERS, TestKey, TestSet, World, refusal};

async fn watch(
    world: &World,
    role: &str,
    key_sets: &[&str],
) -> Streaming<jwks::WatchTrustResponse> {
    let key_sets = key_sets.iter().map(|name| (*name).to_owned()).collect();
    let request = jwks::WatchTrustRequest {
        key_sets,
        ..jwks::WatchTrustRequest::default()
    };
    world
        .jwks(role)
        .watch_trust(request)
        .await
        .unwrap()
        .into_inner()
}

async fn event(stream: &mut Streaming<jwks::WatchTrustResponse>) -> Event {
    let next = tokio::time::timeout(Duration::from_secs(5), stream.message());
    next.await
        .expect("an event in time")
        .unwrap()
        .expect("an event")
        .event
        .unwrap()
}

/// The next event that is no repeated lease.
async fn news(stream: &mut Streaming<jwks::WatchTrustResponse>) -> Event {
    loop {
        match event(stream).await {
            Event::Lease(_) => {}
            other => return other,
        }
    }
}

fn names(event: &Event) -> Vec<&str> {
    let Event::Jwks(jwks) = event else {
        panic!("{event:?} is no jwks")
    };
    let mut names: Vec<_> = jwks.key_sets.iter().map(|set| set.name.as_str()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_stream_begins_with_keys_revocations_and_lease() {
    let keys = [
        State::Prepared,
        State::Active,
        State::Retiring,
        State::Retired,
        State::Revoked,
    ];
    let keys: Vec<_> = keys
        .into_iter()
        .map(|state| TestKey::new("ES256").state(state))
        .collect();
    let revoked = keys[4].kid.clone();
    let profile = Profile {
        typ: "at+jwt".to_owned(),
        hint_window: 60,
        ..Profile::default()
    };
    let hidden = TestSet {
        publish: Publish::None,
        ..TestSet::sign("op/hidden", vec![TestKey::new("ES256")])
    };
    let internal = TestSet {
        publish: Publish::Internal,
        ..TestSet::sign("op/mac", vec![TestKey::new("HS256")])
    };
    let world = World::with(vec![
        TestSet {
            profile,
            ..TestSet::sign("op/a", keys)
        },
        internal,
        hidden,
        TestSet::encrypt("op/encryption", vec![TestKey::new("ECDH-ES")]),
        TestSet::sign("other/a", vec![TestKey::new("ES256")]),
    ])
    .await;
    world.clock.advance(Duration::from_secs(50));
    let mut stream = watch(&world, "auth", &[]).await;
    let first = event(&mut stream).await;
    assert_eq!(names(&first), ["op/a", "op/mac"]);
    let Event::Jwks(all) = first else {
        unreachable!()
    };
    assert!(all.complete);
    let set = all.key_sets.iter().find(|set| set.name == "op/a").unwrap();
    assert_eq!(
        (
            set.typ.as_str(),
            set.hint_window.unwrap().seconds,
            set.max_lifetime.unwrap().seconds
        ),
        ("at+jwt", 60, 3600)
    );
    let states: Vec<_> = set.keys.iter().map(jwks::TrustKey::state).collect();
    use TrustState::{HintOnly, Revoked, Verifies};
    assert_eq!(states, [Verifies, Verifies, Verifies, HintOnly, Revoked]);
    assert!(set.keys.iter().all(|key| key.jwk.contains(&key.kid)));
    let mac = all
        .key_sets
        .iter()
        .find(|set| set.name == "op/mac")
        .unwrap();
    assert_eq!(
        (mac.keys[0].algorithm.as_str(), mac.keys[0].jwk.as_str()),
        ("HS256", "")
    );
    let Event::Revocations(revocations) = event(&mut stream).await else {
        panic!("no revocations")
    };
    assert_eq!(revocations.kids, [revoked]);
    let Event::Lease(lease) = event(&mut stream).await else {
        panic!("no lease")
    };
    // The instance's own lease has 10 s left, the longest of a client is 20 s.
    assert_eq!(
        (
            lease.valid_for.unwrap().seconds,
            lease.stream_age.unwrap().seconds,
            lease.epoch
        ),
        (10, 0, 1)
    );
}

#[tokio::test]
async fn changes_and_revocations_follow_at_once() {
    let (key, next) = (TestKey::new("ES256"), TestKey::new("ES256"));
    let mut world = World::with(vec![TestSet::sign("op/a", vec![key.clone()])]).await;
    let mut stream = watch(&world, "auth", &[]).await;
    assert_eq!(names(&news(&mut stream).await), ["op/a"]);
    assert!(matches!(news(&mut stream).await, Event::Revocations(none) if none.kids.is_empty()));

    world.change(TestSet::sign("op/b", vec![TestKey::new("ES256")]));
    assert_eq!(names(&news(&mut stream).await), ["op/b"]);
    world.change(TestSet::sign("other/b", vec![TestKey::new("ES256")]));
    world.change(TestSet::sign(
        "op/a",
        vec![key.clone().state(State::Revoked), next],
    ));
    let Event::Revocations(revocations) = news(&mut stream).await else {
        panic!("a set without grant was sent")
    };
    assert_eq!(revocations.kids, std::slice::from_ref(&key.kid));
    let changed = news(&mut stream).await;
    assert_eq!(names(&changed), ["op/a"]);
    world.remove("op/b");
    let Event::Jwks(removed) = news(&mut stream).await else {
        panic!("no jwks")
    };
    assert_eq!(
        (removed.complete, removed.removed_key_sets),
        (false, vec!["op/b".to_owned()])
    );
    world.replace(vec![TestSet::sign("op/c", vec![TestKey::new("ES256")])]);
    let Event::Jwks(all) = news(&mut stream).await else {
        panic!("no jwks")
    };
    assert!(all.complete && all.key_sets.len() == 1);
}

#[tokio::test]
async fn the_lease_ages_with_the_stream_and_ends_it() {
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let mut stream = watch(&world, "narrow", &[]).await;
    let first = event(&mut stream).await;
    assert!(
        names(&first).is_empty(),
        "a caller sees only what it may verify with"
    );
    event(&mut stream).await;
    event(&mut stream).await;
    world.clock.advance(Duration::from_secs(45));
    let Event::Lease(lease) = event(&mut stream).await else {
        panic!("no lease")
    };
    assert_eq!(
        (
            lease.stream_age.unwrap().seconds,
            lease.valid_for.unwrap().seconds
        ),
        (45, 15)
    );
    world.clock.advance(Duration::from_secs(15));
    let end = tokio::time::timeout(Duration::from_secs(5), stream.message())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(refusal(&end), (Code::Unavailable, "NOT_READY".to_owned()));
}

#[tokio::test]
async fn named_sets_need_a_grant_and_have_to_exist() {
    let world = World::with(vec![
        TestSet::sign("op/a", vec![TestKey::new("ES256")]),
        TestSet::sign("op/b", vec![]),
    ])
    .await;
    let mut stream = watch(&world, "auth", &["op/a"]).await;
    assert_eq!(names(&event(&mut stream).await), ["op/a"]);
    let request = |name: &str| jwks::WatchTrustRequest {
        key_sets: vec![name.to_owned()],
        ..jwks::WatchTrustRequest::default()
    };
    let refused = world
        .jwks("auth")
        .watch_trust(request("other/a"))
        .await
        .unwrap_err();
    assert_eq!(
        refusal(&refused),
        (Code::PermissionDenied, "NOT_GRANTED".to_owned())
    );
    let absent = world
        .jwks("auth")
        .watch_trust(request("op/none"))
        .await
        .unwrap_err();
    assert_eq!(
        refusal(&absent),
        (Code::NotFound, "KEY_SET_NOT_FOUND".to_owned())
    );
}

#[tokio::test]
async fn a_lease_names_the_epoch_that_the_client_has_been_told_of() {
    let mut world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let mut stream = watch(&world, "auth", &[]).await;
    // Also where a change brings nothing that the caller may see.
    for (epoch, change) in [(1, None), (2, Some("op/b")), (3, Some("other/b"))] {
        if let Some(name) = change {
            world.change(TestSet::sign(name, vec![TestKey::new("ES256")]));
        }
        let mut told = epoch != 2;
        loop {
            match event(&mut stream).await {
                Event::Lease(lease) if lease.epoch == epoch => break,
                Event::Lease(lease) => assert!(lease.epoch < epoch, "{lease:?} at {epoch}"),
                other => told |= epoch == 2 && names(&other) == ["op/b"],
            }
        }
        assert!(told, "a lease on epoch {epoch} came before its news");
    }
}

#[tokio::test]
async fn more_streams_than_there_are_places_for_are_refused_until_one_ends() {
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let mut streams = Vec::new();
    for _ in 0..MAX_FOLLOWERS {
        streams.push(watch(&world, "auth", &[]).await);
    }
    let ask = async || {
        world
            .jwks("auth")
            .watch_trust(jwks::WatchTrustRequest::default())
            .await
    };
    let refused = ask().await.unwrap_err();
    assert_eq!(
        refusal(&refused),
        (Code::ResourceExhausted, "OVERLOADED".to_owned())
    );

    streams.pop();
    let freed = async || while ask().await.is_err() {};
    tokio::time::timeout(Duration::from_secs(5), freed())
        .await
        .expect("a place is free again");
}
