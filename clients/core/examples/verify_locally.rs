//! Follows the trust stream and verifies in this process.
//!
//! Usage: `verify_locally <endpoint> <folder with token.crt, token.key, ca.crt>`
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::time::Duration;

use client_core::request::{RejectReason, Sign, Verdict, Verify};
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

    let channel = Options::new(endpoint, TlsFiles::in_folder(folder, "token")).channel()?;
    let client = CryptoClient::new(channel);
    let verifier = LocalVerifier::start(client.clone(), Follow::all());
    tokio::time::timeout(Duration::from_secs(10), verifier.ready()).await?;

    let claims = Claims::new()
        .with("sub", "alice")?
        .with("aud", "https://api.example.com")?;
    let signed = client.sign(&Sign::new("op/access-token", &claims)).await?;

    // No call leaves this process while the lease lives.
    let verdict = verifier.verify_here(&Verify::new(&signed.token, "https://api.example.com"));
    let valid = verdict.ok_or("this client holds the key")?.into_result()?;
    println!("verified here with {} of {}", valid.kid, valid.key_set);

    // Where the service has to be asked, `verify` does so; the verdict is the same.
    let verdict = verifier
        .verify(&Verify::new(&signed.token, "https://other.example.com"))
        .await?;
    match verdict {
        Verdict::Rejected(RejectReason::Audience) => println!("refused for another audience"),
        other => return Err(format!("unexpected verdict {other:?}").into()),
    }
    Ok(())
}
