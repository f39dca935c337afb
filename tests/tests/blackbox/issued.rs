//! Which tokens did we sign with this key? The records of issued tokens, from the signature to the list, through crashes and full disks.

use std::collections::BTreeSet;
use std::time::Duration;

use blackbox::{PATIENCE, Stack, get, text};
use client_admin::{
    AdminClient, Change, CreateKeySet, IssuedEntry, IssuedPage, IssuedQuery, KeyUse, Profile,
    Publish, RotateKeySet, UpdateKeySet,
};
use client_core::request::{Recipient, Sign, SignBatch, SignThenEncrypt};
use client_core::{Code, CryptoClient};
use serde_json::Value;

use crate::support::{
    ISSUER, admin, crypto, eventually, largest_file, limited, one_try, signing_set,
};

const SET: &str = "op/recorded";
const OTHER: &str = "op/unrecorded";

/// A set that records what it issues, promoted by force.
async fn recorded_set(stack: &Stack) {
    let create = CreateKeySet::new(SET, KeyUse::Sign, "ES256")
        .issuer(ISSUER)
        .publish(Publish::Public)
        .profile(Profile {
            record_issued: true,
            ..Profile::default()
        });
    let admin = admin(stack);
    admin.create(&create).await.unwrap();
    admin.rotate(&RotateKeySet::new(SET).force()).await.unwrap();
    let token = crypto(stack, "token");
    let signs = async || token.sign(&sign("nobody")).await.is_ok();
    assert!(eventually(PATIENCE, signs).await, "{}", stack.logs());
}

