//! Backups and restores, over every engine that runs in this process.

use std::path::Path;

use jose::revocation::{Entry as Revocation, Id};
use keyring::Ack;

use super::*;
use crate::{
    lifecycle::Destruction,
    store::{SqliteStore, StoreError},
};

const KEK: &str = "file kek";

fn other_name() -> SetName {
    SetName::new("acme", "op/other")
}

fn at(seconds: u64) -> Time {
    Time::from_millis((NOW + seconds) * 1_000)
}

async fn file_of(vault: &Vault) -> Vec<u8> {
    let mut backup = vault.backup(at(0), KEK).await.unwrap();
    let mut file = Vec::new();
    while let Some(piece) = backup.next().await.unwrap() {
        match piece {
            Piece::Bytes(bytes) | Piece::Last { bytes, .. } => file.extend(bytes),
        }
    }
    file
}

async fn received(vault: &Vault, folder: &Path, file: &[u8]) -> Result<Received, RestoreError> {
    let mut incoming = vault.receive(folder).await?;
    for chunk in file.chunks(10_000) {
        incoming.push(chunk).await?;
    }
    incoming.finish().await
}

fn restoring(force: bool) -> Restoring {
    Restoring {
        force,
        caller: "spiffe://crypto.dev/admin".to_owned(),
        now: at(0),
        ..Restoring::default()
    }
}

async fn restore(
    vault: &Arc<Vault>,
    folder: &Path,
    file: &[u8],
    restoring: &Restoring,
) -> Result<Restored, RestoreError> {
    let received = received(vault, folder, file).await?;
    vault.restore(received, restoring).await
}

fn is_empty(folder: &Path) -> bool {
    let mut names = folder.read_dir().unwrap().map(|file| file.unwrap().path());
    names.all(|path| !path.to_string_lossy().contains(".spool"))
}

fn revocation(number: u32) -> Revocation {
    Revocation {
        id: Id::of_jti(&number.to_string(), &AwsLc),
        issued_before: 0,
        forget_at: u32::try_from(NOW).unwrap() + 3_600,
    }
}

async fn revoke_token(vault: &Arc<Vault>, number: u32) {
    let revoking = Revoking {
        entries: vec![(name(), revocation(number))],
        limit: 10,
        request: None,
    };
    vault.turn().await.revoke_tokens(revoking).await.unwrap();
}

fn active(vault: &Vault, name: &SetName) -> String {
    let entry = vault.get(name).unwrap();
    entry.set.active().unwrap().kid.clone()
}

/// Two sets in two tenants, one rotated, a revoked token.
async fn full(store: &Arc<dyn KeyStore>) -> Lifecycle {
    let lifecycle = lifecycle(store).await;
    let done = Mutation::default();
    for (set, algorithm) in [(name(), "ES256"), (other_name(), "HS256")] {
        lifecycle
            .create(new_set(&set, algorithm), &done)
            .await
            .unwrap();
        lifecycle.rotate(&set, true, &done).await.unwrap();
    }
    revoke_token(lifecycle.vault(), 1).await;
    lifecycle
}

async fn engines(folder: &Path) -> Vec<(&'static str, Arc<dyn KeyStore>)> {
    let sqlite = SqliteStore::open(&folder.join("keys.db")).await.unwrap();
    vec![("memory", memory()), ("sqlite", Arc::new(sqlite))]
}

