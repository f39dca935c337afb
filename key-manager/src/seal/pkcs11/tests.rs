//! Against the real module of SoftHSM. It finds its tokens by a variable of the environment, so each test runs a second time,
//! in a process that was started with it.

use std::{future::Future, path::PathBuf};

use cryptoki::{
    context::Pkcs11,
    mechanism::MechanismType,
    object::{Attribute, KeyType, ObjectClass},
    session::UserType,
    types::AuthPin,
};
use testkit::{SoftHsm, TokenFolder, write_private};

use super::{module::Module, *};
use crate::{
    config::SecretSource,
    seal::{LocalKek, contract},
};

const TOKEN: &str = "keys";

/// Runs `body` in a process that has a token, and the right and a wrong PIN in its environment.
fn with_token<F: Future<Output = ()>>(test: &str, body: impl FnOnce(TokenFolder) -> F) {
    if SoftHsm::is_given() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(body(SoftHsm::given()));
        return;
    }
    let hsm = SoftHsm::new();
    hsm.add_token(TOKEN);
    hsm.add_token("another");
    let (_crate, module) = module_path!().split_once("::").unwrap();
    let pins = [
        ("THE_PIN", SoftHsm::PIN.to_owned()),
        ("WRONG_PIN", "hush-0000".to_owned()),
    ];
    hsm.run_again(&format!("{module}::{test}"), &pins);
}

fn pin_of(name: &str) -> SecretSource {
    SecretSource {
        env: name.to_owned(),
        ..SecretSource::default()
    }
}

fn settings(key: &str) -> Pkcs11Key {
    Pkcs11Key {
        module: SoftHsm::module(),
        token_label: TOKEN.to_owned(),
        key_label: key.to_owned(),
        pin: pin_of("THE_PIN"),
        ..Pkcs11Key::default()
    }
}

async fn made(key: &str) -> Pkcs11Kek {
    Pkcs11Kek::create(&settings(key)).await.unwrap();
    Pkcs11Kek::open(&settings(key)).await.unwrap()
}

async fn refusal(settings: &Pkcs11Key) -> Pkcs11Error {
    let error = Pkcs11Kek::open(settings).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("hush"), "{text}");
    error
}

/// A session of one's own, to put things into the token.
fn logged_in(context: &Pkcs11) -> Session {
    let slots = context.get_slots_with_token().unwrap();
    let slot = slots
        .into_iter()
        .find(|slot| context.get_token_info(*slot).unwrap().label() == TOKEN)
        .unwrap();
    let session = context.open_rw_session(slot).unwrap();
    // it is logged in where another session is
    let _ = session.login(
        UserType::User,
        Some(&AuthPin::from(SoftHsm::PIN.to_owned())),
    );
    session
}

fn key(label: &str, kind: KeyType, may_encrypt: bool, value: &[u8]) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(kind),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(may_encrypt),
        Attribute::Decrypt(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Value(value.to_vec()),
    ]
}

fn unavailable(error: &SealError) -> bool {
    matches!(error, SealError::Kek(error) if error.is_unavailable())
}

#[test]
fn a_key_in_a_token_keeps_the_contract() {
    with_token("a_key_in_a_token_keeps_the_contract", async |_| {
        let (kek, other) = (made("kek").await, made("other").await);
        contract::holds(&kek, &other, &["hush", SoftHsm::PIN]).await;
    });
}

#[test]
fn a_key_that_moves_into_a_token_opens_what_it_has_wrapped() {
    with_token(
        "a_key_that_moves_into_a_token_opens_what_it_has_wrapped",
        async |_| {
            let local = LocalKek::new(&[7; KEY_LEN]).unwrap();
            let wrapped = local.wrap("default", &[9; KEY_LEN]).await.unwrap();
            let module = Module::load(&SoftHsm::module()).unwrap();
            let session = logged_in(&module.running().context);
            session
                .create_object(&key("moved", KeyType::AES, true, &[7; KEY_LEN]))
                .unwrap();
            let kek = Pkcs11Kek::open(&settings("moved")).await.unwrap();
            let opened = kek.unwrap("default", &wrapped).await.unwrap();
            assert_eq!(opened.as_slice(), [9; KEY_LEN]);
            let back = kek.wrap("default", &[9; KEY_LEN]).await.unwrap();
            assert!(local.unwrap("default", &back).await.is_ok());
        },
    );
}

