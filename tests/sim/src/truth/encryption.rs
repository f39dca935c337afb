//! What instances publish, and what is encrypted to it.

use keyring::{State, Use};

use super::{Finding, TOLERANCE, Truth};
use crate::invariant::Invariant;

impl Truth {
    /// An instance serves a JWKS with these keys, to be kept for so many milliseconds.
    ///
    /// # Errors
    /// What it breaks.
    pub(crate) fn served(
        &self,
        process: usize,
        kids: &[String],
        max_age: u64,
        now: u64,
    ) -> Result<(), Finding> {
        let Some(of) = self.processes.get(process) else {
            return Ok(());
        };
        if max_age > 0 && now + max_age > of.verify_end {
            let beyond = (now + max_age - of.verify_end) / 1_000;
            let what = format!("i{} serves one that may be kept {beyond} s longer", of.node);
            return Err((Invariant::JwksInLease, what));
        }
        for kid in kids {
            let Some(key) = self.kids.get(kid) else {
                continue;
            };
            if key.revoked.is_some_and(|(_, by)| by <= of.epoch) {
                let what = format!(
                    "i{} is at epoch {} and publishes {}",
                    of.node, of.epoch, key.label
                );
                return Err((Invariant::RevokedKey, what));
            }
            let set = self.sets.get(&key.set);
            if set.is_some_and(|set| set.key_use == Use::Encrypt) {
                self.encryption_key(process, kid, now)?;
            }
        }
        Ok(())
    }

    fn encryption_key(&self, process: usize, kid: &str, now: u64) -> Result<(), Finding> {
        let (Some(of), Some(key)) = (self.processes.get(process), self.kids.get(kid)) else {
            return Ok(());
        };
        if key.demoted_epoch.is_some_and(|epoch| epoch <= of.epoch) {
            let what = format!(
                "i{} is at epoch {} and publishes {}",
                of.node, of.epoch, key.label
            );
            return Err((Invariant::EncryptionActive, what));
        }
        if key.is_excused(now) || key.revoked.is_some() || key.state != State::Active {
            return Ok(());
        }
        let lacking = self.processes.iter().find(|one| {
            one.died.is_none() && now + TOLERANCE < one.verify_end && !one.holds_whole(kid)
        });
        match lacking {
            Some(one) => {
                let what = format!(
                    "{} is published, and i{} cannot decrypt",
                    key.label, one.node
                );
                Err((Invariant::EncryptionEverywhere, what))
            }
            None => Ok(()),
        }
    }

    /// Whether a ciphertext of that age has to be decrypted by whoever may decrypt.
    pub(crate) fn must_decrypt(&self, kid: &str, at: u64, now: u64) -> bool {
        let Some(key) = self.kids.get(kid) else {
            return false;
        };
        let age = self
            .sets
            .get(&key.set)
            .map_or(0, |set| set.policy.max_ciphertext_age.as_millis());
        key.revoked.is_none() && !key.is_excused(at) && now <= at + age
    }
}
