//! Against moto's server, and against answers that moto does not give.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use service_kit::config::Span;
use tempfile::TempDir;
use testkit::{MotoKms, write_private};

use super::*;
use crate::{
    config::{AwsKmsKey, SecretSource},
    seal::{KEY_LEN, KekError, KeyEncryptionKey, SealError, contract},
};

/// Credentials in files, and settings that name them.
struct Given {
    folder: TempDir,
    settings: AwsKmsKey,
}

impl Given {
    fn at(endpoint: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, secret: &str| {
            let file = folder.path().join(name);
            write_private(&file, secret);
            SecretSource {
                file,
                ..SecretSource::default()
            }
        };
        let settings = AwsKmsKey {
            key_id: MotoKms::KEY.to_owned(),
            region: MotoKms::REGION.to_owned(),
            endpoint: endpoint.to_owned(),
            access_key_id: file("id", "AKIAHUSH"),
            secret_access_key: file("secret", "hush-4711"),
            timeout: Span::secs(2),
            ..AwsKmsKey::default()
        };
        Self { folder, settings }
    }

    async fn key(&self, id: &str) -> Result<AwsKmsKek, AwsKmsError> {
        let settings = AwsKmsKey {
            key_id: id.to_owned(),
            ..self.settings.clone()
        };
        let opened = AwsKmsKek::open(&settings).await;
        if let Err(error) = &opened {
            let text = format!("{error} {error:?}");
            assert!(!text.to_lowercase().contains("hush"), "{text}");
        }
        opened
    }
}

