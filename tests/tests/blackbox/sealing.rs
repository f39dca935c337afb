//! Keys of keys that change while the service is at work.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blackbox::{PATIENCE, Stack, get, read, wait_until, write_whole};
use client_admin::{RotateDataKey, RotateKeySet, Sealing};
use client_core::CryptoClient;
use serde_json::Value;

use crate::support::{Dice, active_kid, admin, channel, crypto, eventually, sign, signing_set};

const SET: &str = "op/access-token";
/// Sets beside it, so that re-sealing takes more than one write.
const MORE: usize = 30;

async fn sealing(stack: &Stack) -> Option<Sealing> {
    admin(stack).sealing("").await.ok()
}

/// Waits until nothing stands under an older data key.
async fn settled(stack: &Stack) -> Sealing {
    let done = async || sealing(stack).await.is_some_and(|shown| shown.is_settled());
    assert!(
        eventually(PATIENCE, done).await,
        "re-sealing does not end\n{}",
        stack.logs()
    );
    sealing(stack).await.unwrap()
}

/// An instance that was never fed before signs with what the key-manager holds.
async fn a_new_instance_signs(stack: &Stack) {
    let (_process, addresses) = stack.another_crypto_service();
    let token = CryptoClient::new(channel(stack, addresses.grpc, "token"));
    let shown = admin(stack).get("", SET).await.unwrap().key_set;
    let signs = async || {
        let signed = sign(&token, SET).await;
        signed.is_ok_and(|signed| signed.kid == active_kid(&shown))
    };
    assert!(eventually(PATIENCE, signs).await, "{}", stack.logs());
}

