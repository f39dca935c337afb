//! Creates a key set, forces its first key, rotates it and revokes the old key.
//!
//! Usage: `key_sets <endpoint of the key-manager> <folder with admin.crt, admin.key, ca.crt>`
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;

use client_admin::{AdminClient, CreateKeySet, KeyUse, RevokeKey, RotateKeySet};
use client_core::{Options, TlsFiles, request_id};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments
        .next()
        .ok_or("name the endpoint, such as https://127.0.0.1:50052")?;
    let folder = arguments
        .next()
        .ok_or("name the folder of the certificates, such as var/dev")?;

    let channel = Options::new(endpoint, TlsFiles::in_folder(folder, "admin")).channel()?;
    let admin = AdminClient::new(channel);

    let name = format!("op/example-{}", request_id());
    let created = admin
        .create(&CreateKeySet::new(&name, KeyUse::Sign, "ES256"))
        .await?;
    println!("created {} at revision {}", created.name, created.revision);

    // Without `force` a key waits until every verifier has seen it.
    let first = admin
        .rotate(&RotateKeySet::new(&name).force())
        .await?
        .key_set;
    let old = first
        .active()
        .ok_or("a forced rotation leaves an Active key")?
        .kid
        .clone();

    // `expected_revision` refuses to act on a set that somebody else has changed since.
    let rotate = RotateKeySet::new(&name)
        .force()
        .expected_revision(first.revision);
    let rotated = admin.rotate(&rotate).await?;
    println!(
        "rotated away from {old}; it may have broken: {:?}",
        rotated.may_have_broken
    );

    let revoked = admin.revoke(&RevokeKey::new(&name, &old)).await?;
    println!(
        "revoked: {} of {} instances know after {:?}",
        revoked.acked, revoked.total, revoked.elapsed
    );

    let described = admin.get("", &name).await?;
    for version in &described.key_set.versions {
        println!("{} {} {:?}", version.kid, version.algorithm, version.state);
    }
    let all = admin.list("").await?;
    if all.iter().any(|set| set.name == name) {
        Ok(())
    } else {
        Err("the list lacks the new set".into())
    }
}
