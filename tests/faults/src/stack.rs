//! Daemons, and their clients by role.

use std::{net::SocketAddr, time::Duration};

use blackbox::{Addresses, Process, Stack};
use client_admin::{AdminClient, CreateKeySet, KeyUse, Publish, RotateKeySet};
use client_core::{
    Channel, CryptoClient, Options, RetryPolicy, TlsFiles,
    request::{RejectReason, Sign, Verify},
};

use crate::Fault;

/// The issuer of every set here.
pub const ISSUER: &str = "https://op.example.com";
/// Whom every token here is for.
pub const AUDIENCE: &str = "https://api.example.com";

/// An instance of the crypto-service, and its clients.
#[derive(Debug)]
pub struct Instance {
    /// Where it listens.
    pub addresses: Addresses,
    /// Signs.
    pub token: CryptoClient,
    /// Verifies.
    pub auth: CryptoClient,
    /// The process; `None` for the one that the stack holds.
    pub process: Option<Process>,
}

impl Instance {
    /// The instance at those addresses.
    ///
    /// # Errors
    /// Where no channel can be made.
    pub fn at(
        stack: &Stack,
        addresses: Addresses,
        process: Option<Process>,
    ) -> Result<Self, Fault> {
        Ok(Self {
            addresses,
            token: CryptoClient::new(channel(stack, addresses.grpc, "token")?),
            auth: CryptoClient::new(channel(stack, addresses.grpc, "auth")?),
            process,
        })
    }
}

/// The instance of the stack, and more of them up to `all`.
///
/// # Errors
/// Where no channel can be made.
pub fn instances(stack: &Stack, all: usize) -> Result<Vec<Instance>, Fault> {
    let mut instances = vec![Instance::at(stack, stack.crypto, None)?];
    while instances.len() < all {
        let (process, addresses) = stack.another_crypto_service();
        instances.push(Instance::at(stack, addresses, Some(process))?);
    }
    Ok(instances)
}

/// A channel that never asks again: the first answer is the one that counts.
///
/// # Errors
/// Where it cannot be made.
pub fn channel(stack: &Stack, address: SocketAddr, role: &str) -> Result<Channel, Fault> {
    let files = TlsFiles::in_folder(stack.dev(), role);
    let once = RetryPolicy {
        attempts: 1,
        ..RetryPolicy::default()
    };
    let options = Options::new(format!("https://{address}"), files).retry(once);
    Ok(options.deadline(Duration::from_secs(30)).channel()?)
}

/// The key-manager, called as `admin`.
///
/// # Errors
/// Where no channel can be made.
pub fn admin(stack: &Stack) -> Result<AdminClient, Fault> {
    Ok(AdminClient::new(channel(stack, stack.keys.grpc, "admin")?))
}

/// A public set to sign with.
#[must_use]
pub fn signing_set(name: &str, algorithm: &str) -> CreateKeySet {
    CreateKeySet::new(name, KeyUse::Sign, algorithm)
        .issuer(ISSUER)
        .publish(Publish::Public)
}

/// Creates a set, promotes its first key by force, and waits until `token` signs with it.
///
/// # Errors
/// Where that does not happen.
pub async fn create_active(
    admin: &AdminClient,
    token: &CryptoClient,
    set: &CreateKeySet,
    name: &str,
) -> Result<(), Fault> {
    admin.create(set).await?;
    admin.rotate(&RotateKeySet::new(name).force()).await?;
    let signs = async || token.sign(&sign(name)).await.is_ok();
    match eventually(blackbox::PATIENCE, signs).await {
        true => Ok(()),
        false => Err(format!("{name} does not sign").into()),
    }
}

/// A token for [`AUDIENCE`].
#[must_use]
pub fn sign(name: &str) -> Sign {
    Sign::json(name, format!(r#"{{"sub":"alice","aud":"{AUDIENCE}"}}"#))
}

/// Its verification.
#[must_use]
pub fn verify(token: &str) -> Verify {
    Verify::new(token, AUDIENCE)
}

/// The verdict on a token: valid, or why not.
///
/// # Errors
/// Where the call fails.
pub async fn verdict(
    client: &CryptoClient,
    token: &str,
) -> Result<Result<(), RejectReason>, client_core::Error> {
    let verdict = client.verify(&verify(token)).await?;
    Ok(verdict.into_result().map(drop))
}

/// Asks again until `done`; false where `patience` ran out first.
pub async fn eventually(patience: Duration, mut done: impl AsyncFnMut() -> bool) -> bool {
    let waited = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(patience, waited).await.is_ok()
}