/// Signs without a pause until `stop`, and gives how often.
fn keep_signing(stack: &Stack, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<usize> {
    let (token, stop) = (crypto(stack, "token"), Arc::clone(stop));
    tokio::spawn(async move {
        let mut signed = 0;
        while !stop.load(Ordering::Relaxed) {
            sign(&token, SET).await.expect("no signature fails");
            signed += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        signed
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_keys_rotate_while_tokens_are_signed_and_a_kill_in_the_middle_loses_nothing() {
    let mut dice = Dice::new("data_keys_rotate");
    let mut stack = Stack::start();
    signing_set(&stack, SET, "ES256").await;
    for number in 0..MORE {
        let create = client_admin::CreateKeySet::new(
            format!("op/set-{number}"),
            client_admin::KeyUse::Sign,
            "ES256",
        );
        admin(&stack).create(&create).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let signing = keep_signing(&stack, &stop);
    for round in 0..4 {
        for rotate in [RotateDataKey::of_tenant(""), RotateDataKey::of_the_root()] {
            admin(&stack).rotate_data_key(&rotate).await.unwrap();
        }
        // somewhere in the middle of it
        tokio::time::sleep(Duration::from_millis(dice.below(60))).await;
        stack.key_manager.take().unwrap().kill();
        stack.key_manager = Some(stack.spawn("key-manager", &[]));
        stack.ready(stack.keys.http);
        let rotated = admin(&stack).rotate(&RotateKeySet::new(SET).force()).await;
        assert!(rotated.is_ok(), "round {round}: {rotated:?}");
    }
    let shown = settled(&stack).await;
    assert_eq!(
        (shown.root.generation, shown.tenants[0].generation),
        (5, 5),
        "{shown:?}"
    );
    assert!(shown.tenants[0].began.is_some() && shown.tenants[0].ended.is_some());
    let one = &shown.tenants[0].generations[0];
    assert!(
        usize::try_from(one.records).unwrap() == MORE + 1 && one.keys > one.records,
        "{one:?}"
    );
    a_new_instance_signs(&stack).await;
    stop.store(true, Ordering::Relaxed);
    assert!(signing.await.unwrap() > 50);

    let text = stack.ctl(&["sealing", "show"]);
    assert!(text.contains("tenant default: generation 5"), "{text}");
    let watched = stack.ctl(&["sealing", "show", "--watch"]);
    assert_eq!(watched.trim(), "nothing is left to re-seal");
    let rotated = stack.ctl(&["sealing", "rotate", "--root"]);
    assert!(rotated.contains("root: generation 6"), "{rotated}");
    settled(&stack).await;
    let metrics = get(stack.keys.http, "/metrics").unwrap().body;
    assert!(
        metrics.contains(r#"key_manager_sealing_left{what="records"} 0"#),
        "{metrics}"
    );
    let log = stack.key_manager.as_ref().unwrap().log();
    for said in ["re-sealing begins", "re-sealing has ended"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    let audited = stack.ctl(&["audit", "query", "--all-tenants", "--act", "RotateDataKey"]);
    assert!(
        audited.contains("DONE") && audited.contains("admin"),
        "{audited}"
    );
    let audited = stack.ctl(&["audit", "query", "--all-tenants", "--act", "RemoveDataKey"]);
    assert!(audited.contains("DONE"), "{audited}");
    let shown = stack.ctl(&["--output", "json", "sealing", "show"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["root"]["generation"], 6, "{shown}");
}

#[tokio::test]
async fn who_administers_nothing_rotates_and_sees_no_data_key() {
    let stack = Stack::start();
    signing_set(&stack, SET, "ES256").await;
    for arguments in [
        &["sealing", "show", "--as", "token"][..],
        &["sealing", "rotate", "--as", "token"],
        &["sealing", "rotate", "--root", "--as", "token"],
        &["sealing", "rotate", "--tenant", "elsewhere"],
    ] {
        let refused = stack.cryptoctl(arguments);
        let said = blackbox::text(&refused);
        assert_eq!(refused.status.code(), Some(77), "{arguments:?}: {said}");
    }
}

fn new_kek(path: &Path) {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    std::io::Write::write_all(&mut file.unwrap(), "ab".repeat(32).as_bytes()).unwrap();
}

/// Replaces what `[kek]` says.
fn configure(stack: &Stack, from: &str, to: &str) {
    let path = stack.dev().join("key-manager.toml");
    let text = String::from_utf8(read(&path)).unwrap();
    assert!(text.contains(from), "{text}");
    write_whole(&path, &text.replace(from, to));
}

fn restart(stack: &mut Stack) {
    let status = stack.key_manager.take().unwrap().terminate(PATIENCE);
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    stack.key_manager = Some(stack.spawn("key-manager", &[]));
    stack.ready(stack.keys.http);
}

/// Starts the key-manager, which has to end by itself; its exit code and what it wrote.
fn refuses_to_start(stack: &Stack) -> (Option<i32>, String) {
    let mut process = stack.spawn("key-manager", &[]);
    let status = process.wait(PATIENCE).expect("it runs");
    wait_until(Duration::from_secs(5), || !process.lines().is_empty());
    (status.code(), process.log())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_encryption_key_gives_way_to_another_and_a_missing_one_is_named() {
    let mut stack = Stack::start();
    signing_set(&stack, SET, "ES256").await;
    let stop = Arc::new(AtomicBool::new(false));
    let signing = keep_signing(&stack, &stop);
    let old = settled(&stack).await.kek_id;
    let kek = |name: &str| format!("file = \"var/dev/{name}\"");
    let (first, second) = (kek("kek"), kek("kek-new"));
    new_kek(&stack.dev().join("kek-new"));

    // the new one alone opens nothing, and the one that is wanted is named
    let status = stack.key_manager.take().unwrap().terminate(PATIENCE);
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    configure(&stack, &first, &second);
    let (code, log) = refuses_to_start(&stack);
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains(&old) && log.contains("kek.previous"), "{log}");

    configure(
        &stack,
        &second,
        &format!("{second}\n\n[kek.previous]\n{first}\n"),
    );
    stack.key_manager = Some(stack.spawn("key-manager", &[]));
    stack.ready(stack.keys.http);
    let removable = async || {
        let shown = sealing(&stack).await;
        shown.is_some_and(|shown| shown.previous_removable)
    };
    assert!(eventually(PATIENCE, removable).await, "{}", stack.logs());
    let shown = settled(&stack).await;
    assert_eq!(shown.previous_kek_id.as_deref(), Some(old.as_str()));
    assert_ne!(shown.kek_id, old);
    let all = shown.tenants.iter().chain([&shown.root]);
    for one in all.flat_map(|key| &key.generations) {
        assert_eq!(one.kek_id, shown.kek_id);
    }
    let text = stack.ctl(&["sealing", "show"]);
    assert!(text.contains("kek.previous may be removed"), "{text}");

    configure(&stack, &format!("\n\n[kek.previous]\n{first}\n"), "\n");
    fs::remove_file(stack.dev().join("kek")).unwrap();
    restart(&mut stack);
    let shown = settled(&stack).await;
    assert!(shown.previous_kek_id.is_none() && !shown.previous_removable);
    a_new_instance_signs(&stack).await;
    stop.store(true, Ordering::Relaxed);
    assert!(signing.await.unwrap() > 20);
}
