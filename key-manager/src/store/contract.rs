//! What every engine promises.

mod whole;

use std::sync::Arc;

use super::{Batch, KeyStore, MAX_KEY, MemoryStore, Precondition, SqliteStore, StoreError};

struct Engine {
    name: &'static str,
    store: Arc<dyn KeyStore>,
    // Keeps the folder of the database, or the cluster, until the test is over.
    _kept: Box<dyn std::any::Any>,
}

#[cfg(feature = "etcd")]
async fn etcd() -> Engine {
    let cluster = testkit::EtcdCluster::start(1);
    let store = super::EtcdStore::connect(super::EtcdOptions {
        endpoints: cluster.endpoints(),
        prefix: "contract/".to_owned(),
        timeout: std::time::Duration::from_secs(20),
        credentials: None,
        user: None,
    });
    Engine {
        name: "etcd",
        store: Arc::new(store.await.unwrap()),
        _kept: Box::new(cluster),
    }
}

async fn engines() -> Vec<Engine> {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&folder.path().join("keys.db"))
        .await
        .unwrap();
    vec![
        #[cfg(feature = "etcd")]
        etcd().await,
        Engine {
            name: "memory",
            store: Arc::new(MemoryStore::new()),
            _kept: Box::new(()),
        },
        Engine {
            name: "sqlite",
            store: Arc::new(sqlite),
            _kept: Box::new(folder),
        },
    ]
}

#[tokio::test]
async fn what_was_put_is_read_and_what_was_deleted_is_not() {
    for Engine { name, store, .. } in &engines().await {
        assert_eq!(store.get("a").await.unwrap(), None, "{name}");
        store
            .commit(Batch::new().put("a", [0, 255]).put("b", ""))
            .await
            .unwrap();
        assert_eq!(
            store.get("a").await.unwrap().unwrap().value,
            [0, 255],
            "{name}"
        );
        assert_eq!(
            store.get("b").await.unwrap().unwrap().value,
            [0; 0],
            "{name}"
        );
        store
            .commit(Batch::new().delete("a").delete("never there"))
            .await
            .unwrap();
        assert_eq!(store.get("a").await.unwrap(), None, "{name}");
    }
}

#[tokio::test]
async fn preconditions_decide_and_a_refused_batch_writes_nothing() {
    for Engine { name, store, .. } in &engines().await {
        let first = store
            .commit(Batch::new().check("a", Precondition::Absent).put("a", "1"))
            .await
            .unwrap();
        let stale = Precondition::Revision(first + 1);
        for (what, key, wrong) in [
            ("taken", "a", Precondition::Absent),
            ("stale", "a", stale),
            ("gone", "z", Precondition::Revision(first)),
        ] {
            let batch = Batch::new().put("other", "x").delete("a").check(key, wrong);
            let refused = store.commit(batch).await.unwrap_err();
            assert!(
                refused.is_conflict() && !refused.retry_helps(),
                "{name} {what}: {refused}"
            );
            assert_eq!(store.get("other").await.unwrap(), None, "{name} {what}");
            assert_eq!(
                store.get("a").await.unwrap().unwrap().revision,
                first,
                "{name} {what}"
            );
        }
        let second = store
            .commit(
                Batch::new()
                    .check("a", Precondition::Revision(first))
                    .put("a", "2"),
            )
            .await
            .unwrap();
        assert!(second > first, "{name}");
    }
}

#[tokio::test]
async fn an_entry_written_again_has_a_revision_that_was_never_there() {
    for Engine { name, store, .. } in &engines().await {
        let first = store.commit(Batch::new().put("a", "1")).await.unwrap();
        store.commit(Batch::new().delete("a")).await.unwrap();
        store.commit(Batch::new().put("a", "1")).await.unwrap();
        let again = store.get("a").await.unwrap().unwrap();
        assert!(again.revision > first, "{name}");
        let old = Batch::new()
            .check("a", Precondition::Revision(first))
            .put("a", "2");
        assert!(store.commit(old).await.unwrap_err().is_conflict(), "{name}");
    }
}

