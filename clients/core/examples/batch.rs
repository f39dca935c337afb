//! Signs an access token and an ID token that names it, in one call.
//!
//! Usage: `batch <endpoint> <folder with token.crt, token.key, ca.crt>`
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;

use client_core::request::{Sign, SignBatch, SignItem};
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
    let claims = Claims::new().with("sub", "alice")?.with("aud", "web")?;

    let mut batch = SignBatch::new();
    let access = batch.push(Sign::new(
        "op/access-token",
        &claims.clone().with("client_id", "web")?,
    ));
    batch.push(SignItem::new(Sign::new("op/id-token", &claims)).at_hash_of(access));
    // Each item succeeds or fails on its own, in the order of the batch.
    for (position, signed) in client.sign_batch(&batch).await?.into_iter().enumerate() {
        match signed {
            Ok(signed) => println!("item {position}: signed with {}", signed.kid),
            Err(error) => println!("item {position}: {error}"),
        }
    }
    Ok(())
}
