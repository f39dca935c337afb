//! What must never be in the logs, at the most talkative level.

use std::io::Write;
use std::sync::{Arc, Mutex};

use crypto_proto::jwe::v1 as jwe;
use tracing::level_filters::LevelFilter;

use crate::support::{TestKey, TestSet, World, judged, sign};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn claims_tokens_and_payloads_are_never_in_the_logs() {
    let captured = Captured::default();
    let writer = captured.clone();
    let lines = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false);
    tracing::subscriber::set_global_default(lines.finish()).unwrap();

    let key = TestKey::new("RS256");
    let encryption = TestKey::new("RSA-OAEP-256");
    let sets = vec![
        TestSet::sign("op/a", vec![key.clone()]),
        TestSet::encrypt("op/e", vec![encryption.clone()]),
    ];
    let world = World::with(sets).await;
    let (mut token, mut auth) = (world.jwt("token"), world.jwt("auth"));
    let signed = token
        .sign(sign("op/a", r#"{"aud":"api","sub":"planted-subject"}"#))
        .await
        .unwrap()
        .into_inner()
        .token;
    judged(&mut auth, &signed).await.unwrap();
    judged(&mut auth, &signed[..signed.len() - 9])
        .await
        .unwrap_err();
    token
        .sign(sign("op/a", r#"{"exp":"planted-mistake"}"#))
        .await
        .unwrap_err();
    let request = jwe::EncryptRequest {
        payload: b"planted-payload".to_vec(),
        recipient: Some(jwe::encrypt_request::Recipient::KeySet("op/e".to_owned())),
        ..jwe::EncryptRequest::default()
    };
    let encrypted = world
        .jwe("token")
        .encrypt(request)
        .await
        .unwrap()
        .into_inner()
        .token;
    let decrypt = |token: String| jwe::DecryptRequest {
        token,
        ..jwe::DecryptRequest::default()
    };
    world
        .jwe("auth")
        .decrypt(decrypt(encrypted.clone()))
        .await
        .unwrap();
    world
        .jwe("auth")
        .decrypt(decrypt(format!("{encrypted}A")))
        .await
        .unwrap();
    world.drained().await;

    let log = String::from_utf8_lossy(&captured.0.lock().unwrap()).into_owned();
    assert!(
        log.contains("TRACE") && log.contains("a token was not decrypted"),
        "nothing was captured"
    );
    let secrets =
        [key, encryption].map(|key| jose::base64url::encode(&key.material.to_bytes()[100..160]));
    let tokens = [
        signed.split('.').nth(1).unwrap(),
        encrypted.split('.').nth(3).unwrap(),
    ];
    for planted in ["planted-", tokens[0], tokens[1], &secrets[0], &secrets[1]] {
        assert!(!log.contains(planted), "{planted} is in the log");
    }
}
