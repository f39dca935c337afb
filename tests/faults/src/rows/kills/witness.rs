//! What was acknowledged and seen, and what contradicts it.

use std::collections::{BTreeMap, BTreeSet};

use client_admin::{KeySet, KeyState};

use crate::{
    dice::Dice,
    progress,
    stack::{Instance, eventually, sign, verdict},
};

/// What the key-manager acknowledged, and what anybody saw.
#[derive(Debug, Default)]
pub(super) struct Witness {
    revisions: BTreeMap<String, u64>,
    kids: BTreeMap<String, BTreeSet<String>>,
    /// Which have been revoked, and by name how far each went.
    stages: BTreeMap<String, u8>,
    /// By kid: the public key that it was first seen with.
    materials: BTreeMap<String, String>,
    /// Acknowledged keys that are gone.
    pub(super) lost: usize,
    /// Everything else that must never be.
    pub(super) broken: usize,
    /// Tokens that were signed between kills.
    pub(super) tokens: usize,
}

impl Witness {
    /// Acknowledged keys.
    pub(super) fn acknowledged(&self) -> usize {
        self.kids.values().map(BTreeSet::len).sum()
    }

    /// An acknowledged kid.
    pub(super) fn any_kid(&self, dice: &mut Dice) -> Option<String> {
        let kids: Vec<_> = self.kids.values().flatten().collect();
        dice.pick(&kids).map(|kid| (*kid).clone())
    }

    /// The key-manager said so.
    pub(super) fn note(&mut self, set: &KeySet) {
        let revision = self.revisions.entry(set.name.clone()).or_default();
        *revision = set.revision.max(*revision);
        let kids = self.kids.entry(set.name.clone()).or_default();
        for version in &set.versions {
            kids.insert(version.kid.clone());
            let stage = self.stages.entry(version.kid.clone()).or_default();
            *stage = stage_of(version.state).max(*stage);
        }
        self.see(set);
    }

    /// Something that must never be.
    pub(super) fn broke(&mut self, what: &str) {
        self.broken += 1;
        progress(&format!("kills: broken: {what}"));
    }

    fn lose(&mut self, what: &str) {
        self.lost += 1;
        progress(&format!("kills: lost: {what}"));
    }

    /// Compares what the key-manager holds after a kill.
    pub(super) fn check(&mut self, sets: &[KeySet]) {
        for (name, kids) in self.kids.clone() {
            let Some(set) = sets.iter().find(|set| set.name == name) else {
                kids.iter()
                    .for_each(|kid| self.lose(&format!("{kid} with {name}")));
                continue;
            };
            for kid in &kids {
                match set.versions.iter().find(|version| version.kid == *kid) {
                    None => self.lose(&format!("{kid} of {name}")),
                    Some(version) => self.check_stage(&name, kid, version.state),
                }
            }
            if set.revision < self.revisions.get(&name).copied().unwrap_or_default() {
                self.broke(&format!("{name} went back to revision {}", set.revision));
            }
        }
        sets.iter().for_each(|set| self.see(set));
    }

    fn check_stage(&mut self, name: &str, kid: &str, state: KeyState) {
        if stage_of(state) < self.stages.get(kid).copied().unwrap_or_default() {
            self.broke(&format!("{kid} of {name} went back to {state:?}"));
        }
    }

    /// What holds of any sight of a set, acknowledged or not.
    fn see(&mut self, set: &KeySet) {
        let active = set.versions.iter();
        let active = active.filter(|version| version.state == KeyState::Active);
        if active.count() > 1 {
            self.broke(&format!("{} has two Active keys", set.name));
        }
        for version in &set.versions {
            let first = self.materials.entry(version.kid.clone());
            let first = first.or_insert_with(|| version.public_jwk.clone());
            if *first != version.public_jwk {
                self.broke(&format!("{} has two materials", version.kid));
            }
        }
    }

    /// Signs with every set; what signed is published, and its token is valid, unless it is revoked.
    pub(super) async fn sign_and_check(&mut self, instance: &Instance, sets: &[&KeySet]) {
        let mut signed = Vec::new();
        for set in sets.iter().filter(|set| set.active().is_some()) {
            // a key-manager that was just started may feed the instance a moment later
            if let Ok(token) = instance.token.sign(&sign(&set.name)).await {
                signed.push((set, token));
            }
        }
        self.tokens += signed.len();
        let Some(published) = blackbox::get(instance.addresses.http, "/.well-known/jwks.json")
        else {
            return;
        };
        for (set, token) in signed {
            let kid = &token.kid;
            let of_kid = set.versions.iter().find(|version| version.kid == *kid);
            if of_kid.is_some_and(|version| version.state == KeyState::Revoked) {
                continue;
            }
            if published.status == 200 && !published.body.contains(kid.as_str()) {
                self.broke(&format!("{kid} signed and is not published"));
            }
            if of_kid.is_none() {
                self.broke(&format!("{kid} signed and is in no key set"));
            }
            if let Ok(Err(reason)) = verdict(&instance.auth, &token.token).await {
                self.broke(&format!("a token of {kid} is rejected: {reason:?}"));
            }
        }
    }

    /// An instance that was never fed before signs with every Active key: none of them is lost.
    pub(super) async fn everything_signs(&mut self, fresh: &Instance, sets: &[KeySet]) {
        for set in sets {
            let Some(active) = set.active() else { continue };
            let signs = async || {
                let signed = fresh.token.sign(&sign(&set.name)).await;
                signed.is_ok_and(|signed| signed.kid == active.kid)
            };
            if !eventually(blackbox::PATIENCE, signs).await {
                self.lose(&format!("{} of {} does not sign", active.kid, set.name));
            }
        }
    }
}

fn stage_of(state: KeyState) -> u8 {
    match state {
        KeyState::Active => 1,
        KeyState::Retiring => 2,
        KeyState::Retired => 3,
        KeyState::Revoked => 4,
        KeyState::Destroyed => 5,
        _ => 0,
    }
}
