use service_kit::config::{Loader, Settings};

use super::*;

fn pin() -> SecretSource {
    SecretSource {
        env: "THE_PIN".to_owned(),
        ..SecretSource::default()
    }
}

fn token() -> Pkcs11Key {
    Pkcs11Key {
        module: "/usr/lib/softhsm/libsofthsm2.so".into(),
        token_label: "keys".to_owned(),
        key_label: "kek".to_owned(),
        pin: pin(),
        ..Pkcs11Key::default()
    }
}

#[cfg(feature = "aws-kms")]
fn kms() -> AwsKmsKey {
    AwsKmsKey {
        key_id: "alias/keys".to_owned(),
        region: "eu-central-1".to_owned(),
        access_key_id: pin(),
        secret_access_key: pin(),
        ..AwsKmsKey::default()
    }
}

fn places(kek: &Kek) -> Vec<String> {
    let mistakes = kek.mistakes("kek").into_iter();
    mistakes.map(|mistake| mistake.place).collect()
}

#[test]
fn exactly_one_source_is_given() {
    let pkcs11 = token();
    for (what, kek, given) in [
        ("none", Kek::default(), false),
        (
            "a file",
            Kek {
                file: "kek".into(),
                ..Kek::default()
            },
            true,
        ),
        (
            "a variable",
            Kek {
                env: "KEK".to_owned(),
                ..Kek::default()
            },
            true,
        ),
        (
            "a token",
            Kek {
                pkcs11: pkcs11.clone(),
                ..Kek::default()
            },
            true,
        ),
        (
            "two",
            Kek {
                file: "kek".into(),
                pkcs11,
                ..Kek::default()
            },
            false,
        ),
        (
            "two again",
            Kek {
                file: "kek".into(),
                env: "KEK".to_owned(),
                ..Kek::default()
            },
            false,
        ),
    ] {
        assert_eq!(kek.source("kek").is_ok(), given, "{what}");
    }
}

#[test]
fn every_mistake_of_a_token_is_named_at_once() {
    let pkcs11 = Pkcs11Key {
        timeout: Span::secs(0),
        ..Pkcs11Key::default()
    };
    let kek = Kek {
        pkcs11,
        ..Kek::default()
    };
    assert_eq!(
        places(&kek),
        [
            "kek.pkcs11.module",
            "kek.pkcs11.token_label",
            "kek.pkcs11.key_label",
            "kek.pkcs11.pin",
            "kek.pkcs11.timeout"
        ]
    );
    let mut pkcs11 = token();
    pkcs11.pin.file = "pin".into();
    let both = Kek {
        pkcs11,
        ..Kek::default()
    };
    assert_eq!(places(&both), ["kek.pkcs11.pin"]);
}

#[cfg(feature = "aws-kms")]
#[test]
fn every_mistake_of_aws_kms_is_named_at_once() {
    let aws_kms = AwsKmsKey {
        endpoint: "http://kms.example.com".to_owned(),
        timeout: Span::secs(61),
        ..AwsKmsKey::default()
    };
    let kek = Kek {
        aws_kms,
        ..Kek::default()
    };
    assert_eq!(
        places(&kek),
        [
            "kek.aws_kms.key_id",
            "kek.aws_kms.region",
            "kek.aws_kms.access_key_id",
            "kek.aws_kms.secret_access_key",
            "kek.aws_kms.endpoint",
            "kek.aws_kms.timeout"
        ]
    );
    for (endpoint, good) in [
        ("", true),
        ("https://kms.example.com", true),
        ("https://kms.example.com:8443", true),
        ("http://127.0.0.1:5000", true),
        ("http://[::1]:5000", true),
        ("http://10.0.0.1:5000", false),
        ("https://user:secret@kms.example.com", false),
        ("https://kms.example.com/path", false),
        ("kms.example.com", false),
    ] {
        let aws_kms = AwsKmsKey {
            endpoint: endpoint.to_owned(),
            ..kms()
        };
        let kek = Kek {
            aws_kms,
            ..Kek::default()
        };
        assert_eq!(places(&kek).is_empty(), good, "{endpoint}");
    }
}

