//! What must not be seen: in logs at TRACE, in metrics, in errors, and on the feed.

use blackbox::{PATIENCE, Stack, get, text};
use client_admin::{CreateKeySet, ImportAs, ImportKey, KeyUse, Publish, RevokeKey, RotateKeySet};
use client_core::Claims;
use client_core::request::{
    Decrypt, DecryptThenVerify, Encrypt, Recipient, Sign, SignThenEncrypt, Verify,
};
use crypto_proto::keys::v1::{
    FedKeySet, FedVersion, KeyState, KeyUse as FedUse, watch_response::Message as Down,
};
use jose::base64url;
use prost::Message as _;
use serde_json::Value;

use crate::instance::Instance;
use crate::planted::Planted;
use crate::support::{AUDIENCE, active_kid, admin, crypto, eventually, sign};

const CLAIM: &str = "planted-claim-2c1f7a90";
const PAYLOAD: &str = "planted-payload-b1946ac9";
const TRACE: [(&str, &str); 2] = [
    ("CRYPTO_SERVICE_LOG_FILTER", "trace"),
    ("KEY_MANAGER_LOG_FILTER", "trace"),
];

/// New keys of every kind, imported into sets of their own.
async fn import_keys(stack: &Stack, planted: &mut Planted) -> Vec<(String, KeyUse)> {
    let admin = admin(stack);
    let mut sets = Vec::new();
    for (algorithm, key_use) in [
        ("ES256", KeyUse::Sign),
        ("RS256", KeyUse::Sign),
        ("Ed25519", KeyUse::Sign),
        ("HS256", KeyUse::Sign),
        ("RSA-OAEP-256", KeyUse::Encrypt),
        ("ECDH-ES+A256KW", KeyUse::Encrypt),
        ("A256KW", KeyUse::Encrypt),
    ] {
        let name = format!("op/{}", algorithm.to_lowercase().replace('+', "-"));
        let hidden = algorithm.starts_with("HS") || algorithm == "A256KW";
        let publish = if hidden {
            Publish::None
        } else {
            Publish::Public
        };
        admin
            .create(&CreateKeySet::new(&name, key_use, algorithm).publish(publish))
            .await
            .unwrap();
        let jwk = stack.ctl(&["keygen", algorithm]);
        planted.jwk(algorithm, &jwk);
        admin
            .import(&ImportKey::new(&name, jwk.trim(), ImportAs::ForcedActive))
            .await
            .unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        let fed = async || serves(stack, &name, key_use).await;
        assert!(
            eventually(PATIENCE, fed).await,
            "{name} does not reach the instance"
        );
        sets.push((name, key_use));
    }
    sets
}

async fn serves(stack: &Stack, name: &str, key_use: KeyUse) -> bool {
    let token = crypto(stack, "token");
    match key_use {
        KeyUse::Sign => sign(&token, name).await.is_ok(),
        _ => token
            .encrypt(&Encrypt::new("x", Recipient::KeySet(name.to_owned())))
            .await
            .is_ok(),
    }
}

#[tokio::test]
async fn no_claim_token_payload_or_key_is_in_a_log_at_trace_or_in_metrics() {
    let mut stack = Stack::start_with(&TRACE);
    let mut planted = Planted::default();
    let mut said = Vec::new();
    planted.text("a claim", CLAIM);
    planted.text("a payload", PAYLOAD);
    let sets = import_keys(&stack, &mut planted).await;
    let (token, auth, admin) = (
        crypto(&stack, "token"),
        crypto(&stack, "auth"),
        admin(&stack),
    );
    let claims = Claims::from_json(&format!(
        r#"{{"sub":"{CLAIM}","aud":"{AUDIENCE}","email":"{CLAIM}"}}"#
    ))
    .unwrap();
    let encryption = || Recipient::KeySet("op/rsa-oaep-256".to_owned());
    for (name, key_use) in &sets {
        if *key_use == KeyUse::Sign {
            let signed = token
                .sign(&Sign::new(name, &claims))
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            planted.token("a signed token", &signed.token);
            let valid = auth
                .verify(&Verify::new(&signed.token, AUDIENCE))
                .await
                .unwrap();
            assert!(valid.into_result().unwrap().claims_json.contains(CLAIM));
            said.push(format!(
                "{:?}",
                auth.verify(&Verify::new(format!("{}x", signed.token), AUDIENCE))
                    .await
            ));
            said.push(format!(
                "{:?}",
                auth.verify(&Verify::new(&signed.token, "https://other.example.com"))
                    .await
            ));
        } else {
            let sealed = token
                .encrypt(&Encrypt::new(PAYLOAD, Recipient::KeySet(name.clone())))
                .await
                .unwrap();
            planted.token("an encrypted token", &sealed.token);
            let opened = auth
                .decrypt(&Decrypt::new(&sealed.token))
                .await
                .unwrap()
                .into_token();
            assert_eq!(opened.unwrap().payload, PAYLOAD.as_bytes(), "{name}");
            said.push(format!(
                "{:?}",
                auth.decrypt(&Decrypt::new(format!("{}x", sealed.token)))
                    .await
            ));
        }
    }
    let nested = SignThenEncrypt::new(Sign::new("op/rs256", &claims), encryption());
    let nested = token.sign_then_encrypt(&nested).await.unwrap();
    planted.token("a nested token", &nested.token);
    auth.decrypt_then_verify(&DecryptThenVerify::new(Verify::new(
        &nested.token,
        AUDIENCE,
    )))
    .await
    .unwrap()
    .into_result()
    .unwrap();
    // what is refused holds secrets too
    let twice = format!(r#"{{"sub":"{CLAIM}","sub":"{CLAIM}"}}"#);
    for request in [
        Sign::json("op/es256", twice),
        Sign::json("op/none", claims.to_json()),
        Sign::json("op/es256", CLAIM),
        Sign::new("op/es256", &claims).typ("\n"),
    ] {
        said.push(token.sign(&request).await.unwrap_err().to_string());
    }
    said.push(
        crypto(&stack, "auth")
            .sign(&Sign::new("op/es256", &claims))
            .await
            .unwrap_err()
            .to_string(),
    );
    let spoilt = stack.ctl(&["keygen", "ES256"]);
    planted.jwk("a key that is refused", &spoilt);
    let spoilt = spoilt.replace("P-256", "P-384");
    said.push(
        admin
            .import(&ImportKey::new(
                "op/es256",
                spoilt.trim(),
                ImportAs::Prepared,
            ))
            .await
            .unwrap_err()
            .to_string(),
    );
    let by_line = stack.cryptoctl(&["verify", "not-a-token", "--audience", AUDIENCE]);
    said.push(text(&by_line));
    for (name, _) in &sets {
        let rotated = admin
            .rotate(&RotateKeySet::new(name).force())
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        admin
            .revoke(&RevokeKey::new(name, active_kid(&rotated.key_set)))
            .await
            .unwrap();
    }

    for line in &said {
        planted.none_in("an error", line.as_bytes());
    }
    for http in [stack.crypto.http, stack.keys.http] {
        let metrics = get(http, "/metrics").unwrap();
        assert!(
            metrics.status == 200 && metrics.body.contains("rpc"),
            "{metrics:?}"
        );
        planted.none_in("metrics", metrics.body.as_bytes());
    }
    for process in [stack.crypto_service.take(), stack.key_manager.take()]
        .into_iter()
        .flatten()
    {
        process.signal(rustix::process::Signal::TERM);
        blackbox::wait_until(std::time::Duration::from_secs(10), || {
            process.log().contains("draining")
        });
        let log = process.log();
        assert!(
            log.contains("TRACE") && log.len() > 10_000,
            "the log is not at TRACE: {} bytes",
            log.len()
        );
        planted.none_in("a log", log.as_bytes());
    }
}

/// Object identifiers that only a DER-encoded key has here: rsaEncryption, id-ecPublicKey, id-Ed25519 within an AlgorithmIdentifier.
const KEY_OIDS: [&[u8]; 3] = [
    &[
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
    ],
    &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01],
    &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22],
];

