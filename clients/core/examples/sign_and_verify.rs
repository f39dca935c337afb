//! Signs an access token and verifies it at the service.
//!
//! Usage: `sign_and_verify <endpoint> <folder with token.crt, token.key, ca.crt>`
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::time::Duration;

use client_core::request::{Sign, Verify};
use client_core::{Claims, CryptoClient, Options, TlsFiles};

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
    let client = CryptoClient::new(channel);

    let claims = Claims::new()
        .with("sub", "alice")?
        .with("aud", "https://api.example.com")?
        .with("client_id", "web")?;
    let sign = Sign::new("op/access-token", &claims).lifetime(Duration::from_secs(300));
    let signed = client.sign(&sign).await?;
    println!("signed with {}, jti {}", signed.kid, signed.jti);

    // A deadline of its own for one call.
    let client = client.within(Duration::from_millis(500));
    let verify = Verify::new(signed.token, "https://api.example.com").key_set("op/access-token");
    let valid = client.verify(&verify).await?.into_result()?;
    println!("verified with {} of {}", valid.kid, valid.key_set);
    Ok(())
}
