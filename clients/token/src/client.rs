//! Signing the tokens of a token response.

use std::sync::Arc;

use client_core::request::{
    NestedToken, Recipient, Sign, SignThenEncrypt, SignedToken, Verdict, Verify,
};
use client_core::{Claims, ClaimsError, CryptoClient, Error};

use crate::SigningAlgorithm;
use crate::signer::{Signer, named_in_jwks, named_in_token};
use crate::tokens::{AccessToken, IdToken, RefreshToken};

/// How often an ID token is signed anew because its key set has changed its algorithm.
const ATTEMPTS: usize = 3;

/// Where the tokens of a tenant are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySets {
    /// The tenant; empty = `default`.
    pub tenant: String,
    /// Signs access tokens. Default `op/access-token`.
    pub access: String,
    /// Signs ID tokens. Default `op/id-token`.
    pub id: String,
    /// Signs refresh tokens. Default `op/refresh-token`.
    pub refresh: String,
}

impl Default for KeySets {
    fn default() -> Self {
        Self {
            tenant: String::new(),
            access: "op/access-token".to_owned(),
            id: "op/id-token".to_owned(),
            refresh: "op/refresh-token".to_owned(),
        }
    }
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] Error),
    /// The claims contradict each other.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// A nested ID token with hashes was signed by a key that the JWK Set does not show, so its hash cannot be told.
    /// Publish the key set.
    #[error(
        "the algorithm of key {kid:?} cannot be told: publish its key set, or leave at_hash and c_hash out"
    )]
    UnknownAlgorithm {
        /// The key.
        kid: String,
    },
    /// The key set changed its algorithm with each attempt.
    #[error("the ID token's key set changed its algorithm {ATTEMPTS} times in a row")]
    Unsettled,
}

/// Signs access, ID and refresh tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TokenClient {
    crypto: CryptoClient,
    sets: Arc<KeySets>,
    signer: Arc<Signer>,
}

impl TokenClient {
    /// Signs with the default [`KeySets`], presuming RS256 for ID tokens until the first one is signed.
    #[must_use]
    pub fn new(crypto: CryptoClient) -> Self {
        Self {
            crypto,
            sets: Arc::new(KeySets::default()),
            signer: Arc::new(Signer::presumed(SigningAlgorithm::Rs256)),
        }
    }

    /// Signs with other key sets.
    #[must_use]
    pub fn key_sets(mut self, sets: KeySets) -> Self {
        self.sets = Arc::new(sets);
        self
    }

    /// The algorithm that is presumed for the first ID token; a wrong one costs one more signature.
    #[must_use]
    pub fn id_token_algorithm(mut self, algorithm: SigningAlgorithm) -> Self {
        self.signer = Arc::new(Signer::presumed(algorithm));
        self
    }

    /// Signs an access token.
    ///
    /// # Errors
    /// [`TokenError::Claims`], [`TokenError::Call`].
    pub async fn access_token(&self, token: &AccessToken) -> Result<SignedToken, TokenError> {
        Ok(self.crypto.sign(&self.access_to_sign(token)?).await?)
    }

    /// Signs an ID token.
    ///
    /// `at_hash` and `c_hash` need the hash of the algorithm that signs (OpenID Connect Core 3.1.3.6), which is known only once the
    /// service has signed: a rotation may change it at any moment. So the client presumes the algorithm that it saw last, reads the one
    /// in the signed token's header, and where the hashes differ signs again before the token leaves. That costs one more call
    /// after a change of algorithm and nothing otherwise. Where the access token is signed along with it,
    /// [`TokenClient::token_response`] needs none of this.
    ///
    /// # Errors
    /// [`TokenError::Claims`], [`TokenError::Call`], [`TokenError::Unsettled`].
    pub async fn id_token(&self, token: &IdToken) -> Result<SignedToken, TokenError> {
        for _ in 0..ATTEMPTS {
            let presumed = self.signer.algorithm();
            let signed = self.crypto.sign(&self.id_to_sign(token, presumed)?).await?;
            let named = named_in_token(&signed.token)
                .ok_or_else(|| Error::answer("algorithm in the token's header"))?;
            self.signer.saw(&signed.kid, named);
            if !token.has_hashes() || named.hash() == presumed.hash() {
                return Ok(signed);
            }
        }
        Err(TokenError::Unsettled)
    }