fn sign(sub: &str) -> Sign {
    Sign::json(SET, format!(r#"{{"sub":"{sub}","aud":"api"}}"#))
}

fn query() -> IssuedQuery {
    IssuedQuery {
        key_set: SET.to_owned(),
        page_size: 1_000,
        ..IssuedQuery::default()
    }
}

async fn all(admin: &AdminClient, mut query: IssuedQuery) -> Vec<IssuedEntry> {
    let mut entries = Vec::new();
    loop {
        let page = admin.issued(&query).await.unwrap();
        entries.extend(page.entries);
        if page.next_page_token.is_empty() {
            return entries;
        }
        query.page_token = page.next_page_token;
    }
}

/// A first page, once everything that was issued until now is there.
async fn complete(stack: &Stack) -> IssuedPage {
    let (now, admin) = (blackbox::now(), admin(stack));
    let mut last = None;
    let there = async || {
        last = admin.issued(&query()).await.ok();
        let until = last.as_ref().and_then(|page| page.complete_until);
        until.is_some_and(|until| until >= now)
    };
    let there = eventually(PATIENCE, there).await;
    assert!(there, "{last:?}\n{}", stack.logs());
    last.unwrap()
}

async fn jtis(stack: &Stack) -> BTreeSet<String> {
    complete(stack).await;
    let entries = all(&admin(stack), query()).await;
    let jtis: BTreeSet<_> = entries.iter().map(|entry| entry.jti.clone()).collect();
    assert_eq!(jtis.len(), entries.len(), "no token is recorded twice");
    jtis
}

#[tokio::test]
async fn whatever_a_recorded_set_signs_is_listed_and_nothing_of_other_sets() {
    let stack = Stack::start();
    recorded_set(&stack).await;
    signing_set(&stack, OTHER, "ES256").await;
    stack.create_development_key_sets();
    let token = crypto(&stack, "token");
    let mut signed = Vec::new();

    let one = token.sign(&sign("alice")).await.unwrap();
    signed.push(one.jti.clone());
    let mut batch = SignBatch::new();
    for sub in ["alice", "bob", "carol"] {
        batch.push(sign(sub));
    }
    for made in token.sign_batch(&batch).await.unwrap() {
        signed.push(made.unwrap().jti);
    }
    let stream = token.sign_stream();
    signed.push(stream.sign(&sign("dave")).await.unwrap().jti);
    let to = Recipient::KeySet("op/encryption".to_owned());
    let nested = SignThenEncrypt::new(sign("erin"), to);
    signed.push(token.sign_then_encrypt(&nested).await.unwrap().jti);
    let given = Sign::json(SET, r#"{"sub":"frank","jti":"given-by-the-caller"}"#);
    signed.push(token.sign(&given).await.unwrap().jti);
    let other = Sign::json(OTHER, r#"{"sub":"alice"}"#);
    token.sign(&other).await.unwrap();
    let long = Sign::json(SET, format!(r#"{{"jti":"{}"}}"#, "x".repeat(513)));
    let refused = token.sign(&long).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    let listed = jtis(&stack).await;
    for jti in &signed {
        assert!(listed.contains(jti), "{jti} is not in {listed:?}");
    }
    let admin = admin(&stack);
    let of_alice = IssuedQuery {
        sub: "alice".to_owned(),
        ..query()
    };
    let found = all(&admin, of_alice).await;
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].kid, one.kid);
    assert_eq!(found[0].caller, "spiffe://crypto.dev/token");
    assert_eq!(found[0].expires_at, one.expires_at);
    let everywhere = IssuedQuery {
        key_set: String::new(),
        ..query()
    };
    let sets: BTreeSet<_> = all(&admin, everywhere)
        .await
        .into_iter()
        .map(|entry| entry.key_set)
        .collect();
    assert_eq!(
        sets,
        BTreeSet::from([SET.to_owned()]),
        "others have no records"
    );

    // Turned on for the other set, it counts from the next token on.
    let on = UpdateKeySet::new(OTHER, Change::RecordIssued(true));
    admin.update(&on).await.unwrap();
    let of_other = async || {
        token.sign(&other).await.unwrap();
        let query = IssuedQuery {
            key_set: OTHER.to_owned(),
            ..query()
        };
        !all(&admin, query).await.is_empty()
    };
    assert!(eventually(PATIENCE, of_other).await);
}

#[tokio::test]
async fn the_command_line_lists_and_counts_as_text_and_json() {
    let stack = Stack::start();
    let made = stack.ctl(&["keyset", "create", SET, "--alg", "ES256", "--record-issued"]);
    assert!(made.contains("records what it issues"), "{made}");
    let _rotated = stack.ctl(&["keyset", "rotate", SET, "--force"]);
    let signs = async || {
        let claims = r#"{"sub":"alice"}"#;
        stack.cryptoctl(&["sign", SET, claims]).status.success()
    };
    assert!(eventually(PATIENCE, signs).await);
    complete(&stack).await;
    let json = |arguments: &[&str]| -> Value {
        let arguments = [&["--output", "json", "issued"], arguments].concat();
        serde_json::from_str(&stack.ctl(&arguments)).unwrap()
    };
    let listed = json(&["list", "--key-set", SET, "--sub", "alice"]);
    let entry = &listed["entries"][0];
    let kid = entry["kid"].as_str().unwrap();
    assert_eq!(entry["caller"], "spiffe://crypto.dev/token");
    assert_eq!(listed["behind"].as_array().unwrap().len(), 0);
    let counted = json(&["count", "--kid", kid]);
    assert_eq!(counted["counts"][0]["kid"], kid);
    assert_eq!(counted["total"], listed["total"]);

    let shown = stack.cryptoctl(&["issued", "list", "--kid", kid, "--limit", "1"]);
    let (jti, said) = (entry["jti"].as_str().unwrap(), text(&shown));
    assert!(
        said.contains(jti) && said.contains("complete until"),
        "{said}"
    );
    let counted = stack.ctl(&["issued", "count"]);
    assert!(
        counted.contains(kid) && counted.contains("in all"),
        "{counted}"
    );
    let address = stack.keys.grpc.to_string();
    let twice = [
        "issued",
        "count",
        "--kid",
        kid,
        "--replica",
        &address,
        "--replica",
        &address,
    ];
    let merged = stack.cryptoctl(&twice);
    let said = text(&merged);
    assert!(said.contains("are the same one"), "{said}");
    let count = counted.lines().next().unwrap();
    assert!(said.contains(count), "an entry counts once: {said}");
    let off = stack.ctl(&["keyset", "update", SET, "--record-issued", "false"]);
    assert!(!off.contains("records what it issues"), "{off}");
    let nothing = stack.cryptoctl(&["keyset", "update", SET]);
    assert_eq!(nothing.status.code(), Some(64), "{}", text(&nothing));
    let future = ["issued", "list", "--issued-after", "2100-01-01T00:00:00Z"];
    assert!(!stack.ctl(&future).contains(jti));
}

#[tokio::test]
async fn a_stolen_folder_and_a_log_say_nothing_and_a_drained_instance_leaves_nothing() {
    let mut stack = Stack::start();
    recorded_set(&stack).await;
    stack.key_manager.take().unwrap().kill();
    let token = crypto(&stack, "token");
    let planted = "planted-subject-5f2b9d";
    let signed = token.sign(&sign(planted)).await.unwrap();
    let folder = stack.dev().join("issued");
    let segments = || {
        let entries = std::fs::read_dir(&folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let segments = paths.filter(|path| path.extension().is_some_and(|e| e == "issued"));
        segments.collect::<Vec<_>>()
    };
    let kept = async || {
        let sizes = segments()
            .into_iter()
            .map(|path| path.metadata().unwrap().len());
        sizes.sum::<u64>() > 77
    };
    assert!(eventually(PATIENCE, kept).await);
    for path in segments() {
        let bytes = std::fs::read(&path).unwrap();
        for word in [planted, &signed.jti, &signed.kid, SET, "crypto.dev"] {
            let found = memchr::memmem::find(&bytes, word.as_bytes());
            assert!(found.is_none(), "{word} in {}", path.display());
        }
    }
    stack.start_daemons();
    assert!(jtis(&stack).await.contains(&signed.jti));
    let database = std::fs::read(stack.dev().join("issued.db")).unwrap();
    assert!(memchr::memmem::find(&database, planted.as_bytes()).is_none());
    let status = stack.crypto_service.take().unwrap().terminate(PATIENCE);
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert_eq!(segments().len(), 0);
    let page = admin(&stack).issued(&query()).await.unwrap();
    assert_eq!(page.behind.len(), 0);
    assert!(!stack.logs().contains(planted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_instance_loses_only_what_was_issued_in_the_last_moment() {
    let mut stack = Stack::start();
    recorded_set(&stack).await;
    let mut answered = BTreeSet::new();
    for _kill in 0..3 {
        let token = CryptoClient::new(one_try(&stack, stack.crypto.grpc, "token"));
        let signing = tokio::spawn(async move {
            let mut signed = Vec::new();
            while let Ok(made) = token.sign(&sign("alice")).await {
                signed.push(made.jti);
                if signed.len() == 500 {
                    break;
                }
            }
            signed
        });
        let signed = signing.await.unwrap();
        assert_eq!(signed.len(), 500, "{}", stack.logs());
        // Longer than the window: what is written by now is not lost, whatever happens.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        answered.extend(signed);
        let token = crypto(&stack, "token");
        // These may be lost.
        for _token in 0..20 {
            token.sign(&sign("alice")).await.unwrap();
        }
        stack.crypto_service.take().unwrap().kill();
        stack.start_daemons();
        let token = crypto(&stack, "token");
        let signs = async || token.sign(&sign("alice")).await.is_ok();
        assert!(eventually(PATIENCE, signs).await, "{}", stack.logs());
        let listed = jtis(&stack).await;
        let lost: Vec<_> = answered.difference(&listed).collect();
        assert!(lost.is_empty(), "{lost:?}\n{}", stack.logs());
    }
}

#[tokio::test]
async fn while_the_key_manager_is_away_records_wait_up_to_their_limit_and_arrive_afterwards() {
    let mut stack = Stack::init();
    stack.set_environment(&[
        ("CRYPTO_SERVICE_ISSUED_SEGMENT_BYTES", "4096"),
        ("CRYPTO_SERVICE_ISSUED_MAX_BYTES", "40960"),
        ("KEY_MANAGER_TIMES_MAX_SIGN_STALENESS", "5min"),
        ("KEY_MANAGER_TIMES_MAX_VERIFY_STALENESS", "5min"),
    ]);
    stack.start_daemons();
    recorded_set(&stack).await;
    signing_set(&stack, OTHER, "ES256").await;
    stack.key_manager.take().unwrap().kill();
    let token = CryptoClient::new(one_try(&stack, stack.crypto.grpc, "token"));
    let mut signed = BTreeSet::new();
    let refused = loop {
        match token.sign(&sign("alice")).await {
            Ok(made) => signed.insert(made.jti),
            Err(refused) => break refused,
        };
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(
        refused.to_string().contains("fill their folder"),
        "{refused}"
    );
    assert!(signed.len() > 100, "{}", signed.len());
    let other = Sign::json(OTHER, r#"{"sub":"alice"}"#);
    token
        .sign(&other)
        .await
        .expect("sets without records go on");
    let page = get(stack.crypto.http, "/metrics").unwrap().body;
    assert!(page.contains("crypto_service_issued_recording 0"), "{page}");

    stack.start_daemons();
    let signs = async || token.sign(&sign("alice")).await.is_ok();
    assert!(eventually(PATIENCE, signs).await, "{}", stack.logs());
    let listed = jtis(&stack).await;
    assert!(
        signed.is_subset(&listed),
        "{:?}",
        signed.difference(&listed)
    );
    let page = get(stack.crypto.http, "/metrics").unwrap().body;
    assert!(page.contains("crypto_service_issued_recording 1"), "{page}");
}

#[tokio::test]
async fn a_disk_that_refuses_records_refuses_signatures_and_loses_none_when_it_is_mended() {
    let mut stack = Stack::init();
    stack.key_manager = Some(stack.spawn("key-manager", &[]));
    stack.ready(stack.keys.http);
    stack.crypto_service = Some(limited(&stack, "crypto-service"));
    stack.ready(stack.crypto.http);
    recorded_set(&stack).await;
    let token = CryptoClient::new(one_try(&stack, stack.crypto.grpc, "token"));
    let before = token.sign(&sign("alice")).await.unwrap();
    let process = stack.crypto_service.as_ref().unwrap();
    // Nothing more is written, whatever the segment has; what is permitted until that is seen waits in memory.
    largest_file(process, Some(10));
    let mut signed = BTreeSet::from([before.jti]);
    let refused = loop {
        match token.sign(&sign("alice")).await {
            Ok(made) => signed.insert(made.jti),
            Err(refused) => break refused,
        };
    };
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.to_string().contains("disk"), "{refused}");
    largest_file(process, None);
    let signs = async || token.sign(&sign("alice")).await.is_ok();
    assert!(eventually(PATIENCE, signs).await, "{}", stack.logs());
    let listed = jtis(&stack).await;
    assert!(
        signed.is_subset(&listed),
        "{:?}",
        signed.difference(&listed)
    );
}

#[tokio::test]
async fn without_a_folder_or_a_database_nothing_is_signed_unrecorded() {
    let mut stack = Stack::init();
    stack.set_environment(&[("CRYPTO_SERVICE_ISSUED_FOLDER", "")]);
    stack.start_daemons();
    let create = CreateKeySet::new(SET, KeyUse::Sign, "ES256").profile(Profile {
        record_issued: true,
        ..Profile::default()
    });
    let admin = admin(&stack);
    admin.create(&create).await.unwrap();
    admin.rotate(&RotateKeySet::new(SET).force()).await.unwrap();
    let token = CryptoClient::new(one_try(&stack, stack.crypto.grpc, "token"));
    let mut said = String::new();
    let refused = async || {
        said = token.sign(&sign("alice")).await.unwrap_err().to_string();
        said.contains("issued.folder")
    };
    assert!(eventually(PATIENCE, refused).await, "{said}");
    let batch = SignBatch::new().item(sign("a"));
    let made = token.sign_batch(&batch).await.unwrap();
    assert!(made[0].is_err(), "{made:?}");
}
