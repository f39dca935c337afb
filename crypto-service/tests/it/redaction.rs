//! What holds a secret, a token or claims never shows it.

use crypto_service::keys::StreamKey;
use crypto_service::usecase::{
    DecryptCommand, EncryptCommand, EncryptedToken, Recipient, SignCommand, SignedToken,
};

#[test]
fn no_command_and_no_answer_shows_what_it_carries() {
    let planted = || "planted".to_owned();
    let shown = [
        format!("{:?}", StreamKey::new(&[77; 32], "instance").unwrap()),
        format!(
            "{:?}",
            SignCommand {
                tenant: String::new(),
                key_set: String::new(),
                claims: planted(),
                lifetime: None,
                typ: String::new()
            }
        ),
        format!(
            "{:?}",
            SignedToken {
                token: planted(),
                kid: "k".into(),
                jti: Some(planted()),
                expires_at: None,
                subject: None
            }
        ),
        format!(
            "{:?}",
            EncryptCommand {
                tenant: String::new(),
                payload: b"planted".to_vec(),
                recipient: Recipient::KeySet("op/a".to_owned()),
                alg: None,
                enc: None,
                cty: String::new(),
            }
        ),
        format!(
            "{:?}",
            EncryptedToken {
                token: planted(),
                kid: None
            }
        ),
        format!(
            "{:?}",
            DecryptCommand {
                tenant: String::new(),
                token: planted(),
                key_sets: vec![],
                field: "key_sets"
            }
        ),
    ];
    for text in shown {
        assert!(
            !text.contains("planted") && !text.contains("112, 108") && !text.contains("77, 77"),
            "{text}"
        );
    }
}
