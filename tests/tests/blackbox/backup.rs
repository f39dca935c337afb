//! Backups and restores with the real programs.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Output, time::Duration};

use blackbox::{PATIENCE, Process, Stack, text, wait_until};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Dice, crypto, eventually, largest_file, limited, sign, signing_set, verify};

const SET: &str = "op/access-token";

fn path(stack: &Stack, name: &str) -> (PathBuf, String) {
    let path = stack.root().join(name);
    let shown = path.display().to_string();
    (path, shown)
}

#[track_caller]
fn ends(output: &Output, code: i32, says: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", text(output));
    assert!(text(output).contains(says), "{says}: {}", text(output));
}

fn parts(stack: &Stack) -> usize {
    let listed = fs::read_dir(stack.root()).unwrap();
    let names = listed.map(|file| file.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".part"))
        .count()
}

fn names(stack: &Stack) -> Option<Vec<String>> {
    let listed = stack.cryptoctl(&["--output", "json", "keyset", "list"]);
    let sets: Value = serde_json::from_slice(&listed.stdout).ok()?;
    let name = |set: &Value| set["name"].as_str().map(str::to_owned);
    sets.as_array()?.iter().map(name).collect()
}

fn stop_key_manager(stack: &mut Stack) {
    let ended = stack.key_manager.take().unwrap().terminate(PATIENCE);
    assert!(ended.is_some_and(|status| status.success()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_store_comes_back_from_its_backup_while_tokens_verify() {
    let mut stack = Stack::start();
    signing_set(&stack, SET, "ES256").await;
    let client = crypto(&stack, "token");
    let token = sign(&client, SET).await.unwrap().token;
    let (file, shown) = path(&stack, "keys.backup");
    let said = stack.ctl(&["backup", &shown]);
    for says in [
        "1 key set",
        "2 private keys",
        "sha256",
        "key-encryption key",
    ] {
        assert!(said.contains(says), "{says}: {said}");
    }
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!((mode & 0o777, parts(&stack)), (0o600, 0));
    ends(&stack.cryptoctl(&["backup", &shown]), 74, "exists");
    // what was done since is lost with the store
    stack.ctl(&["keyset", "rotate", SET, "--force"]);
    // the log of a store that is lost is kept apart, with the checkpoints by which it is verified
    let kept = stack.ctl(&["audit", "checkpoint"]);
    stop_key_manager(&mut stack);
    for name in ["keys.db", "keys.db-wal", "keys.db-shm"] {
        let _gone = fs::remove_file(stack.dev().join(name));
    }
    let (checkpoints, log) = (stack.root().join("kept.json"), stack.root().join("log"));
    fs::write(&checkpoints, kept).unwrap();
    fs::rename(stack.dev().join("audit"), &log).unwrap();
    stack.start_daemons();
    assert_eq!(names(&stack), Some(Vec::new()));
    let verified = verify(&client, &token).await.unwrap();
    assert!(verified.is_ok(), "by what the instance holds: {verified:?}");
    let turned_away = || stack.logs().contains("an older store was put in place");
    assert!(wait_until(PATIENCE, turned_away), "{}", stack.logs());

    let dry = stack.ctl(&["restore", &shown, "--dry-run"]);
    assert!(
        dry.contains("dry run") && dry.contains("undoes nothing"),
        "{dry}"
    );
    let restored = stack.ctl(&["--output", "json", "restore", &shown]);
    let restored: Value = serde_json::from_str(&restored).unwrap();
    assert_eq!(restored["restored"], true, "{restored}");
    stack.ready(stack.keys.http);
    assert!(
        eventually(PATIENCE, async || names(&stack)
            == Some(vec![SET.to_owned()]))
        .await,
        "{}",
        stack.logs()
    );
    // the instance takes the restored store, whose epoch is above all that it has seen
    let fed = eventually(PATIENCE, async || {
        let listed = stack.cryptoctl(&["--output", "json", "subscriber", "list", "--live"]);
        let live: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
        live[0]["acked_epoch"].as_u64() >= restored["epoch"].as_u64()
    });
    assert!(fed.await, "{}", stack.logs());
    let verified = verify(&client, &token).await.unwrap();
    assert!(verified.is_ok(), "by what was restored: {verified:?}");
    sign(&client, SET).await.unwrap();
    let audit = stack.dev().join("audit").display().to_string();
    let whole = || text(&stack.cryptoctl(&["audit", "verify", &audit]));
    assert!(whole().contains("are whole"), "{}", whole());
    let (log, checkpoints) = (log.display().to_string(), checkpoints.display().to_string());
    let old = stack.cryptoctl(&["audit", "verify", &log, "--checkpoints", &checkpoints]);
    assert!(text(&old).contains("are whole"), "{}", text(&old));
}

#[test]
fn what_would_be_undone_is_said_and_done_by_force_only() {
    let stack = Stack::start();
    stack.create_development_key_sets();
    let (file, shown) = path(&stack, "keys.backup");
    stack.ctl(&["backup", &shown]);
    stack.ctl(&["keyset", "create", "op/new", "--alg", "ES256"]);
    stack.ctl(&["token", "revoke", "--jti", "j", "--key-set", SET]);
    let refused = stack.cryptoctl(&["restore", &shown]);
    ends(&refused, 1, "CONFLICT");
    for says in [
        "nothing was changed",
        "1 key sets vanish",
        "default/op/new vanishes",
        "1 revocations of tokens are undone",
        "--force restores all the same",
    ] {
        assert!(text(&refused).contains(says), "{says}: {}", text(&refused));
    }
    assert_eq!(names(&stack).unwrap().len(), 4);
    let forced = stack.cryptoctl(&["restore", &shown, "--force"]);
    ends(&forced, 0, "restored by force");
    assert!(
        text(&forced).contains("restore: writing"),
        "{}",
        text(&forced)
    );
    assert!(wait_until(PATIENCE, || names(&stack)
        .is_some_and(|names| names.len() == 3)));
    let recorded = stack.ctl(&["audit", "query", "--all-tenants", "--act", "Restore"]);
    assert!(recorded.contains("DONE    Restore force by"), "{recorded}");

    // files that are none
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let (altered, name) = path(&stack, "altered.backup");
    fs::write(&altered, &bytes).unwrap();
    ends(
        &stack.cryptoctl(&["restore", &name, "--force"]),
        65,
        "altered",
    );
    fs::write(&altered, &bytes[..middle]).unwrap();
    ends(
        &stack.cryptoctl(&["restore", &name, "--force"]),
        65,
        "cut off",
    );
    ends(
        &stack.cryptoctl(&["restore", "missing", "--force"]),
        74,
        "missing",
    );
    let refused = stack.cryptoctl(&["--as", "token", "restore", &shown]);
    ends(&refused, 77, "NOT_GRANTED");
    ends(
        &stack.cryptoctl(&["--as", "token", "backup", "none"]),
        77,
        "NOT_GRANTED",
    );
    assert_eq!(names(&stack).unwrap().len(), 3);
    assert_eq!(parts(&stack), 0);
}

#[test]
fn a_full_disk_refuses_a_restore_and_the_same_restore_works_once_there_is_room() {
    let mut stack = Stack::init();
    stack.key_manager = Some(limited(&stack, "key-manager"));
    stack.ready(stack.keys.http);
    let create = |name: &str| stack.ctl(&["keyset", "create", name, "--alg", "ES256"]);
    for number in 0..20 {
        create(&format!("op/set-{number}"));
    }
    let (_, shown) = path(&stack, "keys.backup");
    stack.ctl(&["backup", &shown]);
    create("op/later");
    let process = stack.key_manager.as_ref().unwrap();
    // What is received goes into a file of its own first, which is larger than that.
    largest_file(process, Some(24 * 1024));
    let refused = stack.cryptoctl(&["restore", &shown, "--force"]);
    assert!(!refused.status.success(), "{}", text(&refused));
    assert!(text(&refused).contains("disk"), "{}", text(&refused));
    assert_eq!(names(&stack).unwrap().len(), 21, "nothing was changed");
    assert_eq!(parts(&stack), 0);
    largest_file(process, None);
    ends(
        &stack.cryptoctl(&["restore", &shown, "--force"]),
        0,
        "restored by force",
    );
    assert!(wait_until(PATIENCE, || names(&stack)
        .is_some_and(|names| names.len() == 20)));
}

#[test]
fn an_interrupted_backup_leaves_no_file() {
    let mut stack = Stack::start();
    let (file, shown) = path(&stack, "keys.backup");
    let key_manager = stack.key_manager.take().unwrap();
    key_manager.signal(Signal::STOP);
    let mut command = stack.command("cryptoctl");
    command.args(["--timeout", "60", "backup", &shown]);
    let mut backup = Process::start("backup", command);
    assert!(
        wait_until(PATIENCE, || parts(&stack) == 1),
        "{}",
        backup.log()
    );
    backup.signal(Signal::INT);
    let ended = backup.wait(PATIENCE).unwrap();
    assert_eq!(ended.code(), Some(130), "{}", backup.log());
    key_manager.signal(Signal::CONT);
    assert!(parts(&stack) == 0 && !file.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_manager_that_is_killed_in_a_restore_has_the_old_store_or_the_new_one() {
    let mut stack = Stack::start();
    for number in 0..20 {
        let name = format!("op/old-{number}");
        stack.ctl(&["keyset", "create", &name, "--alg", "ES256"]);
    }
    let (_, shown) = path(&stack, "keys.backup");
    stack.ctl(&["backup", &shown]);
    let mut dice = Dice::new("kills in a restore");
    let (mut old, mut new) = (0, 0);
    for round in 0..8 {
        let name = format!("op/new-{round}");
        stack.ctl(&["keyset", "create", &name, "--alg", "ES256"]);
        let mut command = stack.command("cryptoctl");
        command.args(["restore", &shown, "--force"]);
        let mut restore = Process::start("restore", command);
        let begun = || !restore.lines().is_empty();
        assert!(wait_until(PATIENCE, begun), "{}", restore.log());
        tokio::time::sleep(Duration::from_millis(dice.below(60))).await;
        stack.key_manager.take().unwrap().kill();
        let _ended = restore.wait(PATIENCE);
        stack.start_daemons();
        let found = names(&stack).unwrap();
        match found.contains(&name) {
            true => old += 1,
            false => new += 1,
        }
        let kept = found
            .iter()
            .filter(|name| name.starts_with("op/old"))
            .count();
        assert_eq!(kept, 20, "round {round}: {found:?}");
        let left = fs::read_dir(stack.dev()).unwrap();
        let left = left.map(|file| file.unwrap().file_name());
        let spools = left.filter(|name| name.to_string_lossy().contains(".spool"));
        assert_eq!(spools.count(), 0, "round {round}");
    }
    println!("killed before the end of the restore {old} times, after it {new} times");
}
