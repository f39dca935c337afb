//! Writes that are repeated, abandoned or overtaken.

use super::*;
use crate::{
    lifecycle::LifecycleError,
    store::{Replacement, Snapshot, StoreError},
};

#[tokio::test]
async fn requests_are_remembered_for_a_day() {
    let vault = Vault::open(memory(), kek()).await.unwrap();
    let at = |hours: u64| Time::from_millis(NOW * 1_000 + hours * 3_600_000);
    let request = vault.request("caller", "id", b"content", at(0));
    assert_eq!(vault.recall(&request).await.unwrap(), Remembered::New);
    let batch = vault
        .remember(Batch::new(), &request.clone().with_kid("k"))
        .await
        .unwrap();
    vault.store.commit(batch).await.unwrap();
    for (what, request, expected) in [
        (
            "the same",
            vault.request("caller", "id", b"content", at(23)),
            Remembered::Done(Some("k".to_owned())),
        ),
        (
            "another content",
            vault.request("caller", "id", b"other", at(1)),
            Remembered::Different,
        ),
        (
            "another caller",
            vault.request("somebody", "id", b"content", at(1)),
            Remembered::New,
        ),
        (
            "another id",
            vault.request("caller", "di", b"content", at(1)),
            Remembered::New,
        ),
        (
            "after a day",
            vault.request("caller", "id", b"other", at(25)),
            Remembered::New,
        ),
    ] {
        assert_eq!(vault.recall(&request).await.unwrap(), expected, "{what}");
    }
    let late = vault.request("caller", "id", b"content", at(12));
    assert!(
        matches!(
            vault.remember(Batch::new(), &late).await,
            Err(VaultError::RequestDone)
        ),
        "one that came in between has won"
    );
    let later = vault.request("caller", "later", b"", at(48));
    let batch = vault.remember(Batch::new(), &later).await.unwrap();
    vault.store.commit(batch).await.unwrap();
    assert_eq!(
        vault.store.scan("request", None, 100).await.unwrap().len(),
        2,
        "the old one is cleared away"
    );
}

#[tokio::test]
async fn an_id_used_again_after_a_day_is_remembered_for_another() {
    let vault = Vault::open(memory(), kek()).await.unwrap();
    let at = |minutes: u64| Time::from_millis(NOW * 1_000 + minutes * 60_000);
    let day = 24 * 60;
    let remember = async |id: &str, minutes: u64| {
        let request = vault.request("caller", id, b"content", at(minutes));
        let batch = vault.remember(Batch::new(), &request).await.unwrap();
        vault.store.commit(batch).await.unwrap();
    };
    // So many expire before it that the write of its second use does not reach its old index entry.
    for older in 0..40 {
        remember(&format!("older-{older}"), 0).await;
    }
    remember("id", 1).await;
    remember("id", day + 10).await;
    for later in 0..10 {
        remember(&format!("later-{later}"), day + 20).await;
    }
    let retried = vault.request("caller", "id", b"content", at(day + 30));
    assert_eq!(
        vault.recall(&retried).await.unwrap(),
        Remembered::Done(None)
    );
    let count = async |prefix| vault.store.scan(prefix, None, 100).await.unwrap().len();
    assert_eq!(
        (count("request/").await, count("request-at/").await),
        (11, 11)
    );
}

/// A store whose commits take a while.
#[derive(Debug)]
struct SlowStore(MemoryStore);

#[async_trait::async_trait]
impl KeyStore for SlowStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.0.get(key).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.0.scan(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        let committed = self.0.commit(batch).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        committed
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.0.snapshot().await
    }

    async fn replace(&self, replacement: Replacement) -> Result<u64, StoreError> {
        self.0.replace(replacement).await
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.0.watch()
    }
}

#[tokio::test]
async fn a_revocation_whose_caller_gives_up_during_the_commit_is_made_known() {
    let store: Arc<dyn KeyStore> = Arc::new(SlowStore(MemoryStore::new()));
    let lifecycle = lifecycle(&store).await;
    lifecycle
        .create(new_set(&name(), "ES256"), &Mutation::default())
        .await
        .unwrap();
    let vault = lifecycle.vault();
    let (standby, mut epochs) = (
        vault.get(&name()).unwrap().set.versions[0].kid.clone(),
        vault.watch(),
    );
    let set = name();
    let mutation = Mutation::default();
    let revocation = lifecycle.revoke(&set, &standby, &mutation);
    let gave_up = tokio::time::timeout(Duration::from_millis(50), revocation).await;
    assert!(gave_up.is_err());
    let fed = tokio::time::timeout(Duration::from_secs(5), epochs.changed()).await;
    assert!(fed.is_ok(), "the feed is told");
    let known = vault.get(&set).unwrap();
    assert_eq!(known.set.version(&standby).unwrap().state, State::Revoked);
}

#[tokio::test]
async fn a_request_that_changed_nothing_is_remembered_too() {
    let lifecycle = lifecycle(&memory()).await;
    lifecycle
        .create(new_set(&name(), "ES256"), &Mutation::default())
        .await
        .unwrap();
    let kid = |number: usize| {
        let entry = lifecycle.vault().get(&name()).unwrap();
        entry.set.versions[number].kid.clone()
    };
    let (set, revoked) = (name(), kid(0));
    lifecycle
        .revoke(&set, &revoked, &Mutation::default())
        .await
        .unwrap();
    let again = Mutation {
        caller: "caller".to_owned(),
        request_id: "again".to_owned(),
        ..Mutation::default()
    };
    let epoch = lifecycle.vault().epoch();
    lifecycle.revoke(&set, &revoked, &again).await.unwrap();
    assert_eq!(lifecycle.vault().epoch(), epoch, "nothing changes");
    let standby = kid(1);
    lifecycle.revoke(&set, &standby, &again).await.unwrap();
    let entry = lifecycle.vault().get(&set).unwrap();
    assert_eq!(
        entry.set.version(&standby).unwrap().state,
        State::Prepared,
        "the id has done its work"
    );
}

#[tokio::test]
async fn an_expected_revision_outlives_a_write_of_another_set_by_another_replica() {
    let store = memory();
    let replicas = [lifecycle(&store).await, lifecycle(&store).await];
    let (set, other) = (name(), SetName::new("default", "op/other"));
    for set in [&set, &other] {
        replicas[0]
            .create(new_set(set, "ES256"), &Mutation::default())
            .await
            .unwrap();
    }
    replicas[1].vault().refresh().await.unwrap();
    let expecting = Mutation {
        expected_revision: replicas[1].vault().get(&set).unwrap().set.revision,
        ..Mutation::default()
    };
    let none = Mutation::default();
    replicas[0].rotate(&other, true, &none).await.unwrap();
    replicas[1].rotate(&set, true, &expecting).await.unwrap();
    // A write of this set is seen for what it is.
    replicas[0].vault().refresh().await.unwrap();
    let expecting = Mutation {
        expected_revision: replicas[1].vault().get(&set).unwrap().set.revision,
        ..Mutation::default()
    };
    replicas[0].rotate(&set, true, &none).await.unwrap();
    assert!(matches!(
        replicas[1].rotate(&set, true, &expecting).await,
        Err(LifecycleError::RevisionMismatch { .. })
    ));
}
