//! What breaks around the daemons, and how they say so.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use blackbox::{PATIENCE, Stack, get, read, text, wait_until};
use client_core::{Code, Error, Reason};

use crate::support::{QUICK, crypto, eventually, sign, signing_set, verify};

const SET: &str = "op/access-token";

fn not_ready<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(error) if error.code() == Code::Unavailable && error.reason() == Some(&Reason::NotReady))
}

#[tokio::test]
async fn without_its_key_manager_the_service_signs_then_verifies_then_nothing_and_recovers() {
    let mut times = QUICK.to_vec();
    times.push(("KEY_MANAGER_TIMES_MAX_SIGN_STALENESS", "6s"));
    times.push(("KEY_MANAGER_TIMES_MAX_VERIFY_STALENESS", "12s"));
    let mut stack = Stack::start_with(&times);
    signing_set(&stack, SET, "ES256").await;
    let (token, auth) = (crypto(&stack, "token"), crypto(&stack, "auth"));
    let signed = sign(&token, SET).await.unwrap().token;
    stack.key_manager.take().unwrap().kill();

    assert!(sign(&token, SET).await.is_ok(), "it serves from memory");
    assert!(
        eventually(PATIENCE, async || not_ready(&sign(&token, SET).await)).await,
        "it signs without a lease"
    );
    // the lease to verify ends at least 6 s after that to sign: no sooner than now
    assert!(
        verify(&auth, &signed).await.unwrap().is_ok(),
        "it stops verifying with signing"
    );
    assert_eq!(
        get(stack.crypto.http, "/.well-known/jwks.json")
            .unwrap()
            .status,
        200
    );
    assert!(
        eventually(PATIENCE, async || not_ready(&verify(&auth, &signed).await)).await,
        "it verifies without a lease"
    );
    assert_eq!(
        get(stack.crypto.http, "/.well-known/jwks.json")
            .unwrap()
            .status,
        503
    );
    assert_eq!(get(stack.crypto.http, "/readyz").unwrap().status, 503);
    assert_eq!(
        get(stack.crypto.http, "/healthz").unwrap().status,
        200,
        "it is alive"
    );

    stack.start_daemons();
    assert!(
        eventually(PATIENCE, async || sign(&token, SET).await.is_ok()).await,
        "it does not recover"
    );
    assert!(verify(&auth, &signed).await.unwrap().is_ok());
}

/// Every file beside the database, with its bytes.
pub(crate) fn store(stack: &Stack) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(stack.dev())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.to_string_lossy().contains("keys.db"))
        .map(|path| (path.clone(), read(&path)))
        .collect();
    files.sort();
    files
}

