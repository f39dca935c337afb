//! Revocations of tokens in the store: seen by every replica, whole after a restart, and nothing put back or taken away unseen.

use jose::revocation::{Entry, Id};
use jose_aws_lc::AwsLc;

use super::*;
use crate::vault::{Forgetting, RevokedTokens, Revoking};

fn entry(jti: &str, forget_at: u32) -> Entry {
    Entry {
        id: Id::of_jti(jti, &AwsLc),
        issued_before: 0,
        forget_at,
    }
}

async fn revoke(vault: &Arc<Vault>, entries: &[Entry]) -> Result<u64, VaultError> {
    let revoking = Revoking {
        entries: entries.iter().map(|entry| (name(), *entry)).collect(),
        limit: 100,
        request: None,
    };
    vault.turn().await.revoke_tokens(revoking).await
}

async fn forget(vault: &Arc<Vault>, until: u32) -> usize {
    let turn = vault.turn().await;
    turn.forget_tokens(Forgetting { until }).await.unwrap()
}

async fn opened(store: &Arc<dyn KeyStore>) -> Arc<Vault> {
    Arc::new(Vault::open(Arc::clone(store), kek()).await.unwrap())
}

fn held(vault: &Vault) -> Vec<Entry> {
    let whole = vault.whole();
    let tables = whole.tokens.iter().filter(|(of, _)| *of == name());
    tables
        .flat_map(|(_, table)| table.iter().copied())
        .collect()
}

fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_unstable();
    entries
}

#[tokio::test]
async fn what_one_replica_revokes_and_forgets_another_takes_in() {
    let store = filled().await;
    let (a, b) = (opened(&store).await, opened(&store).await);
    let before = a.epoch();
    assert_eq!(
        revoke(&a, &[entry("x", 100), entry("y", 300)])
            .await
            .unwrap(),
        before + 1
    );
    b.refresh().await.unwrap();
    assert_eq!(held(&b), sorted(vec![entry("x", 100), entry("y", 300)]));
    // who has not seen the last write decides again
    revoke(&a, &[entry("z", 200)]).await.unwrap();
    assert!(matches!(
        revoke(&b, &[entry("w", 200)]).await,
        Err(VaultError::Conflict)
    ));
    b.refresh().await.unwrap();
    revoke(&b, &[entry("w", 200)]).await.unwrap();
    // the same once more, for longer, is one revocation
    revoke(&b, &[entry("x", 150)]).await.unwrap();
    assert_eq!(forget(&b, 150).await, 1);
    assert_eq!(
        forget(&b, 150).await,
        0,
        "nothing is left to forget, and nothing is written"
    );
    a.refresh().await.unwrap();
    let left = sorted(vec![entry("y", 300), entry("z", 200), entry("w", 200)]);
    assert_eq!(
        (held(&a), held(&b), a.epoch()),
        (left.clone(), left, b.epoch())
    );
    assert_eq!(a.revoked_tokens(), 3);
}

#[tokio::test]
async fn the_order_of_writes_is_that_of_deltas_and_forgetting_comes_last() {
    let store = filled().await;
    let vault = opened(&store).await;
    let start = vault.epoch();
    revoke(&vault, &[entry("x", 100)]).await.unwrap();
    revoke(&vault, &[entry("y", 300)]).await.unwrap();
    forget(&vault, 100).await;
    revoke(&vault, &[entry("x", 300)]).await.unwrap();
    let Changes::Some {
        epoch,
        entries,
        tokens,
    } = vault.changes_since(start, 10)
    else {
        panic!("no changes")
    };
    assert_eq!((epoch, entries.len()), (start + 4, 0));
    let expected = RevokedTokens {
        entries: [(
            name(),
            vec![entry("x", 100), entry("y", 300), entry("x", 300)],
        )]
        .into(),
        forgotten: Some(100),
    };
    assert_eq!(tokens, expected);
}

