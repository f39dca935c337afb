use super::*;

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = folder
        .read_dir()
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_look_changes_no_byte_and_leaves_no_file_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.commit(Batch::new().put("a", "1")).await.unwrap();
    store
        .run(|connection| {
            connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .map_err(from_sqlite)
        })
        .await
        .unwrap();
    drop(store);
    for _ in 0..100 {
        if files(folder.path()) == ["keys.db"] {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let before = (std::fs::read(&path).unwrap(), files(folder.path()));
    assert_eq!(peek(&path, "a").unwrap().unwrap().value, b"1");
    assert_eq!(peek(&path, "b").unwrap(), None);
    assert!(
        before == (std::fs::read(&path).unwrap(), files(folder.path())),
        "{:?}",
        files(folder.path())
    );
}

#[tokio::test]
async fn a_look_reads_the_log_of_a_killed_process_and_keeps_the_database_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store
        .commit(Batch::new().put("a", "in the log"))
        .await
        .unwrap();
    let killed = folder.path().join("killed.db");
    std::fs::copy(&path, &killed).unwrap();
    std::fs::copy(beside(&path, "-wal"), beside(&killed, "-wal")).unwrap();
    let before = (
        std::fs::read(&killed).unwrap(),
        std::fs::read(beside(&killed, "-wal")).unwrap(),
    );
    assert_eq!(peek(&killed, "a").unwrap().unwrap().value, b"in the log");
    assert!(
        before
            == (
                std::fs::read(&killed).unwrap(),
                std::fs::read(beside(&killed, "-wal")).unwrap()
            )
    );
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let first = SqliteStore::open(&path).await.unwrap();
    let second = SqliteStore::open(&path).await.unwrap_err();
    assert!(matches!(second, StoreError::InUse(_)), "{second}");
    first.commit(Batch::new().put("a", "1")).await.unwrap();
}

#[tokio::test]
async fn the_file_is_private_and_one_that_is_not_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    drop(SqliteStore::open(&path).await.unwrap());
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let open = folder.path().join("open.db");
    std::fs::write(&open, "").unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = SqliteStore::open(&open).await.unwrap_err();
    assert!(refused.to_string().contains("chmod 600"), "{refused}");
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let text = "this is a letter, not a database. ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(peek(&path, "a"), Err(StoreError::Damaged(_))));
    assert!(matches!(
        SqliteStore::open(&path).await,
        Err(StoreError::Damaged(_))
    ));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn erased_bytes_are_in_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let secret = "planted-planted-planted-planted";
    let found = || {
        files(folder.path()).iter().any(|name| {
            let bytes = std::fs::read(folder.path().join(name)).unwrap();
            bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes())
        })
    };
    store.commit(Batch::new().put("a", secret)).await.unwrap();
    assert!(found(), "the test must be able to see it");
    store
        .commit(Batch::new().delete("a").erase())
        .await
        .unwrap();
    assert!(!found());
}
