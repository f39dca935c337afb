//! The key that signs.

use std::sync::Arc;
use std::time::Duration;

use jose::algorithm::{Algorithm, JwsAlgorithm};
use keyring::{State, Use};
use service_kit::grants::Operation;
use service_kit::identity::Caller;

use super::SignCommand;
use crate::keys::{InFlight, KeySet, KeysReader, Version};
use crate::lanes::{Ask, Class, SigningKey};
use crate::refusal::Refusal;
use crate::usecase::DataPlane;

/// The key that signs. What it signs counts as under way for as long as this is held.
pub(super) struct Signing {
    pub(super) set: Arc<KeySet>,
    pub(super) version: Arc<Version>,
    /// The parsed key, where it is there.
    pub(super) key: Option<SigningKey>,
    pub(super) in_flight: InFlight,
    /// Asked for revocations of tokens when a token gets its `iat`.
    pub(super) keys: KeysReader,
}

impl DataPlane {
    pub(super) fn choose(
        &self,
        caller: &Caller,
        command: &SignCommand,
    ) -> Result<Signing, Refusal> {
        let SignCommand {
            tenant, key_set, ..
        } = command;
        self.access()
            .require(caller, Operation::Sign, tenant, key_set)?;
        let set = self.set_of("key_set", tenant, key_set, Use::Sign)?;
        self.may_sign()?;
        self.begin(set)
    }

    /// Counts the signature as under way first, then looks whether the key is still the one: so an ack of its
    /// demotion that says "none under way" is true.
    fn begin(&self, mut set: Arc<KeySet>) -> Result<Signing, Refusal> {
        loop {
            let version = Arc::clone(set.active().ok_or_else(|| self.no_active_key(&set))?);
            if version.sealed.is_none() {
                return Err(Refusal::not_ready(
                    "this instance holds no private key of the key set",
                ));
            }
            let in_flight = self.keys().usage().begin(&version.usage);
            let now = self.set_of("key_set", &set.tenant, &set.name, Use::Sign)?;
            if Arc::ptr_eq(&now, &set)
                || now.active().is_some_and(|active| active.kid == version.kid)
            {
                return Ok(Signing {
                    key: self.private().held_signer(&version),
                    set,
                    version,
                    in_flight,
                    keys: self.keys().clone(),
                });
            }
            set = now;
        }
    }

    pub(in crate::usecase) fn no_active_key(&self, set: &KeySet) -> Refusal {
        let now = self.clock().since_epoch();
        let retry_in = set
            .ready_at
            .map(|at| Duration::from_secs(at).saturating_sub(now));
        Refusal::NotReady {
            what: "the key set has no Active key yet",
            retry_in,
        }
    }

    /// Parses the key. An RSA key is parsed on a crypto thread: that takes as long as a signature.
    pub(super) async fn parse_key(
        &self,
        ask: &Ask,
        signing: &Signing,
    ) -> Result<SigningKey, Refusal> {
        let Algorithm::Jws(algorithm) = signing.version.algorithm else {
            return Err(Refusal::Internal(
                "a signing set holds a key of another kind",
            ));
        };
        let (private, version) = (self.private().clone(), Arc::clone(&signing.version));
        let parse = move || private.signer(&version);
        let key = self.lanes().run(ask.clone(), class(algorithm), parse);
        key.await?
            .ok_or(Refusal::Internal("the signing key cannot be used"))
    }

    /// Whether the key has not been revoked since it was chosen: nobody would accept its token.
    pub(super) fn still_stands(&self, signing: &Signing) -> Result<(), Refusal> {
        let snapshot = self.keys().snapshot();
        let now = snapshot.set(&signing.set.tenant, &signing.set.name);
        let stands = now.is_some_and(|now| {
            Arc::ptr_eq(now, &signing.set)
                || now
                    .version(&signing.version.kid)
                    .is_some_and(|version| version.state != State::Revoked)
        });
        if stands {
            return Ok(());
        }
        Err(Refusal::not_ready(
            "the key was revoked while the signature was made",
        ))
    }

    pub(in crate::usecase) fn may_sign(&self) -> Result<(), Refusal> {
        self.keys()
            .sign_lease()
            .map(|_left| ())
            .map_err(|_out| Refusal::not_ready("the instance's lease to sign has run out"))
    }
}

/// What it costs to parse a key, about.
fn class(algorithm: JwsAlgorithm) -> Class {
    use JwsAlgorithm::{Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    match algorithm {
        Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => Class::Rsa2048,
        _ => Class::Ec,
    }
}