    /// Signs an ID token and encrypts it for `recipient`: most often the client's JWK. `alg` and `enc` as the client has registered
    /// them; empty = the JWK's, or the service's defaults.
    ///
    /// The inner token cannot be read here, so the algorithm of its key is looked up in the JWK Set when the key is a new one.
    ///
    /// # Errors
    /// As [`TokenClient::id_token`], and [`TokenError::UnknownAlgorithm`].
    pub async fn nested_id_token(
        &self,
        token: &IdToken,
        recipient: Recipient,
        alg: &str,
        enc: &str,
    ) -> Result<NestedToken, TokenError> {
        for _ in 0..ATTEMPTS {
            let presumed = self.signer.algorithm();
            let sign = self.id_to_sign(token, presumed)?;
            let request = SignThenEncrypt::new(sign, recipient.clone())
                .alg(alg)
                .enc(enc);
            let nested = self.crypto.sign_then_encrypt(&request).await?;
            if !token.has_hashes()
                || self.algorithm_of(&nested.kid).await?.hash() == presumed.hash()
            {
                return Ok(nested);
            }
        }
        Err(TokenError::Unsettled)
    }

    /// Signs a refresh token.
    ///
    /// # Errors
    /// [`TokenError::Claims`], [`TokenError::Call`].
    pub async fn refresh_token(&self, token: &RefreshToken) -> Result<SignedToken, TokenError> {
        Ok(self.crypto.sign(&self.refresh_to_sign(token)?).await?)
    }

    /// Verifies a refresh token that a client redeems; always at the service, where a revocation is known first.
    ///
    /// # Errors
    /// As every call; what is wrong with the token is a verdict.
    pub async fn verify_refresh_token(
        &self,
        token: &str,
        audience: &str,
    ) -> Result<Verdict, Error> {
        let verify = Verify::new(token, audience)
            .tenant(&self.sets.tenant)
            .key_set(&self.sets.refresh);
        self.crypto.verify(&verify).await
    }

    async fn algorithm_of(&self, kid: &str) -> Result<SigningAlgorithm, TokenError> {
        if let Some(algorithm) = self.signer.algorithm_of(kid) {
            return Ok(algorithm);
        }
        let jwks = self.crypto.jwks(&self.sets.tenant, "").await?;
        let named = named_in_jwks(&jwks.json, kid).ok_or_else(|| TokenError::UnknownAlgorithm {
            kid: kid.to_owned(),
        })?;
        self.signer.saw(kid, named);
        Ok(named)
    }

    pub(crate) fn crypto(&self) -> &CryptoClient {
        &self.crypto
    }

    pub(crate) fn access_to_sign(&self, token: &AccessToken) -> Result<Sign, ClaimsError> {
        let sign = self.to_sign(&self.sets.access, &token.to_claims()?, token.lifetime);
        Ok(sign.typ("at+jwt"))
    }

    pub(crate) fn refresh_to_sign(&self, token: &RefreshToken) -> Result<Sign, ClaimsError> {
        Ok(self.to_sign(&self.sets.refresh, &token.to_claims()?, token.lifetime))
    }

    /// An ID token whose hashes the service adds.
    pub(crate) fn unhashed_id_to_sign(&self, token: &IdToken) -> Result<Sign, ClaimsError> {
        Ok(self.to_sign(&self.sets.id, &token.to_unhashed_claims()?, token.lifetime))
    }

    fn id_to_sign(
        &self,
        token: &IdToken,
        algorithm: SigningAlgorithm,
    ) -> Result<Sign, ClaimsError> {
        Ok(self.to_sign(&self.sets.id, &token.to_claims(algorithm)?, token.lifetime))
    }

    fn to_sign(
        &self,
        key_set: &str,
        claims: &Claims,
        lifetime: Option<std::time::Duration>,
    ) -> Sign {
        let sign = Sign::new(key_set, claims).tenant(&self.sets.tenant);
        match lifetime {
            Some(lifetime) => sign.lifetime(lifetime),
            None => sign,
        }
    }
}
