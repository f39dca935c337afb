//! Passes that are killed, overtaken, raced, refused.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::store::{Replacement, Snapshot, SqliteStore};

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
