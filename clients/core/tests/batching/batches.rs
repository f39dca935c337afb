//! Batches that the caller makes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::batcher::{Batcher, Refusal, client};
use crate::serve::{Pki, Served};
use client_core::request::{
    Batch, Decrypt, DecryptBatch, Decryption, Encrypt, EncryptBatch, EncryptTo, Recipient, Sign,
    SignBatch, SignItem, Verdict, Verify, VerifyBatch,
};
use client_core::{Code, CryptoClient, Error, Reason};
use tonic::Status;

async fn world() -> (Pki, Served, Arc<Batcher>, CryptoClient) {
    let (pki, fake) = (Pki::new(), Batcher::open(100));
    let served = fake.serve(&pki).await;
    let client = client(pki.options(&served));
    (pki, served, fake, client)
}

fn sign(id: &str) -> Sign {
    Sign::json("op/x", "{}").request_id(id)
}

fn to() -> Recipient {
    Recipient::KeySet("op/encryption".into())
}

fn refused() -> Refusal {
    Refusal {
        field: Some("tenant"),
        retry_in: Some(Duration::from_secs(9)),
        ..Refusal::of(tonic::Code::InvalidArgument, "FIELD_INVALID")
    }
}

/// The code, reason, field and retry hint of an item that `refused` refuses.
fn is_refused(error: &Error, field: &str) -> bool {
    error.code() == Code::InvalidArgument
        && error.reason() == Some(&Reason::FieldInvalid)
        && error.violations().iter().all(|wrong| wrong.field == field)
        && error.violations().len() == 1
        && error.retry_after() == Some(Duration::from_secs(9))
        && !error.is_transport()
}

#[tokio::test]
async fn the_tokens_of_a_batch_are_signed_in_one_call_and_fail_one_by_one() {
    let (_pki, _served, fake, client) = world().await;
    fake.refuse("1", refused());
    let mut batch = SignBatch::new();
    let access = batch.push(sign("0"));
    batch.push(sign("1"));
    let id = batch.push(
        SignItem::new(sign("2"))
            .at_hash_of(access)
            .timeout(Duration::from_secs(1))
            .encrypt_to(EncryptTo::new(to())),
    );
    let signed = client.sign_batch(&batch).await.unwrap();
    let jti = |at: usize| signed[at].as_ref().unwrap().jti.clone();
    assert_eq!(
        (jti(access.position()), jti(id.position())),
        ("0".into(), "2".into())
    );
    assert!(
        is_refused(signed[1].as_ref().unwrap_err(), "sign.tenant"),
        "{signed:?}"
    );
    assert_eq!(signed[0].as_ref().unwrap().encryption_kid, "");
    assert_eq!(signed[2].as_ref().unwrap().encryption_kid, "recipient");
    let seen = fake.seen(1).await;
    assert_eq!((seen.len(), seen[0].rpc), (1, "sign_batch"));
    assert_eq!(seen[0].timeouts, [None, None, Some(Duration::from_secs(1))]);
}

#[tokio::test]
async fn what_stands_alone_is_verified_encrypted_and_decrypted_in_one_call_each() {
    let (_pki, _served, fake, client) = world().await;
    for _ in 0..3 {
        fake.refuse("1", refused());
    }
    let ids = || ["0", "1", "2"];
    let verify: VerifyBatch = ids()
        .map(|id| Verify::new("a.b.c", "api").request_id(id))
        .into_iter()
        .collect();
    let verdicts = client.verify_batch(&verify).await.unwrap();
    assert!(is_refused(
        verdicts[1].as_ref().unwrap_err(),
        "verify.tenant"
    ));
    let kid = |verdict: &Verdict| verdict.clone().into_result().unwrap().kid;
    assert_eq!(verdicts[2].as_ref().map(kid), Ok("2".to_owned()));

    let encrypt: EncryptBatch = ids()
        .map(|id| Encrypt::new("x", to()).request_id(id))
        .into_iter()
        .collect();
    let tokens = client.encrypt_batch(&encrypt).await.unwrap();
    assert!(is_refused(
        tokens[1].as_ref().unwrap_err(),
        "encrypt.tenant"
    ));
    assert_eq!(tokens[2].as_ref().unwrap().kid, "2");

    let decrypt: DecryptBatch = ids()
        .map(|id| Decrypt::new("a").request_id(id))
        .into_iter()
        .collect();
    let opened = client.decrypt_batch(&decrypt).await.unwrap();
    assert!(is_refused(
        opened[1].as_ref().unwrap_err(),
        "decrypt.tenant"
    ));
    let kid = |opened: &Decryption| opened.clone().into_token().unwrap().kid;
    assert_eq!(opened[2].as_ref().map(kid), Ok("2".to_owned()));
    assert_eq!(
        fake.rpcs(),
        ["verify_batch", "encrypt_batch", "decrypt_batch"]
    );
}

