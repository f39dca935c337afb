//! For the authorization service: what clients send to it, verified and decrypted.
//!
//! Tokens of the platform's own key sets, such as an `id_token_hint`, and tokens that a client has encrypted to the platform's published
//! key. Nothing in a token is to be used before its verdict.
//!
//! ```no_run
#![doc = include_str!("../examples/what_clients_send.rs")]
//! ```

use client_core::request::{Decrypt, DecryptThenVerify, Decryption, Purpose, Verdict, Verify};
use client_core::{CryptoClient, Error, Verifier};

/// Verifies and decrypts what clients send. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AuthClient {
    crypto: CryptoClient,
    verifier: Verifier,
    id_set: String,
    encryption_set: String,
}

impl AuthClient {
    /// Verifies by `verifier`: a [`client_core::LocalVerifier`], or `crypto` itself to ask the service each time. Decrypts at the
    /// service always: private keys do not leave it.
    #[must_use]
    pub fn new(crypto: CryptoClient, verifier: impl Into<Verifier>) -> Self {
        Self {
            crypto,
            verifier: verifier.into(),
            id_set: "op/id-token".to_owned(),
            encryption_set: "op/encryption".to_owned(),
        }
    }

    /// The key set that signs ID tokens. Default: `op/id-token`.
    #[must_use]
    pub fn id_set(mut self, key_set: impl Into<String>) -> Self {
        self.id_set = key_set.into();
        self
    }

    /// The key set that clients encrypt to. Default: `op/encryption`.
    #[must_use]
    pub fn encryption_set(mut self, key_set: impl Into<String>) -> Self {
        self.encryption_set = key_set.into();
        self
    }

    /// Verifies an `id_token_hint` that was issued to `client_id`. An expired one passes within the key set's hint window; one of a
    /// revoked key never does. It tells who the end user was, and is no proof that the end user is here.
    ///
    /// # Errors
    /// As every call; what is wrong with the token is a verdict.
    pub async fn id_token_hint(&self, token: &str, client_id: &str) -> Result<Verdict, Error> {
        let verify = Verify::new(token, client_id)
            .key_set(&self.id_set)
            .purpose(Purpose::Hint);
        self.verify(&verify).await
    }

    /// Verifies a token as `verify` says.
    ///
    /// # Errors
    /// As every call; what is wrong with the token is a verdict.
    pub async fn verify(&self, verify: &Verify) -> Result<Verdict, Error> {
        self.verifier.verify(verify).await
    }

    /// Decrypts a token that was encrypted to the platform's key.
    ///
    /// # Errors
    /// As every call; a token that cannot be decrypted is [`Decryption::Failed`].
    pub async fn decrypt(&self, token: &str) -> Result<Decryption, Error> {
        self.crypto
            .decrypt(&Decrypt::new(token).key_set(&self.encryption_set))
            .await
    }

    /// Decrypts a nested token and verifies the one inside: `verify` holds the outer token, and what the inner one has to satisfy.
    ///
    /// # Errors
    /// As every call; what is wrong with either token is a verdict.
    pub async fn decrypt_then_verify(&self, verify: Verify) -> Result<Verdict, Error> {
        let request = DecryptThenVerify::new(verify).decrypt_key_set(&self.encryption_set);
        self.crypto.decrypt_then_verify(&request).await
    }
}
