//! Data keys and key-encryption keys that change: everything opens at every moment, and nothing that is altered goes unseen.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use jose::revocation::{Entry as Revoked, Id};
use proptest::{collection::vec, prelude::*};
use service_kit::shutdown::Shutdown;
use tokio::runtime::Runtime;

use super::*;
use crate::store::{Replacement, Snapshot};
use crate::{
    audit::Anchor,
    seal::{Keks, KeyEncryptionKey},
    sealer::Sealer,
    store::SqliteStore,
    vault::{
        Forgetting, Owner, Pass, Revoking, Rotation, Step, envelope::generation_of,
        sealing::kinds_of,
    },
};

fn at(seconds: u64) -> Time {
    Time::from_millis((NOW + seconds) * 1_000)
}

fn tenant() -> Owner {
    Owner::Tenant("default".to_owned())
}

async fn opened(store: &Arc<dyn KeyStore>) -> Arc<Vault> {
    Arc::new(Vault::open(Arc::clone(store), kek()).await.unwrap())
}

async fn rekey(vault: &Arc<Vault>, owner: &Owner) -> Result<(), VaultError> {
    let rotation = Rotation {
        owner: owner.clone(),
        now: at(0),
        request: None,
    };
    vault.turn().await.rotate_data_key(rotation).await
}

/// One pass from its beginning to its end; false where it was overtaken.
async fn pass(vault: &Arc<Vault>, owner: &Owner) -> Result<bool, VaultError> {
    let Some(mut pass) = vault.begin_pass(owner, at(1)).await? else {
        return Ok(true);
    };
    loop {
        match vault.reseal_some(&mut pass, at(2)).await? {
            Step::More => {}
            Step::Done => return vault.end_pass(&pass, at(3)).await,
            Step::Outdated => return Ok(false),
        }
    }
}

async fn settle(vault: &Arc<Vault>) {
    for _ in 0..20 {
        let mut work = vault.sealing_work().await.unwrap();
        work.retain(|work| work.reseal);
        if work.is_empty() {
            return;
        }
        for work in work {
            pass(vault, &work.owner).await.unwrap();
        }
    }
    panic!("re-sealing does not end");
}

async fn revoke_token(vault: &Arc<Vault>, jti: &str, forget_at: u32) -> Result<u64, VaultError> {
    let entry = Revoked {
        id: Id::of_jti(jti, &AwsLc),
        issued_before: 0,
        forget_at,
    };
    let revoking = Revoking {
        entries: vec![(name(), entry)],
        limit: 100,
        request: None,
    };
    vault.turn().await.revoke_tokens(revoking).await
}

fn anchor() -> Anchor {
    let statement = serde_json::json!({"chain": "c0ffee", "seq": 3, "hash": "aa", "at": 5});
    serde_json::from_value(serde_json::json!({"statement": statement, "jws": "e30.e30.e30"}))
        .unwrap()
}

/// A store with an entry of every kind that stands under a data key, and its vault.
async fn whole() -> (Arc<dyn KeyStore>, Lifecycle) {
    let store = filled().await;
    let lifecycle = lifecycle(&store).await;
    let vault = lifecycle.vault();
    for (jti, forget_at) in [("a", 100), ("b", 2_000), ("c", 3_000)] {
        revoke_token(vault, jti, forget_at).await.unwrap();
    }
    let forgetting = Forgetting { until: 200 };
    vault.turn().await.forget_tokens(forgetting).await.unwrap();
    let instance = Instance {
        caller: "caller".to_owned(),
        scope: Scope::default(),
        subscriber: Subscriber::new("caller#1", 1, at(0)),
        leased: true,
    };
    vault
        .update_instance::<VaultError>("caller#1", |_| Ok(Some(instance.clone())))
        .await
        .unwrap();
    vault
        .keep_audit_key(b"the key of the audit log")
        .await
        .unwrap();
    vault.anchor(&anchor()).await.unwrap();
    let mutation = Mutation {
        caller: "caller".to_owned(),
        request_id: "r".to_owned(),
        ..Mutation::default()
    };
    lifecycle.rotate(&name(), true, &mutation).await.unwrap();
    (store, lifecycle)
}