#[tokio::test]
async fn batches_of_a_wrong_size_are_refused_before_they_are_sent() {
    let (_pki, _served, fake, client) = world().await;
    for items in [0, 1_001] {
        let mut signs = SignBatch::new();
        for _ in 0..items {
            signs.push(sign("x"));
        }
        let verify: VerifyBatch = std::iter::repeat_n(Verify::new("a", "b"), items).collect();
        let encrypt: EncryptBatch = std::iter::repeat_n(Encrypt::new("a", to()), items).collect();
        let decrypt: DecryptBatch = std::iter::repeat_n(Decrypt::new("a"), items).collect();
        let errors = [
            client.sign_batch(&signs).await.unwrap_err(),
            client.sign_all(&signs).await.unwrap_err(),
            client.verify_batch(&verify).await.unwrap_err(),
            client.encrypt_batch(&encrypt).await.unwrap_err(),
            client.decrypt_batch(&decrypt).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.code(), Code::InvalidArgument, "{items}");
            assert_eq!(error.violations()[0].field, "items", "{items}");
        }
    }
    let foreign = SignBatch::new().push(sign("x"));
    let astray = SignBatch::new().item(SignItem::encrypted(foreign, to()));
    assert_eq!(
        client.sign_batch(&astray).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert!(fake.rpcs().is_empty());
    let thousand: VerifyBatch = std::iter::repeat_n(Verify::new("a", "b"), 1_000).collect();
    assert_eq!(client.verify_batch(&thousand).await.unwrap().len(), 1_000);
}

#[tokio::test]
async fn a_batch_is_repeated_as_one_call() {
    let (_pki, _served, fake, client) = world().await;
    fake.refuse_batch(Status::unavailable("draining"));
    let batch = SignBatch::new().item(sign("0")).item(sign("1"));
    assert!(
        client
            .sign_batch(&batch)
            .await
            .unwrap()
            .iter()
            .all(Result::is_ok)
    );
    assert_eq!(fake.rpcs().len(), 2);
    fake.refuse_batch(Status::internal("broke"));
    assert_eq!(
        client.sign_batch(&batch).await.unwrap_err().code(),
        Code::Internal
    );
    assert_eq!(fake.rpcs().len(), 3);
}

#[tokio::test]
async fn where_every_token_is_needed_one_refusal_is_the_calls() {
    let (_pki, _served, fake, client) = world().await;
    let batch = SignBatch::new().item(sign("0")).item(sign("1"));
    fake.refuse("1", Refusal::of(tonic::Code::Unavailable, "NOT_READY"));
    let signed = client.sign_all(&batch).await.unwrap();
    let jtis: Vec<_> = signed.iter().map(|item| item.jti.as_str()).collect();
    assert_eq!((jtis, fake.rpcs().len()), (vec!["0", "1"], 2));
    fake.refuse("1", refused());
    assert!(is_refused(
        &client.sign_all(&batch).await.unwrap_err(),
        "sign.tenant"
    ));
    assert_eq!(fake.rpcs().len(), 3);
    fake.refuse_batch(Status::internal("broke"));
    assert_eq!(
        client.sign_all(&batch).await.unwrap_err().code(),
        Code::Internal
    );
}

#[tokio::test]
async fn fewer_results_than_items_break_the_contract() {
    let (_pki, _served, fake, client) = world().await;
    fake.lost.store(1, Ordering::SeqCst);
    let batch = SignBatch::new().item(sign("0")).item(sign("1"));
    let codes = [
        client.sign_batch(&batch).await.unwrap_err().code(),
        client.sign_all(&batch).await.unwrap_err().code(),
        client
            .verify_batch(&Batch::new().item(Verify::new("a", "b")))
            .await
            .unwrap_err()
            .code(),
        client
            .encrypt_batch(&Batch::new().item(Encrypt::new("a", to())))
            .await
            .unwrap_err()
            .code(),
        client
            .decrypt_batch(&Batch::new().item(Decrypt::new("a")))
            .await
            .unwrap_err()
            .code(),
    ];
    assert_eq!(codes, [Code::Internal; 5]);
}