#[cfg(not(feature = "aws-kms"))]
#[test]
fn a_build_without_aws_kms_says_so() {
    let aws_kms = AwsKmsKey {
        key_id: "k".to_owned(),
        ..AwsKmsKey::default()
    };
    let kek = Kek {
        aws_kms,
        ..Kek::default()
    };
    let mistakes = kek.mistakes("kek");
    assert!(
        mistakes[0].problem.contains("--features aws-kms"),
        "{mistakes:?}"
    );
}

#[test]
fn the_section_reads_as_it_is_documented() {
    let text = r#"
        [pkcs11]
        module = "/usr/lib/softhsm/libsofthsm2.so"
        token_label = "keys"
        key_label = "kek"
        pin = { env = "THE_PIN" }
    "#;
    let kek = toml_of(text).unwrap();
    assert_eq!(kek.source("kek"), Ok(KekSource::Pkcs11(token())));
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Alone(Kek);

impl Settings for Alone {}

fn toml_of(text: &str) -> Result<Kek, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kek.toml");
    std::fs::write(&path, text).unwrap();
    let loader = Loader::new("ALONE").environment([]).file(Some(path));
    let loaded = loader.load::<Alone>();
    loaded
        .map(|alone| alone.0)
        .map_err(|errors| errors.to_string())
}

#[test]
fn a_secret_in_the_settings_is_refused_and_not_repeated() {
    for written in ["\"hush-1234\"", "991234", "9.91234"] {
        let refused = toml_of(&format!("[pkcs11]\npin = {written}")).unwrap_err();
        assert!(refused.contains("kek.toml: pkcs11.pin"), "{refused}");
        assert!(
            refused.contains("never holds it") && !refused.contains("1234"),
            "{refused}"
        );
    }
}

#[test]
fn a_secret_is_read_from_a_private_file_and_never_shown() {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pin");
    let source = SecretSource {
        file: path.clone(),
        ..SecretSource::default()
    };
    assert!(source.read().unwrap_err().contains("pin"));
    for (what, mode, content, says) in [
        ("good", 0o600, "hush-hush\n", None),
        ("open to others", 0o644, "hush-hush", Some("chmod 600")),
        ("empty", 0o600, "\n", Some("is empty")),
    ] {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        match (source.read(), says) {
            (Ok(secret), None) => assert_eq!(secret.as_str(), "hush-hush", "{what}"),
            (Err(error), Some(says)) => {
                assert!(
                    error.contains(says) && !error.contains("hush"),
                    "{what}: {error}"
                );
            }
            (other, _) => panic!("{what}: {other:?}"),
        }
    }
    let missing = SecretSource {
        env: "NOBODY_SETS_THIS_PIN".to_owned(),
        ..SecretSource::default()
    };
    assert!(missing.read().unwrap_err().contains("NOBODY_SETS_THIS_PIN"));
}

fn file(name: &str) -> Kek {
    Kek {
        file: name.into(),
        ..Kek::default()
    }
}

fn after(previous: Kek) -> Kek {
    Kek {
        previous: Some(Box::new(previous)),
        ..file("kek")
    }
}

#[test]
fn the_key_before_has_one_source_too_and_none_before_it() {
    let both = Kek {
        env: "KEK".to_owned(),
        ..file("old")
    };
    for (what, kek, found) in [
        ("one before", after(file("old")), &[][..]),
        ("no source", after(Kek::default()), &["kek.previous"]),
        ("two sources", after(both), &["kek.previous"]),
        (
            "two before",
            after(after(file("older"))),
            &["kek.previous.previous"],
        ),
    ] {
        assert_eq!(places(&kek), found, "{what}");
    }
}
