//! The audit log, with the programs that an auditor has.

use std::{path::PathBuf, process::Output};

use blackbox::{PATIENCE, Stack, text};
use serde_json::Value;

use crate::support::{largest_file, limited};

fn folder(stack: &Stack) -> String {
    stack.dev().join("audit").display().to_string()
}

fn segment(stack: &Stack) -> PathBuf {
    let listed = std::fs::read_dir(stack.dev().join("audit")).unwrap();
    let mut paths: Vec<PathBuf> = listed.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
    paths.sort();
    paths.pop().unwrap()
}

#[track_caller]
fn fails(output: &Output, code: i32, says: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", text(output));
    assert!(text(output).contains(says), "{}", text(output));
}

#[test]
fn an_auditor_reads_verifies_and_finds_what_was_edited_or_cut_off() {
    let mut stack = Stack::start();
    stack.create_development_key_sets();
    let refused = stack.cryptoctl(&["keyset", "create", "other/set", "--alg", "ES256"]);
    fails(&refused, 77, "NOT_GRANTED");
    let shown = stack.ctl(&["--output", "json", "audit", "query", "--outcome", "done"]);
    let acts: Vec<Value> = serde_json::from_str(&shown).unwrap();
    let names: Vec<&str> = acts.iter().filter_map(|act| act["act"].as_str()).collect();
    for expected in ["CreateKeySet", "RotateKeySet"] {
        let count = names.iter().filter(|name| **name == expected).count();
        assert_eq!(count, 3, "{names:?}");
    }
    let asked = [
        "audit",
        "query",
        "--act",
        "RotateKeySet",
        "--key-set",
        "op/id-token",
    ];
    let lines = stack.ctl(&asked);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(
        lines.contains("BEGUN") && lines.contains("force by spiffe://crypto.dev/admin"),
        "{lines}"
    );

    let folder = folder(&stack);
    let whole = stack.ctl(&["audit", "verify", &folder]);
    assert!(
        whole.contains("are whole") && whole.contains("signed up to entry"),
        "{whole}"
    );

    // The last checkpoint is made when the key-manager ends.
    let ended = stack.key_manager.take().unwrap().terminate(PATIENCE);
    assert!(ended.is_some_and(|status| status.success()));
    stack.start_daemons();
    let kept = stack.root().join("kept.json");
    std::fs::write(&kept, stack.ctl(&["audit", "checkpoint"])).unwrap();
    let kept = kept.display().to_string();
    let verify = ["audit", "verify", &folder, "--checkpoints", &kept];
    assert!(stack.ctl(&verify).contains("are whole"));

    let (path, good) = (
        segment(&stack),
        std::fs::read_to_string(segment(&stack)).unwrap(),
    );
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    let edited = good.replacen("op/id-token", "op/id-t0ken", 1);
    std::fs::write(&path, &edited).unwrap();
    let bad = lines
        .iter()
        .position(|line| line.contains("op/id-token"))
        .unwrap()
        + 1;
    fails(
        &stack.cryptoctl(&verify),
        1,
        &format!("entry {bad} of chain"),
    );
    std::fs::write(&path, lines[..4].concat()).unwrap();
    fails(&stack.cryptoctl(&verify), 1, "entry 5 of chain");
    fails(&stack.cryptoctl(&verify), 1, "cut off");
    std::fs::remove_file(&path).unwrap();
    fails(&stack.cryptoctl(&verify), 1, "entry 1 of chain");
    std::fs::write(&path, &good).unwrap();
    assert!(stack.ctl(&verify).contains("are whole"));
    let no_file = ["audit", "verify", &folder, "--checkpoints", "/nowhere"];
    fails(&stack.cryptoctl(&no_file), 74, "/nowhere");
    std::fs::write(&kept, "{}").unwrap();
    fails(&stack.cryptoctl(&verify), 65, "audit checkpoint");
}

