//! Batches: items fail one by one, refer to each other, and are each what a call of their own would have been.

use aws_lc_rs::digest;
use crypto_proto::batch::v1::ItemError;
use crypto_proto::jwe::v1 as jwe;
use crypto_proto::jwt::v1 as jwt;
use jose::algorithm::Algorithm;
use jose::base64url;
use jose::provider::Provider;
use jose_aws_lc::AwsLc;
use jwt::sign_batch_result::Result as Signed;
use keyring::State;
use tonic::Code;

use crate::support::{NOW, TestKey, TestSet, World, fields, refusal, sign};

pub(crate) const CLAIMS: &str = r#"{"aud":"api","sub":"u1"}"#;

pub(crate) fn item(sign: jwt::SignRequest) -> jwt::SignBatchItem {
    jwt::SignBatchItem {
        sign: Some(sign),
        ..jwt::SignBatchItem::default()
    }
}

fn to(key_set: &str, token_of: Option<u32>) -> Option<jwt::EncryptTo> {
    Some(jwt::EncryptTo {
        recipient: Some(jwt::encrypt_to::Recipient::KeySet(key_set.to_owned())),
        token_of,
        ..jwt::EncryptTo::default()
    })
}

async fn batch(
    world: &World,
    role: &str,
    items: Vec<jwt::SignBatchItem>,
) -> Vec<Result<jwt::SignResponse, ItemError>> {
    let count = items.len();
    let request = jwt::SignBatchRequest {
        items,
        ..jwt::SignBatchRequest::default()
    };
    let answer = world.jwt(role).sign_batch(request).await.unwrap();
    let results = answer.into_inner().results;
    assert_eq!(results.len(), count);
    let one = |result: jwt::SignBatchResult| match result.result.expect("a result") {
        Signed::Signed(signed) => Ok(signed),
        Signed::Error(error) => Err(error),
    };
    results.into_iter().map(one).collect()
}

fn error(result: &Result<jwt::SignResponse, ItemError>) -> (Code, &str) {
    let error = result.as_ref().expect_err("an error");
    (Code::from(error.code), error.reason.as_str())
}

fn at_fault(result: &Result<jwt::SignResponse, ItemError>) -> Vec<&str> {
    assert_eq!(error(result), (Code::InvalidArgument, "FIELD_INVALID"));
    let violations = &result.as_ref().unwrap_err().field_violations;
    violations.iter().map(|one| one.field.as_str()).collect()
}

/// The claims of a token whose signature the key verifies.
fn claims(token: &str, key: &TestKey) -> serde_json::Value {
    let Algorithm::Jws(algorithm) = key.algorithm else {
        panic!("a signing key")
    };
    let (input, signature) = token.rsplit_once('.').unwrap();
    let public = key.material.public_key().unwrap();
    let verifier = AwsLc.verifying_key(algorithm, &public).unwrap();
    let signature = base64url::decode(signature).unwrap();
    verifier.verify(input.as_bytes(), &signature).unwrap();
    let (_header, payload) = input.split_once('.').unwrap();
    serde_json::from_slice(&base64url::decode(payload).unwrap()).unwrap()
}

fn left_half(algorithm: &'static digest::Algorithm, text: &str) -> String {
    let whole = digest::digest(algorithm, text.as_bytes());
    base64url::encode(&whole.as_ref()[..whole.as_ref().len() / 2])
}