/// Everything in the store opens, and says what `whole` has put there.
async fn is_whole(store: &Arc<dyn KeyStore>, keks: impl Into<Keks>) {
    let vault = Vault::open(Arc::clone(store), keks).await.unwrap();
    let mut keys = 0;
    for entry in vault.all().1 {
        for version in &entry.set.versions {
            keys += usize::from(vault.secret(&entry, &version.kid).await.unwrap().is_some());
        }
    }
    assert_eq!(keys, 3);
    assert_eq!((vault.revoked_tokens(), vault.instances().len()), (2, 1));
    assert_eq!(vault.anchors().await.unwrap().len(), 1);
    let kept = vault.audit_key().await.unwrap().unwrap();
    assert_eq!(kept.as_slice(), b"the key of the audit log");
    let request = vault.request("caller", "r", b"", at(5));
    assert_eq!(
        vault.recall(&request).await.unwrap(),
        Remembered::Done(None)
    );
}

/// The lowest and highest generation that stand anywhere in the store.
async fn generations(store: &Arc<dyn KeyStore>) -> (u32, u32) {
    let mut found = Vec::new();
    for (key, value) in dump(store).await {
        assert_eq!(kinds_of(&key), 1, "{key} is of one kind");
        let sealed = key.starts_with("key/") || key == "audit-key";
        if sealed && !value.is_empty() {
            found.push(crate::seal::generation_of(&value).unwrap());
        } else if let Some(generation) = generation_of(&value) {
            found.push(generation);
        }
    }
    (*found.iter().min().unwrap(), *found.iter().max().unwrap())
}

#[tokio::test]
async fn everything_is_written_under_the_new_data_keys_at_once_and_the_rest_follows() {
    let (store, lifecycle) = whole().await;
    let vault = lifecycle.vault();
    let (epoch, heads) = (vault.epoch(), dump(&store).await);
    for owner in [Owner::Root, tenant()] {
        rekey(vault, &owner).await.unwrap();
    }
    is_whole(&store, kek()).await;
    assert_eq!(vault.epoch(), epoch, "a rotation is no write of a key set");
    lifecycle
        .create(
            new_set(&SetName::new("default", "op/later"), "ES256"),
            &Mutation::default(),
        )
        .await
        .unwrap();
    let before: Vec<&String> = heads.iter().map(|(key, _)| key).collect();
    for (key, value) in dump(&store).await {
        if before.contains(&&key) || value.is_empty() {
            continue;
        }
        let under = match key.starts_with("key/") {
            true => crate::seal::generation_of(&value).ok(),
            false => generation_of(&value),
        };
        assert!(under.is_none_or(|under| under == 2), "{key}: {under:?}");
    }
    assert_eq!(generations(&store).await, (1, 2));
    let shown = vault.sealing(at(9), ("", 9), |_| true).await.unwrap();
    assert!(shown.root.left() > 0 && shown.tenants[0].left() > 0);
    assert_eq!(shown.tenants[0].began, Some(at(0)));
    settle(vault).await;
    assert_eq!(generations(&store).await, (2, 2));
    let shown = vault.sealing(at(60), ("", 9), |_| true).await.unwrap();
    for keys in [&shown.root, &shown.tenants[0]] {
        assert_eq!((keys.left(), keys.generations.len()), (0, 1), "{keys:?}");
        assert_eq!((keys.present, keys.ended), (2, Some(at(3))));
    }
    assert_eq!(vault.sealing_left(), (0, 0, 0));
    let fresh = opened(&store).await;
    assert_eq!(fresh.epoch(), vault.epoch());
    assert_eq!(open_all(store).await.unwrap(), 4);
}