#[test]
fn each_mistake_of_module_token_and_pin_is_named() {
    with_token(
        "each_mistake_of_module_token_and_pin_is_named",
        async |_| {
            let folder = tempfile::tempdir().unwrap();
            let text = folder.path().join("text.so");
            std::fs::write(&text, "no library").unwrap();
            for module in [
                PathBuf::from("/nowhere/module.so"),
                text,
                "libc.so.6".into(),
            ] {
                let error = refusal(&Pkcs11Key {
                    module: module.clone(),
                    ..settings("kek")
                })
                .await;
                assert!(matches!(&error, Pkcs11Error::Module { .. }), "{error}");
                assert!(
                    error.to_string().contains(module.to_str().unwrap()),
                    "{error}"
                );
            }
            made("kek").await;
            let error = refusal(&Pkcs11Key {
                token_label: "kees".to_owned(),
                ..settings("kek")
            })
            .await;
            assert!(
                matches!(&error, Pkcs11Error::NoToken { label, present } if label == "kees" && present.contains(TOKEN)),
                "{error}"
            );
            let error = refusal(&Pkcs11Key {
                pin: pin_of("NOBODY_SETS_THIS"),
                ..settings("kek")
            })
            .await;
            assert!(
                matches!(&error, Pkcs11Error::NoPin(text) if text.contains("NOBODY_SETS_THIS")),
                "{error}"
            );
            let error = refusal(&Pkcs11Key {
                pin: pin_of("WRONG_PIN"),
                ..settings("kek")
            })
            .await;
            assert_eq!(error, Pkcs11Error::PinRefused(TOKEN.to_owned()));
            assert!(!KekError::Pkcs11(error).is_unavailable());
            assert!(
                Pkcs11Kek::open(&settings("kek")).await.is_ok(),
                "the right PIN is taken afterwards"
            );
        },
    );
}

/// Two keys of one label, and objects that cannot wrap.
fn put_unfit_keys() {
    let module = Module::load(&SoftHsm::module()).unwrap();
    let running = module.running();
    let session = logged_in(&running.context);
    let puts = [
        key("twice", KeyType::AES, true, &[1; 32]),
        key("twice", KeyType::AES, true, &[2; 32]),
        key("short", KeyType::AES, true, &[1; 16]),
        key("generic", KeyType::GENERIC_SECRET, true, &[1; 32]),
        key("mute", KeyType::AES, false, &[1; 32]),
        vec![
            Attribute::Class(ObjectClass::DATA),
            Attribute::Token(true),
            Attribute::Label(b"data".to_vec()),
            Attribute::Value(b"no key".to_vec()),
        ],
    ];
    for template in &puts {
        session.create_object(template).unwrap();
    }
}

#[test]
fn each_mistake_of_the_key_is_named() {
    with_token("each_mistake_of_the_key_is_named", async |_| {
        made("kek").await;
        assert_eq!(
            Pkcs11Kek::create(&settings("kek")).await,
            Err(Pkcs11Error::Exists("kek".to_owned()))
        );
        let error = refusal(&settings("missing")).await;
        assert!(
            matches!(&error, Pkcs11Error::NoKey { label, .. } if label == "missing"),
            "{error}"
        );
        put_unfit_keys();
        let error = refusal(&settings("twice")).await;
        assert!(
            matches!(&error, Pkcs11Error::SeveralKeys { count: 2, .. }),
            "{error}"
        );
        for (label, says) in [
            ("short", "256 bits"),
            ("generic", "no AES key"),
            ("mute", "may not encrypt"),
            ("data", "no secret key"),
        ] {
            let error = refusal(&settings(label)).await;
            assert!(
                matches!(&error, Pkcs11Error::Unfit { problem, .. } if problem.contains(says)),
                "{label}: {error}"
            );
        }
        assert_eq!(
            refusal(&Pkcs11Key {
                token_label: "another".to_owned(),
                ..settings("kek")
            })
            .await,
            Pkcs11Error::NoKey {
                label: "kek".to_owned(),
                token: "another".to_owned(),
            }
        );
    });
}