#[tokio::test]
async fn a_lost_store_comes_back_on_an_empty_one_with_an_epoch_above_all_that_was_seen() {
    let source = memory();
    let before = full(&source).await;
    let folder = tempfile::tempdir().unwrap();
    let file = file_of(before.vault()).await;
    let header = before
        .vault()
        .backup(at(0), KEK)
        .await
        .unwrap()
        .header()
        .clone();
    assert_eq!((header.tenants, header.key_sets, header.keys), (2, 2, 4));
    assert_eq!(
        (header.token_revocations, header.epoch),
        (1, before.vault().epoch())
    );
    for (engine, store) in engines(folder.path()).await {
        let fresh = Arc::new(Vault::open(Arc::clone(&store), kek()).await.unwrap());
        fresh.keep_audit_key(b"key of this machine").await.unwrap();
        // an instance that was turned away
        fresh.witness(4_711);
        let restored = restore(&fresh, folder.path(), &file, &restoring(false)).await;
        let restored = restored.unwrap();
        assert!(restored.undone.is_empty() && !restored.repeated, "{engine}");
        assert_eq!(restored.epoch, 4_712, "{engine}");
        assert!(is_empty(folder.path()), "{engine}");

        let again = Vault::open(Arc::clone(&store), kek()).await.unwrap();
        assert_eq!(again.epoch(), 4_712, "{engine}");
        for set in [name(), other_name()] {
            let (was, is) = (before.vault().get(&set).unwrap(), again.get(&set).unwrap());
            assert_eq!(was.set, is.set, "{engine}");
            for version in &was.set.versions {
                let secret = |vault, entry| async move {
                    Vault::secret(vault, entry, &version.kid)
                        .await
                        .unwrap()
                        .unwrap()
                };
                assert!(
                    secret(before.vault(), &was).await == secret(&again, &is).await,
                    "{engine}"
                );
            }
        }
        assert_eq!(again.revoked_tokens(), 1, "{engine}");
        let key = again.audit_key().await.unwrap().unwrap();
        assert_eq!(key.as_slice(), b"key of this machine", "{engine}");
        // and it goes on
        let lifecycle = lifecycle(&store).await;
        lifecycle
            .rotate(&name(), true, &Mutation::default())
            .await
            .unwrap();
        assert!(lifecycle.vault().epoch() > 4_712, "{engine}");
        assert!(Vault::open(store, kek()).await.is_ok(), "{engine}");
    }
}

#[tokio::test]
async fn an_old_backup_is_refused_with_what_it_would_undo_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (engine, store) in engines(folder.path()).await {
        let lifecycle = full(&store).await;
        let vault = lifecycle.vault();
        let file = file_of(vault).await;
        let done = Mutation::default();
        let kid = active(vault, &name());
        lifecycle.revoke(&name(), &kid, &done).await.unwrap();
        let new = SetName::new("default", "op/new");
        lifecycle
            .create(new_set(&new, "ES256"), &done)
            .await
            .unwrap();
        revoke_token(vault, 2).await;
        let before = dump(&store).await;

        let refused = restore(vault, folder.path(), &file, &restoring(false)).await;
        let Err(RestoreError::WouldUndo(undone)) = refused else {
            panic!("{engine}: {refused:?}")
        };
        assert_eq!(undone.vanishing_sets(), 1, "{engine}: {undone}");
        assert_eq!(
            undone.keys(UndoneKey::is_unrevoked),
            1,
            "{engine}: {undone}"
        );
        assert_eq!(undone.tokens(), 1, "{engine}: {undone}");
        // the standby that was promoted, and the standbys that were made since
        let of = |wanted: &SetName| undone.sets.iter().find(|set| set.name == *wanted).unwrap();
        let back: Vec<_> = of(&name())
            .keys
            .iter()
            .map(|key| (key.now, key.then))
            .collect();
        assert_eq!(
            back,
            [
                (State::Revoked, Some(State::Active)),
                (State::Active, Some(State::Prepared)),
                (State::Prepared, None)
            ],
            "{engine}"
        );
        assert!(of(&new).vanishes, "{engine}");
        let said = undone.to_string();
        for says in [
            "1 key sets vanish",
            "1 revoked keys",
            "1 revocations of tokens",
            "op/new",
        ] {
            assert!(said.contains(says), "{engine} {says}: {said}");
        }
        let dry = Restoring {
            dry_run: true,
            ..restoring(false)
        };
        let looked = restore(vault, folder.path(), &file, &dry).await.unwrap();
        assert_eq!(looked.undone, *undone, "{engine}");
        assert!(before == dump(&store).await, "{engine}");
        assert!(is_empty(folder.path()) && !vault.is_replaced(), "{engine}");

        let forced = restore(vault, folder.path(), &file, &restoring(true))
            .await
            .unwrap();
        assert_eq!(forced.undone, *undone, "{engine}");
        let again = Vault::open(Arc::clone(&store), kek()).await.unwrap();
        assert_eq!(again.epoch(), forced.epoch, "{engine}");
        assert!(forced.epoch > vault.epoch(), "{engine}");
        assert!(again.get(&new).is_none(), "{engine}");
        assert_eq!(active(&again, &name()), kid, "{engine}");
        assert_eq!(again.revoked_tokens(), 1, "{engine}");
    }
}

