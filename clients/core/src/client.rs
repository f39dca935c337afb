//! The crypto-service, called.

use std::time::Duration;

use crypto_proto::jwe::v1::jwe_service_client::JweServiceClient;
use crypto_proto::jwks::v1::GetJwksRequest;
use crypto_proto::jwks::v1::jwks_service_client::JwksServiceClient;
use crypto_proto::jwt::v1::jwt_service_client::JwtServiceClient;

use crate::channel::Channel;
use crate::coalesce::{Decrypting, Encrypting, Signing, Verifying};
use crate::error::Error;
use crate::request::{
    Decrypt, DecryptBatch, DecryptThenVerify, Decryption, Encrypt, EncryptBatch, EncryptedToken,
    Jwks, NestedToken, Sign, SignBatch, SignThenEncrypt, SignedItem, SignedToken, Verdict, Verify,
    VerifyBatch, bounded, results,
};
use crate::retry::Repeat;
use crate::stream::{SignStream, VerifyStream};

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
        self.channel.coalesced::<Signing>(sign).await
    }

    /// Verifies a token at the service. Needs the grant `verify`.
    ///
    /// # Errors
    /// As every call; what is wrong with the token is a verdict.
    pub async fn verify(&self, verify: &Verify) -> Result<Verdict, Error> {
        self.channel.coalesced::<Verifying>(verify).await
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
        self.channel.coalesced::<Encrypting>(encrypt).await
    }

    /// Decrypts a token. Needs `decrypt`.
    ///
    /// # Errors
    /// As every call; what is wrong with the token is a verdict.
    pub async fn decrypt(&self, decrypt: &Decrypt) -> Result<Decryption, Error> {
        self.channel.coalesced::<Decrypting>(decrypt).await
    }

    /// Signs the tokens of a batch in one call. Each fails on its own; the results stand in the order of the items.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for no items, more than 1,000, or a reference of another batch, before anything is sent; else as every call.
    pub async fn sign_batch(
        &self,
        batch: &SignBatch,
    ) -> Result<Vec<Result<SignedItem, Error>>, Error> {
        batch.check()?;
        call!(self, JwtServiceClient.sign_batch(batch.to_request()))
            .await
            .and_then(|answer| results(answer.results, batch.len(), SignedItem::read))
    }

    /// As [`CryptoClient::sign_batch`], where every token is needed: the first item that fails is how the call fails, and it is
    /// repeated as one call is: where an item finds no key or too much load, the whole batch is asked for again.
    ///
    /// # Errors
    /// As [`CryptoClient::sign_batch`] and [`CryptoClient::sign`].
    pub async fn sign_all(&self, batch: &SignBatch) -> Result<Vec<SignedItem>, Error> {
        batch.check()?;
        let signed = self.channel.repeated(Repeat::Harmless, |attempt| {
            let request = attempt.request(batch.to_request());
            async move {
                let mut client = JwtServiceClient::new(attempt.connection());
                let answer = client.sign_batch(request).await;
                let answer = answer.map_err(|status| Error::from_status(&status))?;
                let signed = results(answer.into_inner().results, batch.len(), SignedItem::read)?;
                signed.into_iter().collect()
            }
        });
        signed.await
    }

    /// Verifies the tokens of a batch in one call. The results stand in the order of the items.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for no items or more than 1,000, before anything is sent; else as every call.
    pub async fn verify_batch(
        &self,
        batch: &VerifyBatch,
    ) -> Result<Vec<Result<Verdict, Error>>, Error> {
        bounded(batch.len())?;
        call!(self, JwtServiceClient.verify_batch(batch.to_request()))
            .await
            .and_then(|answer| results(answer.results, batch.len(), Verdict::read_item))
    }

    /// Encrypts the payloads of a batch in one call. The results stand in the order of the items.
    ///
    /// # Errors
    /// As [`CryptoClient::verify_batch`].
    pub async fn encrypt_batch(
        &self,
        batch: &EncryptBatch,
    ) -> Result<Vec<Result<EncryptedToken, Error>>, Error> {
        bounded(batch.len())?;
        call!(self, JweServiceClient.encrypt_batch(batch.to_request()))
            .await
            .and_then(|answer| results(answer.results, batch.len(), EncryptedToken::read_item))
    }

    /// Decrypts the tokens of a batch in one call. The results stand in the order of the items.
    ///
    /// # Errors
    /// As [`CryptoClient::verify_batch`].
    pub async fn decrypt_batch(
        &self,
        batch: &DecryptBatch,
    ) -> Result<Vec<Result<Decryption, Error>>, Error> {
        bounded(batch.len())?;
        call!(self, JweServiceClient.decrypt_batch(batch.to_request()))
            .await
            .and_then(|answer| results(answer.results, batch.len(), Decryption::read_item))
    }

    /// Signs over one stream, with this client's deadline for each token. It opens with the first token.
    #[must_use]
    pub fn sign_stream(&self) -> SignStream {
        SignStream::over(self.channel.clone())
    }

    /// Verifies over one stream, with this client's deadline for each token. It opens with the first token.
    #[must_use]
    pub fn verify_stream(&self) -> VerifyStream {
        VerifyStream::over(self.channel.clone())
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
