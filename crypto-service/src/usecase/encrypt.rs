//! Encrypting to a set of our own, or to a key that the caller brings.

use std::sync::Arc;

use jose::algorithm::{Algorithm, ContentEncryption, KeyManagement};
use jose::jwe::{self, EncryptError, Encrypter};
use jose::key::PublicKey;
use jose_aws_lc::AwsLc;
use keyring::Use;
use service_kit::grants::Operation;
use service_kit::identity::Caller;

use super::DataPlane;
use crate::refusal::Refusal;

/// What to encrypt, and for whom. The fields that do not depend on the key set are checked.
pub struct EncryptCommand {
    /// The tenant.
    pub tenant: String,
    /// The plaintext.
    pub payload: Vec<u8>,
    /// Who can read it.
    pub recipient: Recipient,
    /// The key management algorithm that was named.
    pub alg: Option<KeyManagement>,
    /// The content encryption that was named.
    pub enc: Option<ContentEncryption>,
    /// The header's `cty`; empty = none.
    pub cty: String,
}

impl std::fmt::Debug for EncryptCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncryptCommand")
            .field("recipient", &self.recipient)
            .finish_non_exhaustive()
    }
}

/// Who can read it.
#[derive(Clone, Debug)]
pub enum Recipient {
    /// The Active key of an encryption set.
    KeySet(String),
    /// A key that the caller brings.
    Jwk(JwkRecipient),
}

/// A public key that the caller brings, with the algorithm that it is used for.
#[derive(Clone, Debug)]
pub struct JwkRecipient {
    /// The key.
    pub key: PublicKey,
    /// Its `kid`, where it has one.
    pub kid: Option<String>,
    /// The algorithm: the JWK's, else the request's, else the default of its type. It fits the key.
    pub algorithm: KeyManagement,
}

/// An encrypted token.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptedToken {
    /// The JWE in compact form.
    pub token: String,
    /// The recipient's key, where it has a name.
    pub kid: Option<String>,
}

impl std::fmt::Debug for EncryptedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncryptedToken")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// A recipient's key in the engine's form.
pub(super) struct Prepared {
    key: Arc<dyn Encrypter>,
    kid: Option<String>,
    enc: ContentEncryption,
    /// Whether it is a key of our own, and so under the lease.
    own: bool,
}

impl DataPlane {
    /// Encrypts a payload.
    ///
    /// # Errors
    /// [`Refusal`], in the order fields, grant, existence, readiness.
    pub fn encrypt(
        &self,
        caller: &Caller,
        command: &EncryptCommand,
    ) -> Result<EncryptedToken, Refusal> {
        self.may_encrypt(caller, command)?;
        let prepared = self.recipient(command)?;
        self.encrypt_to(&prepared, &command.payload, &command.cty)
    }

    pub(super) fn may_encrypt(
        &self,
        caller: &Caller,
        command: &EncryptCommand,
    ) -> Result<(), Refusal> {
        match &command.recipient {
            Recipient::KeySet(name) => {
                self.access()
                    .require(caller, Operation::Encrypt, &command.tenant, name)?
            }
            Recipient::Jwk(_) => {
                self.access()
                    .require_any(caller, Operation::EncryptToJwk, &command.tenant)?
            }
        }
        Ok(())
    }

    /// Finds the key. Asked only after the grant.
    pub(super) fn recipient(&self, command: &EncryptCommand) -> Result<Prepared, Refusal> {
        match &command.recipient {
            Recipient::KeySet(name) => self.own_key(command, name),
            Recipient::Jwk(jwk) => brought_key(command, jwk),
        }
    }

    pub(super) fn encrypt_to(
        &self,
        to: &Prepared,
        payload: &[u8],
        cty: &str,
    ) -> Result<EncryptedToken, Refusal> {
        let request = jwe::EncryptRequest {
            kid: to.kid.as_deref(),
            cty: (!cty.is_empty()).then_some(cty),
            ..jwe::EncryptRequest::default()
        };
        let token = jwe::encrypt(&request, payload, &*to.key, to.enc, &AwsLc).map_err(refusal)?;
        if to.own {
            self.may_verify()?;
        }
        Ok(EncryptedToken {
            token,
            kid: to.kid.clone(),
        })
    }

    fn own_key(&self, command: &EncryptCommand, name: &str) -> Result<Prepared, Refusal> {
        let set = self.set_of("key_set", &command.tenant, name, Use::Encrypt)?;
        self.may_verify()?;
        let version = set.active().ok_or_else(|| self.no_active_key(&set))?;
        let Algorithm::Jwe(algorithm) = version.algorithm else {
            return Err(Refusal::Internal(
                "an encryption set holds a key of another kind",
            ));
        };
        if command.alg.is_some_and(|asked| asked != algorithm) {
            return Err(Refusal::field(
                "alg",
                format!("must be empty or {algorithm}, the key set's"),
            ));
        }
        let key = match &version.public {
            Some(public) => public.encrypter().cloned(),
            None => self.private().encrypter(version, set.enc),
        };
        let key = key.ok_or(Refusal::Internal("the encryption key cannot be used"))?;
        let enc = command
            .enc
            .or(set.enc)
            .unwrap_or(ContentEncryption::A256Gcm);
        Ok(Prepared {
            key,
            kid: Some(version.kid.to_string()),
            enc,
            own: true,
        })
    }
}

fn brought_key(command: &EncryptCommand, jwk: &JwkRecipient) -> Result<Prepared, Refusal> {
    let unusable = |error: jose::key::KeyError| Refusal::field("recipient_jwk", error.to_string());
    let key = AwsLc.encrypter(jwk.algorithm, &jwk.key).map_err(unusable)?;
    let enc = command.enc.unwrap_or(ContentEncryption::A256Gcm);
    Ok(Prepared {
        key,
        kid: jwk.kid.clone(),
        enc,
        own: false,
    })
}

fn refusal(error: EncryptError) -> Refusal {
    let field = match &error {
        EncryptError::PayloadTooLarge(_) => "payload",
        EncryptError::ContentEncryption { .. } => "enc",
        EncryptError::HeaderTooLarge(_) => "cty",
        EncryptError::Unsupported(_) => "alg",
        EncryptError::Member(_) | EncryptError::Parties(_) | EncryptError::Engine(_) => {
            return Refusal::Internal("the crypto engine failed");
        }
    };
    Refusal::field(field, error.to_string())
}
