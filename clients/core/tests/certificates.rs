//! The files that make a caller known, read again for each connection; and options that cannot be.

mod serve;
mod signer;

use client_core::{Code, Options, OptionsError};
use serve::Pki;
use signer::{Fake, client, sign};

#[tokio::test]
async fn certificates_are_read_again_for_each_connection() {
    let (old, new) = (Pki::new(), Pki::new());
    let fake = Fake::named("a", []);
    let served = new.serve("127.0.0.1:0", fake.routes()).await;
    let client = client(old.options(&served));
    let error = sign(&client).await.unwrap_err();
    assert_eq!(
        (error.code(), fake.calls()),
        (Code::Unavailable, 0),
        "{error}"
    );

    // Replaced one by one: certificate and key do not fit for a moment.
    std::fs::copy(&new.files.ca, &old.files.ca).unwrap();
    std::fs::copy(&new.files.cert, &old.files.cert).unwrap();
    assert_eq!(sign(&client).await.unwrap_err().code(), Code::Unavailable);
    std::fs::copy(&new.files.key, &old.files.key).unwrap();
    sign(&client).await.unwrap();
}

#[tokio::test]
async fn the_last_good_certificate_serves_while_a_new_one_is_half_written() {
    let (pki, fake) = (Pki::new(), Fake::named("a", []));
    let served = fake.serve(&pki).await;
    let client = client(pki.options(&served));
    sign(&client).await.unwrap();
    let address = served.endpoint.trim_start_matches("https://").to_owned();
    drop(served);
    std::fs::write(&pki.files.key, "-----BEGIN PRIVATE KEY-----\n").unwrap();
    let _again = pki.serve(&address, fake.routes()).await;
    sign(&client).await.unwrap();
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let (pki, fake) = (Pki::new(), Fake::named("a", []));
    let served = fake.serve(&pki).await;
    std::fs::remove_file(&pki.files.key).unwrap();
    let error = sign(&client(pki.options(&served))).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(
        error.message().contains("key ") && error.message().contains("client.key"),
        "{error}"
    );
}

#[tokio::test]
async fn wrong_options_are_named() {
    let pki = Pki::new();
    let options = |endpoint: &str| Options::new(endpoint, pki.files.clone());
    let Err(OptionsError::Endpoint { endpoint }) = options("http://127.0.0.1:1").channel() else {
        panic!("plaintext is refused")
    };
    assert_eq!(endpoint, "http://127.0.0.1:1");
    let named = options("https://127.0.0.1:1")
        .server_name("not a name")
        .channel();
    assert_eq!(
        named.err(),
        Some(OptionsError::ServerName {
            name: "not a name".into()
        })
    );
}
