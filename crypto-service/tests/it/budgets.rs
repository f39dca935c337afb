//! An instance encrypts as often as it was granted, by every rpc that encrypts, and then stops.

use crypto_proto::jwe::v1 as jwe;
use crypto_proto::jwt::v1 as jwt;
use jose::algorithm::Algorithm;
use jose_aws_lc::KeySpec;
use jwe::encrypt_request::Recipient;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{TestKey, TestSet, World, sign};

fn key(algorithm: &str, invocations: Option<u64>) -> TestKey {
    let spec = KeySpec::new(Algorithm::parse(algorithm).unwrap());
    TestKey {
        invocations,
        ..TestKey::of(spec)
    }
}

fn request() -> jwe::EncryptRequest {
    jwe::EncryptRequest {
        payload: b"payload".to_vec(),
        recipient: Some(Recipient::KeySet("op/limited".to_owned())),
        ..jwe::EncryptRequest::default()
    }
}

fn used_up(status: &Status) -> bool {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone());
    (status.code(), reason.as_deref()) == (Code::Unavailable, Some("NOT_READY"))
        && status.message().contains("used up")
}

async fn world(algorithm: &str, invocations: Option<u64>) -> World {
    World::with(vec![
        TestSet::encrypt("op/limited", vec![key(algorithm, invocations)]),
        TestSet::sign("op/signing", vec![key("ES256", None)]),
    ])
    .await
}

#[tokio::test]
async fn the_last_granted_encryption_is_the_last_and_decryption_goes_on() {
    for algorithm in ["dir", "A256GCMKW"] {
        let world = world(algorithm, Some(3)).await;
        let mut tokens = Vec::new();
        for _ in 0..3 {
            let made = world.jwe("token").encrypt(request()).await.unwrap();
            tokens.push(made.into_inner().token);
        }
        let refused = world.jwe("token").encrypt(request()).await.unwrap_err();
        assert!(used_up(&refused), "{algorithm}: {refused}");
        let request = jwe::DecryptRequest {
            token: tokens.remove(0),
            ..jwe::DecryptRequest::default()
        };
        assert!(
            world.jwe("auth").decrypt(request).await.is_ok(),
            "{algorithm}"
        );
    }
}

#[tokio::test]
async fn each_item_of_a_batch_takes_one_and_the_others_are_refused_one_by_one() {
    let world = world("dir", Some(5)).await;
    let item = || jwe::EncryptBatchItem {
        encrypt: Some(request()),
        timeout: None,
    };
    let batch = jwe::EncryptBatchRequest {
        items: (0..8).map(|_| item()).collect(),
        ..jwe::EncryptBatchRequest::default()
    };
    let answer = world.jwe("token").encrypt_batch(batch).await.unwrap();
    let results = answer.into_inner().results;
    use jwe::encrypt_batch_result::Result as R;
    let made = results
        .iter()
        .filter(|result| matches!(result.result, Some(R::Encrypted(_))));
    assert_eq!((results.len(), made.count()), (8, 5));
    let refused = results
        .iter()
        .rev()
        .find_map(|result| match &result.result {
            Some(R::Error(error)) => Some(Code::from(error.code)),
            _ => None,
        });
    assert_eq!(refused, Some(Code::Unavailable));
}

#[tokio::test]
async fn nested_tokens_take_from_the_same_budget() {
    let world = world("dir", Some(1)).await;
    let nested = || jwt::SignThenEncryptRequest {
        sign: Some(sign("op/signing", r#"{"aud":"a"}"#)),
        recipient: Some(jwt::sign_then_encrypt_request::Recipient::KeySet(
            "op/limited".to_owned(),
        )),
        ..jwt::SignThenEncryptRequest::default()
    };
    let mut client = world.jwt("token");
    client.sign_then_encrypt(nested()).await.unwrap();
    let refused = client.sign_then_encrypt(nested()).await.unwrap_err();
    assert!(used_up(&refused), "{refused}");
    let refused = world.jwe("token").encrypt(request()).await.unwrap_err();
    assert!(used_up(&refused), "{refused}");
}

#[tokio::test]
async fn a_key_without_a_grant_encrypts_nothing_and_one_without_a_budget_as_often_as_asked() {
    let ungranted = world("dir", Some(0)).await;
    let refused = ungranted.jwe("token").encrypt(request()).await.unwrap_err();
    assert!(used_up(&refused), "{refused}");
    let free = world("A256KW", None).await;
    for _ in 0..10 {
        free.jwe("token").encrypt(request()).await.unwrap();
    }
}