#[tokio::test]
async fn a_backup_that_takes_nothing_back_needs_no_force() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let lifecycle = full(&store).await;
    let old = dump(&store).await;
    lifecycle
        .rotate(&name(), true, &Mutation::default())
        .await
        .unwrap();
    let file = file_of(lifecycle.vault()).await;
    // the disk of yesterday
    let rolled_back = restored(&old).await;
    let vault = Arc::new(Vault::open(Arc::clone(&rolled_back), kek()).await.unwrap());
    let done = restore(&vault, folder.path(), &file, &restoring(false))
        .await
        .unwrap();
    assert!(done.undone.is_empty());
    assert_eq!(done.epoch, lifecycle.vault().epoch() + 1);
    assert_eq!(open_all(rolled_back).await.unwrap(), 5);
}

#[tokio::test]
async fn a_destroyed_key_does_not_come_back_silently() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let clock = FakeClock::at(NOW);
    let vault = Arc::new(Vault::open(Arc::clone(&store), kek()).await.unwrap());
    let lifecycle = Lifecycle::new(
        Arc::clone(&vault),
        Arc::new(AwsLc),
        Times::DEVELOPMENT,
        clock.shared(),
        Metrics::default(),
    );
    let done = Mutation::default();
    lifecycle
        .create(new_set(&name(), "ES256"), &done)
        .await
        .unwrap();
    lifecycle.rotate(&name(), true, &done).await.unwrap();
    let kid = active(&vault, &name());
    lifecycle.revoke(&name(), &kid, &done).await.unwrap();
    let file = file_of(&vault).await;
    let soon = Destruction::After(Some(keyring::Span::from_secs(60)));
    lifecycle.destroy(&name(), &kid, soon, &done).await.unwrap();
    clock.advance(Duration::from_secs(61));
    lifecycle.advance(&name()).await.unwrap();
    assert_eq!(
        vault.get(&name()).unwrap().set.version(&kid).unwrap().state,
        State::Destroyed
    );
    let refused = restore(&vault, folder.path(), &file, &restoring(false)).await;
    let Err(RestoreError::WouldUndo(undone)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(undone.keys(UndoneKey::comes_back), 1, "{undone}");
    assert!(
        undone.to_string().contains("1 destroyed keys come back"),
        "{undone}"
    );
}

#[tokio::test]
async fn a_vault_from_before_a_restore_writes_nothing_after_it() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let lifecycle = full(&store).await;
    let file = file_of(lifecycle.vault()).await;
    let stale = Arc::new(Vault::open(Arc::clone(&store), kek()).await.unwrap());
    let vault = lifecycle.vault();
    restore(vault, folder.path(), &file, &restoring(false))
        .await
        .unwrap();
    let after = dump(&store).await;
    for vault in [vault, &stale] {
        let instance = Instance {
            caller: "a".to_owned(),
            scope: Scope::default(),
            subscriber: Subscriber::new("a#1", 1, at(0)),
            leased: false,
        };
        let stored: Result<_, VaultError> = vault
            .update_instance("a#1", |_| Ok(Some(instance.clone())))
            .await;
        let refused = stored.unwrap_err();
        assert!(
            matches!(refused, VaultError::Store(StoreError::Replaced)) && refused.retry_helps(),
            "{refused}"
        );
        let read = vault.refresh().await.unwrap_err();
        assert!(
            matches!(read, VaultError::Store(StoreError::Replaced)),
            "{read}"
        );
        assert!(vault.is_replaced());
        vault.replaced().await;
    }
    let other = Lifecycle::new(
        stale,
        Arc::new(AwsLc),
        Times::DEVELOPMENT,
        FakeClock::at(NOW).shared(),
        Metrics::default(),
    );
    let rotated = other.rotate(&name(), true, &Mutation::default()).await;
    assert!(rotated.is_err(), "{rotated:?}");
    assert!(after == dump(&store).await);
}