#[tokio::test]
async fn the_bytes_of_the_feed_hold_no_key_material() {
    let stack = Stack::start();
    let mut instance = Instance::connect(&stack).await;
    instance.lease().await;
    let mut planted = Planted::default();
    let sets = import_keys(&stack, &mut planted).await;
    let admin = admin(&stack);
    for (name, _) in &sets {
        admin
            .rotate(&RotateKeySet::new(name).force())
            .await
            .unwrap();
    }
    // one that gets everything as a snapshot, besides the one that got it piece by piece
    let second = Instance::connect(&stack).await;
    let messages: Vec<_> = instance
        .received()
        .into_iter()
        .chain(second.received())
        .collect();
    let mut wrapped = 0;
    for message in &messages {
        let bytes = message.encode_to_vec();
        planted.none_in("the feed", &bytes);
        if matches!(message.message, Some(Down::Welcome(_))) {
            // certificates hold public keys, by the same identifiers
            continue;
        }
        for set in fed_sets(message.message.as_ref()) {
            for version in &set.versions {
                wrapped += check_fed(set, version);
                let parts = version
                    .wrapped_key
                    .split('.')
                    .map(|part| base64url::decode(part).unwrap());
                for bytes in parts {
                    planted.none_in("a wrapped key", &bytes);
                    no_der(&bytes);
                }
            }
        }
        no_der(&bytes);
    }
    assert!(
        wrapped >= 2 * sets.len(),
        "only {wrapped} wrapped keys were seen"
    );
}

fn fed_sets(message: Option<&Down>) -> &[FedKeySet] {
    match message {
        Some(Down::Snapshot(chunk)) => &chunk.key_sets,
        Some(Down::Delta(delta)) => &delta.changed,
        _ => &[],
    }
}

/// Who is fed which half; 1 where a private one came.
fn check_fed(set: &FedKeySet, version: &FedVersion) -> usize {
    let symmetric = version.algorithm.starts_with("HS") || version.algorithm == "A256KW";
    assert_eq!(
        version.public_jwk.is_empty(),
        symmetric,
        "{} {}",
        set.name,
        version.algorithm
    );
    let standby =
        version.state() == KeyState::Prepared && set.r#use() == FedUse::Sign && !symmetric;
    if standby || matches!(version.state(), KeyState::Revoked | KeyState::Retired) {
        assert!(
            version.wrapped_key.is_empty(),
            "{} {:?} is fed whole",
            set.name,
            version.state()
        );
    }
    if version.wrapped_key.is_empty() {
        return 0;
    }
    let header = version
        .wrapped_key
        .split('.')
        .next()
        .and_then(|part| base64url::decode(part).ok())
        .unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(
        (&header["alg"], &header["enc"]),
        (&"dir".into(), &"A256GCM".into()),
        "{header}"
    );
    assert_eq!(header["kid"], version.kid.as_str());
    assert_eq!(header["tenant"], set.tenant.as_str());
    assert!(
        header["epoch"].is_u64()
            && header["instance"]
                .as_str()
                .is_some_and(|name| name.contains("crypto-service#")),
        "{header}"
    );
    1
}

fn no_der(bytes: &[u8]) {
    for oid in KEY_OIDS {
        assert!(
            memchr::memmem::find(bytes, oid).is_none(),
            "a DER-encoded key"
        );
    }
}
