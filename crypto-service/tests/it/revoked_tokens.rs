//! Tokens that were revoked: refused wherever tokens are verified, and not issued anew within the second.

use std::time::Duration;

use crypto_proto::jwt::v1 as jwt;
use crypto_service::keys::Delta;
use jose::revocation::{Entry, Match};
use jwt::RejectReason::Revoked;
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::support::{
    NOW, TestKey, TestSet, World, by_jti, by_match, judged, refusal, sign, tokens, verdict, verify,
};

async fn world() -> World {
    let sets = ["op/a", "op/b"].map(|name| TestSet::sign(name, vec![TestKey::new("ES256")]));
    let encryption = TestSet::encrypt("op/encryption", vec![TestKey::new("ECDH-ES")]);
    World::with(sets.into_iter().chain([encryption]).collect()).await
}

async fn signed(world: &World, set: &str, claims: &str) -> jwt::SignResponse {
    let response = world.jwt("token").sign(sign(set, claims)).await.unwrap();
    response.into_inner()
}

#[tokio::test]
async fn a_revoked_token_is_refused_by_every_rpc_that_verifies_from_the_next_message_on() {
    let mut world = world().await;
    let claims = r#"{"aud":"api","sub":"alice"}"#;
    let (token, other) = (
        signed(&world, "op/a", claims).await,
        signed(&world, "op/a", claims).await,
    );
    let nested = jwt::SignThenEncryptRequest {
        sign: Some(sign("op/a", r#"{"aud":"api","jti":"inner"}"#)),
        recipient: Some(jwt::sign_then_encrypt_request::Recipient::KeySet(
            "op/encryption".to_owned(),
        )),
        ..jwt::SignThenEncryptRequest::default()
    };
    let nested = world
        .jwt("token")
        .sign_then_encrypt(nested)
        .await
        .unwrap()
        .into_inner();
    let mut auth = world.jwt("auth");
    assert!(judged(&mut auth, &token.token).await.is_ok());

    world.revoke("op/a", vec![by_jti(&token.jti), by_jti("inner")]);
    assert_eq!(judged(&mut auth, &token.token).await.unwrap_err(), Revoked);
    assert!(judged(&mut auth, &other.token).await.is_ok());

    let items = [&token, &other].map(|one| jwt::VerifyBatchItem {
        verify: Some(verify(&one.token)),
        timeout: None,
    });
    let request = jwt::VerifyBatchRequest {
        items: items.to_vec(),
        request_id: String::new(),
    };
    let results = auth
        .verify_batch(request)
        .await
        .unwrap()
        .into_inner()
        .results;
    use jwt::verify_batch_result::Result as R;
    let [Some(R::Rejected(rejected)), Some(R::Valid(_))] = [&results[0].result, &results[1].result]
    else {
        panic!("{results:?}")
    };
    assert_eq!(rejected.reason(), Revoked);

    let asked = jwt::VerifyStreamRequest {
        id: 1,
        verify: Some(verify(&token.token)),
        timeout: None,
    };
    let mut answers = auth
        .verify_stream(tokio_stream::iter([asked]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.next().await.unwrap().unwrap();
    use jwt::verify_stream_response::Result as S;
    let Some(S::Rejected(rejected)) = answer.result else {
        panic!("{answer:?}")
    };
    assert_eq!(rejected.reason(), Revoked);

    let request = jwt::DecryptThenVerifyRequest {
        verify: Some(verify(&nested.token)),
        decrypt_key_sets: vec![],
    };
    let answer = auth
        .decrypt_then_verify(request)
        .await
        .unwrap()
        .into_inner();
    use jwt::decrypt_then_verify_response::Verdict as V;
    let Some(V::Rejected(rejected)) = answer.verdict else {
        panic!("{answer:?}")
    };
    assert_eq!(rejected.reason(), Revoked);
}

#[tokio::test]
async fn subject_session_and_client_are_revoked_up_to_their_iat_and_in_their_set_alone() {
    let mut world = world().await;
    let mut auth = world.jwt("auth");
    let claims = |more: &str| format!(r#"{{"aud":"api",{more}}}"#);
    let all = r#""sub":"alice","sid":"s1","client_id":"shop""#;
    let tokens = [
        ("all", claims(all)),
        (
            "another session",
            claims(r#""sub":"alice","sid":"s2","client_id":"shop""#),
        ),
        (
            "a client by azp",
            claims(r#""sub":"bob","sid":"s3","azp":"shop""#),
        ),
        ("nobody", claims(r#""n":1"#)),
    ];
    let sub = Match {
        sub: Some("alice"),
        ..Match::default()
    };
    let sid = Match {
        sid: Some("s1"),
        ..Match::default()
    };
    let client = Match {
        client: Some("shop"),
        ..Match::default()
    };
    let both = Match {
        sub: Some("alice"),
        sid: Some("s2"),
        ..Match::default()
    };
    let audience = Match {
        client: Some("api"),
        ..Match::default()
    };
    for (wanted, revoked) in [
        (sub, ["all", "another session"].as_slice()),
        (sid, &["all"]),
        (client, &["all", "another session", "a client by azp"]),
        (both, &["another session"]),
        // of a token that names its client nowhere else, the only audience is it
        (audience, &["nobody"]),
    ] {
        world.replace(vec![
            TestSet::sign("op/a", vec![TestKey::new("ES256")]),
            TestSet::sign("op/b", vec![TestKey::new("ES256")]),
        ]);
        let mut issued = Vec::new();
        for (name, claims) in &tokens {
            issued.push((*name, signed(&world, "op/a", claims).await.token));
        }
        let elsewhere = signed(&world, "op/b", &claims(all)).await.token;
        world.revoke("op/a", vec![by_match(&wanted, NOW - 1)]);
        for (name, token) in &issued {
            assert!(
                judged(&mut auth, token).await.is_ok(),
                "{wanted:?} {name}: issued later"
            );
        }
        world.revoke("op/a", vec![by_match(&wanted, NOW)]);
        for (name, token) in &issued {
            let expected = if revoked.contains(name) {
                Some(Revoked)
            } else {
                None
            };
            assert_eq!(
                judged(&mut auth, token).await.err(),
                expected,
                "{wanted:?} {name}"
            );
        }
        assert!(
            judged(&mut auth, &elsewhere).await.is_ok(),
            "{wanted:?} another set"
        );
    }
}

#[tokio::test]
async fn what_is_forgotten_is_believed_again_and_a_snapshot_is_all_there_is() {
    let mut world = world().await;
    let mut auth = world.jwt("auth");
    let token = signed(&world, "op/a", r#"{"aud":"api","jti":"j"}"#)
        .await
        .token;
    let until = |forget_at: u32| Entry {
        forget_at,
        ..by_jti("j")
    };
    world.revoke("op/a", vec![until(200)]);
    world.apply(Delta {
        forgotten: Some(199),
        ..Delta::default()
    });
    assert_eq!(judged(&mut auth, &token).await.unwrap_err(), Revoked);
    // extended by the change that would have forgotten it
    world.apply(Delta {
        tokens: vec![tokens("op/a", vec![until(300)])],
        forgotten: Some(250),
        ..Delta::default()
    });
    assert_eq!(judged(&mut auth, &token).await.unwrap_err(), Revoked);
    world.apply(Delta {
        forgotten: Some(300),
        ..Delta::default()
    });
    assert!(judged(&mut auth, &token).await.is_ok());
    world.revoke("op/a", vec![until(400)]);
    assert_eq!(judged(&mut auth, &token).await.unwrap_err(), Revoked);
}

#[tokio::test]
async fn a_revoked_token_passes_neither_as_a_hint_nor_where_the_audience_is_unchecked() {
    let mut world = world().await;
    let token = signed(&world, "op/a", r#"{"aud":"api","jti":"j"}"#)
        .await
        .token;
    world.revoke("op/a", vec![by_jti("j")]);
    let hint = jwt::VerifyRequest {
        purpose: jwt::Purpose::Hint.into(),
        ..verify(&token)
    };
    let unchecked = jwt::VerifyRequest {
        audiences: vec![],
        audience_unchecked: true,
        ..verify(&token)
    };
    for asked in [hint, unchecked] {
        let answer = world
            .jwt("management")
            .verify(asked)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(verdict(answer).unwrap_err(), Revoked);
    }
}

#[tokio::test]
async fn who_logs_in_again_within_the_second_gets_a_token_that_counts() {
    let mut world = world().await;
    let mut auth = world.jwt("auth");
    let claims = r#"{"aud":"api","sub":"alice"}"#;
    let before = signed(&world, "op/a", claims).await;
    let wanted = Match {
        sub: Some("alice"),
        ..Match::default()
    };
    for (ahead, iat) in [(0, NOW + 1), (4, NOW + 5)] {
        world.revoke("op/a", vec![by_match(&wanted, NOW + ahead)]);
        assert_eq!(judged(&mut auth, &before.token).await.unwrap_err(), Revoked);
        let again = signed(&world, "op/a", claims).await;
        let valid = judged(&mut auth, &again.token)
            .await
            .expect("it counts at once");
        assert!(
            valid.claims_json.contains(&format!(r#""iat":{iat},"#)),
            "{}",
            valid.claims_json
        );
        assert_eq!(
            again.expires_at.unwrap().seconds,
            i64::try_from(iat + 300).unwrap(),
            "it lives as long as ever"
        );
        let bob = signed(&world, "op/a", r#"{"aud":"api","sub":"bob"}"#).await;
        assert_eq!(
            bob.expires_at.unwrap().seconds,
            i64::try_from(NOW + 300).unwrap(),
            "nobody else is touched"
        );
    }
    // so far ahead no verifier would take the token yet
    world.revoke("op/a", vec![by_match(&wanted, NOW + 5)]);
    let refused = world
        .jwt("token")
        .sign(sign("op/a", claims))
        .await
        .unwrap_err();
    assert_eq!(
        refusal(&refused),
        (Code::Unavailable, "NOT_READY".to_owned())
    );
    let batch = jwt::SignBatchRequest {
        items: vec![jwt::SignBatchItem {
            sign: Some(sign("op/a", claims)),
            ..jwt::SignBatchItem::default()
        }],
        ..jwt::SignBatchRequest::default()
    };
    let results = world
        .jwt("token")
        .sign_batch(batch.clone())
        .await
        .unwrap()
        .into_inner()
        .results;
    assert!(
        matches!(
            results[0].result,
            Some(jwt::sign_batch_result::Result::Error(_))
        ),
        "{results:?}"
    );
    world.clock.advance(Duration::from_secs(1));
    world.lease();
    let results = world
        .jwt("token")
        .sign_batch(batch)
        .await
        .unwrap()
        .into_inner()
        .results;
    let Some(jwt::sign_batch_result::Result::Signed(signed)) = &results[0].result else {
        panic!("{results:?}")
    };
    assert!(judged(&mut auth, &signed.token).await.is_ok());
}
