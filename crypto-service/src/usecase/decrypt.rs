//! Decrypting. Whatever is wrong with a token, the verdict is the same.

use std::sync::Arc;

use jose::algorithm::{Algorithm, KeyManagement};
use jose::jwe::{Decrypted, peek};
use keyring::Use;
use service_kit::grants::Operation;
use service_kit::identity::Caller;
use zeroize::Zeroizing;

use super::DataPlane;
use crate::keys::{KeyRef, KeySet, StateRules, Version};
use crate::lanes::Cost;
use crate::refusal::Refusal;

/// What to decrypt.
pub struct DecryptCommand {
    /// The tenant.
    pub tenant: String,
    /// The JWE in compact form.
    pub token: String,
    /// The sets that may decrypt it; empty = every one that the caller may decrypt with.
    pub key_sets: Vec<String>,
    /// The field that `key_sets` came from.
    pub field: &'static str,
}

impl std::fmt::Debug for DecryptCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecryptCommand")
            .field("key_sets", &self.key_sets)
            .finish_non_exhaustive()
    }
}

/// A decrypted token.
pub struct DecryptedToken {
    /// The plaintext.
    pub payload: Zeroizing<Vec<u8>>,
    /// The protected header, as received.
    pub header_json: String,
    /// The key that decrypted it.
    pub kid: Arc<str>,
    /// The key set of that key.
    pub key_set: Arc<str>,
}

impl std::fmt::Debug for DecryptedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecryptedToken")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl DataPlane {
    /// Decrypts a token; `None` is the one verdict on everything that is wrong with it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn decrypt(
        &self,
        caller: &Caller,
        command: DecryptCommand,
    ) -> Result<Option<DecryptedToken>, Refusal> {
        self.may_decrypt(caller, &command)?;
        let decrypted = self.open(caller, command).await?;
        self.metrics().decrypted(decrypted.is_some());
        Ok(decrypted)
    }

    /// Grants, existence and the lease.
    pub(super) fn may_decrypt(
        &self,
        caller: &Caller,
        command: &DecryptCommand,
    ) -> Result<(), Refusal> {
        let DecryptCommand {
            tenant,
            key_sets,
            field,
            ..
        } = command;
        self.access()
            .require_all(caller, Operation::Decrypt, tenant, key_sets)?;
        self.may_verify()?;
        key_sets.iter().try_for_each(|name| {
            self.set_of(field, tenant, name, Use::Encrypt)
                .map(|_exists| ())
        })
    }

    pub(super) async fn open(
        &self,
        caller: &Caller,
        command: DecryptCommand,
    ) -> Result<Option<DecryptedToken>, Refusal> {
        let candidates = self.candidates(caller, &command);
        if candidates.is_empty() {
            return Ok(None);
        }
        let (private, tenant) = (self.private().clone(), command.tenant.clone());
        let cost = if candidates.iter().any(is_rsa) {
            Cost::Queued
        } else {
            Cost::Inline
        };
        let work = move || {
            candidates.into_iter().find_map(|KeyRef { set, version }| {
                let key = private.decrypter(&version, set.enc)?;
                let opened = jose::jwe::decrypt(&command.token, &*key);
                let opened = opened.inspect_err(|error| {
                    tracing::debug!(fault = error.fault().label(), "a token was not decrypted")
                });
                opened.ok().map(|opened| found(opened, &set, &version))
            })
        };
        let decrypted = self.lanes().run(cost, work).await?;
        self.may_verify()?;
        // The key may have been revoked, or have left service, while the token waited for a crypto thread.
        Ok(decrypted.filter(|opened| self.still_decrypts(&tenant, &opened.kid)))
    }

    fn still_decrypts(&self, tenant: &str, kid: &str) -> bool {
        let snapshot = self.keys().snapshot();
        let key = snapshot.tenant(tenant).and_then(|tenant| tenant.key(kid));
        key.is_some_and(|key| key.version.state.decrypts())
    }

    /// The key that the token names; without a name, those of the one set that the caller named.
    fn candidates(&self, caller: &Caller, command: &DecryptCommand) -> Vec<KeyRef> {
        let Ok(view) = peek(&command.token) else {
            return Vec::new();
        };
        let snapshot = self.keys().snapshot();
        let Some(tenant) = snapshot.tenant(&command.tenant) else {
            return Vec::new();
        };
        let of_header = |key: &KeyRef| {
            key.version.algorithm == Algorithm::Jwe(view.header().alg())
                && key.version.state.decrypts()
        };
        if let Some(kid) = view.kid() {
            let key = tenant
                .key(kid)
                .filter(|key| of_header(key) && self.may_decrypt_with(caller, command, &key.set));
            return key.cloned().into_iter().collect();
        }
        let [name] = command.key_sets.as_slice() else {
            return Vec::new();
        };
        let Some(set) = tenant.set(name).filter(|set| set.key_use == Use::Encrypt) else {
            return Vec::new();
        };
        let keys = set.versions.iter().rev().map(|version| KeyRef {
            set: Arc::clone(set),
            version: Arc::clone(version),
        });
        keys.filter(of_header).collect()
    }

    fn may_decrypt_with(&self, caller: &Caller, command: &DecryptCommand, set: &KeySet) -> bool {
        let named = &command.key_sets;
        set.key_use == Use::Encrypt
            && if named.is_empty() {
                self.access()
                    .allows(caller, Operation::Decrypt, &command.tenant, &set.name)
            } else {
                named.iter().any(|name| **name == *set.name)
            }
    }
}

fn is_rsa(key: &KeyRef) -> bool {
    matches!(
        key.version.algorithm,
        Algorithm::Jwe(KeyManagement::RsaOaep | KeyManagement::RsaOaep256)
    )
}

fn found(opened: Decrypted, set: &KeySet, version: &Version) -> DecryptedToken {
    DecryptedToken {
        payload: opened.payload,
        header_json: opened.header.json().to_owned(),
        kid: Arc::clone(&version.kid),
        key_set: Arc::clone(&set.name),
    }
}