#[tokio::test]
async fn scans_keep_to_their_prefix_in_order_and_in_pages() {
    for Engine { name, store, .. } in &engines().await {
        let keys = [
            "set/a/x",
            "set/a/y",
            "set/b/x",
            "set0",
            "sett/q",
            "sf",
            "set/\u{ff}/x",
            "sa",
        ];
        let batch = keys
            .iter()
            .fold(Batch::new(), |batch, key| batch.put(*key, "v"));
        store.commit(batch).await.unwrap();
        let mut found: Vec<String> = Vec::new();
        loop {
            let page = store
                .scan("set/", found.last().map(String::as_str), 2)
                .await
                .unwrap();
            assert!(page.len() <= 2, "{name}");
            if page.is_empty() {
                break;
            }
            found.extend(page.into_iter().map(|entry| entry.key));
        }
        assert_eq!(
            found,
            ["set/a/x", "set/a/y", "set/b/x", "set/\u{ff}/x"],
            "{name}"
        );
        assert_eq!(
            store.scan("set/", Some("a"), 9).await.unwrap().len(),
            4,
            "{name}: `after` before the prefix"
        );
        assert_eq!(store.scan("nothing/", None, 9).await.unwrap(), [], "{name}");
    }
}

#[tokio::test]
async fn a_scan_of_many_pages_has_each_entry_once() {
    for Engine { name, store, .. } in &engines().await {
        let key = |number: usize| format!("many/{number:04}");
        for hundred in 0..3 {
            let batch = (hundred * 100..hundred * 100 + 100)
                .fold(Batch::new(), |batch, number| batch.put(key(number), "v"));
            store.commit(batch).await.unwrap();
        }
        let found = store.scan("many/", None, 1_000).await.unwrap();
        let found: Vec<String> = found.into_iter().map(|entry| entry.key).collect();
        assert_eq!(found, (0..300).map(key).collect::<Vec<_>>(), "{name}");
        let some = store.scan("many/", Some("many/0099"), 150).await.unwrap();
        assert_eq!(some.len(), 150, "{name}");
        assert_eq!(some[0].key, "many/0100", "{name}");
    }
}

#[tokio::test]
async fn what_is_newer_than_a_commit_is_read_and_nothing_older() {
    for Engine { name, store, .. } in &engines().await {
        let old = Batch::new().put("set/a", "1").put("set/b", "1");
        let since = store.commit(old).await.unwrap();
        let new = Batch::new().put("set/b", "2").put("other", "2");
        store.commit(new).await.unwrap();
        let last = store.commit(Batch::new().put("set/c", "3")).await.unwrap();
        let newer = store.newer("set/", since).await.unwrap();
        let keys: Vec<&str> = newer
            .entries
            .iter()
            .map(|entry| entry.key.as_str())
            .collect();
        assert_eq!(keys, ["set/b", "set/c"], "{name}");
        assert!(newer.commit >= last, "{name}: {} {last}", newer.commit);
        let again = store.newer("set/", newer.commit).await.unwrap();
        assert_eq!(again.entries, [], "{name}");
        assert_eq!(
            store.newer("set/", 0).await.unwrap().entries.len(),
            3,
            "{name}"
        );
    }
}

#[tokio::test]
async fn of_two_writes_of_a_key_in_one_batch_the_last_put_stays() {
    for Engine { name, store, .. } in &engines().await {
        let batch = Batch::new().put("a", "1").delete("a").put("a", "2");
        store.commit(batch).await.unwrap();
        assert_eq!(store.get("a").await.unwrap().unwrap().value, b"2", "{name}");
    }
}

