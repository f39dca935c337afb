//! Snapshots and replacements.

use tokio::sync::mpsc;

use super::{Engine, engines};
use crate::store::{Batch, Entry, KeyStore, Pair, Precondition, Replacement, Snapshot, StoreError};

type Part = Result<Vec<Pair>, StoreError>;

fn pairs(prefix: &str, count: usize) -> Vec<Pair> {
    let pair = |number: usize| {
        (
            format!("{prefix}/{number:04}"),
            number.to_string().into_bytes(),
        )
    };
    (0..count).map(pair).collect()
}

fn replacement(
    checks: Vec<(String, Precondition)>,
    parts: impl IntoIterator<Item = Part>,
) -> Replacement {
    let parts: Vec<Part> = parts.into_iter().collect();
    let (sender, entries) = mpsc::channel(parts.len().max(1));
    parts
        .into_iter()
        .for_each(|part| sender.try_send(part).unwrap());
    Replacement { checks, entries }
}

fn parts(pairs: &[Pair]) -> Vec<Part> {
    let parts = pairs
        .chunks(Replacement::PART.0)
        .map(|part| Ok(part.to_vec()));
    parts.chain([Ok(Vec::new())]).collect()
}

async fn all(store: &dyn KeyStore) -> Vec<Pair> {
    let entries = store.scan("", None, 10_000).await.unwrap();
    let pair = |entry: Entry| (entry.key, entry.value);
    entries.into_iter().map(pair).collect()
}

async fn fill(store: &dyn KeyStore, pairs: &[Pair]) {
    for part in pairs.chunks(Replacement::PART.0) {
        let put = |batch: Batch, (key, value): &Pair| batch.put(key, value.as_slice());
        store
            .commit(part.iter().fold(Batch::new(), put))
            .await
            .unwrap();
    }
}

async fn read(snapshot: &dyn Snapshot, page: usize) -> Vec<Pair> {
    let mut found: Vec<Pair> = Vec::new();
    loop {
        let after = found.last().map(|(key, _)| key.clone());
        let entries = snapshot.page(after.as_deref(), page).await.unwrap();
        assert!(entries.len() <= page);
        if entries.is_empty() {
            return found;
        }
        found.extend(entries.into_iter().map(|entry| (entry.key, entry.value)));
    }
}

#[tokio::test]
async fn a_snapshot_shows_one_moment_whatever_is_written_meanwhile() {
    for Engine { name, store, .. } in &engines().await {
        let before = pairs("a", 200);
        fill(store.as_ref(), &before).await;
        let snapshot = store.snapshot().await.unwrap();
        let first = snapshot.page(None, 70).await.unwrap();
        assert_eq!(first.len(), 70, "{name}");
        let late = Batch::new()
            .delete("a/0001")
            .delete("a/0150")
            .put("a/0160", "changed")
            .put("a/0150x", "new")
            .put("0", "new");
        store.commit(late).await.unwrap();
        assert!(read(snapshot.as_ref(), 70).await == before, "{name}");
        assert!(read(snapshot.as_ref(), 1_000).await == before, "{name}");
        drop(snapshot);
        let after = store.snapshot().await.unwrap();
        assert!(
            read(after.as_ref(), 70).await == all(store.as_ref()).await,
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_empty_store_has_an_empty_snapshot() {
    for Engine { name, store, .. } in &engines().await {
        let snapshot = store.snapshot().await.unwrap();
        assert_eq!(snapshot.page(None, 10).await.unwrap(), [], "{name}");
    }
}

#[tokio::test]
async fn a_replacement_leaves_exactly_what_it_gives() {
    for Engine { name, store, .. } in &engines().await {
        fill(store.as_ref(), &pairs("a", 150)).await;
        let last = store
            .commit(Batch::new().put("b/0001", "old"))
            .await
            .unwrap();
        let kept = store.get("a/0000").await.unwrap().unwrap();
        let mut after = pairs("b", 130);
        after.insert(0, ("a/0000".to_owned(), kept.value));
        let checks = vec![
            ("b/0001".to_owned(), Precondition::Revision(last)),
            ("nothing".to_owned(), Precondition::Absent),
        ];
        let watch = store.watch();
        let commit = store
            .replace(replacement(checks, parts(&after)))
            .await
            .unwrap();
        assert!(commit > last, "{name}");
        assert!(all(store.as_ref()).await == after, "{name}");
        let same = store.get("a/0000").await.unwrap().unwrap();
        assert!(same.revision > kept.revision, "{name}: it was written anew");
        assert!(*watch.borrow() > last, "{name}");
        store.settle().await.unwrap();
        // and it goes on from there
        let next = store.commit(Batch::new().put("c", "1")).await.unwrap();
        assert!(next > commit, "{name}");
        assert_eq!(all(store.as_ref()).await.len(), after.len() + 1, "{name}");
    }
}

#[tokio::test]
async fn a_replacement_that_is_refused_or_broken_off_changes_nothing() {
    for Engine { name, store, .. } in &engines().await {
        let before = pairs("a", 150);
        fill(store.as_ref(), &before).await;
        let new = pairs("b", 200);
        let failed = || Err(StoreError::Damaged("planted".into()));
        let cut: Vec<Part> = parts(&new)[..2].to_vec();
        let fails: Vec<Part> = cut.iter().cloned().chain([failed()]).collect();
        let stale = |key: &str| vec![(key.to_owned(), Precondition::Revision(987_654))];
        for (what, replacement, says) in [
            (
                "broken off",
                replacement(Vec::new(), cut.clone()),
                "broken off",
            ),
            ("failed", replacement(Vec::new(), fails), "planted"),
            ("nothing at all", replacement(Vec::new(), []), "broken off"),
            ("stale", replacement(stale("a/0000"), parts(&new)), "a/0000"),
            ("gone", replacement(stale("gone"), parts(&new)), "gone"),
        ] {
            let refused = store.replace(replacement).await.unwrap_err();
            assert!(
                refused.to_string().contains(says),
                "{name} {what}: {refused}"
            );
            assert!(all(store.as_ref()).await == before, "{name} {what}");
            store.settle().await.unwrap();
            assert!(all(store.as_ref()).await == before, "{name} {what}");
        }
        store
            .replace(replacement(Vec::new(), parts(&new)))
            .await
            .unwrap();
        assert!(all(store.as_ref()).await == new, "{name}");
    }
}
