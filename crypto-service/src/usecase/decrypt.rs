//! Decrypting. Whatever is wrong with a token, the verdict is the same.

use std::sync::Arc;

use jose::algorithm::Algorithm;
use jose::jwe::{JweView, KeyParameters, peek};
use jose::key::PublicKey;
use keyring::Use;
use service_kit::grants::Operation;
use service_kit::identity::Caller;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::DataPlane;
use crate::keys::{KeyRef, KeySet, PrivateKeys, StateRules};
use crate::lanes::{AgreedSecret, Agreement, Ask, Class, LaneError};
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

/// One token of a batch.
#[derive(Debug)]
pub struct DecryptItem {
    /// What to decrypt.
    pub command: DecryptCommand,
    /// When its verdict is worth nothing any more.
    pub due: Option<Instant>,
}

/// A token and the keys that it may be for; there is at least one.
struct Opening {
    view: JweView<String>,
    keys: Vec<KeyRef>,
    private: PrivateKeys,
}

impl DataPlane {
    /// Decrypts a token; `None` is the one verdict on everything that is wrong with it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn decrypt(
        &self,
        caller: &Caller,
        mut command: DecryptCommand,
        deadline: Option<Instant>,
    ) -> Result<Option<DecryptedToken>, Refusal> {
        self.may_decrypt(caller, &command)?;
        let outcome = match self.opening(caller, &mut command) {
            None => Ok(None),
            Some(opening) => {
                let (ask, class, agreement) = opening.for_lanes(deadline);
                let work = move |shared| opening.open(shared);
                self.lanes().agree(ask, class, agreement, work).await
            }
        };
        self.shown(&command.tenant, outcome)
    }

    /// Decrypts tokens. Verdicts stand in the order of the items; a refusal is that of its item alone.
    pub async fn decrypt_batch(
        &self,
        caller: &Caller,
        items: Vec<DecryptItem>,
    ) -> Vec<Result<Option<DecryptedToken>, Refusal>> {
        let at = Instant::now();
        let mut works = Vec::with_capacity(items.len());
        let mut waiting = Vec::with_capacity(items.len());
        let mut verdicts = Vec::with_capacity(items.len());
        for (place, DecryptItem { mut command, due }) in items.into_iter().enumerate() {
            let opening =
                self.begin_opening(caller, &mut command, due.is_some_and(|due| due <= at));
            verdicts.push(match opening {
                Err(refusal) => Err(refusal),
                Ok(None) => self.shown(&command.tenant, Ok(None)),
                Ok(Some(opening)) => {
                    let (ask, class, agreement) = opening.for_lanes(due);
                    works.push((ask, class, agreement, move |shared| opening.open(shared)));
                    waiting.push((place, command.tenant));
                    // until the lanes have answered
                    Err(LaneError::Lost.into())
                }
            });
        }
        let outcomes = self.lanes().agree_all(works).await;
        for ((place, tenant), outcome) in waiting.into_iter().zip(outcomes) {
            if let Some(verdict) = verdicts.get_mut(place) {
                *verdict = self.shown(&tenant, outcome);
            }
        }
        verdicts
    }

    fn begin_opening(
        &self,
        caller: &Caller,
        command: &mut DecryptCommand,
        late: bool,
    ) -> Result<Option<Opening>, Refusal> {
        self.may_decrypt(caller, command)?;
        if late {
            return Err(Refusal::DeadlineExceeded);
        }
        Ok(self.opening(caller, command))
    }

    /// What may be told of an outcome: the lease may have run out, and the key may have been revoked or have left service,
    /// while the token waited for a crypto thread.
    fn shown(
        &self,
        tenant: &str,
        outcome: Result<Option<DecryptedToken>, LaneError>,
    ) -> Result<Option<DecryptedToken>, Refusal> {
        let token = outcome?;
        self.may_verify()?;
        let token = token.filter(|token| self.still_decrypts(tenant, &token.kid));
        self.metrics().decrypted(token.is_some());
        Ok(token)
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

    /// The token with the keys that it may be for; `None` where there are none. It takes the token out of the command.
    fn opening(&self, caller: &Caller, command: &mut DecryptCommand) -> Option<Opening> {
        let view = peek(std::mem::take(&mut command.token)).ok()?;
        let keys = self.candidates(caller, command, &view);
        (!keys.is_empty()).then(|| Opening {
            view,
            keys,
            private: self.private().clone(),
        })
    }

    fn still_decrypts(&self, tenant: &str, kid: &str) -> bool {
        let snapshot = self.keys().snapshot();
        let key = snapshot.tenant(tenant).and_then(|tenant| tenant.key(kid));
        key.is_some_and(|key| key.version.state.decrypts())
    }

    /// The key that the token names; without a name, those of the one set that the caller named.
    fn candidates(
        &self,
        caller: &Caller,
        command: &DecryptCommand,
        view: &JweView<String>,
    ) -> Vec<KeyRef> {
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

impl Opening {
    fn ask(&self, deadline: Option<Instant>) -> Ask {
        let tenant = self.keys.first().map(|key| Arc::clone(&key.set.tenant));
        Ask {
            tenant: tenant.unwrap_or_default(),
            deadline,
        }
    }

    fn for_lanes(&self, deadline: Option<Instant>) -> (Ask, Class, Option<Agreement>) {
        (self.ask(deadline), self.class(), self.agreement())
    }

    /// Of a token that names its key, and agrees with it.
    fn agreement(&self) -> Option<Agreement> {
        match (self.view.header().parameters(), self.keys.as_slice()) {
            (KeyParameters::Ephemeral(epk), [key]) => self.private.agreement(&key.version, epk),
            _ => None,
        }
    }

    /// All its keys are for the header's one algorithm; of RSA keys the longest counts.
    fn class(&self) -> Class {
        let publics = || self.keys.iter().flat_map(|key| &key.version.public);
        let longest = publics().filter_map(|public| match &public.key {
            PublicKey::Rsa(key) => Some(key.bits()),
            PublicKey::Ec(_) | PublicKey::Okp(_) => None,
        });
        match (longest.max(), publics().next().map(|public| &public.key)) {
            (Some(bits), _) => Class::of_modulus(bits),
            (None, Some(PublicKey::Okp(_))) => Class::Ed25519,
            (None, Some(_)) => Class::Ec,
            (None, None) => Class::Symmetric,
        }
    }

    /// `shared` is the secret that its one key and the token's `epk` agree on, where that was computed before.
    fn open(self, shared: Option<AgreedSecret>) -> Option<DecryptedToken> {
        let Self {
            view,
            keys,
            private,
        } = self;
        let (payload, key) = keys.into_iter().find_map(|key| {
            let decrypter = private.decrypter(&key.version, key.set.enc)?;
            let opened = match &shared {
                Some(shared) => view.open_agreed(&*decrypter, &**shared),
                None => view.open(&*decrypter),
            };
            let opened = opened.inspect_err(|error| {
                tracing::debug!(fault = error.fault().label(), "a token was not decrypted")
            });
            opened.ok().map(|payload| (payload, key))
        })?;
        Some(DecryptedToken {
            payload,
            header_json: view.into_header().into_json(),
            kid: Arc::clone(&key.version.kid),
            key_set: Arc::clone(&key.set.name),
        })
    }
}
