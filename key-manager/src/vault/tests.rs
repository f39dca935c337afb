mod backup;
mod sealing;
mod shared;
mod tokens;
mod writes;

use std::{sync::Arc, time::Duration};

use jose_aws_lc::AwsLc;
use keyring::{
    Algorithm, KeySpec, NewKeySet, Policy, Profile, Publish, State, Subscriber, Time, Times, Use,
};
use service_kit::clock::FakeClock;

use super::*;
use crate::{
    lifecycle::{Lifecycle, Mutation},
    metrics::Metrics,
    seal::{KekError, KeyEncryptionKey as _, LocalKek},
    store::{KeyStore, MemoryStore},
};

const NOW: u64 = 1_800_000_000;

fn kek() -> Arc<LocalKek> {
    Arc::new(LocalKek::new(&[1; 32]).unwrap())
}

fn name() -> SetName {
    SetName::new("default", "op/access-token")
}

fn new_set(name: &SetName, algorithm: &str) -> NewKeySet {
    let policy = Policy::new(KeySpec::of(Algorithm::new(algorithm).unwrap()));
    NewKeySet {
        tenant: name.tenant.clone(),
        name: name.name.clone(),
        key_use: Use::Sign,
        issuer: Some("https://op.example.com".to_owned()),
        publish: if policy.key.algorithm.is_symmetric() {
            Publish::None
        } else {
            Publish::Public
        },
        profile: Profile::default(),
        policy,
    }
}

async fn lifecycle(store: &Arc<dyn KeyStore>) -> Lifecycle {
    let vault = Vault::open(Arc::clone(store), kek()).await.unwrap();
    Lifecycle::new(
        Arc::new(vault),
        Arc::new(AwsLc),
        Times::DEVELOPMENT,
        FakeClock::at(NOW).shared(),
        Metrics::default(),
    )
}

fn memory() -> Arc<dyn KeyStore> {
    Arc::new(MemoryStore::new())
}

/// A store with a set that has been rotated once, so that it has an Active, a standby and history.
async fn filled() -> Arc<dyn KeyStore> {
    let store = memory();
    let lifecycle = lifecycle(&store).await;
    lifecycle
        .create(new_set(&name(), "ES256"), &Mutation::default())
        .await
        .unwrap();
    lifecycle
        .rotate(&name(), true, &Mutation::default())
        .await
        .unwrap();
    store
}

async fn dump(store: &Arc<dyn KeyStore>) -> Vec<(String, Vec<u8>)> {
    store
        .scan("", None, usize::MAX)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| (entry.key, entry.value))
        .collect()
}

async fn restored(entries: &[(String, Vec<u8>)]) -> Arc<dyn KeyStore> {
    let store = memory();
    let batch = entries.iter().fold(Batch::new(), |batch, (key, value)| {
        batch.put(key, value.as_slice())
    });
    store.commit(batch).await.unwrap();
    store
}

/// Opens the vault and every key in it.
async fn open_all(store: Arc<dyn KeyStore>) -> Result<usize, VaultError> {
    let vault = Vault::open(store, kek()).await?;
    let mut opened = 0;
    for entry in vault.all().1 {
        for version in &entry.set.versions {
            opened += usize::from(vault.secret(&entry, &version.kid).await?.is_some());
        }
    }
    Ok(opened)
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let store = filled().await;
    let before = Vault::open(Arc::clone(&store), kek()).await.unwrap();
    let entry = before.get(&name()).unwrap();
    assert_eq!(entry.set.versions.len(), 2);
    assert!(entry.set.active().is_some() && entry.set.standby().is_some());
    assert_eq!(before.epoch(), entry.set.epoch);
    assert_eq!(open_all(store).await.unwrap(), 2);
}

#[tokio::test]
async fn a_flipped_bit_in_any_authenticated_entry_is_seen() {
    let entries = dump(&filled().await).await;
    let mut flipped = 0;
    for (index, (key, value)) in entries.iter().enumerate() {
        // The order of changes and the claims on materials are indexes: what they point to is checked.
        if key.starts_with("changed/") || key.starts_with("material/") {
            continue;
        }
        let step = (value.len() / 40).max(1);
        for at in (0..value.len()).step_by(step) {
            let mut altered = entries.clone();
            altered[index].1[at] ^= 1;
            let outcome = open_all(restored(&altered).await).await;
            assert!(outcome.is_err(), "{key} byte {at} of {}", value.len());
            flipped += 1;
        }
    }
    assert!(flipped > 100, "{flipped}");
}