#[tokio::test]
async fn a_conflict_names_the_entry_that_is_not_as_expected() {
    for Engine { name, store, .. } in &engines().await {
        let first = store
            .commit(Batch::new().put("a", "1").put("b", "1"))
            .await
            .unwrap();
        let batch = Batch::new()
            .check("a", Precondition::Revision(first))
            .check("b", Precondition::Absent)
            .put("a", "2");
        let refused = store.commit(batch).await.unwrap_err();
        assert!(
            matches!(&refused, StoreError::Conflict { key } if key == "b"),
            "{name}: {refused}"
        );
    }
}

#[tokio::test]
async fn every_commit_has_a_higher_number_even_an_empty_one() {
    for Engine { name, store, .. } in &engines().await {
        let first = store.commit(Batch::new().put("a", "1")).await.unwrap();
        let second = store.commit(Batch::new()).await.unwrap();
        let third = store.commit(Batch::new().delete("a")).await.unwrap();
        assert!(
            first < second && second < third,
            "{name}: {first} {second} {third}"
        );
    }
}

#[tokio::test]
async fn of_racing_writers_exactly_one_wins() {
    for Engine { name, store, .. } in engines().await {
        let mut present = store.commit(Batch::new().put("a", "0")).await.unwrap();
        for round in 0..10 {
            let race = (0..8).map(|writer| {
                let store = Arc::clone(&store);
                let batch = Batch::new()
                    .check("a", Precondition::Revision(present))
                    .put("a", writer.to_string());
                tokio::spawn(async move { store.commit(batch).await })
            });
            let ends = futures::future::join_all(race).await;
            let won: Vec<u64> = ends
                .into_iter()
                .filter_map(|end| end.unwrap().ok())
                .collect();
            assert_eq!(won.len(), 1, "{name} round {round}: {won:?}");
            present = won[0];
        }
    }
}

#[tokio::test]
async fn commits_are_told_as_they_rise() {
    for Engine { name, store, .. } in &engines().await {
        let mut watch = store.watch();
        let commit = store.commit(Batch::new().put("a", "1")).await.unwrap();
        watch.changed().await.unwrap();
        assert_eq!(*watch.borrow_and_update(), commit, "{name}");
        let conflict = store
            .commit(Batch::new().check("a", Precondition::Absent))
            .await;
        assert!(conflict.is_err() && !watch.has_changed().unwrap(), "{name}");
    }
}

#[tokio::test]
async fn keys_without_end_are_refused() {
    for Engine { name, store, .. } in &engines().await {
        for key in [String::new(), "k".repeat(MAX_KEY + 1)] {
            let refused = store
                .commit(Batch::new().put(key.clone(), "v"))
                .await
                .unwrap_err();
            assert!(
                matches!(refused, StoreError::Refused(_)),
                "{name} {}",
                key.len()
            );
            assert!(store.get(&key).await.is_err(), "{name} {}", key.len());
        }
        store
            .commit(Batch::new().put("k".repeat(MAX_KEY), "v"))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn formatted_entries_and_batches_show_no_values() {
    for Engine { name, store, .. } in &engines().await {
        let batch = Batch::new().put("a", "planted");
        let shown = format!("{batch:?}");
        store.commit(batch).await.unwrap();
        let shown = format!("{shown} {:?} {store:?}", store.get("a").await.unwrap());
        assert!(
            !shown.contains("planted") && !shown.contains("112, 108"),
            "{name}: {shown}"
        );
    }
}

#[tokio::test]
async fn a_database_opened_again_has_everything_and_counts_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let commit = store.commit(Batch::new().put("a", "1")).await.unwrap();
    drop(store);
    let mut again = SqliteStore::open(&path).await;
    for _ in 0..100 {
        if again.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        again = SqliteStore::open(&path).await;
    }
    let again = again.unwrap();
    assert_eq!(again.get("a").await.unwrap().unwrap().revision, commit);
    assert_eq!(*again.watch().borrow(), commit);
    assert_eq!(again.commit(Batch::new()).await.unwrap(), commit + 1);
}
