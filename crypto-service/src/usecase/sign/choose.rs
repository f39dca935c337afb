//! The key that signs.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jose::algorithm::{Algorithm, JwsAlgorithm};
use keyring::{State, Use};
use service_kit::grants::Operation;
use service_kit::identity::Caller;

use super::SignCommand;
use crate::keys::{InFlight, KeySet, Snapshot, Version};
use crate::lanes::{Ask, Class, SigningKey};
use crate::refusal::Refusal;
use crate::usecase::{DataPlane, set_in};

/// The key that signs. What it signs counts as under way for as long as this is held.
///
/// Set and version are borrowed from the snapshot: a batch may use as many sets as it has items, and each handle more would be
/// one more write to memory that no cache holds.
pub(super) struct Signing<'s> {
    pub(super) set: Cow<'s, Arc<KeySet>>,
    pub(super) version: Cow<'s, Arc<Version>>,
    /// The parsed key, where it is there.
    pub(super) key: Option<SigningKey>,
    pub(super) in_flight: InFlight,
}

impl DataPlane {
    /// `seen` is the snapshot that the call stands on: as long as it is in force, what was found in it holds.
    pub(super) fn choose<'s>(
        &self,
        seen: &'s Arc<Snapshot>,
        caller: &Caller,
        command: &SignCommand,
    ) -> Result<Signing<'s>, Refusal> {
        let SignCommand {
            tenant, key_set, ..
        } = command;
        self.access()
            .require(caller, Operation::Sign, tenant, key_set)?;
        let set = set_in(seen, "key_set", tenant, key_set, Use::Sign)?;
        self.may_sign()?;
        let version = self.ready(set)?;
        let in_flight = self.keys().usage().begin(&version.usage);
        match Arc::ptr_eq(&self.keys().snapshot(), seen) {
            true => Ok(self.signing(Cow::Borrowed(set), Cow::Borrowed(version), in_flight)),
            false => self.choose_anew(set),
        }
    }

    /// The same for many sets, of which each may sign and is there: one step for all of them before the next, so that what is read
    /// of one set does not wait for the memory of another.
    pub(super) fn choose_each<'s>(
        &self,
        seen: &'s Arc<Snapshot>,
        sets: &[&'s Arc<KeySet>],
    ) -> Vec<Result<Signing<'s>, Refusal>> {
        let versions: Vec<_> = sets.iter().map(|set| self.ready(set)).collect();
        let usage = self.keys().usage();
        let begun = versions
            .into_iter()
            .map(|version| version.map(|version| (version, usage.begin(&version.usage))));
        let begun: Vec<_> = begun.collect();
        let in_force = Arc::ptr_eq(&self.keys().snapshot(), seen);
        let chosen = sets.iter().zip(begun).map(|(set, begun)| {
            let (version, in_flight) = begun?;
            match in_force {
                true => Ok(self.signing(Cow::Borrowed(*set), Cow::Borrowed(version), in_flight)),
                false => self.choose_anew(set),
            }
        });
        chosen.collect()
    }

    /// Another snapshot came into force. A signature counts as under way first, and then it is looked whether the key is still the one: so an
    /// ack of its demotion that says "none under way" is true.
    fn choose_anew(&self, set: &KeySet) -> Result<Signing<'static>, Refusal> {
        loop {
            let seen = self.keys().snapshot_owned();
            let set = set_in(&seen, "key_set", &set.tenant, &set.name, Use::Sign)?;
            let version = self.ready(set)?;
            let in_flight = self.keys().usage().begin(&version.usage);
            if Arc::ptr_eq(&self.keys().snapshot(), &seen) {
                let (set, version) = (Arc::clone(set), Arc::clone(version));
                return Ok(self.signing(Cow::Owned(set), Cow::Owned(version), in_flight));
            }
        }
    }

    /// The Active version, where this instance can sign with it.
    fn ready<'s>(&self, set: &'s KeySet) -> Result<&'s Arc<Version>, Refusal> {
        let version = set.active().ok_or_else(|| self.no_active_key(set))?;
        if version.sealed.is_none() {
            return Err(Refusal::not_ready(
                "this instance holds no private key of the key set",
            ));
        }
        Ok(version)
    }

    fn signing<'s>(
        &self,
        set: Cow<'s, Arc<KeySet>>,
        version: Cow<'s, Arc<Version>>,
        in_flight: InFlight,
    ) -> Signing<'s> {
        Signing {
            key: self.private().held_signer(&version),
            set,
            version,
            in_flight,
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
        signing: &Signing<'_>,
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
    pub(super) fn still_stands(
        &self,
        seen: &Arc<Snapshot>,
        signing: &Signing<'_>,
    ) -> Result<(), Refusal> {
        let snapshot = self.keys().snapshot();
        if Arc::ptr_eq(&snapshot, seen) {
            return Ok(());
        }
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