#[tokio::test]
async fn an_old_record_put_back_a_removed_one_and_an_old_epoch_are_seen() {
    let store = memory();
    let lifecycle = lifecycle(&store).await;
    lifecycle
        .create(new_set(&name(), "ES256"), &Mutation::default())
        .await
        .unwrap();
    let old = dump(&store).await;
    lifecycle
        .rotate(&name(), true, &Mutation::default())
        .await
        .unwrap();
    let new = dump(&store).await;
    assert_eq!(open_all(restored(&new).await).await.unwrap(), 2);
    for (what, replayed) in [("set", "set/default/op/access-token"), ("epoch", EPOCH)] {
        let mut mixed = new.clone();
        let index = mixed.iter().position(|(key, _)| key == replayed).unwrap();
        mixed[index].1 = old
            .iter()
            .find(|(key, _)| key == replayed)
            .unwrap()
            .1
            .clone();
        assert!(
            matches!(
                open_all(restored(&mixed).await).await,
                Err(VaultError::Damaged { .. })
            ),
            "{what}"
        );
    }
    let removed: Vec<_> = new
        .iter()
        .filter(|(key, _)| !key.starts_with("set/"))
        .cloned()
        .collect();
    assert!(matches!(
        open_all(restored(&removed).await).await,
        Err(VaultError::Damaged { .. })
    ));
}

#[tokio::test]
async fn a_wrong_kek_opens_nothing_and_writes_nothing() {
    let store = filled().await;
    let before = dump(&store).await;
    let wrong = Arc::new(LocalKek::new(&[2; 32]).unwrap());
    let root = store.get(ROOT).await.unwrap();
    let named = |refused: Result<(), VaultError>| {
        let Err(VaultError::Kek(KekError::Wanted {
            wanted, kek: given, ..
        })) = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!((wanted.as_str(), given.as_str()), (kek().id(), wrong.id()));
    };
    named(check_keks(&Arc::clone(&wrong).into(), root.as_ref()).await);
    named(
        Vault::open(Arc::clone(&store), Arc::clone(&wrong))
            .await
            .map(drop),
    );
    assert!(before == dump(&store).await);
}

#[tokio::test]
async fn a_store_without_its_root_key_is_not_taken_for_a_new_one() {
    let entries: Vec<_> = dump(&filled().await)
        .await
        .into_iter()
        .filter(|(key, _)| key != ROOT)
        .collect();
    assert!(matches!(
        Vault::open(restored(&entries).await, kek()).await,
        Err(VaultError::Damaged { .. })
    ));
}

#[tokio::test]
async fn no_private_key_is_stored_in_the_clear() {
    let store = filled().await;
    let vault = Vault::open(Arc::clone(&store), kek()).await.unwrap();
    let entry = vault.get(&name()).unwrap();
    let stored: Vec<u8> = dump(&store)
        .await
        .into_iter()
        .flat_map(|(_, value)| value)
        .collect();
    for version in &entry.set.versions {
        let secret = vault.secret(&entry, &version.kid).await.unwrap().unwrap();
        let jose::key::PrivateKey::Ec(key) = jose::key::PrivateKey::from_pkcs8(&secret).unwrap()
        else {
            panic!("not EC")
        };
        assert!(
            !stored
                .windows(16)
                .any(|window| window == &key.expose_scalar()[..16]),
            "{}",
            version.kid
        );
    }
}

#[tokio::test]
async fn of_two_replicas_that_rotate_at_once_one_wins_and_no_set_has_two_active_keys() {
    let store = memory();
    let replicas = [lifecycle(&store).await, lifecycle(&store).await];
    replicas[0]
        .create(new_set(&name(), "ES256"), &Mutation::default())
        .await
        .unwrap();
    replicas[1].vault().refresh().await.unwrap();
    for round in 0..5 {
        let revision = replicas[0].vault().get(&name()).unwrap().set.revision;
        let mutation = Mutation {
            expected_revision: revision,
            ..Mutation::default()
        };
        let set = name();
        let (first, second) = tokio::join!(
            replicas[0].rotate(&set, true, &mutation),
            replicas[1].rotate(&set, true, &mutation)
        );
        assert_eq!(
            usize::from(first.is_ok()) + usize::from(second.is_ok()),
            1,
            "round {round}: {first:?} {second:?}"
        );
        for replica in &replicas {
            replica.vault().refresh().await.unwrap();
            replica.advance(&name()).await.unwrap();
        }
        replicas[0].vault().refresh().await.unwrap();
        let entry = replicas[0].vault().get(&name()).unwrap();
        assert_eq!(
            entry.set.in_state(State::Active).count(),
            1,
            "round {round}"
        );
    }
    assert!(open_all(store).await.is_ok());
}