#[test]
fn a_disk_without_room_for_the_log_refuses_acts_and_goes_on_without_hands() {
    let mut stack = Stack::init();
    stack.key_manager = Some(limited(&stack, "key-manager"));
    stack.start_daemons();
    stack.create_development_key_sets();
    let show = ["--output", "json", "keyset", "show", "op/access-token"];
    let before: Value = serde_json::from_str(&stack.ctl(&show)).unwrap();

    let process = stack.key_manager.as_ref().unwrap();
    let size = std::fs::metadata(segment(&stack)).unwrap().len();
    // Half of an entry still fits.
    largest_file(process, Some(size + 60));
    for _ in 0..3 {
        let rotate = ["keyset", "rotate", "op/access-token", "--force"];
        fails(&stack.cryptoctl(&rotate), 69, "audit log");
        let create = ["keyset", "create", "op/new", "--alg", "ES256"];
        fails(&stack.cryptoctl(&create), 69, "audit log");
    }
    let after: Value = serde_json::from_str(&stack.ctl(&show)).unwrap();
    assert_eq!(after["revision"], before["revision"], "nothing was done");
    fails(
        &stack.cryptoctl(&["keyset", "show", "op/new"]),
        1,
        "KEY_SET_NOT_FOUND",
    );

    largest_file(process, None);
    let _done = stack.ctl(&["keyset", "rotate", "op/access-token", "--force"]);
    let whole = stack.ctl(&["audit", "verify", &folder(&stack)]);
    assert!(whole.contains("are whole"), "{whole}");
    assert_eq!(
        whole.matches("chain ").count(),
        1,
        "the chain goes on: {whole}"
    );
}

#[test]
fn an_operator_destroys_a_key_evicts_an_instance_and_imports_pem() {
    let stack = Stack::start();
    stack.create_development_key_sets();
    let list = ["--output", "json", "subscriber", "list", "--live"];
    let listed: Vec<Value> = serde_json::from_str(&stack.ctl(&list)).unwrap();
    let name = listed[0]["name"].as_str().unwrap();
    assert!(
        name.starts_with("spiffe://crypto.dev/crypto-service#"),
        "{listed:?}"
    );
    assert!(stack.ctl(&["subscriber", "list"]).contains("lease live"));

    let show = ["--output", "json", "keyset", "show", "op/access-token"];
    let shown: Value = serde_json::from_str(&stack.ctl(&show)).unwrap();
    let versions = shown["versions"].as_array().unwrap();
    let active = versions
        .iter()
        .find(|version| version["state"] == "ACTIVE")
        .unwrap();
    let kid = active["kid"].as_str().unwrap();
    let destroy = ["keyset", "destroy", "op/access-token", kid];
    fails(
        &stack.cryptoctl(&destroy),
        65,
        "only Retired and Revoked keys",
    );
    let _revoked = stack.ctl(&["keyset", "revoke", "op/access-token", kid]);
    let scheduled = stack.ctl(&destroy);
    assert!(
        scheduled.contains("erased at") && scheduled.contains("backups"),
        "{scheduled}"
    );
    let cancelled = stack.ctl(&["keyset", "destroy", "op/access-token", kid, "--cancel"]);
    assert!(
        cancelled.contains("no destruction is scheduled"),
        "{cancelled}"
    );
    let both = [
        "keyset",
        "destroy",
        "op/access-token",
        kid,
        "--cancel",
        "--after",
        "60",
    ];
    assert_eq!(stack.cryptoctl(&both).status.code(), Some(2));

    let pem = stack.root().join("key.pem");
    // RFC 8037 appendix A.1, as OpenSSL writes it.
    let text = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    std::fs::write(&pem, text).unwrap();
    let pem = pem.display().to_string();
    let _created = stack.ctl(&["keyset", "create", "op/moved", "--alg", "EdDSA"]);
    let imported = stack.ctl(&["keyset", "import", "op/moved", &pem]);
    assert!(
        imported.contains("imported kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        "{imported}"
    );
    fails(
        &stack.cryptoctl(&["keyset", "import", "op/moved", &pem, "--kid", "another"]),
        65,
        "pkcs8",
    );

    let evicted = stack.ctl(&["subscriber", "evict", name, "--force"]);
    assert!(
        evicted.contains("evicted by force") && evicted.contains("may have broken"),
        "{evicted}"
    );
    fails(
        &stack.cryptoctl(&["subscriber", "evict", "nobody#0"]),
        1,
        "SUBSCRIBER_NOT_FOUND",
    );
}
