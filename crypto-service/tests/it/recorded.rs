//! Key sets that record what they issue, on an instance that cannot: nothing is signed, whatever the rpc.

use crypto_proto::jwt::v1 as jwt;
use crypto_service::keys::Profile;
use tonic::Code;

use crate::support::{TestKey, TestSet, World, refusal, sign};

fn recorded(name: &str) -> TestSet {
    TestSet {
        profile: Profile {
            record_issued: true,
            ..Profile::default()
        },
        ..TestSet::sign(name, vec![TestKey::new("ES256")])
    }
}

#[tokio::test]
async fn without_a_folder_no_rpc_signs_and_other_sets_go_on() {
    let plain = TestSet::sign("op/plain", vec![TestKey::new("ES256")]);
    let reader = TestSet::encrypt("op/e", vec![TestKey::new("RSA-OAEP-256")]);
    let world = World::with(vec![recorded("op/a"), plain, reader]).await;
    let mut client = world.jwt("token");
    let unready = (Code::Unavailable, "NOT_READY".to_owned());

    let refused = client.sign(sign("op/a", "{}")).await.unwrap_err();
    assert_eq!(refusal(&refused), unready);
    assert!(refused.message().contains("issued.folder"), "{refused}");
    let nested = jwt::SignThenEncryptRequest {
        sign: Some(sign("op/a", "{}")),
        recipient: Some(jwt::sign_then_encrypt_request::Recipient::KeySet(
            "op/e".to_owned(),
        )),
        ..jwt::SignThenEncryptRequest::default()
    };
    let refused = client.sign_then_encrypt(nested).await.unwrap_err();
    assert_eq!(refusal(&refused), unready);

    let item = |name: &str| jwt::SignBatchItem {
        sign: Some(sign(name, "{}")),
        ..jwt::SignBatchItem::default()
    };
    let batch = jwt::SignBatchRequest {
        items: vec![item("op/a"), item("op/plain")],
        ..jwt::SignBatchRequest::default()
    };
    let results = client.sign_batch(batch).await.unwrap().into_inner().results;
    let signed: Vec<_> = results
        .iter()
        .map(|result| {
            matches!(
                result.result,
                Some(jwt::sign_batch_result::Result::Signed(_))
            )
        })
        .collect();
    assert_eq!(signed, [false, true], "{results:?}");
    client.sign(sign("op/plain", "{}")).await.unwrap();
    // Fields come before everything else.
    let refused = client.sign(sign("op/a", "[]")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
