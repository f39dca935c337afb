//! Signs tokens, revokes one by its `jti` and the others by their subject, and sees them refused.
//!
//! Usage: `revoke_tokens <endpoint of the crypto-service> <endpoint of the key-manager> <folder with token.*, management.*, ca.crt>`
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;

use client_core::request::{Sign, SignedToken, Verdict, Verify};
use client_core::{Claims, CryptoClient, Options, TlsFiles, request_id};
use client_management::{ManagementClient, Matching, RevokeToken};

const AUDIENCE: &str = "https://api.example.com";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or_else(|| format!("name {what}"));
    let crypto = next("the endpoint of the crypto-service, such as https://127.0.0.1:50051")?;
    let keys = next("the endpoint of the key-manager, such as https://127.0.0.1:50052")?;
    let folder = next("the folder of the certificates, such as var/dev")?;

    let channel =
        |endpoint: &str, role| Options::new(endpoint, TlsFiles::in_folder(&folder, role)).channel();
    let issuer = CryptoClient::new(channel(&crypto, "token")?);
    let management = ManagementClient::new(channel(&keys, "management")?);

    let subject = format!("user-{}", request_id());
    let claims = Claims::from_json("{}")?
        .with("sub", subject.as_str())?
        .with("aud", AUDIENCE)?;
    let one = issuer.sign(&Sign::new("op/access-token", &claims)).await?;
    let other = issuer.sign(&Sign::new("op/access-token", &claims)).await?;

    // One token: its expiry says for how long the revocation is of use.
    let expires_at = one.expires_at.ok_or("a token without exp")?;
    let revoke = RevokeToken::jti_until(&one.jti, expires_at).key_set("op/access-token");
    let revoked = management.revoke_token(&revoke).await?;
    println!(
        "revoked one token: {} of {} instances refuse it after {:?}",
        revoked.acked, revoked.total, revoked.elapsed
    );
    println!("it is {}", seen(&issuer, &one).await?);
    println!("the other is {}", seen(&issuer, &other).await?);

    // Everything that the subject was issued so far, in every key set that this caller may revoke tokens of.
    let logout = RevokeToken::matching(Matching::subject(&subject));
    let revoked = management.revoke_token(&logout).await?;
    println!("revoked the subject's tokens in {:?}", revoked.key_sets);
    println!("the other is {}", seen(&issuer, &other).await?);

    // Who logs in again at once gets a token that counts.
    let again = issuer.sign(&Sign::new("op/access-token", &claims)).await?;
    println!("the next is {}", seen(&issuer, &again).await?);
    Ok(())
}

async fn seen(verifier: &CryptoClient, token: &SignedToken) -> Result<String, client_core::Error> {
    let verdict = verifier
        .verify(&Verify::new(&token.token, AUDIENCE))
        .await?;
    Ok(match verdict {
        Verdict::Valid(_) => "valid".to_owned(),
        Verdict::Rejected(reason) => format!("rejected: {}", reason.name()),
    })
}
