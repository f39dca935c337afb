//! Local verification against a fake service that verifies as the real one does, and pushes trust.

#![expect(clippy::unwrap_used, reason = "tests")]

mod serve;
#[path = "local/tokens.rs"]
mod tokens;
mod truster;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client_core::request::{Purpose, RejectReason, Verdict, Verify};
use client_core::{Clock, Code, CryptoClient, Follow, LocalVerifier, SystemClock};
use crypto_proto::jwks::v1::watch_trust_response::Event;
use crypto_proto::jwks::v1::{TrustJwks, TrustKeySet, TrustRevocations, TrustState};
use jose::algorithm::JwsAlgorithm;
use serve::{Pki, Served};
use truster::{Fake, ISSUER, Key};

const AUDIENCE: &str = "https://api.example.com";

/// The wall clock of the machine, and a boot clock that the test turns.
#[derive(Debug, Default)]
struct TurnedClock(AtomicU64);

impl Clock for TurnedClock {
    fn boot(&self) -> Duration {
        Duration::from_secs(1_000_000 + self.0.load(Ordering::SeqCst))
    }

    fn unix(&self) -> Duration {
        SystemClock.unix()
    }
}

struct World {
    _pki: Pki,
    served: Option<Served>,
    fake: Arc<Fake>,
    clock: Arc<TurnedClock>,
    client: CryptoClient,
    local: LocalVerifier,
}

async fn world(keys: Vec<Key>) -> World {
    let (pki, fake, clock) = (
        Pki::new(),
        Fake::new(keys),
        Arc::new(TurnedClock::default()),
    );
    let served = pki.serve("127.0.0.1:0", fake.routes()).await;
    let turned: Arc<dyn Clock> = clock.clone();
    let client = CryptoClient::new(pki.options(&served).clock(turned).channel().unwrap());
    let local = LocalVerifier::start(client.clone(), Follow::all());
    tokio::time::timeout(Duration::from_secs(5), local.ready())
        .await
        .unwrap();
    World {
        _pki: pki,
        served: Some(served),
        fake,
        clock,
        client,
        local,
    }
}

impl World {
    fn key(&self, algorithm: JwsAlgorithm) -> &Key {
        self.fake
            .keys
            .iter()
            .find(|key| key.algorithm == algorithm)
            .unwrap()
    }
}

fn es256() -> Vec<Key> {
    vec![Key::new(
        "op/access-token",
        JwsAlgorithm::Es256,
        TrustState::Verifies,
    )]
}

