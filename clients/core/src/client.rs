//! The crypto-service, called.

use std::time::Duration;

use crypto_proto::jwe::v1::jwe_service_client::JweServiceClient;
use crypto_proto::jwks::v1::GetJwksRequest;
use crypto_proto::jwks::v1::jwks_service_client::JwksServiceClient;
use crypto_proto::jwt::v1::jwt_service_client::JwtServiceClient;

use crate::channel::Channel;
use crate::error::Error;
use crate::request::{
    Decrypt, DecryptThenVerify, Decryption, Encrypt, EncryptedToken, Jwks, NestedToken, Sign,
    SignThenEncrypt, SignedToken, Verdict, Verify,
};
use crate::retry::Repeat;

/// Every call of the crypto-service that this version serves. Cheap to clone.
///
/// All of them may be repeated without harm: signing twice makes two tokens of which one is never seen.
#[derive(Debug, Clone)]
pub struct CryptoClient {
    channel: Channel,
}

/// An rpc: the generated client, its method, and the message, which is made anew for each attempt.
macro_rules! call {
    ($self:ident, $client:ident.$method:ident($message:expr)) => {
        $self.channel.call(Repeat::Harmless, |attempt| {
            let request = attempt.request($message);
            async move { $client::new(attempt.connection()).$method(request).await }
        })
    };
}

impl CryptoClient {
    /// Calls over `channel`.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The same client with another deadline for each call.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            channel: self.channel.within(deadline),
        }
    }

    /// Signs claims. Needs the grant `sign`.
    ///
    /// # Errors
    /// UNAVAILABLE (NOT_READY) while the set has no Active key; else as every call.
    pub async fn sign(&self, sign: &Sign) -> Result<SignedToken, Error> {
        call!(self, JwtServiceClient.sign(sign.wire()))
            .await
            .and_then(SignedToken::read)
    }

    /// Verifies a token at the service. Needs the grant `verify`.
    ///
    /// # Errors
    /// As every call; what is wrong with the token is a verdict.
    pub async fn verify(&self, verify: &Verify) -> Result<Verdict, Error> {
        call!(self, JwtServiceClient.verify(verify.wire()))
            .await
            .and_then(Verdict::read)
    }

    /// Signs claims and encrypts the token. Needs `sign`, and `encrypt` or `encrypt-to-jwk`.
    ///
    /// # Errors
    /// As every call.
    pub async fn sign_then_encrypt(&self, request: &SignThenEncrypt) -> Result<NestedToken, Error> {
        call!(self, JwtServiceClient.sign_then_encrypt(request.wire()))
            .await
            .and_then(NestedToken::read)
    }

    /// Decrypts a nested token and verifies the one inside. Needs `decrypt` and `verify`.
    ///
    /// # Errors
    /// As every call; what is wrong with the token is a verdict.
    pub async fn decrypt_then_verify(&self, request: &DecryptThenVerify) -> Result<Verdict, Error> {
        call!(self, JwtServiceClient.decrypt_then_verify(request.wire()))
            .await
            .and_then(Verdict::read_nested)
    }

    /// Encrypts a payload. Needs `encrypt` on the recipient set, or `encrypt-to-jwk`.
    ///
    /// # Errors
    /// As every call.
    pub async fn encrypt(&self, encrypt: &Encrypt) -> Result<EncryptedToken, Error> {
        call!(self, JweServiceClient.encrypt(encrypt.wire()))
            .await
            .and_then(EncryptedToken::read)
    }

    /// Decrypts a token. Needs `decrypt`.
    ///
    /// # Errors
    /// As every call; what is wrong with the token is a verdict.
    pub async fn decrypt(&self, decrypt: &Decrypt) -> Result<Decryption, Error> {
        call!(self, JweServiceClient.decrypt(decrypt.wire()))
            .await
            .and_then(Decryption::read)
    }

    /// The JWK Set of a tenant (empty = `default`), or of one issuer of it (empty = all).
    ///
    /// # Errors
    /// NOT_FOUND for an issuer that no public set has; else as every call.
    pub async fn jwks(&self, tenant: &str, issuer: &str) -> Result<Jwks, Error> {
        let request = GetJwksRequest {
            tenant: tenant.to_owned(),
            issuer: issuer.to_owned(),
        };
        call!(self, JwksServiceClient.get_jwks(request.clone()))
            .await
            .and_then(Jwks::read)
    }
}
