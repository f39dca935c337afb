//! Verdicts in the client's process and at the service: one and the same.

use std::time::UNIX_EPOCH;

use blackbox::{PATIENCE, Stack, now, vectors};
use client_admin::{CreateKeySet, ImportAs, ImportKey, KeyUse, Publish};
use client_core::request::{RejectReason, Verdict, Verify};
use client_core::{Follow, LocalVerifier};
use jose::base64url;
use serde_json::Value;

use crate::forged::{Signer, table};
use crate::support::{AUDIENCE, ISSUER, admin, crypto, eventually};

/// Both verdicts; the local one is `None` where a client may only ask.
async fn both(
    local: &LocalVerifier,
    verify: &Verify,
    remote: &client_core::CryptoClient,
) -> (Option<Verdict>, Verdict) {
    (
        local.verify_here(verify),
        remote.verify(verify).await.unwrap(),
    )
}

/// Whether the key has reached the service, and the client where it is one that clients hold.
async fn known(
    local: &LocalVerifier,
    verify: &Verify,
    remote: &client_core::CryptoClient,
    here_too: bool,
) -> bool {
    let unknown = Verdict::Rejected(RejectReason::UnknownKey);
    let held = local.verify_here(verify).is_some() || !here_too;
    held && remote
        .verify(verify)
        .await
        .is_ok_and(|verdict| verdict != unknown)
}

/// Everything by which two verdicts differ.
fn outcome(verdict: &Verdict) -> Result<(String, String), RejectReason> {
    verdict
        .clone()
        .into_result()
        .map(|valid| (valid.kid, valid.claims_json))
}

#[tokio::test]
async fn local_and_remote_verdicts_are_the_same_for_a_table_of_tokens() {
    let stack = Stack::start();
    let admin = admin(&stack);
    let mut signers = Vec::new();
    for alg in [
        "RS256", "RS512", "PS256", "PS384", "ES256", "ES384", "ES512", "Ed25519", "HS256",
    ] {
        let name = format!("op/{}", alg.to_lowercase());
        let publish = if alg == "HS256" {
            Publish::None
        } else {
            Publish::Public
        };
        admin
            .create(
                &CreateKeySet::new(&name, KeyUse::Sign, alg)
                    .issuer(ISSUER)
                    .publish(publish),
            )
            .await
            .unwrap();
        let jwk = stack.ctl(&["keygen", alg]);
        admin
            .import(&ImportKey::new(&name, jwk.trim(), ImportAs::ForcedActive))
            .await
            .unwrap();
        signers.push(Signer::new(alg, &jwk));
    }
    let auth = crypto(&stack, "auth");
    let local = LocalVerifier::start(auth.clone(), Follow::all());
    tokio::time::timeout(PATIENCE, local.ready()).await.unwrap();
    let now = now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (mut compared, mut asked) = (0, 0);
    for signer in &signers {
        let by_rule = ["ES512", "HS256"].contains(&signer.alg);
        let (_, sound, _) = table(signer, now).swap_remove(0);
        let sound = Verify::new(sound, AUDIENCE);
        assert!(
            eventually(PATIENCE, async || known(&local, &sound, &auth, !by_rule)
                .await)
            .await,
            "{}",
            signer.alg
        );
        for (what, token, expected) in table(signer, now) {
            let verify = Verify::new(&token, AUDIENCE);
            let (here, remote) = both(&local, &verify, &auth).await;
            assert_eq!(
                outcome(&remote).err(),
                expected,
                "{} {what}: the service",
                signer.alg
            );
            match here {
                Some(here) => {
                    assert_eq!(outcome(&here), outcome(&remote), "{} {what}", signer.alg);
                    compared += 1;
                }
                None if by_rule => asked += 1,
                None => panic!("{} {what}: the client cannot tell", signer.alg),
            }
            assert_eq!(
                outcome(&local.verify(&verify).await.unwrap()),
                outcome(&remote),
                "{} {what}",
                signer.alg
            );
        }
    }
    println!(
        "{compared} verdicts were the same in both places, {asked} were left to the service by rule"
    );
    assert!(compared >= 7 * 25 && asked > 0);
}

