//! Answers a userinfo request: verifies the access token in this process, then answers as JSON and as a signed token.
//!
//! Usage: `userinfo <endpoint> <folder with userinfo.crt, token.crt, their keys, ca.crt>`
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::time::Duration;

use client_core::request::Sign;
use client_core::{Claims, CryptoClient, Follow, LocalVerifier, Options, TlsFiles};
use client_userinfo::{BearerError, Format, UserinfoClient};

const AUDIENCE: &str = "https://op.example.com/userinfo";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments
        .next()
        .ok_or("name the endpoint, such as https://127.0.0.1:50051")?;
    let folder = arguments
        .next()
        .ok_or("name the folder of the certificates, such as var/dev")?;

    // What the token service has issued.
    let issuer = CryptoClient::new(
        Options::new(&endpoint, TlsFiles::in_folder(&folder, "token")).channel()?,
    );
    let claims = Claims::from_json(r#"{"sub":"alice","client_id":"web","scope":"openid email"}"#)?
        .with("aud", AUDIENCE)?;
    let token = issuer
        .sign(&Sign::new("op/access-token", &claims).typ("at+jwt"))
        .await?
        .token;

    let crypto = CryptoClient::new(
        Options::new(&endpoint, TlsFiles::in_folder(&folder, "userinfo")).channel()?,
    );
    let verifier = LocalVerifier::start(crypto.clone(), Follow::all());
    tokio::time::timeout(Duration::from_secs(10), verifier.ready()).await?;
    let userinfo = UserinfoClient::new(crypto, verifier, AUDIENCE);

    let bearer = userinfo.authenticate(&token).await?;
    let mut claims = Claims::new();
    if bearer.has_scope("email") {
        claims.insert("email", "alice@example.com")?;
    }
    for format in [Format::Json, Format::Signed] {
        let response = userinfo.respond(&bearer, claims.clone(), &format).await?;
        println!("{}: {} bytes", response.content_type, response.body.len());
    }

    match userinfo.authenticate("not-a-token").await {
        Err(BearerError::Rejected(reason)) => println!("refused what is no token: {reason}"),
        other => return Err(format!("unexpected answer {other:?}").into()),
    }
    Ok(())
}