#[tokio::test]
async fn acks_from_before_a_restore_do_not_count_after_it_and_leases_do() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let lifecycle = full(&store).await;
    let vault = lifecycle.vault();
    let mut subscriber = Subscriber::new("a#1", vault.epoch(), at(0));
    subscriber.ack(Ack {
        epoch: vault.epoch() + 90,
        at: at(0),
        clock_offset_ms: 0,
        usage: Vec::new(),
    });
    subscriber.lease_end = at(60);
    let instance = Instance {
        caller: "a".to_owned(),
        scope: Scope::default(),
        subscriber,
        leased: true,
    };
    let stored: Result<_, VaultError> = vault
        .update_instance("a#1", |_| Ok(Some(instance.clone())))
        .await;
    stored.unwrap();
    let file = file_of(vault).await;
    let (elsewhere, done) = (memory(), restoring(false));
    restore(vault, folder.path(), &file, &done).await.unwrap();
    let again = Vault::open(store, kek()).await.unwrap();
    assert_eq!(
        again.epoch(),
        vault.epoch() + 91,
        "above what was acknowledged"
    );
    let kept = again.instance("a#1").unwrap();
    assert!(kept.leased && kept.subscriber.lease_end == at(60));
    assert_eq!(
        (kept.subscriber.first_epoch, kept.subscriber.acked_epoch()),
        (0, None)
    );
    // and a backup holds no instances
    let fresh = Arc::new(Vault::open(Arc::clone(&elsewhere), kek()).await.unwrap());
    restore(&fresh, folder.path(), &file, &done).await.unwrap();
    let moved = Vault::open(elsewhere, kek()).await.unwrap();
    assert_eq!(moved.instances().len(), 0);
}

#[tokio::test]
async fn the_same_request_restores_once() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let lifecycle = full(&store).await;
    let file = file_of(lifecycle.vault()).await;
    let request = Restoring {
        request_id: "r".to_owned(),
        ..restoring(false)
    };
    restore(lifecycle.vault(), folder.path(), &file, &request)
        .await
        .unwrap();
    let vault = Arc::new(Vault::open(Arc::clone(&store), kek()).await.unwrap());
    let before = dump(&store).await;
    let again = restore(&vault, folder.path(), &file, &request)
        .await
        .unwrap();
    assert!(again.repeated && again.epoch == vault.epoch());
    assert!(before == dump(&store).await);
    // another file under the same id
    let other = file_of(&vault).await;
    let refused = restore(&vault, folder.path(), &other, &request).await;
    assert!(
        matches!(refused, Err(RestoreError::RequestReused)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn files_that_do_not_hold_a_whole_store_are_refused_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = filled().await;
    let (entries, epoch) = (dump(&source).await, open_epoch(&source).await);
    let vault = Arc::new(Vault::open(memory(), kek()).await.unwrap());
    let sealed_key = entries
        .iter()
        .position(|(key, _)| key.starts_with("key/"))
        .unwrap();
    let whole = sealed_as_it_is(source.as_ref(), epoch).await;
    received(&vault, folder.path(), &whole).await.unwrap();
    for (what, change) in [
        ("no root", "root"),
        ("a set removed", "set/default/op/access-token"),
        ("a data key removed", "data-key/default"),
        ("the epoch removed", EPOCH),
        ("a sealed key removed", entries[sealed_key].0.as_str()),
    ] {
        let kept: Vec<_> = entries
            .iter()
            .filter(|(key, _)| key != change)
            .cloned()
            .collect();
        let broken = restored(&kept).await;
        let file = sealed_as_it_is(broken.as_ref(), epoch).await;
        let refused = received(&vault, folder.path(), &file).await.map(|_| ());
        assert!(
            matches!(refused, Err(RestoreError::Content(_))),
            "{what}: {refused:?}"
        );
        assert!(is_empty(folder.path()), "{what}");
    }
}

/// A file of a store that no vault opens.
async fn sealed_as_it_is(store: &dyn KeyStore, epoch: u64) -> Vec<u8> {
    super::super::backup::seal_raw(store, &kek().into(), epoch).await
}

async fn open_epoch(store: &Arc<dyn KeyStore>) -> u64 {
    Vault::open(Arc::clone(store), kek()).await.unwrap().epoch()
}

#[tokio::test]
async fn where_the_file_cannot_be_kept_the_folder_is_named_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled().await;
    let vault = Arc::new(Vault::open(Arc::clone(&store), kek()).await.unwrap());
    let file = file_of(&vault).await;
    let before = dump(&store).await;
    let (missing, occupied) = (folder.path().join("missing"), folder.path().join("file"));
    std::fs::write(&occupied, "no folder").unwrap();
    for place in [missing, occupied] {
        let refused = received(&vault, &place, &file).await.map(|_| ());
        let Err(RestoreError::Spool { folder, .. }) = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!(**folder, *place.display().to_string());
    }
    assert!(before == dump(&store).await);
}

