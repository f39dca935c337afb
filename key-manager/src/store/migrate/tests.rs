use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tokio::sync::watch;

use super::*;
use crate::store::{MemoryStore, Replacement, Snapshot, SqliteStore};

/// A store that ends after so many commits, as a killed process or a lost cluster does, and that may change what it is given.
#[derive(Debug)]
struct Failing {
    store: MemoryStore,
    commits_left: AtomicUsize,
    alters: bool,
}

impl Failing {
    fn after(commits: usize) -> Arc<Self> {
        Arc::new(Self {
            store: MemoryStore::new(),
            commits_left: AtomicUsize::new(commits),
            alters: false,
        })
    }
}

#[async_trait]
impl KeyStore for Failing {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.store.get(key).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut page = self.store.scan(prefix, after, limit).await?;
        if let Some(entry) = page
            .iter_mut()
            .find(|entry| self.alters && entry.key == "set/1042")
        {
            entry.value.push(0);
        }
        Ok(page)
    }

    async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        let left = self
            .commits_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        left.map_err(|_none| StoreError::Unavailable("gone".into()))?;
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
}

const COUNT: usize = 1_000;

async fn filled(store: &dyn KeyStore) {
    store
        .commit(Batch::new().put(ROOT, "wrapped"))
        .await
        .unwrap();
    for number in 0..COUNT {
        let key = format!("set/{}", number + 1_000);
        store
            .commit(Batch::new().put(key, number.to_string()))
            .await
            .unwrap();
    }
}

async fn source() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    filled(store.as_ref()).await;
    store
}

fn to(from: &Arc<MemoryStore>, to: Arc<dyn KeyStore>) -> Migration {
    Migration {
        from: from.clone(),
        to,
        destination: "elsewhere".to_owned(),
        again: false,
    }
}

async fn all(store: &dyn KeyStore) -> Vec<(String, Vec<u8>)> {
    let entries = store.scan("", None, usize::MAX).await.unwrap();
    entries
        .into_iter()
        .map(|entry| (entry.key, entry.value))
        .collect()
}

#[tokio::test]
async fn everything_arrives_and_the_source_says_that_it_was_moved() {
    let from = source().await;
    let before = all(from.as_ref()).await;
    let folder = tempfile::tempdir().unwrap();
    let target: Arc<dyn KeyStore> = Arc::new(
        SqliteStore::open(&folder.path().join("new.db"))
            .await
            .unwrap(),
    );
    let mut seen = Vec::new();
    let moved = migrate(&to(&from, Arc::clone(&target)), |step| seen.push(step))
        .await
        .unwrap();
    assert_eq!(moved, COUNT + 1);
    assert_eq!(all(target.as_ref()).await, before);
    assert_eq!(seen.first(), Some(&Progress::Counted(COUNT)));
    assert_eq!(seen.last(), Some(&Progress::Compared(COUNT)));
    assert!(seen.contains(&Progress::Copied(COUNT)), "{seen:?}");
    let mark = from.get(MOVED).await.unwrap().unwrap();
    assert_eq!(mark.value, b"moved to elsewhere");
    let again = migrate(&to(&from, Arc::new(MemoryStore::new())), |_| {}).await;
    assert!(matches!(again, Err(MigrateError::SourceMoved)), "{again:?}");
}

#[tokio::test]
async fn a_target_that_fails_at_any_step_has_no_root_and_the_source_is_as_it_was() {
    let from = source().await;
    let before = all(from.as_ref()).await;
    for commits in 0.. {
        let target = Failing::after(commits);
        let ended = migrate(&to(&from, target.clone()), |_| {}).await;
        let Err(error) = ended else {
            assert!(commits > COUNT / CHUNK.0, "only {commits} commits");
            return;
        };
        assert_eq!(target.get(ROOT).await.unwrap(), None, "{commits}");
        match error {
            MigrateError::Target(_) => assert_eq!(error.exit_code(), 69, "{commits}"),
            // whether the root was written is not known: the mark stays until somebody looks
            MigrateError::Arrival(_) => {
                assert_eq!(error.exit_code(), 74, "{commits}");
                assert!(release(from.as_ref()).await.unwrap(), "{commits}");
            }
            other => panic!("{commits}: {other}"),
        }
        assert!(all(from.as_ref()).await == before, "{commits}");
    }
}

#[tokio::test]
async fn a_part_is_written_over_only_on_demand() {
    let from = source().await;
    let target = Failing::after(5);
    migrate(&to(&from, target.clone()), |_| {})
        .await
        .unwrap_err();
    target.commits_left.store(usize::MAX, Ordering::SeqCst);
    target
        .commit(Batch::new().put("set/0000", "a leftover"))
        .await
        .unwrap();
    let mut second = to(&from, target.clone());
    let refused = migrate(&second, |_| {}).await.unwrap_err();
    assert!(matches!(refused, MigrateError::TargetPartial), "{refused}");
    assert_eq!(refused.exit_code(), 73);
    second.again = true;
    let before = all(from.as_ref()).await;
    migrate(&second, |_| {}).await.unwrap();
    assert_eq!(all(target.as_ref()).await, before);
}

#[tokio::test]
async fn a_store_that_is_in_use_is_never_written_over() {
    let from = source().await;
    for (key, again) in [
        (ROOT, true),
        (ROOT, false),
        ("set/1", true),
        ("set/1", false),
    ] {
        let target = Arc::new(MemoryStore::new());
        target
            .commit(Batch::new().put(key, "in use"))
            .await
            .unwrap();
        let mut migration = to(&from, target.clone());
        migration.again = again;
        let refused = migrate(&migration, |_| {}).await.unwrap_err();
        assert!(
            matches!(&refused, MigrateError::TargetNotEmpty(found) if found == key),
            "{key} {again}: {refused}"
        );
        assert_eq!(
            all(target.as_ref()).await,
            [(key.to_owned(), b"in use".to_vec())]
        );
    }
}

#[tokio::test]
async fn a_record_that_arrives_altered_is_named_and_ends_the_move() {
    let from = source().await;
    let target = Arc::new(Failing {
        alters: true,
        commits_left: AtomicUsize::new(usize::MAX),
        store: MemoryStore::new(),
    });
    let ended = migrate(&to(&from, target.clone()), |_| {}).await;
    assert!(
        matches!(&ended, Err(MigrateError::Differs(key)) if key == "set/1042"),
        "{ended:?}"
    );
    assert_eq!(ended.unwrap_err().exit_code(), 65);
    assert_eq!(target.get(ROOT).await.unwrap(), None);
    assert_eq!(from.get(MOVED).await.unwrap(), None);
}

#[tokio::test]
async fn an_empty_source_and_a_broken_off_move_are_named() {
    let empty = Arc::new(MemoryStore::new());
    let ended = migrate(&to(&empty, Arc::new(MemoryStore::new())), |_| {}).await;
    assert!(matches!(ended, Err(MigrateError::NoSource)), "{ended:?}");
    let from = source().await;
    from.commit(Batch::new().put(MOVED, "being moved to elsewhere"))
        .await
        .unwrap();
    let target = Arc::new(MemoryStore::new());
    let ended = migrate(&to(&from, target.clone()), |_| {}).await;
    assert!(matches!(ended, Err(MigrateError::SourceMoved)), "{ended:?}");
    assert_eq!(all(target.as_ref()).await, []);
    assert!(release(from.as_ref()).await.unwrap());
    assert!(!release(from.as_ref()).await.unwrap(), "once is enough");
    migrate(&to(&from, target), |_| {}).await.unwrap();
}