/// Keys of the cookbook, each in a tenant of its own: they share a `kid`.
#[tokio::test]
async fn local_and_remote_verdicts_are_the_same_on_the_vectors_of_the_cookbook() {
    let Some(folder) = vectors() else {
        println!("JOSE_VECTORS is unset: the vectors of the cookbook are not run");
        return;
    };
    let rows = [
        ("jws/4_1.rsa_v15_signature.json", true),
        ("jws/4_2.rsa-pss_signature.json", true),
        ("jws/4_3.ecdsa_signature.json", false),
        ("jws/4_4.hmac-sha2_integrity_protection.json", false),
        ("jws/4_5.signature_with_detached_content.json", false),
        ("curve25519/jws.json", false),
        ("rfc7797/hmac-sha2_b64_false.json", false),
        ("6.nesting_signatures_and_encryption.json", false),
    ];
    let mut stack = Stack::init();
    for index in 0..rows.len() {
        for (role, operations) in [
            ("admin", "administer"),
            ("auth", "verify"),
            ("crypto-service", "feed"),
        ] {
            stack.grant(&format!("[[grant]]\ncaller = \"spiffe://crypto.dev/{role}\"\ntenant = \"t{index}\"\nkey_sets = [\"*\"]\noperations = [\"{operations}\"]\n"));
        }
    }
    stack.start_daemons();
    let (admin, auth) = (admin(&stack), crypto(&stack, "auth"));
    let mut compared = 0;
    for (index, (name, here_too)) in rows.iter().enumerate() {
        let json: Value =
            serde_json::from_slice(&blackbox::read(&folder.join("rfc7520").join(name))).unwrap();
        let json = if json["sign"].is_object() {
            &json["sign"]
        } else {
            &json
        };
        let tenant = format!("t{index}");
        let (alg, mut key) = (
            json["input"]["alg"].as_str().unwrap(),
            json["input"]["key"].clone(),
        );
        // Ed25519 is imported under its name of today
        let alg = if alg == "EdDSA" { "Ed25519" } else { alg };
        key["alg"] = alg.into();
        if key["kid"].is_null() {
            key["kid"] = "without".into();
        }
        let publish = if alg.starts_with("HS") {
            Publish::None
        } else {
            Publish::Internal
        };
        admin
            .create(
                &CreateKeySet::new("op/cookbook", KeyUse::Sign, alg)
                    .tenant(&tenant)
                    .publish(publish),
            )
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let import =
            ImportKey::new("op/cookbook", key.to_string(), ImportAs::ForcedActive).tenant(&tenant);
        admin
            .import(&import)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let local = LocalVerifier::start(auth.clone(), Follow::all().tenant(&tenant));
        tokio::time::timeout(PATIENCE, local.ready()).await.unwrap();
        let payload = base64url::encode(json["input"]["payload"].as_str().unwrap());
        let compact = json["output"]["compact"].as_str().unwrap();
        let sound = compact.replace("..", &format!(".{payload}."));
        let spoilt = format!("{}AAAA", &sound[..sound.len() - 4]);
        let first = Verify::new(&sound, AUDIENCE)
            .tenant(&tenant)
            .key_set("op/cookbook");
        assert!(
            eventually(PATIENCE, async || known(&local, &first, &auth, *here_too)
                .await)
            .await,
            "{name}"
        );
        for (what, token) in [
            ("as published", &sound),
            ("as it stands there", &compact.to_owned()),
            ("another signature", &spoilt),
        ] {
            let verify = Verify::new(token, AUDIENCE)
                .tenant(&tenant)
                .typ("JWT")
                .key_set("op/cookbook");
            let (here, remote) = both(&local, &verify, &auth).await;
            assert_eq!(
                outcome(&local.verify(&verify).await.unwrap()),
                outcome(&remote),
                "{name} {what}"
            );
            if let Some(here) = here {
                assert_eq!(outcome(&here), outcome(&remote), "{name} {what}");
                compared += 1;
            } else {
                assert!(!here_too, "{name} {what}: the client cannot tell");
            }
            // the signature is sound; what it signs are no claims, or claims for others
            let expected = match what {
                "as it stands there" => None,
                _ if name.starts_with("rfc7797") => Some(RejectReason::Malformed),
                "another signature" => Some(RejectReason::Signature),
                _ if name.starts_with("6.") => Some(RejectReason::Audience),
                _ => Some(RejectReason::Type),
            };
            if let Some(expected) = expected {
                assert_eq!(outcome(&remote), Err(expected), "{name} {what}");
            }
        }
    }
    println!(
        "{} vectors run, {compared} verdicts were the same in both places",
        rows.len()
    );
    assert!(compared >= 6, "{compared}");
}
