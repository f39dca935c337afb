//! Verifies an `id_token_hint`, and opens a nested token that was encrypted to the platform.
//!
//! Usage: `what_clients_send <endpoint> <folder with auth.crt, token.crt, their keys, ca.crt>`
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::time::Duration;

use client_auth::AuthClient;
use client_core::request::{Decryption, Encrypt, Recipient, Sign, SignThenEncrypt, Verify};
use client_core::{Claims, CryptoClient, Follow, LocalVerifier, Options, TlsFiles};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments
        .next()
        .ok_or("name the endpoint, such as https://127.0.0.1:50051")?;
    let folder = arguments
        .next()
        .ok_or("name the folder of the certificates, such as var/dev")?;

    // What the token service has issued to the client `web`.
    let issuer = CryptoClient::new(
        Options::new(&endpoint, TlsFiles::in_folder(&folder, "token")).channel()?,
    );
    let platform = || Recipient::KeySet("op/encryption".to_owned());
    let claims = Claims::from_json(r#"{"sub":"alice","aud":"web"}"#)?;
    let sign = Sign::new("op/id-token", &claims);
    let id_token = issuer.sign(&sign).await?.token;
    let nested = issuer
        .sign_then_encrypt(&SignThenEncrypt::new(sign, platform()))
        .await?
        .token;
    let sealed = issuer
        .encrypt(&Encrypt::new("for the platform only", platform()))
        .await?
        .token;

    let crypto =
        CryptoClient::new(Options::new(&endpoint, TlsFiles::in_folder(&folder, "auth")).channel()?);
    let verifier = LocalVerifier::start(crypto.clone(), Follow::all());
    tokio::time::timeout(Duration::from_secs(10), verifier.ready()).await?;
    let auth = AuthClient::new(crypto, verifier);

    let hint = auth.id_token_hint(&id_token, "web").await?.into_result()?;
    println!("hint of {}, signed with {}", hint.key_set, hint.kid);

    let inner = auth
        .decrypt_then_verify(Verify::new(nested, "web"))
        .await?
        .into_result()?;
    println!(
        "nested token of {}, signed with {}",
        inner.key_set, inner.kid
    );

    let opened = auth
        .decrypt(&sealed)
        .await?
        .into_token()
        .ok_or("the platform holds the key")?;
    println!(
        "{} bytes, decrypted with {}",
        opened.payload.len(),
        opened.kid
    );

    match auth.decrypt("not-a-token").await? {
        Decryption::Failed => println!("refused what is no token"),
        Decryption::Decrypted(_) => return Err("a text that is no token was decrypted".into()),
    }
    Ok(())
}
