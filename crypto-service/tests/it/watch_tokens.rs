//! Revocations of tokens on the streams of `WatchTrust`.

use std::time::Duration;

use crypto_proto::jwks::v1 as jwks;
use crypto_service::keys::Delta;
use jose::revocation::{Entry, Filter, NEVER, decode};
use jwks::watch_trust_response::Event;
use tonic::{Code, Streaming};

use crate::support::{TestKey, TestSet, World, by_jti, fields, tokens};

type Stream = Streaming<jwks::WatchTrustResponse>;

async fn watch(world: &World, max_token_revocations: u32) -> Stream {
    let request = jwks::WatchTrustRequest {
        max_token_revocations,
        ..Default::default()
    };
    world
        .jwks("auth")
        .watch_trust(request)
        .await
        .unwrap()
        .into_inner()
}

async fn event(stream: &mut Stream) -> Event {
    let next = tokio::time::timeout(Duration::from_secs(5), stream.message());
    next.await
        .expect("an event in time")
        .unwrap()
        .expect("an event")
        .event
        .unwrap()
}

/// The next event that is about tokens.
async fn of_tokens(stream: &mut Stream) -> jwks::TrustTokenRevocations {
    loop {
        if let Event::TokenRevocations(event) = event(stream).await {
            return event;
        }
    }
}

async fn world() -> World {
    let names = ["op/a", "op/b", "other/a"];
    World::with(
        names
            .map(|name| TestSet::sign(name, vec![TestKey::new("ES256")]))
            .to_vec(),
    )
    .await
}

fn many(count: usize) -> Vec<Entry> {
    let mut entries: Vec<_> = (0..count)
        .map(|number| by_jti(&number.to_string()))
        .collect();
    entries.sort_unstable();
    entries
}

#[tokio::test]
async fn a_stream_begins_with_all_revocations_of_its_sets_and_goes_on_with_what_comes() {
    let mut world = world().await;
    world.apply(Delta {
        tokens: vec![tokens("op/a", many(3)), tokens("other/a", many(2))],
        ..Delta::default()
    });
    let mut stream = watch(&world, 0).await;
    let mut kinds = Vec::new();
    let complete = loop {
        match event(&mut stream).await {
            Event::Jwks(_) => kinds.push("jwks"),
            Event::Revocations(_) => kinds.push("revocations"),
            Event::Lease(_) => panic!("a lease before {kinds:?} and the tokens"),
            Event::TokenRevocations(event) => break event,
        }
    };
    assert_eq!(kinds, ["jwks", "revocations"]);
    assert_eq!(
        (complete.key_set.as_str(), complete.complete, complete.epoch),
        ("op/a", true, 2)
    );
    assert_eq!(decode(&complete.entries).unwrap(), many(3));
    let Event::Lease(lease) = event(&mut stream).await else {
        panic!("no lease after it")
    };
    assert_eq!(
        lease.epoch, 2,
        "the other set is not granted, and not told of"
    );

    world.revoke("op/b", vec![by_jti("x")]);
    world.revoke("other/a", vec![by_jti("x")]);
    let more = of_tokens(&mut stream).await;
    assert_eq!(
        (more.key_set.as_str(), more.complete, more.epoch),
        ("op/b", false, 3)
    );
    assert_eq!(decode(&more.entries).unwrap(), [by_jti("x")]);
    let told = loop {
        match event(&mut stream).await {
            Event::Lease(lease) if lease.epoch == 4 => break true,
            Event::Lease(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(told, "the lease covers what concerns others too");
}

#[tokio::test]
async fn more_than_the_client_takes_comes_as_a_filter_that_misses_nothing() {
    let mut world = world().await;
    world.revoke("op/a", many(100));
    let mut stream = watch(&world, 99).await;
    let complete = of_tokens(&mut stream).await;
    assert!(complete.complete && complete.entries.is_empty());
    let wire = complete.filter.unwrap();
    let filter = Filter::from_parts(wire.bits, wire.kinds).unwrap();
    assert!(many(100).iter().all(|entry| filter.hits(&entry.id)));
    assert_eq!(wire.kinds, 1, "by jti alone");

    // what comes on top comes one by one, until that is too much as well
    world.revoke("op/a", vec![by_jti("x")]);
    let more = of_tokens(&mut stream).await;
    assert!(!more.complete && more.filter.is_none());
    world.revoke(
        "op/a",
        (0..99)
            .map(|number| by_jti(&format!("y{number}")))
            .collect(),
    );
    let anew = of_tokens(&mut stream).await;
    assert!(anew.complete && anew.entries.is_empty());
    let wire = anew.filter.unwrap();
    let filter = Filter::from_parts(wire.bits, wire.kinds).unwrap();
    assert!(filter.hits(&by_jti("x").id) && filter.hits(&by_jti("y98").id));
}

#[tokio::test]
async fn a_set_that_is_followed_later_comes_with_its_revocations() {
    let mut world = world().await;
    world.revoke("op/later", many(2));
    let mut stream = watch(&world, 0).await;
    world.change(TestSet::sign("op/later", vec![TestKey::new("ES256")]));
    let complete = of_tokens(&mut stream).await;
    assert_eq!(
        (complete.key_set.as_str(), complete.complete),
        ("op/later", true)
    );
    assert_eq!(decode(&complete.entries).unwrap(), many(2));
}

#[tokio::test]
async fn what_is_forgotten_is_not_told_of_any_more() {
    let mut world = world().await;
    let entry = |forget_at| Entry {
        forget_at,
        ..by_jti(&forget_at.to_string())
    };
    world.revoke("op/a", vec![entry(100), entry(NEVER)]);
    world.apply(Delta {
        forgotten: Some(100),
        ..Delta::default()
    });
    let complete = of_tokens(&mut watch(&world, 0).await).await;
    assert_eq!(decode(&complete.entries).unwrap(), [entry(NEVER)]);
}

#[tokio::test]
async fn who_asks_to_hold_too_many_is_told_how_many() {
    let world = world().await;
    let request = jwks::WatchTrustRequest {
        max_token_revocations: 100_001,
        ..Default::default()
    };
    let refused = world.jwks("auth").watch_trust(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(fields(&refused), ["max_token_revocations"]);
}