pub(crate) fn untouched(stack: &Stack, what: &str, before: &[(PathBuf, Vec<u8>)]) {
    let after = store(stack);
    let names = |files: &[(PathBuf, Vec<u8>)]| {
        files
            .iter()
            .map(|(path, bytes)| (path.clone(), bytes.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&after),
        names(before),
        "{what}: files beside the database"
    );
    assert!(after == before, "{what}: the database was touched");
}

/// Starts the key-manager, which has to end by itself; its exit code and what it wrote.
pub(crate) fn refuses_to_start(stack: &Stack, what: &str) -> (i32, String) {
    let mut process = stack.spawn("key-manager", &[]);
    let status = process
        .wait(PATIENCE)
        .unwrap_or_else(|| panic!("{what}: it runs: {}", process.log()));
    // the output is read by another thread
    wait_until(Duration::from_secs(5), || !process.lines().is_empty());
    (status.code().unwrap_or(-1), process.log())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A set-up with a database that holds a key set, and no daemon.
async fn stopped() -> Stack {
    let mut stack = Stack::start();
    signing_set(&stack, SET, "ES256").await;
    for process in [stack.crypto_service.take(), stack.key_manager.take()] {
        let status = process.unwrap().terminate(Duration::from_secs(10));
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
    }
    stack
}

#[tokio::test]
async fn a_wrong_key_encryption_key_is_named_and_changes_nothing() {
    let mut stack = stopped().await;
    let kek = stack.dev().join("kek");
    let right = read(&kek);
    let before = store(&stack);
    assert_eq!(
        before.len(),
        1,
        "a drained key-manager leaves its database alone: {before:?}"
    );
    let rows: [(&str, &dyn Fn(), &str); 5] = [
        (
            "another key",
            &|| fs::write(&kek, "ab".repeat(32)).unwrap(),
            "key-encryption key",
        ),
        (
            "too short",
            &|| fs::write(&kek, "ab").unwrap(),
            "64 hexadecimal digits",
        ),
        (
            "no key",
            &|| fs::write(&kek, "").unwrap(),
            "64 hexadecimal digits",
        ),
        ("readable by all", &|| set_mode(&kek, 0o644), "chmod 600"),
        ("missing", &|| fs::remove_file(&kek).unwrap(), "kek"),
    ];
    for (what, spoil, says) in rows {
        fs::write(&kek, &right).unwrap();
        set_mode(&kek, 0o600);
        spoil();
        let (code, log) = refuses_to_start(&stack, what);
        assert_eq!(code, 78, "{what}: {log}");
        assert!(log.contains(says), "{what}: {log}");
        assert!(!log.contains("panicked"), "{what}: {log}");
        untouched(&stack, what, &before);
    }
    fs::write(&kek, &right).unwrap();
    set_mode(&kek, 0o600);
    stack.start_daemons();
    let token = crypto(&stack, "token");
    assert!(
        eventually(PATIENCE, async || sign(&token, SET).await.is_ok()).await,
        "the right key opens it"
    );
    // killed, it leaves its log; that is not touched either
    stack.key_manager.take().unwrap().kill();
    let before = store(&stack);
    fs::write(&kek, "ab".repeat(32)).unwrap();
    let (code, log) = refuses_to_start(&stack, "another key after a kill");
    assert_eq!(code, 78, "{log}");
    untouched(&stack, "another key after a kill", &before);
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_named() {
    let mut stack = stopped().await;
    let path = stack.dev().join("keys.db");
    let sound = read(&path);
    let mut bent = sound.clone();
    // past the header of the file, in the middle of its pages
    for byte in bent.iter_mut().skip(4096).step_by(7) {
        *byte ^= 0xA5;
    }
    for (what, bytes) in [
        ("no database", b"this is no database, but a text that is longer than a header of one hundred bytes would be, so it is read".to_vec()),
        ("altered", bent),
        ("cut short", sound[..sound.len() / 2].to_vec()),
    ] {
        fs::write(&path, &bytes).unwrap();
        let (code, log) = refuses_to_start(&stack, what);
        assert!([65, 69, 78].contains(&code), "{what}: {code} {log}");
        assert!(log.contains("store") || log.contains("keys.db"), "{what} does not name the store: {log}");
        assert!(!log.contains("panicked"), "{what}: {log}");
    }
    // a folder in its place cannot be written, also not by root
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let (code, log) = refuses_to_start(&stack, "a folder");
    assert!(code == 69 || code == 65, "{code} {log}");
    assert!(log.contains("store") || log.contains("keys.db"), "{log}");
    fs::remove_dir(&path).unwrap();
    read_only(&stack, &path, &sound);
    fs::write(&path, &sound).unwrap();
    set_mode(&path, 0o600);
    stack.start_daemons();
}

/// Only where the tests run as a plain user: nothing is read-only for root.
fn read_only(stack: &Stack, path: &Path, sound: &[u8]) {
    fs::write(path, sound).unwrap();
    set_mode(path, 0o400);
    if fs::OpenOptions::new().append(true).open(path).is_ok() {
        println!("read-only database: not run, this user may write to everything");
        return;
    }
    let (code, log) = refuses_to_start(stack, "read-only");
    assert!(code != 0 && log.contains("store"), "{code} {log}");
}

#[test]
fn a_daemon_without_its_peer_says_what_it_waits_for() {
    let stack = Stack::init();
    let alone = stack.spawn("crypto-service", &[]);
    assert!(
        wait_until(PATIENCE, || get(stack.crypto.http, "/healthz")
            .is_some_and(|answer| answer.status == 200)),
        "{}",
        alone.log()
    );
    let ready = get(stack.crypto.http, "/readyz").unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("key"), "{ready:?}");
    let call = stack.cryptoctl(&["sign", SET, "{}"]);
    assert_eq!(call.status.code(), Some(69), "{}", text(&call));
    assert!(text(&call).contains("NOT_READY"), "{}", text(&call));
}