async fn decrypted(world: &World, token: &str) -> String {
    let request = jwe::DecryptRequest {
        token: token.to_owned(),
        ..jwe::DecryptRequest::default()
    };
    let answer = world.jwe("auth").decrypt(request).await.unwrap();
    match answer.into_inner().verdict.unwrap() {
        jwe::decrypt_response::Verdict::Decrypted(token) => {
            assert!(token.header_json.contains(r#""cty":"JWT""#));
            String::from_utf8(token.payload).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_bad_item_of_a_thousand_costs_itself_only() {
    let key = TestKey::new("ES256");
    let world = World::with(vec![TestSet::sign("op/a", vec![key.clone()])]).await;
    let mut items = vec![item(sign("op/a", CLAIMS)); 1000];
    items[500] = item(sign("op/a", "[]"));
    let results = batch(&world, "token", items).await;
    assert_eq!(at_fault(&results[500]), ["sign.claims_json"]);
    let signed: Vec<_> = results.iter().flatten().collect();
    assert_eq!(signed.len(), 999);
    let mut ids = std::collections::HashSet::new();
    for signed in signed {
        let claims = claims(&signed.token, &key);
        assert_eq!(claims["jti"], signed.jti);
        assert!(ids.insert(&signed.jti), "a jti twice");
        assert_eq!((claims["iat"].as_u64(), &signed.kid), (Some(NOW), &key.kid));
    }
}

#[tokio::test]
async fn a_whole_token_request_is_one_call() {
    let (access, id) = (TestKey::new("ES256"), TestKey::new("RS256"));
    let world = World::with(vec![
        TestSet::sign("op/access-token", vec![access.clone()]),
        TestSet::sign("op/id-token", vec![id.clone()]),
        TestSet::encrypt("op/encryption", vec![TestKey::new("ECDH-ES+A256KW")]),
    ])
    .await;
    let id_token = jwt::SignBatchItem {
        at_hash_of: Some(0),
        c_hash_code: "SplxlOBeZQQYbYS6WxSbIA".to_owned(),
        encrypt_to: to("op/encryption", None),
        ..item(sign("op/id-token", CLAIMS))
    };
    let again = jwt::SignBatchItem {
        encrypt_to: to("op/encryption", Some(0)),
        ..jwt::SignBatchItem::default()
    };
    let items = vec![item(sign("op/access-token", CLAIMS)), id_token, again];
    let results = batch(&world, "token", items).await;
    let [access_token, id_token, again] = &results[..] else {
        panic!("{results:?}")
    };
    let (access_token, id_token) = (access_token.as_ref().unwrap(), id_token.as_ref().unwrap());
    claims(&access_token.token, &access);
    let inner = claims(&decrypted(&world, &id_token.token).await, &id);
    let at_hash = left_half(&digest::SHA256, &access_token.token);
    assert_eq!(inner["at_hash"], at_hash);
    let c_hash = left_half(&digest::SHA256, "SplxlOBeZQQYbYS6WxSbIA");
    assert_eq!(inner["c_hash"], c_hash);
    assert_eq!(
        (&id_token.kid, &id_token.jti),
        (&id.kid, &inner["jti"].as_str().unwrap().to_owned())
    );
    let again = again.as_ref().unwrap();
    assert_eq!(decrypted(&world, &again.token).await, access_token.token);
    assert_eq!(
        (&again.kid, &again.jti),
        (&access_token.kid, &access_token.jti)
    );
    assert_eq!(again.expires_at, access_token.expires_at);
}

#[tokio::test]
async fn hashes_are_of_the_algorithm_that_signs_and_of_the_token_as_issued() {
    let rows: [(&str, &'static digest::Algorithm); 6] = [
        ("RS256", &digest::SHA256),
        ("ES384", &digest::SHA384),
        ("PS384", &digest::SHA384),
        ("ES512", &digest::SHA512),
        ("Ed25519", &digest::SHA512),
        ("EdDSA", &digest::SHA512),
    ];
    let keys: Vec<_> = rows.iter().map(|row| TestKey::new(row.0)).collect();
    let name = |at: usize| format!("op/{at}");
    let mut sets: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(at, key)| TestSet::sign(&name(at), vec![key.clone()]))
        .collect();
    sets.push(TestSet::encrypt(
        "op/encryption",
        vec![TestKey::new("RSA-OAEP-256")],
    ));
    let world = World::with(sets).await;
    let encrypted = jwt::SignBatchItem {
        encrypt_to: to("op/encryption", None),
        ..item(sign("op/0", CLAIMS))
    };
    let mut items = vec![item(sign("op/0", CLAIMS)), encrypted];
    items.extend((0..rows.len()).map(|at| jwt::SignBatchItem {
        at_hash_of: Some(0),
        c_hash: Some(1),
        ..item(sign(&name(at), CLAIMS))
    }));
    let results = batch(&world, "token", items).await;
    let token = |at: usize| results[at].as_ref().unwrap().token.as_str();
    for (at, (algorithm, hash)) in rows.into_iter().enumerate() {
        let claims = claims(token(at + 2), &keys[at]);
        assert_eq!(claims["at_hash"], left_half(hash, token(0)), "{algorithm}");
        assert_eq!(claims["c_hash"], left_half(hash, token(1)), "{algorithm}");
    }
}

#[tokio::test]
async fn chains_of_names_are_followed() {
    let key = TestKey::new("ES256");
    let world = World::with(vec![TestSet::sign("op/a", vec![key.clone()])]).await;
    let link = |at: u32| jwt::SignBatchItem {
        at_hash_of: at.checked_sub(1),
        ..item(sign("op/a", CLAIMS))
    };
    let results = batch(&world, "token", (0..50).map(link).collect()).await;
    for pair in results.windows(2) {
        let (before, after) = (pair[0].as_ref().unwrap(), pair[1].as_ref().unwrap());
        let claims = claims(&after.token, &key);
        assert_eq!(claims["at_hash"], left_half(&digest::SHA256, &before.token));
    }
}

#[tokio::test]
async fn every_violation_of_an_item_is_named() {
    let world = World::with(vec![
        TestSet::sign("op/a", vec![TestKey::new("ES256")]),
        TestSet::encrypt("op/encryption", vec![TestKey::new("ECDH-ES")]),
    ])
    .await;
    let good = || item(sign("op/a", CLAIMS));
    let none = jwt::SignBatchItem::default;
    let client = jwt::EncryptTo {
        recipient: Some(jwt::encrypt_to::Recipient::ClientId("c".to_owned())),
        ..jwt::EncryptTo::default()
    };
    let algorithm = jwt::EncryptTo {
        alg: "RSA1_5".to_owned(),
        ..to("op/encryption", None).unwrap()
    };
    let hashes = r#"{"aud":"api","at_hash":"x","c_hash":"y"}"#;
    let timeout = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let rows: Vec<(jwt::SignBatchItem, Vec<&str>)> = vec![
        (none(), vec!["sign"]),
        (
            jwt::SignBatchItem {
                at_hash_of: Some(1),
                ..good()
            },
            vec!["at_hash_of"],
        ),
        (
            jwt::SignBatchItem {
                at_hash_of: Some(u32::MAX),
                ..good()
            },
            vec!["at_hash_of"],
        ),
        (
            jwt::SignBatchItem {
                c_hash: Some(3),
                ..good()
            },
            vec!["c_hash"],
        ),
        (
            jwt::SignBatchItem {
                c_hash: Some(0),
                c_hash_code: "c".to_owned(),
                ..good()
            },
            vec!["c_hash_code"],
        ),
        (
            jwt::SignBatchItem {
                c_hash_code: "c".repeat(4097),
                ..good()
            },
            vec!["c_hash_code"],
        ),
        (
            jwt::SignBatchItem {
                c_hash_code: "\u{e9}".to_owned(),
                ..good()
            },
            vec!["c_hash_code"],
        ),
        (
            jwt::SignBatchItem {
                encrypt_to: to("op/encryption", Some(0)),
                ..good()
            },
            vec!["encrypt_to.token_of"],
        ),
        (
            jwt::SignBatchItem {
                encrypt_to: to("op/encryption", Some(8)),
                ..none()
            },
            vec!["encrypt_to.token_of"],
        ),
        (
            jwt::SignBatchItem {
                encrypt_to: to("op/encryption", None),
                ..none()
            },
            vec!["sign"],
        ),
        (
            jwt::SignBatchItem {
                at_hash_of: Some(0),
                encrypt_to: to("op/encryption", Some(0)),
                ..none()
            },
            vec!["sign"],
        ),
        (
            jwt::SignBatchItem {
                encrypt_to: Some(client),
                ..good()
            },
            vec!["encrypt_to.client_id"],
        ),
        (
            jwt::SignBatchItem {
                encrypt_to: Some(algorithm),
                ..good()
            },
            vec!["encrypt_to.alg"],
        ),
        (
            jwt::SignBatchItem {
                encrypt_to: Some(jwt::EncryptTo::default()),
                ..good()
            },
            vec!["encrypt_to.recipient"],
        ),
        (
            jwt::SignBatchItem {
                encrypt_to: to("op/a", None),
                ..good()
            },
            vec!["encrypt_to.key_set"],
        ),
        (
            jwt::SignBatchItem {
                timeout: timeout(0),
                ..good()
            },
            vec!["timeout"],
        ),
        (
            jwt::SignBatchItem {
                timeout: timeout(-1),
                ..good()
            },
            vec!["timeout"],
        ),
        (
            jwt::SignBatchItem {
                at_hash_of: Some(0),
                c_hash_code: "c".to_owned(),
                ..item(sign("op/a", hashes))
            },
            vec!["sign.claims.at_hash", "sign.claims.c_hash"],
        ),
        (
            jwt::SignBatchItem {
                at_hash_of: Some(0),
                timeout: timeout(0),
                ..item(sign("op/A", hashes))
            },
            vec!["timeout", "sign.key_set", "sign.claims.at_hash"],
        ),
        (item(sign("op/encryption", CLAIMS)), vec!["sign.key_set"]),
        (
            item(sign("op/a", r#"{"iat":1,"aud":1}"#)),
            vec!["sign.claims.iat", "sign.claims.aud"],
        ),
    ];
    for (bad, expected) in rows {
        let shown = format!("{bad:?}");
        let results = batch(&world, "token", vec![good(), bad, good()]).await;
        assert_eq!(at_fault(&results[1]), expected, "{shown}");
        assert!(results[0].is_ok() && results[2].is_ok(), "{shown}");
    }
}

#[tokio::test]
async fn an_item_that_names_a_failed_one_fails_as_that_one_did() {
    let world = World::with(vec![
        TestSet::sign("op/a", vec![TestKey::new("ES256")]),
        TestSet::encrypt("op/encryption", vec![TestKey::new("ECDH-ES")]),
    ])
    .await;
    let named = |at_hash_of| jwt::SignBatchItem {
        at_hash_of,
        ..item(sign("op/a", CLAIMS))
    };
    let encrypts = jwt::SignBatchItem {
        encrypt_to: to("op/encryption", Some(1)),
        ..jwt::SignBatchItem::default()
    };
    let items = vec![
        item(sign("other/a", CLAIMS)),
        named(Some(0)),
        encrypts,
        item(sign("op/a", "{")),
        named(Some(3)),
        jwt::SignBatchItem {
            c_hash: Some(3),
            ..named(None)
        },
        named(None),
    ];
    let results = batch(&world, "token", items).await;
    for (at, result) in results.iter().enumerate().take(3) {
        let not_granted = (Code::PermissionDenied, "NOT_GRANTED");
        assert_eq!(error(result), not_granted, "{at}");
    }
    let message = |at: usize| results[at].as_ref().unwrap_err().message.as_str();
    assert!(
        message(1).contains("item 0") && message(2).contains("item 1"),
        "{}",
        message(2)
    );
    assert_eq!(at_fault(&results[3]), ["sign.claims_json"]);
    assert_eq!(at_fault(&results[4]), ["at_hash_of"]);
    assert_eq!(at_fault(&results[5]), ["c_hash"]);
    assert!(message(4).contains("item 3"), "{}", message(4));
    assert!(results[6].is_ok());
}

#[tokio::test]
async fn each_item_is_refused_as_its_own_call_would_be() {
    let soon = TestSet {
        ready_at: Some(NOW + 9),
        ..TestSet::sign(
            "op/empty",
            vec![TestKey::new("ES256").state(State::Prepared)],
        )
    };
    let world = World::with(vec![
        TestSet::sign("op/a", vec![TestKey::new("ES256")]),
        TestSet::sign("other/a", vec![TestKey::new("ES256")]),
        TestSet::encrypt("op/encryption", vec![TestKey::new("ECDH-ES")]),
        soon,
    ])
    .await;
    let recipient = |key_set| jwt::SignBatchItem {
        encrypt_to: to(key_set, None),
        ..item(sign("op/a", CLAIMS))
    };
    let rows = [
        (
            item(sign("other/a", CLAIMS)),
            Code::PermissionDenied,
            "NOT_GRANTED",
        ),
        (
            item(sign("other/none", CLAIMS)),
            Code::PermissionDenied,
            "NOT_GRANTED",
        ),
        (
            item(sign("other/a", "{")),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            item(sign("op/none", CLAIMS)),
            Code::NotFound,
            "KEY_SET_NOT_FOUND",
        ),
        (
            item(sign("op/empty", CLAIMS)),
            Code::Unavailable,
            "NOT_READY",
        ),
        (
            recipient("other/encryption"),
            Code::PermissionDenied,
            "NOT_GRANTED",
        ),
        (recipient("op/nobody"), Code::NotFound, "KEY_SET_NOT_FOUND"),
    ];
    let items: Vec<_> = rows.iter().map(|row| row.0.clone()).collect();
    let results = batch(
        &world,
        "token",
        [items, vec![item(sign("op/a", CLAIMS))]].concat(),
    )
    .await;
    for ((asked, code, reason), result) in rows.iter().zip(&results) {
        assert_eq!(error(result), (*code, *reason), "{asked:?}");
        let alone = jwt::SignRequest::clone(asked.sign.as_ref().unwrap());
        if asked.encrypt_to.is_none() {
            let status = world.jwt("token").sign(alone).await.unwrap_err();
            assert_eq!(error(result), (status.code(), refusal(&status).1.as_str()));
            let message = result.as_ref().unwrap_err().message.replace("sign.", "");
            assert_eq!(message, status.message());
        }
    }
    assert_eq!(
        results[4].as_ref().unwrap_err().retry_in.unwrap().seconds,
        9
    );
    assert!(results[7].is_ok());
}

#[tokio::test]
async fn a_lease_that_ran_out_refuses_each_item() {
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    world.clock.advance(std::time::Duration::from_secs(31));
    let results = batch(&world, "token", vec![item(sign("op/a", CLAIMS)); 3]).await;
    for result in &results {
        assert_eq!(error(result), (Code::Unavailable, "NOT_READY"));
    }
}

#[tokio::test]
async fn a_call_has_one_to_a_thousand_items_and_a_proper_name() {
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let mut token = world.jwt("token");
    let mut refused = async |count: usize, request_id: &str| {
        let request = jwt::SignBatchRequest {
            items: vec![item(sign("op/a", CLAIMS)); count],
            request_id: request_id.to_owned(),
        };
        fields(&token.sign_batch(request).await.unwrap_err())
    };
    assert_eq!(refused(0, "").await, ["items"]);
    assert_eq!(refused(1001, "").await, ["items"]);
    assert_eq!(refused(1, "\n").await, ["request_id"]);
}

#[tokio::test]
async fn an_answer_stays_within_4_mib() {
    let world = World::with(vec![
        TestSet::sign("op/a", vec![TestKey::new("ES256")]),
        TestSet::encrypt("op/encryption", vec![TestKey::new("ECDH-ES")]),
    ])
    .await;
    let large = format!(r#"{{"aud":"api","x":"{}"}}"#, "x".repeat(11_000));
    let again = jwt::SignBatchItem {
        encrypt_to: to("op/encryption", Some(0)),
        ..jwt::SignBatchItem::default()
    };
    let mut items = vec![item(sign("op/a", &large))];
    items.extend(vec![again; 299]);
    let results = batch(&world, "token", items).await;
    let answered: usize = results.iter().flatten().map(|one| one.token.len()).sum();
    assert!(
        answered <= 4 * 1024 * 1024 && answered > 3 * 1024 * 1024,
        "{answered}"
    );
    let first = results.iter().position(Result::is_err).unwrap();
    for result in &results[first..] {
        assert_eq!(
            error(result),
            (Code::ResourceExhausted, "MESSAGE_TOO_LARGE")
        );
    }
}

#[tokio::test]
async fn a_chain_of_nested_tokens_ends_before_it_fills_the_memory() {
    let world = World::with(vec![
        TestSet::sign("op/a", vec![TestKey::new("ES256")]),
        TestSet::encrypt("op/encryption", vec![TestKey::new("ECDH-ES")]),
    ])
    .await;
    let large = format!(r#"{{"aud":"api","x":"{}"}}"#, "x".repeat(11_000));
    let mut items = vec![item(sign("op/a", &large))];
    items.extend((0..8).map(|before| jwt::SignBatchItem {
        encrypt_to: to("op/encryption", Some(before)),
        ..jwt::SignBatchItem::default()
    }));
    let results = batch(&world, "token", items).await;
    let longest = results.iter().flatten().map(|one| one.token.len()).max();
    assert!(longest.unwrap() < 64 * 1024, "{longest:?}");
    let first = results.iter().position(Result::is_err).unwrap();
    assert_eq!(at_fault(&results[first]), ["encrypt_to.token_of"]);
    assert!(results[first..].iter().all(Result::is_err));
}

#[tokio::test]
async fn an_item_whose_time_has_passed_fails_alone() {
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("RS256")])]).await;
    let timed = |seconds, nanos| jwt::SignBatchItem {
        timeout: Some(prost_types::Duration { seconds, nanos }),
        ..item(sign("op/a", CLAIMS))
    };
    let needs = jwt::SignBatchItem {
        at_hash_of: Some(1),
        ..item(sign("op/a", CLAIMS))
    };
    let items = vec![item(sign("op/a", CLAIMS)), timed(0, 1), timed(60, 0), needs];
    let results = batch(&world, "token", items).await;
    assert!(results[0].is_ok() && results[2].is_ok());
    let late = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert_eq!((error(&results[1]), error(&results[3])), (late, late));
}
