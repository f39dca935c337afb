//! Key-managers whose key-encryption key is in a token of SoftHSM, or in AWS KMS as moto plays it over TLS.

use blackbox::{PATIENCE, Process, Stack, read, text, write_whole};
use std::{path::Path, process::Output, time::Duration};
use testkit::{CertificateAuthority, MotoKms, SoftHsm, write_private};

use crate::{
    faults::{refuses_to_start, store, untouched},
    support::{crypto, eventually, sign, signing_set},
};

const SET: &str = "op/access-token";

/// Puts another section in the place of the development set-up's key file.
fn name_key(stack: &Stack, section: &str) {
    let path = stack.dev().join("key-manager.toml");
    let settings = String::from_utf8(read(&path)).unwrap();
    let (before, kek) = settings.split_once("[kek]\n").unwrap();
    let (_file, after) = kek.split_once('\n').unwrap();
    write_whole(&path, &format!("{before}{section}{after}"));
}

fn kek(stack: &Stack, what: &str, environment: &[(&str, &str)]) -> Output {
    stack
        .command("key-manager")
        .args(["kek", what, "--config"])
        .arg(stack.dev().join("key-manager.toml"))
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn ended_well(process: Option<Process>) {
    let status = process.unwrap().terminate(Duration::from_secs(15));
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

async fn signs(stack: &Stack) {
    let token = crypto(stack, "token");
    let signed = eventually(PATIENCE, async || sign(&token, SET).await.is_ok());
    assert!(signed.await, "{}", stack.logs());
}

fn token_section(pin: &Path) -> String {
    format!(
        "[kek.pkcs11]\nmodule = {:?}\ntoken_label = \"keys\"\nkey_label = \"kek\"\npin = {{ file = {pin:?} }}\n",
        SoftHsm::module()
    )
}

#[tokio::test]
async fn a_token_holds_the_key_and_a_wrong_pin_changes_nothing() {
    let (hsm, mut stack) = (SoftHsm::new(), Stack::init());
    hsm.add_token("keys");
    let pin = stack.dev().join("pin");
    write_private(&pin, SoftHsm::PIN);
    name_key(&stack, &token_section(&pin));
    let (name, value) = hsm.environment();
    let environment = [(name, value.as_str())];
    stack.set_environment(&environment);

    let (code, log) = refuses_to_start(&stack, "no key yet");
    assert!(code == 78 && log.contains("kek create"), "{code} {log}");
    let made = kek(&stack, "create", &environment);
    assert!(
        made.status.success() && text(&made).contains("made the key"),
        "{}",
        text(&made)
    );
    let again = kek(&stack, "create", &environment);
    assert_eq!(again.status.code(), Some(78), "{}", text(&again));
    let checked = kek(&stack, "check", &environment);
    assert!(checked.status.success(), "{}", text(&checked));

    stack.start_daemons();
    signing_set(&stack, SET, "ES256").await;
    ended_well(stack.crypto_service.take());
    ended_well(stack.key_manager.take());

    let before = store(&stack);
    write_private(&pin, "hush-0000");
    let (code, log) = refuses_to_start(&stack, "a wrong PIN");
    assert!(
        code == 78 && log.contains("refuses the PIN"),
        "{code} {log}"
    );
    assert!(!log.contains("hush"), "{log}");
    untouched(&stack, "a wrong PIN", &before);
    hsm.folder().take_away();
    let (code, log) = refuses_to_start(&stack, "no token");
    assert!(
        code == 69 && log.contains("no token with the label"),
        "{code} {log}"
    );
    untouched(&stack, "no token", &before);
    hsm.folder().put_back();

    write_private(&pin, SoftHsm::PIN);
    stack.start_daemons();
    signs(&stack).await;
}

#[tokio::test]
async fn aws_kms_holds_the_key_over_tls() {
    let ca = CertificateAuthority::new("kms");
    let (moto, mut stack) = (MotoKms::start_secure(&ca), Stack::init());
    let section = format!(
        "[kek.aws_kms]\nkey_id = \"alias/{}\"\nregion = \"{}\"\nendpoint = \"{}\"\n\
         access_key_id = {{ env = \"KMS_ID\" }}\nsecret_access_key = {{ env = \"KMS_SECRET\" }}\n",
        MotoKms::KEY,
        MotoKms::REGION,
        moto.endpoint()
    );
    name_key(&stack, &section);
    let credentials = [("KMS_ID", "test"), ("KMS_SECRET", "hush-4711")];
    stack.set_environment(&credentials);
    let (code, log) = refuses_to_start(&stack, "an authority that nobody knows");
    assert!(code == 69 && log.contains("not trusted"), "{code} {log}");
    assert!(store(&stack).is_empty(), "no store is made without a key");
    let (code, log) = {
        stack.set_environment(&[]);
        refuses_to_start(&stack, "no credentials")
    };
    assert!(code == 78 && log.contains("KMS_ID"), "{code} {log}");

    let [id, secret] = credentials;
    let trusted = [id, secret, ("SSL_CERT_FILE", moto.ca().unwrap())];
    let checked = kek(&stack, "check", &trusted);
    assert!(checked.status.success(), "{}", text(&checked));
    stack.set_environment(&trusted);
    stack.start_daemons();
    signing_set(&stack, SET, "ES256").await;
    ended_well(stack.crypto_service.take());
    ended_well(stack.key_manager.take());
    stack.start_daemons();
    signs(&stack).await;
    assert!(!stack.logs().contains("hush"));
}
