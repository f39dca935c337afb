//! Encrypting to a set of our own, or to a key that the caller brings.

use std::sync::Arc;

use jose::algorithm::{Algorithm, ContentEncryption, KeyManagement};
use jose::jwe::{self, EncryptError, Encrypter};
use jose::key::PublicKey;
use jose_aws_lc::AwsLc;
use keyring::{State, Use};
use service_kit::grants::Operation;
use service_kit::identity::Caller;
use tokio::time::Instant;

use super::DataPlane;
use crate::keys::{KeySet, Usage};
use crate::lanes::{Ask, Class, LaneError};
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

/// One payload of a batch.
#[derive(Debug)]
pub struct EncryptItem {
    /// What to encrypt, and for whom.
    pub command: EncryptCommand,
    /// When its token is worth nothing any more.
    pub due: Option<Instant>,
}

/// A recipient's key in the engine's form.
#[derive(Clone)]
pub(super) struct Prepared {
    key: Arc<dyn Encrypter>,
    kid: Option<Arc<str>>,
    enc: ContentEncryption,
    class: Class,
    /// The set, where it is a key of our own, and so under the lease.
    own: Option<Arc<KeySet>>,
    /// The key, where each encryption with it takes one of those that are granted.
    budget: Option<Arc<Usage>>,
}

impl DataPlane {
    /// Encrypts a payload.
    ///
    /// # Errors
    /// [`Refusal`], in the order fields, grant, existence, readiness.
    pub async fn encrypt(
        &self,
        caller: &Caller,
        command: EncryptCommand,
        due: Option<Instant>,
    ) -> Result<EncryptedToken, Refusal> {
        self.may_encrypt(caller, &command)?;
        let to = self.recipient(&command)?;
        self.invoke(&to)?;
        let (ask, work) = (ask(&to, &command.tenant, due), sealing(&to, command));
        let made = self.lanes().run(ask, to.class, work).await;
        self.sent(&to, made)
    }

    /// Encrypts payloads. Tokens stand in the order of the items; a refusal is that of its item alone.
    pub async fn encrypt_batch(
        &self,
        caller: &Caller,
        items: Vec<EncryptItem>,
    ) -> Vec<Result<EncryptedToken, Refusal>> {
        let mut works = Vec::with_capacity(items.len());
        let mut tokens = Vec::with_capacity(items.len());
        let mut waiting = Vec::with_capacity(items.len());
        let at = Instant::now();
        for (place, EncryptItem { command, due }) in items.into_iter().enumerate() {
            let to = self.may_encrypt(caller, &command);
            let to = to.and_then(|()| self.recipient(&command));
            let late = due.is_some_and(|due| due <= at);
            let to = match to {
                Ok(_) if late => Err(Refusal::DeadlineExceeded),
                to => to.and_then(|to| self.invoke(&to).map(|()| to)),
            };
            tokens.push(match to {
                Err(refusal) => Err(refusal),
                Ok(to) => {
                    let ask = ask(&to, &command.tenant, due);
                    works.push((ask, to.class, sealing(&to, command)));
                    waiting.push((place, to));
                    // until the lanes have answered
                    Err(LaneError::Lost.into())
                }
            });
        }
        let made = self.lanes().run_all(works).await;
        for ((place, to), made) in waiting.into_iter().zip(made) {
            if let Some(token) = tokens.get_mut(place) {
                *token = self.sent(&to, made);
            }
        }
        tokens
    }

    /// The token, unless its key has been revoked or the lease has run out while it was made.
    fn sent(
        &self,
        to: &Prepared,
        made: Result<Result<String, EncryptError>, LaneError>,
    ) -> Result<EncryptedToken, Refusal> {
        let token = made?.map_err(refusal)?;
        let kid = to.kid.as_deref();
        if let (Some(set), Some(kid)) = (&to.own, kid) {
            self.may_verify()?;
            let snapshot = self.keys().snapshot();
            let now = snapshot.set(&set.tenant, &set.name);
            let version = now.and_then(|now| now.version(kid));
            if !version.is_some_and(|version| version.state != State::Revoked) {
                return Err(Refusal::not_ready(
                    "the key was revoked while the token was made",
                ));
            }
        }
        Ok(EncryptedToken {
            token,
            kid: kid.map(str::to_owned),
        })
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

    /// Encrypts on this thread.
    pub(super) fn encrypt_to(
        &self,
        to: &Prepared,
        payload: &[u8],
        cty: &str,
    ) -> Result<EncryptedToken, Refusal> {
        self.invoke(to)?;
        self.sent(to, Ok(to.seal(payload, cty)))
    }

    /// Counts an encryption before it is made. Where none is left the instance stops: two equal IVs would give the key away.
    fn invoke(&self, to: &Prepared) -> Result<(), Refusal> {
        let granted = |key: &Arc<Usage>| self.keys().usage().invoke(key);
        match to.budget.as_ref().is_none_or(granted) {
            true => Ok(()),
            false => Err(Refusal::not_ready(
                "the encryptions that this instance may make with the key are used up; the key-manager grants more, or rotates the key",
            )),
        }
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
        let (key, class) = match &version.public {
            Some(public) => (public.encrypter().cloned(), class(&public.key)),
            None => (self.private().encrypter(version, set.enc), Class::Symmetric),
        };
        let key = key.ok_or(Refusal::Internal("the encryption key cannot be used"))?;
        let budget = version.limited.then(|| Arc::clone(&version.usage));
        let enc = command
            .enc
            .or(set.enc)
            .unwrap_or(ContentEncryption::A256Gcm);
        Ok(Prepared {
            key,
            kid: Some(Arc::clone(&version.kid)),
            enc,
            class,
            own: Some(set),
            budget,
        })
    }
}

impl Prepared {
    fn seal(&self, payload: &[u8], cty: &str) -> Result<String, EncryptError> {
        let request = jwe::EncryptRequest {
            kid: self.kid.as_deref(),
            cty: (!cty.is_empty()).then_some(cty),
            ..jwe::EncryptRequest::default()
        };
        jwe::encrypt(&request, payload, &*self.key, self.enc, &AwsLc)
    }
}

fn sealing(
    to: &Prepared,
    command: EncryptCommand,
) -> impl FnOnce() -> Result<String, EncryptError> + Send + 'static {
    let to = to.clone();
    move || to.seal(&command.payload, &command.cty)
}

fn ask(to: &Prepared, tenant: &str, deadline: Option<Instant>) -> Ask {
    let tenant = match &to.own {
        Some(set) => Arc::clone(&set.tenant),
        None => tenant.into(),
    };
    Ask { tenant, deadline }
}

/// What the public operation costs.
fn class(key: &PublicKey) -> Class {
    match key {
        PublicKey::Rsa(_) => Class::RsaPublic,
        PublicKey::Ec(_) => Class::Ec,
        PublicKey::Okp(_) => Class::Ed25519,
    }
}

fn brought_key(command: &EncryptCommand, jwk: &JwkRecipient) -> Result<Prepared, Refusal> {
    let unusable = |error: jose::key::KeyError| Refusal::field("recipient_jwk", error.to_string());
    let key = AwsLc.encrypter(jwk.algorithm, &jwk.key).map_err(unusable)?;
    let enc = command.enc.unwrap_or(ContentEncryption::A256Gcm);
    Ok(Prepared {
        key,
        kid: jwk.kid.as_deref().map(Arc::from),
        enc,
        class: class(&jwk.key),
        own: None,
        budget: None,
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