#[tokio::test]
async fn spools_that_a_killed_process_left_go_and_those_in_use_stay() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(memory(), kek()).await.unwrap();
    let incoming = vault.receive(folder.path()).await.unwrap();
    std::fs::write(folder.path().join("restore-0.spool"), "").unwrap();
    std::fs::write(folder.path().join("restore-0.spool-wal"), "").unwrap();
    std::fs::write(folder.path().join("keys.db"), "").unwrap();
    let names = || {
        let listed = folder.path().read_dir().unwrap();
        let mut names: Vec<String> = listed
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| !name.ends_with("-wal") || name.contains("-0."));
        names.sort();
        names
    };
    remove_left_spools(folder.path()).await;
    assert_eq!(names().len(), 2, "{:?}", names());
    drop(incoming);
    assert_eq!(names(), ["keys.db"]);
}

#[tokio::test]
async fn an_empty_store_behind_its_anchor_does_nothing_but_a_restore() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let source = full(&memory()).await;
    let file = file_of(source.vault()).await;
    let vault = Arc::new(Vault::open(Arc::clone(&store), kek()).await.unwrap());
    vault.hold_until_restored(99);
    let held = Lifecycle::new(
        Arc::clone(&vault),
        Arc::new(AwsLc),
        Times::DEVELOPMENT,
        FakeClock::at(NOW).shared(),
        Metrics::default(),
    );
    let refused = held
        .create(new_set(&name(), "ES256"), &Mutation::default())
        .await;
    let said = refused.unwrap_err().to_string();
    assert!(
        said.contains("epoch 99") && said.contains("restore a backup"),
        "{said}"
    );
    restore(&vault, folder.path(), &file, &restoring(false))
        .await
        .unwrap();
    assert_eq!(Vault::open(store, kek()).await.unwrap().epoch(), 100);
}

/// The stored bytes of format 1, written by another program: whatever comes later restores them.
#[tokio::test]
async fn backups_of_format_1_are_restored() {
    let file = include_bytes!("../../../tests/fixtures/backup-format-1.bin");
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let vault = Arc::new(Vault::open(Arc::clone(&store), kek()).await.unwrap());
    let found = received(&vault, folder.path(), file).await.unwrap();
    let header = found.header().clone();
    assert_eq!((header.tenants, header.key_sets, header.keys), (1, 2, 3));
    assert_eq!((header.epoch, header.kek.as_str()), (6, KEK));
    vault.restore(found, &restoring(false)).await.unwrap();
    let again = Vault::open(Arc::clone(&store), kek()).await.unwrap();
    assert!(again.get(&name()).unwrap().set.active().is_some());
    assert_eq!(again.epoch(), 7);
    assert_eq!(open_all(store).await.unwrap(), 3);
}
