//! Replicas on one store: what one writes, the others see before they decide.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::{
    clocks::{self, Clocks},
    lifecycle::LifecycleError,
    store::{Replacement, Snapshot},
};

/// One store in several hands. It may be written in the middle of a read.
struct Shared {
    store: Arc<MemoryStore>,
    /// Writes of another replica that happen before the next reads of what was changed.
    surprises: AtomicUsize,
    other: std::sync::OnceLock<Lifecycle>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    fn of(store: &Arc<MemoryStore>) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::clone(store),
            surprises: AtomicUsize::new(0),
            other: std::sync::OnceLock::new(),
        })
    }

    async fn surprise(&self) {
        let left = self
            .surprises
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if left.is_ok()
            && let Some(other) = self.other.get()
        {
            Box::pin(other.rotate(&name(), true, &Mutation::default()))
                .await
                .unwrap();
        }
    }
}

#[async_trait]
impl KeyStore for Shared {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.store.get(key).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        if prefix == "changed/" {
            self.surprise().await;
        }
        self.store.scan(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        self.store.commit(batch).await
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

    fn is_shared(&self) -> bool {
        true
    }
}

/// Two replicas, of which the first has made a set and the second does not know yet.
async fn two() -> (Lifecycle, Lifecycle, Arc<Shared>) {
    let memory = Arc::new(MemoryStore::new());
    let (first, second) = (Shared::of(&memory), Shared::of(&memory));
    let (first, shared): (Arc<dyn KeyStore>, Arc<dyn KeyStore>) = (first, second.clone());
    let one = lifecycle(&first).await;
    let other = lifecycle(&shared).await;
    one.create(new_set(&name(), "ES256"), &Mutation::default())
        .await
        .unwrap();
    (one, other, second)
}

#[tokio::test]
async fn what_is_read_while_it_is_written_fits_together() {
    for surprises in 0..10 {
        let (one, other, store) = two().await;
        let _set = store.other.set(one.clone());
        store.surprises.store(surprises, Ordering::SeqCst);
        other.vault().refresh().await.unwrap();
        let seen = other.vault().get(&name()).unwrap();
        let written = one.vault().get(&name()).unwrap();
        assert_eq!(seen.set, written.set, "{surprises}");
        assert_eq!(other.vault().epoch(), one.vault().epoch(), "{surprises}");
        // and it can be written on
        other
            .rotate(&name(), true, &Mutation::default())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_store_that_is_opened_while_it_is_written_fits_together() {
    let (one, _, store) = two().await;
    let _set = store.other.set(one.clone());
    store.surprises.store(5, Ordering::SeqCst);
    let opened = Vault::open(store, kek()).await.unwrap();
    assert_eq!(opened.epoch(), one.vault().epoch());
    assert_eq!(
        opened.get(&name()).unwrap().set,
        one.vault().get(&name()).unwrap().set
    );
}

#[tokio::test]
async fn replicas_that_begin_on_an_empty_store_at_once_agree_on_its_root() {
    let memory = Arc::new(MemoryStore::new());
    let open = (0..8).map(|_| {
        let store: Arc<dyn KeyStore> = Shared::of(&memory);
        tokio::spawn(async move { Vault::open(store, kek()).await.map(|_vault| ()) })
    });
    for opened in futures::future::join_all(open).await {
        opened.unwrap().unwrap();
    }
    let store: Arc<dyn KeyStore> = memory;
    assert_eq!(open_all(store).await.unwrap(), 0);
}

#[tokio::test]
async fn a_record_of_an_instance_is_seen_before_another_replica_decides_and_forgotten_by_both() {
    let (one, other, _) = two().await;
    let instance = |_: Option<&Instance>| -> Result<_, VaultError> {
        let mut subscriber = Subscriber::new("a#1", 1, one.now());
        subscriber.lease_end = one.now() + Times::DEVELOPMENT.max_verify_staleness;
        Ok(Some(Instance {
            caller: "a".to_owned(),
            scope: Scope::new([(
                "default".to_owned(),
                vec![service_kit::grants::KeySetGlob::new("*").unwrap()],
            )]),
            subscriber,
            leased: true,
        }))
    };
    one.vault().update_instance("a#1", instance).await.unwrap();
    assert!(other.vault().instance("a#1").is_none(), "not read yet");
    let revoked = {
        let set = one.vault().get(&name()).unwrap();
        let kid = set.set.versions[0].kid.clone();
        other
            .revoke(&name(), &kid, &Mutation::default())
            .await
            .unwrap()
    };
    assert_eq!(revoked.progress.stragglers, ["a#1"]);
    other.vault().forget_instance("a#1").await.unwrap();
    // the first still knows it; its own attempt finds that it is gone
    assert!(one.vault().instance("a#1").is_some());
    one.vault().forget_instance("a#1").await.unwrap();
    assert!(one.vault().instance("a#1").is_none());
}

#[tokio::test]
async fn a_request_that_another_replica_executed_is_not_executed_again() {
    let (one, other, _) = two().await;
    let mutation = Mutation {
        request_id: "r".to_owned(),
        ..Mutation::default()
    };
    let first = one.rotate(&name(), true, &mutation).await.unwrap();
    let again = other.rotate(&name(), true, &mutation).await.unwrap();
    assert_eq!(
        first.entry.set.active().unwrap().kid,
        again.entry.set.active().unwrap().kid
    );
    let made = new_set(&SetName::new("default", "op/b"), "ES256");
    let create = Mutation {
        request_id: "c".to_owned(),
        ..Mutation::default()
    };
    one.create(made.clone(), &create).await.unwrap();
    other.create(made, &create).await.unwrap();
}

#[tokio::test]
async fn a_revision_that_another_replica_has_made_is_the_one_that_is_expected() {
    let (one, other, _) = two().await;
    one.rotate(&name(), true, &Mutation::default())
        .await
        .unwrap();
    let present = one.vault().get(&name()).unwrap().set.revision;
    let expecting = |expected_revision| Mutation {
        expected_revision,
        ..Mutation::default()
    };
    let stale = other
        .rotate(&name(), true, &expecting(1))
        .await
        .unwrap_err();
    assert!(
        matches!(stale, LifecycleError::RevisionMismatch { .. }),
        "{stale}"
    );
    other
        .rotate(&name(), true, &expecting(present))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_older_store_that_is_put_under_a_running_replica_is_refused() {
    let (one, _, store) = two().await;
    let old = store.get(EPOCH).await.unwrap().unwrap();
    one.rotate(&name(), true, &Mutation::default())
        .await
        .unwrap();
    let known = one.vault().epoch();
    store
        .commit(Batch::new().put(EPOCH, old.value))
        .await
        .unwrap();
    let refused = one.vault().refresh().await.unwrap_err();
    assert!(
        matches!(&refused, VaultError::Damaged { problem, .. } if problem.contains("went back")),
        "{refused}"
    );
    assert_eq!(one.vault().epoch(), known);
}

#[tokio::test]
async fn a_store_that_was_moved_is_not_opened() {
    let store = filled().await;
    store
        .commit(Batch::new().put(MOVED, "moved to elsewhere"))
        .await
        .unwrap();
    let refused = Vault::open(Arc::clone(&store), kek()).await.unwrap_err();
    assert!(
        matches!(refused, VaultError::Store(StoreError::Moved)),
        "{refused}"
    );
}

/// One second passes on all clocks, and everybody tells and listens.
async fn second(clocks: &[(FakeClock, Arc<Clocks>)]) {
    for (clock, _) in clocks {
        clock.advance(Duration::from_secs(1));
    }
    for (_, clocks) in clocks {
        clocks.turn().await;
    }
}

#[tokio::test]
async fn key_managers_that_share_a_store_hear_how_far_their_clocks_are_apart() {
    let (one, other, _) = two().await;
    let clocks: Vec<_> = [("one", one, 1_800_000_000), ("other", other, 1_800_003_600)]
        .into_iter()
        .map(|(name, lifecycle, wall)| {
            let clock = FakeClock::at(wall);
            let (vault, shared) = (lifecycle.vault(), clock.shared());
            let clocks = Clocks::of(vault, &shared, name.to_owned(), clocks::INTERVAL).unwrap();
            (clock, clocks)
        })
        .collect();
    for _ in 0..8 {
        assert!(clocks.iter().any(|(_, clocks)| clocks.peers().listening));
        second(&clocks).await;
        if clocks.iter().all(|(_, clocks)| !clocks.peers().listening) {
            break;
        }
    }
    // A reading is up to two seconds late.
    for (at, name, hour) in [(0, "other", 3_600_000_i64), (1, "one", -3_600_000)] {
        let peers = clocks[at].1.peers();
        assert!(!peers.listening);
        let [heard] = &peers.clocks[..] else {
            panic!("{peers:?}")
        };
        assert_eq!(heard.name, name);
        assert!(heard.offset_ms.abs_diff(hour) <= 2_000, "{heard:?}");
    }
}

#[tokio::test]
async fn a_record_of_a_clock_that_was_altered_is_not_believed() {
    let (one, other, store) = two().await;
    let told = Told {
        name: "one".to_owned(),
        at: Time::from_millis(1_800_000_000_000),
    };
    one.vault().tell_clock(&told).await.unwrap();
    assert_eq!(other.vault().told_since(0).await.unwrap().0, [told]);

    let entry = store.get("replica/one").await.unwrap().unwrap();
    let text = String::from_utf8(entry.value).unwrap();
    let altered = text.replace("1800000000000", "1800000000001");
    assert_ne!(altered, text);
    let batch = Batch::new().put("replica/one", altered);
    store.commit(batch).await.unwrap();
    assert!(other.vault().told_since(0).await.is_err());

    one.vault().forget_clock("one").await.unwrap();
    assert_eq!(other.vault().told_since(0).await.unwrap().0, []);
}