#[test]
fn a_key_that_is_made_never_leaves_its_token() {
    with_token("a_key_that_is_made_never_leaves_its_token", async |_| {
        made("kek").await;
        let module = Module::load(&SoftHsm::module()).unwrap();
        let running = module.running();
        let session = logged_in(&running.context);
        let found = session
            .find_objects(&[Attribute::Label(b"kek".to_vec())])
            .unwrap();
        assert_eq!(found.len(), 1);
        let kinds = [
            cryptoki::object::AttributeType::Sensitive,
            cryptoki::object::AttributeType::Extractable,
            cryptoki::object::AttributeType::Value,
        ];
        let known = session.get_attributes(found[0], &kinds).unwrap();
        assert_eq!(
            known,
            [Attribute::Sensitive(true), Attribute::Extractable(false)]
        );
        let slot = session.get_session_info().unwrap().slot_id();
        let mechanisms = running.context.get_mechanism_list(slot).unwrap();
        assert!(mechanisms.contains(&MechanismType::AES_GCM));
    });
}

#[test]
fn a_token_that_was_away_is_used_again_without_hands() {
    with_token(
        "a_token_that_was_away_is_used_again_without_hands",
        async |folder| {
            let (kek, other) = (made("kek").await, made("other").await);
            let wrapped = kek.wrap("a", &[9; KEY_LEN]).await.unwrap();
            let others = other.wrap("a", &[8; KEY_LEN]).await.unwrap();
            folder.take_away();
            for round in 0..3 {
                let error = kek.unwrap("a", &wrapped).await.unwrap_err();
                assert!(unavailable(&error), "round {round}: {error}");
                let error = kek.wrap("a", &[9; KEY_LEN]).await.unwrap_err();
                assert!(unavailable(&error), "round {round}: {error}");
            }
            folder.put_back();
            // both keys stand in one module, which was started anew meanwhile
            for _ in 0..2 {
                assert_eq!(
                    kek.unwrap("a", &wrapped).await.unwrap().as_slice(),
                    [9; KEY_LEN]
                );
                assert_eq!(
                    other.unwrap("a", &others).await.unwrap().as_slice(),
                    [8; KEY_LEN]
                );
                assert_eq!(
                    kek.unwrap("a", &others).await.unwrap_err(),
                    SealError::Refused
                );
            }
        },
    );
}

#[test]
fn a_pin_that_was_refused_is_not_tried_again_until_it_is_corrected() {
    with_token(
        "a_pin_that_was_refused_is_not_tried_again_until_it_is_corrected",
        async |folder| {
            let pins = tempfile::tempdir().unwrap();
            let file = pins.path().join("pin");
            write_private(&file, SoftHsm::PIN);
            made("kek").await;
            let pin = SecretSource {
                file: file.clone(),
                ..SecretSource::default()
            };
            let kek = Pkcs11Kek::open(&Pkcs11Key {
                pin,
                ..settings("kek")
            })
            .await
            .unwrap();
            let wrapped = kek.wrap("a", &[9; KEY_LEN]).await.unwrap();
            folder.take_away();
            assert!(unavailable(&kek.unwrap("a", &wrapped).await.unwrap_err()));
            folder.put_back();
            write_private(&file, "hush-0000");
            let refused =
                SealError::from(KekError::Pkcs11(Pkcs11Error::PinRefused(TOKEN.to_owned())));
            assert_eq!(kek.unwrap("a", &wrapped).await.unwrap_err(), refused);
            // a right PIN in between resets what the token counts; from here on nothing counts
            let count_low = || {
                let module = Module::load(&SoftHsm::module()).unwrap();
                let running = module.running();
                let slots = running.context.get_slots_with_token().unwrap();
                let infos = slots
                    .iter()
                    .map(|slot| running.context.get_token_info(*slot).unwrap());
                infos
                    .filter(|info| info.label() == TOKEN)
                    .any(|info| info.user_pin_count_low())
            };
            assert!(count_low(), "the wrong PIN was tried once");
            drop(logged_in(
                &Module::load(&SoftHsm::module()).unwrap().running().context,
            ));
            assert!(!count_low());
            for _ in 0..3 {
                assert_eq!(kek.unwrap("a", &wrapped).await.unwrap_err(), refused);
                assert_eq!(kek.wrap("a", &[9; KEY_LEN]).await.unwrap_err(), refused);
            }
            assert!(!count_low(), "a PIN that was refused is tried again");
            write_private(&file, SoftHsm::PIN);
            assert!(kek.unwrap("a", &wrapped).await.is_ok());
        },
    );
}

#[test]
fn a_foreign_format_is_named() {
    with_token("a_foreign_format_is_named", async |_| {
        let kek = made("kek").await;
        assert_eq!(
            kek.unwrap("a", &[2; 61]).await.unwrap_err(),
            SealError::Format(2)
        );
        assert_eq!(kek.unwrap("a", &[]).await.unwrap_err(), SealError::Refused);
    });
}
