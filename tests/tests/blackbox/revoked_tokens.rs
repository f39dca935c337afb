//! Tokens that are revoked: refused by every instance and by clients that verify on their own, whatever is started anew in between.

use std::process::Command;
use std::time::Duration;

use blackbox::{PATIENCE, Stack, example, text};
use client_core::request::{RejectReason, Sign, SignedToken, Verdict, Verify};
use client_core::{Claims, Code, CryptoClient, Follow, LocalVerifier};
use client_management::{ManagementClient, Matching, RevokeToken};

use crate::support::{AUDIENCE, channel, crypto, eventually, sign, signing_set, verify};

const SET: &str = "op/access-token";
const OTHER: &str = "op/id-token";

fn management(stack: &Stack) -> ManagementClient {
    ManagementClient::new(channel(stack, stack.keys.grpc, "management"))
}

async fn local(stack: &Stack) -> LocalVerifier {
    let local = LocalVerifier::start(crypto(stack, "auth"), Follow::all());
    tokio::time::timeout(PATIENCE, local.ready()).await.unwrap();
    local
}

async fn signed(token: &CryptoClient, set: &str, claims: &str) -> SignedToken {
    let claims = Claims::from_json(claims)
        .and_then(|claims| claims.with("aud", AUDIENCE))
        .unwrap();
    token.sign(&Sign::new(set, &claims)).await.unwrap()
}

/// What a client says on its own; `None` where it would ask.
fn here(local: &LocalVerifier, token: &SignedToken) -> Option<Result<(), RejectReason>> {
    let verdict = local.verify_here(&Verify::new(&token.token, AUDIENCE))?;
    Some(match verdict {
        Verdict::Valid(_) => Ok(()),
        Verdict::Rejected(reason) => Err(reason),
    })
}

async fn refused(client: &CryptoClient, token: &SignedToken) -> bool {
    matches!(
        verify(client, &token.token).await,
        Ok(Err(RejectReason::Revoked))
    )
}

#[tokio::test]
async fn a_revoked_token_is_refused_everywhere_and_stays_so_through_restarts_and_kills() {
    let mut stack = Stack::start();
    signing_set(&stack, SET, "ES256").await;
    let (_second, at) = stack.another_crypto_service();
    let (token, auth) = (crypto(&stack, "token"), crypto(&stack, "auth"));
    let other_instance = CryptoClient::new(channel(&stack, at.grpc, "auth"));
    let local = local(&stack).await;
    let (one, other) = (
        sign(&token, SET).await.unwrap(),
        sign(&token, SET).await.unwrap(),
    );
    assert_eq!(here(&local, &one), Some(Ok(())));

    let revoke = RevokeToken::jti_until(&one.jti, one.expires_at.unwrap());
    let revoked = management(&stack).revoke_token(&revoke).await.unwrap();
    assert_eq!(
        (revoked.acked, revoked.total, revoked.stragglers.len()),
        (2, 2, 0)
    );
    assert_eq!(revoked.key_sets, [SET]);
    assert!(revoked.forgotten_at > one.expires_at, "{revoked:?}");
    // whoever has acknowledged refuses: nothing is waited for
    assert!(refused(&auth, &one).await && refused(&other_instance, &one).await);
    assert!(
        eventually(PATIENCE, async || here(&local, &one)
            == Some(Err(RejectReason::Revoked)))
        .await
    );
    assert_eq!(here(&local, &other), Some(Ok(())));
    assert!(verify(&auth, &other.token).await.unwrap().is_ok());

    // the key-manager comes back with what it had acknowledged; the instances connect again and keep it
    stack.key_manager.take().unwrap().kill();
    assert!(refused(&auth, &one).await, "from memory");
    stack.start_daemons();
    let again = management(&stack)
        .revoke_token(&RevokeToken::jti("another"))
        .await;
    assert!(again.is_ok(), "{again:?}");
    assert!(refused(&auth, &one).await && refused(&other_instance, &one).await);

    // an instance that starts with nothing hears of it before it serves; a client's stream goes on there
    stack.crypto_service.take().unwrap().kill();
    stack.start_daemons();
    assert!(eventually(PATIENCE, async || refused(&auth, &one).await).await);
    assert!(eventually(PATIENCE, async || here(&local, &other) == Some(Ok(()))).await);
    assert_eq!(here(&local, &one), Some(Err(RejectReason::Revoked)));
}