fn fault(error: SealError) -> AwsKmsError {
    match error {
        SealError::Kek(error) => match *error {
            KekError::AwsKms(error) => error,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_in_aws_kms_keeps_the_contract() {
    let moto = MotoKms::start();
    let given = Given::at(&moto.endpoint());
    let kek = given.key(MotoKms::KEY).await.unwrap();
    let other = given.key(MotoKms::OTHER_KEY).await.unwrap();
    contract::holds(&kek, &other, &["hush", "AKIA"]).await;
}

#[tokio::test]
async fn id_arn_and_alias_name_the_same_key() {
    let moto = MotoKms::start();
    let given = Given::at(&moto.endpoint());
    let wrapped = given.key(MotoKms::KEY).await.unwrap();
    let wrapped = wrapped.wrap("a", &[9; KEY_LEN]).await.unwrap();
    let arn = format!(
        "arn:aws:kms:{}:123456789012:key/{}",
        MotoKms::REGION,
        MotoKms::KEY
    );
    for id in [arn, format!("alias/{}", MotoKms::KEY)] {
        let kek = given.key(&id).await.unwrap();
        assert!(kek.unwrap("a", &wrapped).await.is_ok(), "{id}");
    }
}

#[tokio::test]
async fn each_fault_of_the_key_is_named() {
    let moto = MotoKms::start();
    let given = Given::at(&moto.endpoint());
    let missing = given
        .key("0b1f7a52-0000-4000-8000-00000000000f")
        .await
        .unwrap_err();
    assert!(matches!(&missing, AwsKmsError::NoKey { .. }), "{missing}");
    let missing = given.key("alias/nobody").await.unwrap_err();
    assert!(matches!(&missing, AwsKmsError::NoKey { .. }), "{missing}");
    let signs = moto.call(
        "CreateKey",
        r#"{"KeyUsage":"SIGN_VERIFY","KeySpec":"ECC_NIST_P256"}"#,
    );
    let id = signs
        .split("\"KeyId\": \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let unfit = given.key(id).await.unwrap_err();
    assert!(matches!(&unfit, AwsKmsError::Unfit { .. }), "{unfit}");

    let kek = given.key(MotoKms::KEY).await.unwrap();
    let wrapped = kek.wrap("a", &[9; KEY_LEN]).await.unwrap();
    let named = format!(r#"{{"KeyId":"{}"}}"#, MotoKms::KEY);
    moto.call("DisableKey", &named);
    let disabled = AwsKmsError::Disabled(MotoKms::KEY.to_owned());
    assert_eq!(given.key(MotoKms::KEY).await.unwrap_err(), disabled);
    assert_eq!(
        fault(kek.unwrap("a", &wrapped).await.unwrap_err()),
        disabled
    );
    assert_eq!(
        fault(kek.wrap("a", &[9; KEY_LEN]).await.unwrap_err()),
        disabled
    );
    moto.call("EnableKey", &named);
    assert!(
        kek.unwrap("a", &wrapped).await.is_ok(),
        "enabled, it is used again"
    );
    moto.call("ScheduleKeyDeletion", &named);
    let state = given.key(MotoKms::KEY).await.unwrap_err();
    assert!(matches!(&state, AwsKmsError::State { .. }), "{state}");
    let state = fault(kek.unwrap("a", &wrapped).await.unwrap_err());
    assert!(matches!(&state, AwsKmsError::State { .. }), "{state}");
}

#[tokio::test]
async fn unknown_credentials_are_named_and_corrected_ones_are_read_again() {
    let moto = MotoKms::start_strict();
    let given = Given::at(&moto.endpoint());
    let refused = given.key(MotoKms::KEY).await.unwrap_err();
    assert!(matches!(&refused, AwsKmsError::Credentials(_)), "{refused}");

    let moto = MotoKms::start();
    let given = Given::at(&moto.endpoint());
    let kek = given.key(MotoKms::KEY).await.unwrap();
    let id = given.folder.path().join("id");
    std::fs::remove_file(&id).unwrap();
    let missing = fault(kek.wrap("a", &[9; KEY_LEN]).await.unwrap_err());
    assert!(
        matches!(&missing, AwsKmsError::NoCredentials(text) if text.contains("access_key_id")),
        "{missing}"
    );
    assert!(matches!(
        given.key(MotoKms::KEY).await.unwrap_err(),
        AwsKmsError::NoCredentials(_)
    ));
    write_private(&id, "AKIAHUSH2");
    assert!(kek.wrap("a", &[9; KEY_LEN]).await.is_ok());
}

#[tokio::test]
async fn a_server_that_was_away_is_used_again_without_hands() {
    let mut moto = MotoKms::start();
    let given = Given::at(&moto.endpoint());
    let kek = given.key(MotoKms::KEY).await.unwrap();
    let wrapped = kek.wrap("a", &[9; KEY_LEN]).await.unwrap();
    moto.stop();
    for _ in 0..2 {
        let away = kek.unwrap("a", &wrapped).await.unwrap_err();
        assert!(matches!(fault(away), AwsKmsError::Unreachable { .. }));
    }
    let away = given.key(MotoKms::KEY).await.unwrap_err();
    assert!(
        away.is_unavailable() && away.to_string().contains(&moto.endpoint()),
        "{away}"
    );
    moto.start_again();
    let opened = kek.unwrap("a", &wrapped).await.unwrap();
    assert_eq!(opened.as_slice(), [9; KEY_LEN]);
}

/// A server that gives one answer to every call, and counts them.
fn answering(status: u16, body: String) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let calls: Arc<AtomicU32> = Arc::default();
    let counted = Arc::clone(&calls);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 16 * 1024];
            // whatever it asks
            let _len = stream.read(&mut request);
            let _written = write!(
                stream,
                "HTTP/1.1 {status} Answer\r\nContent-Type: application/x-amz-json-1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    (endpoint, calls)
}

#[tokio::test]
async fn each_refusal_of_aws_says_what_to_do() {
    for (status, code, says, tries) in [
        (400, "AccessDeniedException", "permit kms:DescribeKey", 1),
        (
            400,
            "UnrecognizedClientException",
            "credentials are refused",
            1,
        ),
        (400, "ExpiredTokenException", "have not expired", 1),
        (400, "InvalidSignatureException", "clock", 1),
        (400, "NotFoundException", "correct key_id, region", 1),
        (400, "DisabledException", "enable it", 1),
        (400, "KMSInvalidStateException", "cancel its deletion", 1),
        (
            400,
            "InvalidKeyUsageException",
            "symmetric encryption key",
            1,
        ),
        (400, "ThrottlingException", "takes no more calls", 3),
        (500, "KMSInternalException", "KMSInternalException", 3),
        (400, "SomethingNewException", "SomethingNewException", 1),
    ] {
        let body = format!(r#"{{"__type":"{code}","message":"hush"}}"#);
        let (endpoint, calls) = answering(status, body);
        let mut given = Given::at(&endpoint);
        given.settings.timeout = Span::secs(20);
        let error = given.key(MotoKms::KEY).await.unwrap_err();
        assert!(error.to_string().contains(says), "{code}: {error}");
        assert_eq!(
            error.is_unavailable(),
            tries == 3 || code == "SomethingNewException",
            "{code}"
        );
        assert_eq!(calls.load(Ordering::SeqCst), tries, "{code}: tries");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_and_a_silent_server_are_named() {
    let (endpoint, _) = answering(200, "this is no JSON".to_owned());
    let error = Given::at(&endpoint).key(MotoKms::KEY).await.unwrap_err();
    assert!(matches!(&error, AwsKmsError::Failed(_)), "{error}");
    let (endpoint, _) = answering(200, "{}".to_owned());
    let error = Given::at(&endpoint).key(MotoKms::KEY).await.unwrap_err();
    assert!(matches!(&error, AwsKmsError::Failed(_)), "{error}");
    // accepts, and never answers
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let error = Given::at(&endpoint).key(MotoKms::KEY).await.unwrap_err();
    assert!(
        matches!(&error, AwsKmsError::Unreachable { problem, .. } if problem.contains("in time")),
        "{error}"
    );
}
