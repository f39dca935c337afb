//! kill -9 at random moments: what was acknowledged is there afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blackbox::{PATIENCE, Stack};
use client_admin::{
    AdminClient, CreateKeySet, ImportAs, ImportKey, KeySet, KeyState, KeyUse, RevokeKey,
    RotateKeySet,
};
use client_core::CryptoClient;

use crate::support::{Dice, admin, crypto, eventually, sign, signing_set, verify};

/// Of each process.
const KILLS: usize = 20;
const SET: &str = "op/access-token";

/// What the key-manager said was done: the kids of each set, and those that are revoked.
#[derive(Default)]
struct Acknowledged {
    revisions: BTreeMap<String, u64>,
    kids: BTreeMap<String, BTreeSet<String>>,
    revoked: BTreeSet<String>,
}

impl Acknowledged {
    fn note(&mut self, set: &KeySet) {
        let revision = self.revisions.entry(set.name.clone()).or_default();
        *revision = set.revision.max(*revision);
        let kids = self.kids.entry(set.name.clone()).or_default();
        kids.extend(set.versions.iter().map(|version| version.kid.clone()));
        let revoked = set
            .versions
            .iter()
            .filter(|version| version.state == KeyState::Revoked);
        self.revoked
            .extend(revoked.map(|version| version.kid.clone()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_of_each_process_lose_no_acknowledged_key_and_leave_one_active() {
    let mut stack = Stack::start();
    signing_set(&stack, SET, "ES256").await;
    let imports: Vec<String> = (0..30).map(|_| stack.ctl(&["keygen", "ES256"])).collect();
    let acknowledged: Arc<Mutex<Acknowledged>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let mutating = tokio::spawn(mutate(
        admin(&stack),
        imports,
        Arc::clone(&acknowledged),
        Arc::clone(&stop),
    ));
    let signing = tokio::spawn(keep_signing(crypto(&stack, "token"), Arc::clone(&stop)));

    let mut dice = Dice::new("twenty kills of each process");
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(dice.below(250))).await;
        stack.key_manager.take().expect("it runs").kill();
        stack.start_daemons();
        tokio::time::sleep(Duration::from_millis(dice.below(250))).await;
        stack.crypto_service.take().expect("it runs").kill();
        stack.start_daemons();
    }
    stop.store(true, Ordering::Relaxed);
    let mutations = mutating.await.unwrap();
    let tokens = signing.await.unwrap();
    println!(
        "{mutations} mutations were acknowledged and {} tokens signed in between",
        tokens.len()
    );
    assert!(
        mutations >= KILLS && tokens.len() >= KILLS,
        "too little happened between the kills"
    );

    let acknowledged =
        std::mem::take(&mut *acknowledged.lock().unwrap_or_else(PoisonError::into_inner));
    everything_is_there(&stack, &acknowledged).await;
    let (token, auth) = (crypto(&stack, "token"), crypto(&stack, "auth"));
    assert!(
        eventually(PATIENCE, async || sign(&token, SET).await.is_ok()).await,
        "signing does not recover"
    );
    for text in &tokens {
        assert!(
            verify(&auth, text).await.unwrap().is_ok(),
            "a token from between the kills does not verify"
        );
    }
}

async fn everything_is_there(stack: &Stack, acknowledged: &Acknowledged) {
    let admin = admin(stack);
    assert!(
        !acknowledged.revoked.is_empty() && acknowledged.kids.len() > 1,
        "nothing of each kind was acknowledged"
    );
    for (name, kids) in &acknowledged.kids {
        let set = admin
            .get("", name)
            .await
            .unwrap_or_else(|error| panic!("{name} was acknowledged: {error}"))
            .key_set;
        let held: BTreeSet<String> = set
            .versions
            .iter()
            .map(|version| version.kid.clone())
            .collect();
        assert!(
            kids.is_subset(&held),
            "{name}: {kids:?} were acknowledged, {held:?} are there"
        );
        assert!(
            set.revision >= acknowledged.revisions[name],
            "{name} went back to revision {}",
            set.revision
        );
        let revived: Vec<_> = set
            .versions
            .iter()
            .filter(|version| {
                acknowledged.revoked.contains(&version.kid) && version.state != KeyState::Revoked
            })
            .collect();
        assert!(revived.is_empty(), "{name}: {revived:?}");
    }
    for set in admin.list("").await.unwrap() {
        let active = set
            .versions
            .iter()
            .filter(|version| version.state == KeyState::Active)
            .count();
        assert!(
            active <= 1,
            "{} has {active} Active keys: {set:?}",
            set.name
        );
    }
}

/// Creates, rotates, imports and revokes without a pause; counts what was acknowledged. What fails is not known to have happened.
async fn mutate(
    admin: AdminClient,
    imports: Vec<String>,
    acknowledged: Arc<Mutex<Acknowledged>>,
    stop: Arc<AtomicBool>,
) -> usize {
    let admin = admin.within(Duration::from_secs(3));
    let note = |set: &KeySet| {
        acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(set)
    };
    let mut done = 0;
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let name = format!("op/made-{}", round % 10);
        if let Ok(set) = admin
            .create(&CreateKeySet::new(&name, KeyUse::Sign, "ES256"))
            .await
        {
            note(&set);
            done += 1;
        }
        if let Ok(rotated) = admin.rotate(&RotateKeySet::new(&name).force()).await {
            note(&rotated.key_set);
            done += 1;
        }
        let jwk = &imports[round % imports.len()];
        if let Ok((set, kid)) = admin
            .import(&ImportKey::new(&name, jwk.trim(), ImportAs::Prepared))
            .await
        {
            note(&set);
            done += 1;
            if let Ok(revoked) = admin.revoke(&RevokeKey::new(&name, kid)).await {
                note(&revoked.key_set);
                done += 1;
            }
        }
        // the set that signs is rotated too, its keys are never revoked
        if let Ok(rotated) = admin.rotate(&RotateKeySet::new(SET).force()).await {
            note(&rotated.key_set);
            done += 1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    done
}

/// Signs without a pause; the tokens that were answered.
async fn keep_signing(token: CryptoClient, stop: Arc<AtomicBool>) -> Vec<String> {
    let token = token.within(Duration::from_secs(1));
    let mut tokens = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        if let Ok(answer) = sign(&token, SET).await {
            tokens.push(answer.token);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokens
}