#[tokio::test]
async fn what_is_left_is_counted_down_to_nothing() {
    let (store, lifecycle) = whole().await;
    let vault = lifecycle.vault();
    rekey(vault, &Owner::Root).await.unwrap();
    let before = vault.sealing(at(0), ("", 9), |_| true).await.unwrap();
    // two revocations, what is forgotten, a record of each other kind; the entry `epoch` is there already
    let counted: Vec<_> = before
        .root
        .generations
        .iter()
        .map(|one| (one.records, one.keys))
        .collect();
    let garbage = dump(&store)
        .await
        .iter()
        .filter(|(key, _)| key.starts_with("revoked/"))
        .count();
    let records = u64::try_from(garbage).unwrap() + 4;
    assert_eq!(counted, [(records, 1), (1, 0)]);
    settle(vault).await;
    let after = vault.sealing(at(0), ("", 9), |_| true).await.unwrap();
    let one = &after.root.generations[0];
    assert_eq!((one.generation, one.records, one.keys), (2, records + 1, 1));
    assert!(
        generations(&store).await.0 == 1,
        "the tenant's is not touched"
    );
}

/// A store whose commits fail from some number on, as for a process that ends there.
#[derive(Debug)]
struct Mortal {
    store: Arc<dyn KeyStore>,
    left: AtomicUsize,
}

#[async_trait]
impl KeyStore for Mortal {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.store.get(key).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.store.scan(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        match left {
            Ok(_) => self.store.commit(batch).await,
            Err(_dead) => Err(StoreError::Unavailable("killed".into())),
        }
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot().await
    }

    async fn replace(&self, replacement: Replacement) -> Result<u64, StoreError> {
        self.store.replace(replacement).await
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.store.watch()
    }
}