fn claims(changes: &[(&str, &str)]) -> String {
    let now = SystemClock.unix().as_secs();
    let mut members = vec![
        ("iss", format!(r#""{ISSUER}""#)),
        ("aud", format!(r#""{AUDIENCE}""#)),
        ("exp", (now + 300).to_string()),
        ("iat", now.to_string()),
    ];
    for (name, value) in changes {
        members.retain(|(held, _)| held != name);
        if !value.is_empty() {
            members.push((name, (*value).to_owned()));
        }
    }
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!(r#""{name}":{value}"#))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// Header and claims of one token, the signature of another.
fn forged(token: &str, other: &str) -> String {
    let (input, _) = token.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    format!("{input}.{signature}")
}

fn verify(token: &str) -> Verify {
    Verify::new(token, AUDIENCE)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(holds(), "{what}");
}

#[tokio::test]
async fn verdict_and_reason_are_those_of_the_service() {
    use JwsAlgorithm::{Ed25519, EdDsa, Es256, Es384, Es512, Hs256, Ps256, Rs256};
    let mut keys: Vec<Key> = [Es256, Es384, Ed25519, EdDsa, Rs256, Ps256, Es512, Hs256]
        .into_iter()
        .map(|algorithm| Key::new("op/access-token", algorithm, TrustState::Verifies))
        .collect();
    keys.push(Key::new("op/id-token", Es256, TrustState::HintOnly));
    keys.push(Key::new("op/id-token", Es256, TrustState::Revoked));
    let stranger = Key::new("op/access-token", Es256, TrustState::Verifies);
    let world = world(keys).await;
    let good = claims(&[]);
    let key = world.key(Es256);

    let mut requests: Vec<(Verify, bool)> = Vec::new();
    for key in &world.fake.keys {
        let here = !matches!(key.algorithm, Es512 | Hs256);
        let expired = key.token(&claims(&[("exp", "1")]));
        for token in [
            key.token(&good),
            forged(&key.token(&good), &expired),
            expired,
        ] {
            requests.push((verify(&token), here));
            requests.push((verify(&token).purpose(Purpose::Hint), here));
            requests.push((verify(&token).key_set("op/access-token"), here));
        }
    }
    let now = SystemClock.unix().as_secs();
    let ahead = (now + 100).to_string();
    let tokens = [
        String::new(),
        "a.b".to_owned(),
        "a".repeat(30_000),
        stranger.sign(&key.header(), &good),
        key.sign(&key.header().replace("ES256", "ES384"), &good),
        key.sign(&key.header().replace("ES256", "none"), &good),
        key.sign(&key.header().replace("JWT", "at+jwt"), &good),
        key.sign(
            &key.header().replace(r#""typ""#, r#""crit":["x"],"typ""#),
            &good,
        ),
        key.token("[]"),
        key.token(r#"{"iss":1,"iss":2}"#),
        key.token(&claims(&[("exp", "")])),
        key.token(&claims(&[("exp", r#""soon""#)])),
        key.token(&claims(&[("iss", r#""https://evil.example.com""#)])),
        key.token(&claims(&[("aud", r#"["x","y"]"#)])),
        key.token(&claims(&[("nbf", &ahead)])),
        key.token(&claims(&[("iat", &ahead)])),
    ];
    requests.extend(tokens.iter().map(|token| (verify(token), true)));
    let token = key.token(&good);
    requests.push((verify(&token).issuer("https://other.example.com"), true));
    requests.push((verify(&token).typ("application/jwt"), true));
    requests.push((verify(&token).typ("at+jwt"), true));
    requests.push((verify(&token).key_set("op/id-token"), true));
    requests.push((verify(&token).leeway(Duration::from_secs(60)), true));
    requests.push((verify(&stranger.token(&good)), false));
    requests.push((
        verify(&key.sign(r#"{"alg":"ES256","typ":"JWT"}"#, &good)).key_set("op/access-token"),
        false,
    ));
    requests.push((Verify::any_audience(&token), false));
    requests.push((verify(&token).key_set("op/elsewhere"), false));

    let mut valid = 0;
    for (request, here) in &requests {
        let remote = world.client.verify(request).await.unwrap();
        let decided = world.local.verify_here(request);
        assert_eq!(decided.is_some(), *here, "{request:?}");
        assert!(
            decided.is_none_or(|decided| decided == remote),
            "{request:?} {remote:?}"
        );
        assert_eq!(
            world.local.verify(request).await,
            Ok(remote.clone()),
            "{request:?}"
        );
        valid += usize::from(matches!(remote, Verdict::Valid(_)));
    }
    assert!(
        valid >= 14 && requests.len() - valid >= 30,
        "{valid} valid of {}",
        requests.len()
    );
}

#[tokio::test]
async fn it_works_with_the_service_stopped_until_the_lease_ends() {
    let mut world = world(es256()).await;
    let token = world.key(JwsAlgorithm::Es256).token(&claims(&[]));
    world.served = None;
    world.clock.0.store(299, Ordering::SeqCst);
    assert!(world.local.is_leased());
    assert!(matches!(
        world.local.verify(&verify(&token)).await,
        Ok(Verdict::Valid(_))
    ));

    world.clock.0.store(300, Ordering::SeqCst);
    assert!(!world.local.is_leased());
    assert_eq!(world.local.verify_here(&verify(&token)), None);
    let error = world.local.verify(&verify(&token)).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert_eq!(world.fake.asked(), 0);
}

#[tokio::test]
async fn an_unknown_kid_asks_the_service_and_is_no_rejection_where_it_cannot() {
    let mut world = world(es256()).await;
    let stranger =
        Key::new("op/access-token", JwsAlgorithm::Es256, TrustState::Verifies).token(&claims(&[]));
    let verdict = world.local.verify(&verify(&stranger)).await.unwrap();
    assert_eq!(
        (verdict, world.fake.asked()),
        (Verdict::Rejected(RejectReason::UnknownKey), 1)
    );
    world.served = None;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = world.local.verify(&verify(&stranger)).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
}

#[tokio::test]
async fn a_pushed_revocation_counts_at_once_and_no_later_stream_takes_it_back() {
    let world = world(es256()).await;
    let key = world.key(JwsAlgorithm::Es256);
    let request = verify(&key.token(&claims(&[])));
    assert!(matches!(
        world.local.verify_here(&request),
        Some(Verdict::Valid(_))
    ));

    let pushed = tokio::time::Instant::now();
    world.fake.revoke(&key.kid);
    let revoked = Some(Verdict::Rejected(RejectReason::KeyRevoked));
    until("the revocation arrives", || {
        world.local.verify_here(&request) == revoked
    })
    .await;
    assert!(
        pushed.elapsed() < Duration::from_secs(1),
        "{:?}",
        pushed.elapsed()
    );
    assert_eq!(
        world
            .local
            .verify_here(&request.clone().purpose(Purpose::Hint)),
        revoked
    );

    // The next stream is of an instance that has not heard of it: its complete set shows the key as good.
    world.fake.streams.lock().unwrap().clear();
    until("the stream is opened again", || {
        world.fake.opened.load(Ordering::SeqCst) >= 2
    })
    .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.local.verify_here(&request), revoked);
}

#[tokio::test]
async fn new_keys_and_removed_sets_are_followed() {
    let world = world(es256()).await;
    let added = Key::new("op/id-token", JwsAlgorithm::Es256, TrustState::Verifies);
    let request = verify(&added.token(&claims(&[])));
    assert_eq!(world.local.verify_here(&request), None);
    let set = TrustKeySet {
        name: "op/id-token".into(),
        issuer: ISSUER.into(),
        keys: vec![added.trusted()],
        ..TrustKeySet::default()
    };
    world.fake.push(Event::Jwks(TrustJwks {
        complete: false,
        key_sets: vec![set],
        removed_key_sets: Vec::new(),
    }));
    until("the key arrives", || {
        matches!(world.local.verify_here(&request), Some(Verdict::Valid(_)))
    })
    .await;

    let first = verify(&world.key(JwsAlgorithm::Es256).token(&claims(&[])));
    assert!(
        world.local.verify_here(&first).is_some(),
        "a delta leaves the other sets alone"
    );
    let removed = TrustJwks {
        complete: false,
        key_sets: Vec::new(),
        removed_key_sets: vec!["op/id-token".into()],
    };
    world.fake.push(Event::Jwks(removed));
    until("the set goes", || {
        world.local.verify_here(&request).is_none()
    })
    .await;
}

#[tokio::test]
async fn a_lease_of_an_older_epoch_grants_nothing() {
    let world = world(es256()).await;
    let token = world.key(JwsAlgorithm::Es256).token(&claims(&[]));
    let set = |seconds, epoch| {
        *world.fake.lease.lock().unwrap() = (seconds, epoch);
        world.fake.push(world.fake.lease_event());
    };
    world.clock.0.store(250, Ordering::SeqCst);
    set(9000, 0);
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.clock.0.store(400, Ordering::SeqCst);
    assert_eq!(world.local.verify_here(&verify(&token)), None);
    set(9000, 2);
    until("the lease of the present epoch counts", || {
        world.local.verify_here(&verify(&token)).is_some()
    })
    .await;
}

#[tokio::test]
async fn debug_shows_no_key_and_the_stream_ends_with_the_last_verifier() {
    let world = world(es256()).await;
    let shown = format!("{:?}", world.local);
    assert!(
        shown.contains("op/access-token") && !shown.contains("\"x\""),
        "{shown}"
    );
    let clone = world.local.clone();
    drop(world.local);
    world
        .fake
        .push(Event::Revocations(TrustRevocations::default()));
    assert_eq!(world.fake.streams.lock().unwrap().len(), 1);
    drop(clone);
    until("the stream is gone", || {
        world
            .fake
            .push(Event::Revocations(TrustRevocations::default()));
        world.fake.streams.lock().unwrap().is_empty()
    })
    .await;
}
