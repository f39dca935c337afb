//! Makes the tokens of a token response: an access token, and an ID token that names it.
//!
//! Usage: `token_response <endpoint> <folder with token.crt, token.key, ca.crt>`
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::time::Duration;

use client_core::request::Recipient;
use client_core::{Claims, CryptoClient, Options, TlsFiles};
use client_token::{AccessToken, IdToken, IssuedIdToken, TokenClient, TokenRequest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments
        .next()
        .ok_or("name the endpoint, such as https://127.0.0.1:50051")?;
    let folder = arguments
        .next()
        .ok_or("name the folder of the certificates, such as var/dev")?;

    let channel = Options::new(endpoint, TlsFiles::in_folder(folder, "token")).channel()?;
    let tokens = TokenClient::new(CryptoClient::new(channel));

    let access = AccessToken::new("alice", "web", "https://api.example.com")
        .scope("openid profile")
        .claims(Claims::from_json(r#"{"roles":["reader"]}"#)?)
        .lifetime(Duration::from_secs(600));
    let id = IdToken::new("alice", "web")
        .nonce("n-0S6_WzA2Mj")
        .amr("pwd");

    // One call signs both; the ID token's at_hash names the access token.
    let request = TokenRequest::new(access.clone()).id_token(id.clone());
    let response = tokens.token_response(&request).await?;
    println!(
        "access token {} signed with {}",
        response.access.jti, response.access.kid
    );
    println!("ID token issued: {}", response.id.is_some());

    // The same, with an ID token for the holder of an encryption key only.
    let recipient = Recipient::KeySet("op/encryption".to_owned());
    let request = TokenRequest::new(access).encrypted_id_token(id, recipient);
    if let Some(IssuedIdToken::Nested(nested)) = tokens.token_response(&request).await?.id {
        println!(
            "nested ID token {} encrypted to {}",
            nested.jti, nested.encryption_kid
        );
    }
    Ok(())
}
