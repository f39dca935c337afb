//! A key-manager whose key-encryption key is in AWS KMS, as moto plays it.

use crypto_proto::keys::v1 as proto;
use key_manager::{
    RunError,
    config::{AwsKmsKey, SecretSource},
    seal::{AwsKmsError, KekError},
};
use testkit::{MotoKms, write_private};
use tonic::Code;

use crate::support::{Deployment, create, new_set, show};

/// A deployment that names the key, and credentials in files.
fn deployment(moto: &MotoKms) -> Deployment {
    let mut deployment = Deployment::new();
    let file = |name: &str, secret: &str| {
        write_private(&deployment.path(name), secret);
        SecretSource {
            file: deployment.path(name),
            ..SecretSource::default()
        }
    };
    let aws_kms = AwsKmsKey {
        key_id: format!("alias/{}", MotoKms::KEY),
        region: MotoKms::REGION.to_owned(),
        endpoint: moto.endpoint(),
        access_key_id: file("access-key-id", "test"),
        secret_access_key: file("secret-access-key", "hush-4711"),
        timeout: "2s".parse().unwrap(),
        ..AwsKmsKey::default()
    };
    deployment.config.kek.aws_kms = aws_kms;
    deployment.config.kek.file = std::path::PathBuf::new();
    let policy = std::fs::read_to_string(deployment.path("policy.toml")).unwrap();
    let other = "\n[[grant]]\ncaller = \"spiffe://crypto.dev/admin\"\ntenant = \"other\"\nkey_sets = [\"*\"]\noperations = [\"administer\"]\n";
    std::fs::write(deployment.path("policy.toml"), policy + other).unwrap();
    deployment
}

/// A set of a tenant that has no data key yet.
fn new_tenant() -> proto::CreateKeySetRequest {
    let set = proto::KeySet {
        tenant: "other".to_owned(),
        ..new_set("op/a", "ES256")
    };
    proto::CreateKeySetRequest {
        key_set: Some(set),
        request_id: "one".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_kms_that_goes_away_and_comes_back_needs_no_hands() {
    let mut moto = MotoKms::start();
    let deployment = deployment(&moto);
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    moto.stop();
    // what has its data key goes on; what needs a new one is refused, and nothing is half made
    create(&mut admin, "op/b", "ES256").await;
    let refused = admin.create_key_set(new_tenant()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(
        refused.message().contains("key-encryption key"),
        "{refused:?}"
    );
    let listed = proto::ListKeySetsRequest {
        tenant: "other".to_owned(),
        ..Default::default()
    };
    let listed = admin.list_key_sets(listed).await.unwrap().into_inner();
    assert!(listed.key_sets.is_empty(), "{listed:?}");
    moto.start_again();
    admin.create_key_set(new_tenant()).await.unwrap();
    running.stop().await;

    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    assert!(show(&mut admin, "op/b").await.key_set.is_some());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_of_aws_kms_and_none_at_all_stop_the_start() {
    let mut moto = MotoKms::start();
    let mut deployment = deployment(&moto);
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    running.stop().await;
    let right = deployment.config.kek.aws_kms.key_id.clone();
    deployment.config.kek.aws_kms.key_id = MotoKms::OTHER_KEY.to_owned();
    let error = deployment.start().await.failed().await;
    assert!(
        matches!(error, RunError::Kek(KekError::Wanted { .. })),
        "{error}"
    );
    assert_eq!(error.exit_code(), 78);
    deployment.config.kek.aws_kms.key_id = right;
    moto.stop();
    let error = deployment.start().await.failed().await;
    assert!(
        matches!(
            error,
            RunError::Kek(KekError::AwsKms(AwsKmsError::Unreachable { .. }))
        ),
        "{error}"
    );
    assert_eq!(error.exit_code(), 69);
    moto.start_again();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    assert!(show(&mut admin, "op/a").await.key_set.is_some());
    running.stop().await;
}
