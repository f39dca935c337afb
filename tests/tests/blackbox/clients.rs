//! The thin clients: their examples as they stand in the documentation, and verification without the service.

use std::process::Command;
use std::time::Duration;

use blackbox::{PATIENCE, Stack, example, text};
use client_core::request::{Verdict, Verify};
use client_core::{Code, Follow, LocalVerifier};
use jose::base64url;

use crate::support::{AUDIENCE, crypto, eventually, sign, signing_set};

#[test]
fn every_example_of_the_clients_runs_against_the_daemons() {
    let stack = Stack::start();
    stack.create_development_key_sets();
    let (crypto, keys) = (stack.crypto.grpc, stack.keys.grpc);
    for (name, address, says) in [
        ("sign_and_verify", crypto, "verified with"),
        ("batch", crypto, "item 1: signed with"),
        ("verify_locally", crypto, "refused for another audience"),
        ("token_response", crypto, "nested ID token"),
        ("userinfo", crypto, "refused what is no token"),
        ("what_clients_send", crypto, "refused what is no token"),
        ("key_sets", keys, "instances know after"),
    ] {
        let mut command = Command::new(example(name));
        let output = command
            .arg(format!("https://{address}"))
            .arg(stack.dev())
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", text(&output));
        assert!(text(&output).contains(says), "{name}: {}", text(&output));
    }
}

#[tokio::test]
async fn a_client_verifies_with_the_service_stopped_and_within_its_lease() {
    let mut stack = Stack::start();
    signing_set(&stack, "op/access-token", "ES256").await;
    let (token, auth) = (crypto(&stack, "token"), crypto(&stack, "auth"));
    let local = LocalVerifier::start(auth.clone(), Follow::all());
    tokio::time::timeout(PATIENCE, local.ready()).await.unwrap();
    let signed = sign(&token, "op/access-token").await.unwrap();
    stack.crypto_service.take().unwrap().kill();
    stack.key_manager.take().unwrap().kill();
    let verify = Verify::new(&signed.token, AUDIENCE);
    assert!(auth.verify(&verify).await.is_err(), "the service is down");
    let verdict = local.verify(&verify).await.unwrap();
    assert_eq!(verdict.into_result().unwrap().kid, signed.kid);
    assert!(local.is_leased());
    // what only the service can tell is an error, never a rejection
    let stranger = format!(
        "{}.e30.AAAA",
        base64url::encode(r#"{"alg":"ES256","kid":"nobody","typ":"JWT"}"#)
    );
    let unknown = local
        .verify(&Verify::new(stranger, AUDIENCE))
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::Unavailable, "{unknown}");
}

#[tokio::test]
async fn a_key_set_that_appears_later_is_followed() {
    let stack = Stack::start();
    let auth = crypto(&stack, "auth");
    let local = LocalVerifier::start(auth, Follow::all());
    tokio::time::timeout(PATIENCE, local.ready()).await.unwrap();
    signing_set(&stack, "op/later", "ES256").await;
    let signed = sign(&crypto(&stack, "token"), "op/later").await.unwrap();
    let here = async || {
        matches!(
            local.verify_here(&Verify::new(&signed.token, AUDIENCE)),
            Some(Verdict::Valid(_))
        )
    };
    assert!(eventually(Duration::from_secs(5), here).await);
}