#[tokio::test]
async fn revocations_are_there_after_opening_again_and_forgotten_ones_are_not() {
    let store = filled().await;
    let vault = opened(&store).await;
    let many: Vec<_> = (0..50)
        .map(|number| entry(&number.to_string(), 100))
        .collect();
    revoke(&vault, &many).await.unwrap();
    revoke(&vault, &[entry("x", 300)]).await.unwrap();
    assert_eq!(forget(&vault, 100).await, 50);
    let again = opened(&store).await;
    assert_eq!(
        held(&again),
        [entry("x", 300)],
        "their records are there still, and do not count"
    );
    // what does not count any more can be revoked anew
    revoke(&again, &[entry("7", 400)]).await.unwrap();
    let mut rounds = 0;
    while again.clear_forgotten().await.unwrap() {
        rounds += 1;
    }
    assert_eq!(rounds, 1, "forty at a time");
    let keys = dump(&store).await.into_iter().map(|(key, _)| key);
    let records: Vec<_> = keys.filter(|key| key.starts_with("revoked/")).collect();
    assert_eq!(records.len(), 2, "{records:?}");
    let last = opened(&store).await;
    assert_eq!(held(&last), sorted(vec![entry("x", 300), entry("7", 400)]));
    let changes = dump(&store).await.into_iter().map(|(key, _)| key);
    let changes: Vec<_> = changes
        .filter(|key| key.starts_with("changed/") && key.matches('/').count() == 2)
        .collect();
    assert_eq!(
        changes.len(),
        2,
        "the order of writes does not grow for ever: {changes:?}"
    );
}

#[tokio::test]
async fn a_record_taken_out_put_back_or_altered_is_seen() {
    let store = filled().await;
    let vault = opened(&store).await;
    revoke(&vault, &[entry("x", 100), entry("y", 300)])
        .await
        .unwrap();
    let two = dump(&store).await;
    revoke(&vault, &[entry("x", 200)]).await.unwrap();
    forget(&vault, 200).await;
    while vault.clear_forgotten().await.unwrap() {}
    let last = dump(&store).await;
    assert_eq!(open_all(restored(&last).await).await.unwrap(), 2);

    let of = |entries: &[(String, Vec<u8>)], prefix: &str| {
        entries
            .iter()
            .find(|(key, _)| key.starts_with(prefix))
            .cloned()
            .unwrap()
    };
    let without: Vec<_> = last
        .iter()
        .filter(|(key, _)| !key.starts_with("revoked/"))
        .cloned()
        .collect();
    let mut back = last.clone();
    let old = two.iter().filter(|(key, _)| key.starts_with("revoked/"));
    back.extend(
        old.filter(|(key, _)| last.iter().all(|(present, _)| present != key))
            .cloned(),
    );
    let sooner = last.iter().map(|(key, value)| match key.as_str() {
        "revoked-until" => (
            key.clone(),
            value
                .iter()
                .map(|byte| if *byte == b'2' { b'3' } else { *byte })
                .collect(),
        ),
        _ => (key.clone(), value.clone()),
    });
    let moved = last
        .iter()
        .map(|(key, value)| match key.strip_prefix("revoked/") {
            Some(_) => (
                of(&two, "revoked/").0.replace("op/", "op/other-"),
                value.clone(),
            ),
            None => (key.clone(), value.clone()),
        });
    for (what, entries) in [
        ("taken out", without),
        ("another moment", sooner.collect()),
        ("moved", moved.collect::<Vec<_>>()),
    ] {
        let opened = open_all(restored(&entries).await).await;
        assert!(
            matches!(opened, Err(VaultError::Damaged { .. })),
            "{what}: {opened:?}"
        );
    }
    // what was forgotten does not count, wherever it comes from
    assert_eq!(
        held(&*opened(&restored(&back).await).await),
        [entry("y", 300)]
    );
}

#[tokio::test]
async fn as_many_as_are_kept_and_no_more() {
    let store = filled().await;
    let vault = opened(&store).await;
    let full: Vec<_> = (0..100)
        .map(|number| entry(&number.to_string(), 100))
        .collect();
    for some in full.chunks(16) {
        revoke(&vault, some).await.unwrap();
    }
    let before = dump(&store).await;
    let more = revoke(&vault, &[entry("one more", 100)]).await;
    assert!(
        matches!(more, Err(VaultError::TooManyRevocations { limit: 100 })),
        "{more:?}"
    );
    assert_eq!(dump(&store).await, before, "nothing was written");
    revoke(&vault, &[entry("7", 200)]).await.unwrap();
}