#[tokio::test]
async fn a_logout_reaches_every_set_and_the_next_login_counts_at_once() {
    let stack = Stack::start();
    signing_set(&stack, SET, "ES256").await;
    signing_set(&stack, OTHER, "ES256").await;
    let (token, auth, management) = (
        crypto(&stack, "token"),
        crypto(&stack, "auth"),
        management(&stack),
    );
    let local = local(&stack).await;
    let all = r#"{"sub":"alice","sid":"s1","client_id":"shop"}"#;
    let access = signed(&token, SET, all).await;
    let id = signed(&token, OTHER, all).await;
    let second = signed(
        &token,
        SET,
        r#"{"sub":"alice","sid":"s2","client_id":"bank"}"#,
    )
    .await;
    let bob = signed(
        &token,
        SET,
        r#"{"sub":"bob","sid":"s3","client_id":"shop"}"#,
    )
    .await;

    let session = RevokeToken::matching(Matching::subject("alice").and_session("s1"));
    let revoked = management.revoke_token(&session).await.unwrap();
    assert_eq!(revoked.key_sets, [SET, OTHER]);
    assert!(refused(&auth, &access).await && refused(&auth, &id).await);
    assert!(!refused(&auth, &second).await && !refused(&auth, &bob).await);

    // within the second, and it counts with the service and without
    let login = signed(&token, SET, all).await;
    assert!(verify(&auth, &login.token).await.unwrap().is_ok());
    assert!(
        eventually(PATIENCE, async || here(&local, &access)
            == Some(Err(RejectReason::Revoked)))
        .await
    );
    assert_eq!(here(&local, &login), Some(Ok(())));

    // what was issued before some moment, and nothing later
    let old = Matching::client("shop").issued_before(blackbox::now() - Duration::from_secs(600));
    management
        .revoke_token(&RevokeToken::matching(old).key_set(SET))
        .await
        .unwrap();
    assert!(!refused(&auth, &bob).await);
    management
        .revoke_token(&RevokeToken::matching(Matching::client("shop")).key_set(SET))
        .await
        .unwrap();
    assert!(refused(&auth, &bob).await && !refused(&auth, &second).await);
}

#[tokio::test]
async fn who_has_no_grant_revokes_nothing_and_the_metrics_count_what_is_revoked() {
    let stack = Stack::start();
    signing_set(&stack, SET, "ES256").await;
    for role in ["admin", "token", "auth", "crypto-service"] {
        let client = ManagementClient::new(channel(&stack, stack.keys.grpc, role));
        let refused = client
            .revoke_token(&RevokeToken::jti("j"))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{role}: {refused}");
        let refused = client
            .revoke_token(&RevokeToken::jti("j").key_set("op/nothing"))
            .await;
        assert_eq!(
            refused.unwrap_err().code(),
            Code::PermissionDenied,
            "{role} cannot probe for names"
        );
    }
    management(&stack)
        .revoke_token(&RevokeToken::jti("j"))
        .await
        .unwrap();
    for (http, name) in [
        (stack.keys.http, "key_manager_token_revocations 1"),
        (stack.crypto.http, "crypto_service_token_revocations 1"),
    ] {
        let metrics = blackbox::get(http, "/metrics").unwrap().body;
        assert!(metrics.lines().any(|line| line == name), "{name}");
    }
}

#[test]
fn the_command_line_revokes_tokens() {
    let stack = Stack::start();
    stack.create_development_key_sets();
    let token = stack.ctl(&[
        "sign",
        SET,
        &format!(r#"{{"sub":"alice","aud":"{AUDIENCE}"}}"#),
    ]);
    let verify = || stack.cryptoctl(&["verify", token.trim(), "--audience", AUDIENCE]);
    assert!(verify().status.success());
    let said = stack.ctl(&["token", "revoke", "--sub", "alice"]);
    assert!(
        said.contains("1 of 1 instances refuse it after") && said.contains(SET),
        "{said}"
    );
    let refused = verify();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("REVOKED"), "{}", text(&refused));
    let json = stack.ctl(&[
        "--output",
        "json",
        "token",
        "revoke",
        "--jti",
        "j",
        "--key-set",
        SET,
    ]);
    assert!(
        json.contains(r#""acked""#) && json.contains(r#""forgotten_at""#),
        "{json}"
    );
    for (wrong, code) in [
        (vec!["token", "revoke"], 64),
        (vec!["token", "revoke", "--jti", "j", "--sub", "s"], 2),
        (vec!["token", "revoke", "--jti", "j", "--key-set", "NO"], 65),
        (vec!["--as", "admin", "token", "revoke", "--jti", "j"], 77),
    ] {
        assert_eq!(
            stack.cryptoctl(&wrong).status.code(),
            Some(code),
            "{wrong:?}"
        );
    }
}

#[test]
fn the_example_of_the_management_client_runs_against_the_daemons() {
    let stack = Stack::start();
    stack.create_development_key_sets();
    let output = Command::new(example("revoke_tokens"))
        .arg(format!("https://{}", stack.crypto.grpc))
        .arg(format!("https://{}", stack.keys.grpc))
        .arg(stack.dev())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let said = text(&output);
    for line in [
        "it is rejected: REVOKED",
        "the other is valid",
        "the other is rejected: REVOKED",
        "the next is valid",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}