#[tokio::test]
async fn a_process_that_ends_before_any_write_of_it_leaves_a_store_that_opens_and_goes_on() {
    for owner in [Owner::Root, tenant()] {
        for writes in 0.. {
            let (store, _) = whole().await;
            let mortal: Arc<dyn KeyStore> = Arc::new(Mortal {
                store: Arc::clone(&store),
                left: AtomicUsize::new(writes),
            });
            let vault = opened(&mortal).await;
            let mut survived = rekey(&vault, &owner).await.is_ok();
            survived = survived && pass(&vault, &owner).await.is_ok();
            is_whole(&store, kek()).await;
            let next = opened(&store).await;
            settle(&next).await;
            is_whole(&store, kek()).await;
            if survived {
                assert!(writes >= 3, "{owner}: a rotation, a chunk and the end");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_replica_that_did_not_rotate_writes_and_reads_on() {
    let (store, one) = whole().await;
    let other = lifecycle(&store).await;
    let none = Mutation::default();
    for round in 0..3_u32 {
        for owner in [Owner::Root, tenant()] {
            rekey(one.vault(), &owner).await.unwrap();
            // it knows nothing of it, and whatever it writes is under the new one
            other.rotate(&name(), true, &none).await.unwrap();
            one.vault().refresh().await.unwrap();
            revoke_token(one.vault(), &format!("{owner}{round}"), 9_000)
                .await
                .unwrap();
            other.vault().refresh().await.unwrap();
            other.vault().anchor(&anchor()).await.unwrap();
            settle(one.vault()).await;
            let entry = other.vault().get(&name()).unwrap();
            for version in &entry.set.versions {
                let secret = other.vault().secret(&entry, &version.kid).await.unwrap();
                assert!(secret.is_some(), "{round}: {}", version.kid);
            }
            other.rotate(&name(), true, &none).await.unwrap();
            one.vault().refresh().await.unwrap();
        }
        assert_eq!(other.vault().root().ring.present(), round + 2);
    }
    assert!(open_all(store).await.is_ok());
}

#[tokio::test]
async fn two_passes_at_once_end_with_everything_under_the_newest() {
    let (store, one) = whole().await;
    let other = lifecycle(&store).await;
    for owner in [Owner::Root, tenant()] {
        rekey(one.vault(), &owner).await.unwrap();
        let (first, second) = tokio::join!(pass(one.vault(), &owner), pass(other.vault(), &owner));
        let ends = [first.unwrap(), second.unwrap()];
        assert!(ends.contains(&true), "{owner}: {ends:?}");
    }
    assert_eq!(generations(&store).await, (2, 2));
    is_whole(&store, kek()).await;
}

#[tokio::test]
async fn a_pass_that_a_later_rotation_overtakes_removes_nothing() {
    let (store, lifecycle) = whole().await;
    let vault = lifecycle.vault();
    rekey(vault, &tenant()).await.unwrap();
    let mut pass = vault.begin_pass(&tenant(), at(0)).await.unwrap().unwrap();
    while vault.reseal_some(&mut pass, at(0)).await.unwrap() == Step::More {}
    rekey(vault, &tenant()).await.unwrap();
    assert!(!vault.end_pass(&pass, at(0)).await.unwrap());
    let step = vault.reseal_some(&mut pass, at(0)).await.unwrap();
    assert_eq!(step, Step::Outdated);
    is_whole(&store, kek()).await;
    settle(vault).await;
    is_whole(&store, kek()).await;
}

#[tokio::test]
async fn a_key_that_does_not_open_keeps_the_older_generations() {
    let (store, lifecycle) = whole().await;
    let vault = lifecycle.vault();
    rekey(vault, &tenant()).await.unwrap();
    let entries = dump(&store).await;
    let (key, sound) = entries
        .iter()
        .find(|(key, value)| key.starts_with("key/") && !value.is_empty())
        .unwrap();
    let mut bent = sound.clone();
    bent[20] ^= 1;
    store.commit(Batch::new().put(key, bent)).await.unwrap();
    let mut one = vault.begin_pass(&tenant(), at(0)).await.unwrap().unwrap();
    let refused = vault.reseal_some(&mut one, at(0)).await.unwrap_err();
    assert!(matches!(refused, VaultError::Damaged { .. }), "{refused}");
    store
        .commit(Batch::new().put(key, sound.as_slice()))
        .await
        .unwrap();
    settle(vault).await;
    is_whole(&store, kek()).await;
}

#[tokio::test]
async fn a_set_with_many_keys_is_re_sealed_in_several_writes() {
    let store = filled().await;
    let lifecycle = lifecycle(&store).await;
    for _ in 0..45 {
        lifecycle
            .rotate(&name(), true, &Mutation::default())
            .await
            .unwrap();
    }
    let keys = lifecycle.vault().get(&name()).unwrap().keys.len();
    assert!(keys > 45, "{keys}");
    rekey(lifecycle.vault(), &tenant()).await.unwrap();
    let mut pass = lifecycle
        .vault()
        .begin_pass(&tenant(), at(0))
        .await
        .unwrap()
        .unwrap();
    let first = lifecycle.vault().reseal_some(&mut pass, at(0)).await;
    assert_eq!(first.unwrap(), Step::More);
    let left = lifecycle.vault().sealing_left();
    assert_eq!((left.0, left.1), (0, u64::try_from(keys).unwrap() - 40));
    // in the middle of it too, everything opens
    assert_eq!(open_all(Arc::clone(&store)).await.unwrap(), keys);
    lifecycle
        .rotate(&name(), true, &Mutation::default())
        .await
        .unwrap();
    settle(lifecycle.vault()).await;
    assert_eq!(generations(&store).await.1, 2);
    assert_eq!(open_all(store).await.unwrap(), keys + 1);
}

#[tokio::test]
async fn re_sealing_that_is_far_behind_refuses_another_rotation() {
    let (store, lifecycle) = whole().await;
    for _ in 1..16 {
        rekey(lifecycle.vault(), &tenant()).await.unwrap();
    }
    let refused = rekey(lifecycle.vault(), &tenant()).await.unwrap_err();
    assert!(
        matches!(refused, VaultError::TooManyGenerations { generations: 16 }),
        "{refused}"
    );
    let nobody = Owner::Tenant("nobody".to_owned());
    let refused = rekey(lifecycle.vault(), &nobody).await.unwrap_err();
    assert!(matches!(refused, VaultError::NoDataKey), "{refused}");
    is_whole(&store, kek()).await;
    settle(lifecycle.vault()).await;
    assert_eq!(generations(&store).await.1, 16);
    is_whole(&store, kek()).await;
}

/// A store in the middle of re-sealing, under two generations of the root's data key and three of the tenant's.
async fn mixed() -> Arc<dyn KeyStore> {
    let (store, lifecycle) = whole().await;
    let vault = lifecycle.vault();
    rekey(vault, &tenant()).await.unwrap();
    pass(vault, &tenant()).await.unwrap();
    for owner in [Owner::Root, tenant()] {
        rekey(vault, &owner).await.unwrap();
    }
    let other = SetName::new("default", "op/other");
    lifecycle
        .create(new_set(&other, "ES256"), &Mutation::default())
        .await
        .unwrap();
    assert_eq!(generations(&store).await, (1, 3));
    store
}

#[tokio::test]
async fn a_flipped_bit_is_seen_under_mixed_generations() {
    let entries = dump(&mixed().await).await;
    let read = async |store: Arc<dyn KeyStore>| -> Result<(), VaultError> {
        open_all(Arc::clone(&store)).await?;
        let vault = Vault::open(store, kek()).await?;
        vault.audit_key().await?;
        vault.anchors().await?;
        vault
            .recall(&vault.request("caller", "r", b"", at(5)))
            .await?;
        Ok(())
    };
    read(restored(&entries).await).await.unwrap();
    let mut flipped = 0;
    for (index, (key, value)) in entries.iter().enumerate() {
        let indexes = ["changed/", "material/", "request-at/"];
        if indexes.iter().any(|index| key.starts_with(index)) {
            continue;
        }
        let step = (value.len() / 30).max(1);
        for byte in (0..value.len()).step_by(step) {
            let mut altered = entries.clone();
            altered[index].1[byte] ^= 1 << (byte % 8);
            let outcome = read(restored(&altered).await).await;
            assert!(outcome.is_err(), "{key} byte {byte} of {}", value.len());
            flipped += 1;
        }
    }
    assert!(flipped > 300, "{flipped}");
}

#[tokio::test]
async fn a_record_of_before_is_seen_whatever_it_stands_under() {
    let store = filled().await;
    let lifecycle = lifecycle(&store).await;
    let key = name().key();
    let old = store.get(&key).await.unwrap().unwrap().value;
    lifecycle
        .rotate(&name(), true, &Mutation::default())
        .await
        .unwrap();
    rekey(lifecycle.vault(), &tenant()).await.unwrap();
    // its data key is kept: the record itself is genuine, and no longer the newest
    let put_back = restored(&dump(&store).await).await;
    put_back
        .commit(Batch::new().put(&key, old.as_slice()))
        .await
        .unwrap();
    assert!(matches!(
        open_all(put_back).await,
        Err(VaultError::Damaged { .. })
    ));
    settle(lifecycle.vault()).await;
    let resealed = store.get(&key).await.unwrap().unwrap().value;
    let text = String::from_utf8(resealed.clone()).unwrap();
    let (from, to) = (
        text.find("\"resealed\"").unwrap(),
        text.find("\"record\"").unwrap(),
    );
    let without_mark = format!("{}{}", &text[..from], &text[to..]);
    for (what, forged) in [
        ("of before", old),
        ("without its mark", without_mark.into_bytes()),
    ] {
        let put_back = restored(&dump(&store).await).await;
        put_back
            .commit(Batch::new().put(&key, forged))
            .await
            .unwrap();
        assert!(
            matches!(open_all(put_back).await, Err(VaultError::Damaged { .. })),
            "{what}"
        );
    }
    assert_eq!(open_all(store).await.unwrap(), 3);
}

#[tokio::test]
async fn a_root_that_is_put_back_after_its_rotation_is_seen() {
    let (store, lifecycle) = whole().await;
    let old = store.get(ROOT).await.unwrap().unwrap().value;
    rekey(lifecycle.vault(), &Owner::Root).await.unwrap();
    store.commit(Batch::new().put(ROOT, old)).await.unwrap();
    assert!(matches!(
        open_all(store).await,
        Err(VaultError::Damaged { .. })
    ));
}

fn another_kek() -> Arc<LocalKek> {
    Arc::new(LocalKek::new(&[2; 32]).unwrap())
}

fn both(present: Arc<LocalKek>, previous: Arc<LocalKek>) -> Keks {
    let previous: Arc<dyn KeyEncryptionKey> = previous;
    Keks::new(present, Some(previous))
}

async fn with(store: &Arc<dyn KeyStore>, keks: Keks) -> Lifecycle {
    let vault = Vault::open(Arc::clone(store), keks).await.unwrap();
    Lifecycle::new(
        Arc::new(vault),
        Arc::new(AwsLc),
        Times::DEVELOPMENT,
        FakeClock::at(NOW).shared(),
        Metrics::default(),
    )
}

#[tokio::test]
async fn another_key_encryption_key_takes_over_and_the_one_before_opens_nothing() {
    let (store, lifecycle) = whole().await;
    rekey(lifecycle.vault(), &tenant()).await.unwrap();
    let moved = with(&store, both(another_kek(), kek())).await;
    let keks = async || {
        let shown = moved.vault().sealing(at(0), ("", 9), |_| true).await;
        shown.unwrap().keks
    };
    assert_eq!(keks().await.left, 3, "two of the tenant, one of the root");
    Sealer::new(moved.clone()).round(&Shutdown::new()).await;
    assert_eq!(keks().await.left, 0);
    is_whole(&store, another_kek()).await;
    is_whole(&store, both(another_kek(), kek())).await;
    let refused = Vault::open(Arc::clone(&store), kek()).await.unwrap_err();
    let said = refused.to_string();
    assert!(
        said.contains(another_kek().id()) && said.contains(kek().id()),
        "{said}"
    );
}

#[tokio::test]
async fn replicas_with_the_keys_exchanged_do_not_take_each_others_back() {
    let (store, _) = whole().await;
    // everybody opens with both before anybody wraps by the new one
    let old = with(&store, both(kek(), another_kek())).await;
    let mut old_sealer = Sealer::new(old.clone());
    old_sealer.round(&Shutdown::new()).await;
    let new = with(&store, both(another_kek(), kek())).await;
    let mut new_sealer = Sealer::new(new.clone());
    for _ in 0..3 {
        new_sealer.round(&Shutdown::new()).await;
        old_sealer.round(&Shutdown::new()).await;
    }
    is_whole(&store, another_kek()).await;
    let none = Mutation::default();
    old.rotate(&name(), true, &none).await.unwrap();
}

/// The form before generations: the root and each tenant have one wrapped key, which says nothing of what wraps it.
#[tokio::test]
async fn a_store_of_format_1_is_taken_over_rotated_and_re_sealed() {
    let store = fixture(include_str!("../../../tests/fixtures/store-format-1.json")).await;
    let wrong = Vault::open(Arc::clone(&store), another_kek()).await;
    assert!(
        matches!(wrong, Err(VaultError::Kek(KekError::Wrong))),
        "{wrong:?}"
    );
    assert_eq!(open_all(Arc::clone(&store)).await.unwrap(), 3);
    let lifecycle = lifecycle(&store).await;
    Sealer::new(lifecycle.clone()).round(&Shutdown::new()).await;
    assert_eq!(open_all(Arc::clone(&store)).await.unwrap(), 3);
    let wrong = Vault::open(Arc::clone(&store), another_kek()).await;
    assert!(
        matches!(&wrong, Err(VaultError::Kek(KekError::Wanted { wanted, .. })) if wanted == kek().id()),
        "{wrong:?}"
    );
    for owner in [Owner::Root, tenant()] {
        rekey(lifecycle.vault(), &owner).await.unwrap();
    }
    Sealer::new(lifecycle.clone()).round(&Shutdown::new()).await;
    assert_eq!(generations(&store).await, (2, 2));
    assert_eq!(open_all(Arc::clone(&store)).await.unwrap(), 3);
    // a rotation straight from the old form does the same
    let store = fixture(include_str!("../../../tests/fixtures/store-format-1.json")).await;
    let vault = opened(&store).await;
    for owner in [Owner::Root, tenant()] {
        rekey(&vault, &owner).await.unwrap();
    }
    settle(&vault).await;
    assert_eq!(generations(&store).await, (2, 2));
    assert_eq!(open_all(store).await.unwrap(), 3);
}

/// The stored bytes of format 2, in the middle of re-sealing: whatever comes later reads them.
#[tokio::test]
async fn records_of_format_2_are_read() {
    let store = fixture(include_str!("../../../tests/fixtures/store-format-2.json")).await;
    assert_eq!(generations(&store).await, (1, 3));
    assert_eq!(open_all(Arc::clone(&store)).await.unwrap(), 4);
    let vault = opened(&store).await;
    assert_eq!((vault.revoked_tokens(), vault.instances().len()), (2, 1));
    assert!(vault.audit_key().await.unwrap().is_some());
    assert_eq!(vault.anchors().await.unwrap().len(), 1);
    settle(&vault).await;
    assert_eq!(open_all(store).await.unwrap(), 4);
}

async fn fixture(text: &str) -> Arc<dyn KeyStore> {
    let entries: std::collections::BTreeMap<String, String> = serde_json::from_str(text).unwrap();
    let entries: Vec<_> = entries
        .into_iter()
        .map(|(key, value)| (key, jose::base64url::decode(value).unwrap()))
        .collect();
    restored(&entries).await
}

#[tokio::test]
async fn a_database_keeps_no_copy_of_an_older_data_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let store: Arc<dyn KeyStore> = Arc::new(SqliteStore::open(&path).await.unwrap());
    let lifecycle = lifecycle(&store).await;
    lifecycle
        .create(new_set(&name(), "ES256"), &Mutation::default())
        .await
        .unwrap();
    let wrapped = async || {
        let entry = store.get("data-key/default").await.unwrap().unwrap();
        let text = String::from_utf8(entry.value).unwrap();
        let from = text.find("\"key\":\"").unwrap() + 7;
        text[from..from + 60].to_owned()
    };
    let old = wrapped().await;
    let in_files = |needle: &str| {
        ["keys.db", "keys.db-wal"].iter().any(|name| {
            let bytes = std::fs::read(folder.path().join(name)).unwrap_or_default();
            bytes
                .windows(needle.len())
                .any(|window| window == needle.as_bytes())
        })
    };
    assert!(in_files(&old));
    rekey(lifecycle.vault(), &tenant()).await.unwrap();
    settle(lifecycle.vault()).await;
    assert!(!in_files(&old), "the older data key is still in a file");
    assert!(in_files(&wrapped().await));
    assert_eq!(open_all(store).await.unwrap(), 1);
}

/// What may happen, in any order.
#[derive(Clone, Copy, Debug)]
enum Event {
    RotateSet(usize),
    RevokeToken(usize, u32),
    Forget(usize),
    Rekey(usize, bool),
    Step(usize, bool),
    Restart(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let replica = 0..2_usize;
    prop_oneof![
        2 => replica.clone().prop_map(Event::RotateSet),
        1 => (replica.clone(), 1..50_u32).prop_map(|(one, jti)| Event::RevokeToken(one, jti)),
        1 => replica.clone().prop_map(Event::Forget),
        2 => (replica.clone(), any::<bool>()).prop_map(|(one, root)| Event::Rekey(one, root)),
        6 => (replica.clone(), any::<bool>()).prop_map(|(one, root)| Event::Step(one, root)),
        1 => replica.prop_map(Event::Restart),
    ]
}

/// Two replicas on one store, each with its passes.
struct Two {
    store: Arc<dyn KeyStore>,
    replicas: Vec<Lifecycle>,
    passes: [[Option<Pass>; 2]; 2],
}

impl Two {
    async fn happen(&mut self, event: Event) -> Result<(), String> {
        let none = Mutation::default();
        let shown = |error: &dyn fmt::Display| format!("{event:?}: {error}");
        let owner = |root: bool| if root { Owner::Root } else { tenant() };
        match event {
            Event::RotateSet(one) => {
                let lifecycle = &self.replicas[one];
                lifecycle
                    .vault()
                    .refresh()
                    .await
                    .map_err(|error| shown(&error))?;
                let rotated = lifecycle.rotate(&name(), true, &none).await;
                rotated.map(drop).map_err(|error| shown(&error))
            }
            Event::RevokeToken(one, jti) => {
                let vault = self.replicas[one].vault();
                vault.refresh().await.map_err(|error| shown(&error))?;
                let revoked = revoke_token(vault, &jti.to_string(), 1_000 + jti).await;
                retried(revoked).map_err(|error| shown(&error))
            }
            Event::Forget(one) => {
                let vault = self.replicas[one].vault();
                vault.refresh().await.map_err(|error| shown(&error))?;
                let forgetting = Forgetting { until: 1_010 };
                let forgotten = vault.turn().await.forget_tokens(forgetting).await;
                retried(forgotten).map_err(|error| shown(&error))?;
                let cleared = vault.clear_forgotten().await;
                cleared.map(drop).map_err(|error| shown(&error))
            }
            Event::Rekey(one, root) => {
                match rekey(self.replicas[one].vault(), &owner(root)).await {
                    Err(VaultError::TooManyGenerations { .. }) => Ok(()),
                    done => retried(done).map_err(|error| shown(&error)),
                }
            }
            Event::Step(one, root) => self
                .step(one, usize::from(root), &owner(root))
                .await
                .map_err(|error| shown(&error)),
            Event::Restart(one) => {
                self.passes[one] = [None, None];
                self.replicas[one] = lifecycle(&self.store).await;
                Ok(())
            }
        }
    }

    async fn step(&mut self, one: usize, place: usize, owner: &Owner) -> Result<(), VaultError> {
        let vault = self.replicas[one].vault();
        let Some(mut pass) = self.passes[one][place].take() else {
            self.passes[one][place] = vault.begin_pass(owner, at(0)).await?;
            return Ok(());
        };
        match vault.reseal_some(&mut pass, at(0)).await? {
            Step::More => self.passes[one][place] = Some(pass),
            Step::Done => drop(vault.end_pass(&pass, at(0)).await?),
            Step::Outdated => {}
        }
        Ok(())
    }
}

/// A conflict is another replica that was faster, which callers try again.
fn retried<T>(done: Result<T, VaultError>) -> Result<(), VaultError> {
    match done {
        Err(VaultError::Conflict) => Ok(()),
        done => done.map(drop),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_interleaved_every_key_opens_and_the_store_is_whole(events in vec(event(), 1..40)) {
        let runtime = Runtime::new().unwrap();
        let outcome: Result<(), String> = runtime.block_on(async {
            let (store, first) = whole().await;
            let replicas = vec![first, lifecycle(&store).await];
            let mut two = Two { store: Arc::clone(&store), replicas, passes: Default::default() };
            for event in &events {
                two.happen(*event).await?;
                let opened = open_all(Arc::clone(&store)).await;
                opened.map_err(|error| format!("after {event:?}: {error}"))?;
            }
            let keys = open_all(Arc::clone(&store)).await.map_err(|error| error.to_string())?;
            let next = opened(&store).await;
            settle(&next).await;
            let again = open_all(Arc::clone(&store)).await.map_err(|error| error.to_string())?;
            if keys != again {
                return Err(format!("{keys} keys before, {again} after"));
            }
            for lifecycle in &two.replicas {
                let vault = lifecycle.vault();
                vault.refresh().await.map_err(|error| error.to_string())?;
                for entry in vault.all().1 {
                    for version in &entry.set.versions {
                        let secret = vault.secret(&entry, &version.kid).await;
                        secret.map_err(|error| format!("{}: {error}", version.kid))?;
                    }
                }
            }
            Ok(())
        });
        prop_assert!(outcome.is_ok(), "{outcome:?}");
    }
}
