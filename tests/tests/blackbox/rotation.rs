//! Rotation and revocation, while the service is at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use blackbox::{PATIENCE, Stack, get};
use client_admin::{AdminClient, HoldingReason, KeySet, RevokeKey, RotateKeySet};
use client_core::request::{RejectReason, Verdict, Verify};
use client_core::{CryptoClient, Follow, LocalVerifier};
use tokio::task::JoinSet;

use crate::instance::Instance;
use crate::support::{
    AUDIENCE, QUICK, active_kid, admin, crypto, eventually, sign, signing_set, verify,
};

const SET: &str = "op/access-token";
/// Tasks that sign and verify without a pause.
const CALLERS: usize = 4;
/// Calls that the rotations have to see.
const CALLS: usize = 4_000;

async fn shown(admin: &AdminClient) -> KeySet {
    admin.get("", SET).await.expect(SET).key_set
}

#[tokio::test]
async fn an_unforced_rotation_waits_for_the_ack_that_is_withheld_and_then_for_the_lead() {
    let stack = Stack::start_with(&QUICK);
    let admin = admin(&stack);
    // a live subscriber that has not seen what comes next
    let mut instance = Instance::connect(&stack).await;
    instance.lease().await;
    let set = signing_set(&stack, SET, "ES256").await;
    let (old, standby) = (
        active_kid(&set),
        set.standby().expect("a standby").kid.clone(),
    );

    let rotated = admin.rotate(&RotateKeySet::new(SET)).await.unwrap();
    assert_eq!(
        active_kid(&rotated.key_set),
        old,
        "promoted without its waits"
    );
    assert!(!rotated.holding.is_empty());
    // far longer than the lead after the ack of the other instance
    let promoted = eventually(Duration::from_secs(8), async || {
        active_kid(&shown(&admin).await) != old
    })
    .await;
    assert!(
        !promoted,
        "promoted although {} has not acknowledged",
        instance.name()
    );
    let holding = admin.get("", SET).await.unwrap().holding;
    let withheld = holding
        .iter()
        .find(|wait| wait.reason == HoldingReason::Ack);
    let withheld = withheld.unwrap_or_else(|| panic!("nothing waits for an ack: {holding:?}"));
    assert_eq!(withheld.subscriber, instance.name());
    assert!(
        withheld.until.is_some() && withheld.description.contains("ack"),
        "{withheld:?}"
    );

    instance.ack();
    let leading = async || {
        let holding = admin.get("", SET).await.unwrap().holding;
        holding
            .iter()
            .any(|wait| wait.reason == HoldingReason::Lead)
    };
    assert!(
        eventually(PATIENCE, leading).await,
        "the lead does not follow the ack"
    );
    assert_eq!(
        active_kid(&shown(&admin).await),
        old,
        "the lead follows the last ack, it does not run beside it"
    );
    assert!(
        eventually(PATIENCE, async || active_kid(&shown(&admin).await)
            == standby)
        .await,
        "no promotion after the lead"
    );
    let set = shown(&admin).await;
    assert_eq!(
        set.forced.len(),
        1,
        "only the first key was forced: {:?}",
        set.forced
    );
    assert_ne!(
        set.standby().map(|key| key.kid.as_str()),
        None,
        "a standby is made at each promotion"
    );
    let token = crypto(&stack, "token");
    let signs = async || {
        sign(&token, SET)
            .await
            .is_ok_and(|signed| signed.kid == standby)
    };
    assert!(
        eventually(PATIENCE, signs).await,
        "the instance does not sign with the new key"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_outlive_four_rotations_while_thousands_of_calls_run_and_none_fails() {
    let stack = Stack::start_with(&QUICK);
    let admin = admin(&stack);
    signing_set(&stack, SET, "ES256").await;
    let (token, auth) = (crypto(&stack, "token"), crypto(&stack, "auth"));
    let (stop, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(keep_calling(
            token.clone(),
            auth.clone(),
            Arc::clone(&stop),
            Arc::clone(&calls),
        ));
    }
    let mut signed = vec![sign(&token, SET).await.unwrap()];
    for round in 0..4 {
        let before = calls.load(Ordering::Relaxed);
        let old = active_kid(&shown(&admin).await);
        // the last one takes its time
        let rotate = RotateKeySet::new(SET);
        let rotate = if round < 3 { rotate.force() } else { rotate };
        admin.rotate(&rotate).await.unwrap();
        assert!(
            eventually(PATIENCE, async || active_kid(&shown(&admin).await) != old).await,
            "round {round}: no promotion"
        );
        let new = active_kid(&shown(&admin).await);
        let signs = async || {
            sign(&token, SET)
                .await
                .is_ok_and(|signed| signed.kid == new)
        };
        assert!(
            eventually(PATIENCE, signs).await,
            "round {round}: the new key does not sign"
        );
        signed.push(sign(&token, SET).await.unwrap());
        let busy = async || calls.load(Ordering::Relaxed) >= before + CALLS / 4;
        assert!(
            eventually(PATIENCE, busy).await,
            "round {round}: too few calls"
        );
    }
    stop.store(true, Ordering::Relaxed);
    let mut kids = Vec::new();
    while let Some(ended) = callers.join_next().await {
        kids.extend(ended.expect("a call failed"));
    }
    for token in &signed {
        let valid = verify(&auth, &token.token).await.unwrap();
        assert_eq!(
            valid.map(|valid| valid.kid),
            Ok(token.kid.clone()),
            "a token from before a rotation"
        );
    }
    kids.sort_unstable();
    kids.dedup();
    let calls = calls.load(Ordering::Relaxed);
    assert!(
        kids.len() >= 5 && calls >= CALLS,
        "{calls} calls with {} keys",
        kids.len()
    );
    println!(
        "{calls} calls during 3 forced rotations and 1 unforced, with {} keys: none failed",
        kids.len()
    );
}

/// Signs, and verifies both the new token and the first one. Gives the keys that signed.
async fn keep_calling(
    token: CryptoClient,
    auth: CryptoClient,
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
) -> Vec<String> {
    let first = sign(&token, SET).await.expect("the first call");
    let mut kids = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let signed = sign(&token, SET).await.expect("sign");
        for text in [&signed.token, &first.token] {
            let valid = verify(&auth, text).await.expect("verify");
            valid.unwrap_or_else(|reason| panic!("{reason} for a token of {}", signed.kid));
        }
        calls.fetch_add(3, Ordering::Relaxed);
        if kids.last() != Some(&signed.kid) {
            kids.push(signed.kid);
        }
    }
    kids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_verifies_nothing_within_a_second_of_the_push() {
    let stack = Stack::start();
    let admin = admin(&stack);
    let set = signing_set(&stack, SET, "ES256").await;
    let (revoked, standby) = (
        active_kid(&set),
        set.standby().expect("a standby").kid.clone(),
    );
    let (token, auth) = (crypto(&stack, "token"), crypto(&stack, "auth"));
    let old = sign(&token, SET).await.unwrap();
    assert_eq!(old.kid, revoked);
    let local = LocalVerifier::start(auth.clone(), Follow::all());
    tokio::time::timeout(PATIENCE, local.ready()).await.unwrap();
    let here = || local.verify_here(&Verify::new(&old.token, AUDIENCE));
    assert!(matches!(here(), Some(Verdict::Valid(_))), "{:?}", here());

    let answer = admin.revoke(&RevokeKey::new(SET, &revoked)).await.unwrap();
    // the answer says that every instance has acknowledged: the push has left
    assert_eq!((answer.acked, answer.total), (1, 1), "{answer:?}");
    assert!(answer.elapsed < Duration::from_secs(1), "{answer:?}");
    assert_eq!(
        verify(&auth, &old.token).await.unwrap(),
        Err(RejectReason::KeyRevoked),
        "remote"
    );
    let refused = || here() == Some(Verdict::Rejected(RejectReason::KeyRevoked));
    assert!(
        eventually(Duration::from_secs(1), async || refused()).await,
        "a thin client, after one second: {:?}",
        here()
    );
    let jwks = get(stack.crypto.http, "/.well-known/jwks.json").unwrap();
    assert!(
        !jwks.body.contains(&revoked) && jwks.body.contains(&standby),
        "{jwks:?}"
    );
    // the same message carried the standby's private half
    let signed = sign(&token, SET).await.unwrap();
    assert_eq!(signed.kid, standby);
    assert!(verify(&auth, &signed.token).await.unwrap().is_ok());
}
