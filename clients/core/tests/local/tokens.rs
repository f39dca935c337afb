//! Tokens that were revoked one by one, held here or asked for.

use crypto_proto::jwks::v1::{TokenFilter, TrustTokenRevocations};
use jose::revocation::{Entry, Filter, Id, Match, NEVER, Table, encode};
use jose_ring::Ring;

use super::*;

const SET: &str = "op/access-token";

fn by_jti(jti: &str) -> Entry {
    Entry {
        id: Id::of_jti(jti, &Ring),
        issued_before: 0,
        forget_at: NEVER,
    }
}

fn event(epoch: u64, complete: bool, entries: &[Entry]) -> TrustTokenRevocations {
    TrustTokenRevocations {
        key_set: SET.to_owned(),
        epoch,
        complete,
        entries: encode(entries.iter().copied()),
        filter: None,
    }
}

fn filter(epoch: u64, entries: &[Entry]) -> TrustTokenRevocations {
    let filter = Filter::of(&entries.iter().copied().collect::<Table>());
    TrustTokenRevocations {
        filter: Some(TokenFilter {
            bits: filter.bits().to_vec(),
            kinds: filter.claims(),
        }),
        ..event(epoch, true, &[])
    }
}

impl World {
    fn token(&self, jti: &str) -> String {
        let key = self.key(JwsAlgorithm::Es256);
        key.token(&claims(&[
            ("jti", &format!(r#""{jti}""#)),
            ("sub", r#""alice""#),
        ]))
    }

    fn push(&self, event: TrustTokenRevocations) {
        self.fake.push(Event::TokenRevocations(event));
    }

    fn here(&self, token: &str) -> Option<Result<(), RejectReason>> {
        let verdict = self.local.verify_here(&verify(token))?;
        Some(verdict.into_result().map(drop))
    }
}

const REVOKED: Option<Result<(), RejectReason>> = Some(Err(RejectReason::Revoked));

#[tokio::test]
async fn a_revoked_token_is_refused_here_from_the_message_on() {
    let world = world(es256()).await;
    let (token, other) = (world.token("a"), world.token("b"));
    assert_eq!(world.here(&token), Some(Ok(())));
    world.push(event(2, false, &[by_jti("a")]));
    until("it is refused", || world.here(&token) == REVOKED).await;
    assert_eq!(world.here(&other), Some(Ok(())));
    // everything that the subject was issued so far
    let wanted = Match {
        sub: Some("alice"),
        ..Match::default()
    };
    let now = SystemClock.unix().as_secs();
    let all = |issued_before: u64| Entry {
        id: Id::of_match(&wanted, &Ring).unwrap(),
        issued_before: issued_before.try_into().unwrap(),
        forget_at: NEVER,
    };
    world.push(event(3, false, &[all(now - 100)]));
    world.push(event(4, false, &[by_jti("c")]));
    let third = world.token("c");
    until("both have come", || world.here(&third) == REVOKED).await;
    assert_eq!(world.here(&other), Some(Ok(())), "issued later");
    world.push(event(5, false, &[all(now + 100)]));
    until("it is refused", || world.here(&other) == REVOKED).await;
    assert_eq!(world.fake.asked(), 0, "nobody was asked");
}

#[tokio::test]
async fn what_a_filter_hits_is_asked_for_and_an_error_where_nobody_answers() {
    let mut world = world(es256()).await;
    world.fake.revoked_jtis.lock().unwrap().push("a".to_owned());
    let many: Vec<_> = (0..1000)
        .map(|number| by_jti(&number.to_string()))
        .collect();
    let (token, clear) = (world.token("a"), world.token("clear"));
    let mut in_filter = many.clone();
    in_filter.push(by_jti("a"));
    world.push(filter(2, &in_filter));
    until("it is not judged here any more", || {
        world.here(&token).is_none()
    })
    .await;
    let verdict = world.local.verify(&verify(&token)).await.unwrap();
    assert_eq!(verdict.into_result().map(drop), Err(RejectReason::Revoked));
    assert_eq!(world.fake.asked(), 1);
    // 1 of 120 is asked for in vain, and believed; the others are judged here
    let asked = (0..200).filter(|number| {
        world
            .here(&world.token(&format!("clear {number}")))
            .is_none()
    });
    assert!(asked.count() < 20);
    // what is revoked after that is refused here
    world.push(event(3, false, &[by_jti("clear")]));
    until("it is refused", || world.here(&clear) == REVOKED).await;

    world.served = None;
    let error = world.local.verify(&verify(&token)).await.unwrap_err();
    assert_eq!(
        error.code(),
        Code::Unavailable,
        "neither rejected nor accepted: {error}"
    );
}

#[tokio::test]
async fn a_stream_opened_again_brings_them_again_and_takes_none_back_where_its_instance_lags() {
    let mut world = world(es256()).await;
    let (a, b) = (world.token("a"), world.token("b"));
    *world.fake.lease.lock().unwrap() = (300, 5);
    world.push(event(5, false, &[by_jti("a")]));
    world.fake.push(world.fake.lease_event());
    until("it is refused", || world.here(&a) == REVOKED).await;

    // an instance that has not heard of it, and of nothing else either
    *world.fake.lease.lock().unwrap() = (300, 4);
    *world.fake.tokens.lock().unwrap() = vec![event(4, true, &[by_jti("b")])];
    reopened(&mut world).await;
    until("the lease of before holds", || world.here(&a).is_some()).await;
    assert_eq!(world.here(&a), REVOKED, "what was known stays known");

    // one that is level says what there is
    *world.fake.lease.lock().unwrap() = (300, 6);
    *world.fake.tokens.lock().unwrap() = vec![event(6, true, &[by_jti("b")])];
    reopened(&mut world).await;
    until("it is all there is", || world.here(&b) == REVOKED).await;
    assert_eq!(world.here(&a), Some(Ok(())));
    *world.fake.tokens.lock().unwrap() = Vec::new();
    *world.fake.lease.lock().unwrap() = (300, 7);
    reopened(&mut world).await;
    until("none is left", || world.here(&b) == Some(Ok(()))).await;
}

#[tokio::test]
async fn an_event_that_cannot_be_read_ends_the_stream_and_is_not_taken_for_none() {
    let world = world(es256()).await;
    let mut broken = event(2, false, &[by_jti("a")]);
    broken.entries.pop();
    let before = world.fake.opened.load(Ordering::SeqCst);
    world.push(broken);
    let opened = || world.fake.opened.load(Ordering::SeqCst);
    until("it connects again", || opened() > before).await;
}

/// Ends every stream, and waits until the client has opened one again.
async fn reopened(world: &mut World) {
    let before = world.fake.opened.load(Ordering::SeqCst);
    world.fake.streams.lock().unwrap().clear();
    until("it connects again", || {
        world.fake.opened.load(Ordering::SeqCst) > before
    })
    .await;
    // the events of the opening are there once its lease is
    tokio::time::sleep(Duration::from_millis(200)).await;
}