#[tokio::test]
async fn racing_writers_without_expectations_all_get_through() {
    let store = memory();
    let replicas = [lifecycle(&store).await, lifecycle(&store).await];
    let sets: Vec<SetName> = (0..6)
        .map(|number| SetName::new("default", format!("op/{number}")))
        .collect();
    let mutation = Mutation::default();
    for set in &sets {
        replicas[0]
            .create(new_set(set, "ES256"), &mutation)
            .await
            .unwrap();
    }
    replicas[1].vault().refresh().await.unwrap();
    let rotations = sets
        .iter()
        .enumerate()
        .map(|(index, set)| replicas[index % 2].rotate(set, true, &mutation));
    for (outcome, set) in futures::future::join_all(rotations)
        .await
        .into_iter()
        .zip(&sets)
    {
        assert!(outcome.is_ok(), "{set:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn instances_move_no_epoch_and_survive_opening_again() {
    let store = filled().await;
    let vault = Vault::open(Arc::clone(&store), kek()).await.unwrap();
    let epoch = vault.epoch();
    let subscriber = Subscriber::new(
        "spiffe://crypto.dev/crypto-service#1",
        epoch,
        Time::from_millis(5),
    );
    let instance = Instance {
        caller: "spiffe://crypto.dev/crypto-service".to_owned(),
        scope: Scope::default(),
        subscriber,
        leased: false,
    };
    let made = vault
        .update_instance::<VaultError>(&instance.subscriber.name, |_| Ok(Some(instance.clone())))
        .await
        .unwrap();
    assert_eq!(made.as_deref(), Some(&instance));
    assert_eq!(vault.epoch(), epoch);
    let again = Vault::open(store, kek()).await.unwrap();
    assert_eq!(
        again
            .instances()
            .iter()
            .map(|known| known.as_ref().clone())
            .collect::<Vec<_>>(),
        [instance]
    );
}

#[tokio::test]
async fn an_instance_that_never_had_a_lease_is_forgotten_within_minutes() {
    let clock = FakeClock::at(NOW);
    let vault = Arc::new(Vault::open(memory(), kek()).await.unwrap());
    let lifecycle = Lifecycle::new(
        Arc::clone(&vault),
        Arc::new(AwsLc),
        Times::DEVELOPMENT,
        clock.shared(),
        Metrics::default(),
    );
    for (name, leased) in [("never", false), ("connected", false), ("leased", true)] {
        let instance = Instance {
            caller: "caller".to_owned(),
            scope: Scope::default(),
            subscriber: Subscriber::new(name, 1, lifecycle.now()),
            leased,
        };
        vault
            .update_instance::<VaultError>(name, |_| Ok(Some(instance.clone())))
            .await
            .unwrap();
    }
    let _stream = lifecycle.connect("connected");
    for (minutes, kept) in [
        (2, ["connected", "leased", "never"].as_slice()),
        (2, ["connected", "leased"].as_slice()),
    ] {
        clock.advance(Duration::from_secs(minutes * 60));
        lifecycle.forget_instances().await.unwrap();
        let known = vault.instances();
        let names: Vec<_> = known
            .iter()
            .map(|instance| instance.subscriber.name.as_str())
            .collect();
        assert_eq!(names, kept);
    }
}

#[tokio::test]
async fn who_lags_gets_parts_in_order_without_gaps() {
    let store = memory();
    let lifecycle = lifecycle(&store).await;
    for number in 0..7 {
        lifecycle
            .create(
                new_set(&SetName::new("default", format!("op/{number}")), "ES256"),
                &Mutation::default(),
            )
            .await
            .unwrap();
    }
    let vault = lifecycle.vault();
    let (mut at, mut seen) = (0, std::collections::BTreeSet::new());
    while let Changes::Some { epoch, entries, .. } = vault.changes_since(at, 3) {
        assert!(
            epoch > at && entries.len() <= 3,
            "{at} {epoch} {}",
            entries.len()
        );
        assert!(entries.iter().all(|entry| entry.set.epoch > at), "{at}");
        seen.extend(entries.iter().map(|entry| entry.set.name.clone()));
        at = epoch;
    }
    assert_eq!((at, seen.len()), (vault.epoch(), 7));
    let opened = Vault::open(store, kek()).await.unwrap();
    assert!(
        matches!(opened.changes_since(0, 3), Changes::TooOld),
        "the order before the start is not known"
    );
}

/// The stored bytes of format 1: whatever comes later reads them.
#[tokio::test]
async fn records_of_format_1_are_read() {
    let fixture = include_str!("../../tests/fixtures/store-format-1.json");
    let entries: std::collections::BTreeMap<String, String> =
        serde_json::from_str(fixture).unwrap();
    let entries: Vec<_> = entries
        .into_iter()
        .map(|(key, value)| (key, jose::base64url::decode(value).unwrap()))
        .collect();
    let store = restored(&entries).await;
    let vault = Vault::open(Arc::clone(&store), kek()).await.unwrap();
    let states = |name: &str| -> Vec<State> {
        vault
            .get(&SetName::new("default", name))
            .unwrap()
            .set
            .versions
            .iter()
            .map(|version| version.state)
            .collect()
    };
    assert_eq!(states("op/access-token"), [State::Active, State::Prepared]);
    assert_eq!(states("op/refresh-token"), [State::Prepared]);
    assert_eq!(vault.instances().len(), 1);
    assert_eq!(open_all(store).await.unwrap(), 3);
    let done = vault.request(
        "spiffe://crypto.dev/admin",
        "fixture",
        b"content",
        Time::from_millis(NOW * 1_000),
    );
    assert_eq!(vault.recall(&done).await.unwrap(), Remembered::Done(None));
}
