//! What the key-manager counts. Labels are of a bounded kind: states and reasons, never names.

use std::collections::BTreeMap;

use keyring::{KeySet, State, Wait};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

use crate::vault::VaultError;

type Labels = Vec<(&'static str, &'static str)>;

/// The metrics. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    versions: Family<Labels, Gauge>,
    holds: Family<Labels, Gauge>,
    store_errors: Family<Labels, Counter>,
    rotations: Family<Labels, Counter>,
    generation_failures: Counter,
    subscribers: Gauge,
    live: Gauge,
    epoch: Gauge,
    sets: Gauge,
    revoked_tokens: Gauge,
    sealing_left: Family<Labels, Gauge>,
}

const STATES: [(State, &str); 6] = [
    (State::Prepared, "prepared"),
    (State::Active, "active"),
    (State::Retiring, "retiring"),
    (State::Retired, "retired"),
    (State::Revoked, "revoked"),
    (State::Destroyed, "destroyed"),
];

const WAITS: [&str; 5] = ["standby", "first_ack", "acks", "lead", "clocks"];

impl Metrics {
    /// Registers everything.
    pub fn register(&self, metrics: &service_kit::telemetry::Metrics) {
        metrics.with(|registry| {
            registry.register("key_sets", "key sets", self.sets.clone());
            registry.register("key_versions", "keys, by state", self.versions.clone());
            registry.register(
                "plan_holds",
                "promotions that are due and wait, by what for",
                self.holds.clone(),
            );
            registry.register("rotations", "promotions, by cause", self.rotations.clone());
            registry.register(
                "generation_failures",
                "keys that could not be generated",
                self.generation_failures.clone(),
            );
            registry.register(
                "store_errors",
                "failed writes, by kind",
                self.store_errors.clone(),
            );
            registry.register(
                "feed_subscribers",
                "instances with a stream",
                self.subscribers.clone(),
            );
            registry.register(
                "feed_live_subscribers",
                "instances with a lease",
                self.live.clone(),
            );
            registry.register("epoch", "the present epoch", self.epoch.clone());
            registry.register(
                "token_revocations",
                "live revocations of tokens",
                self.revoked_tokens.clone(),
            );
            registry.register(
                "sealing_left",
                "what stands under older data keys, and data keys that the present key-encryption key does not wrap, by what it is",
                self.sealing_left.clone(),
            );
        });
    }

    pub(crate) fn connected(&self, count: usize) {
        self.subscribers.set(signed(count));
    }

    pub(crate) fn revoked_tokens(&self, count: usize) {
        self.revoked_tokens.set(signed(count));
    }

    pub(crate) fn sealing_left(&self, (records, keys, data_keys): (u64, u64, usize)) {
        let left = |what| {
            self.sealing_left
                .get_or_create(&vec![("what", what)])
                .clone()
        };
        left("records").set(i64::try_from(records).unwrap_or(i64::MAX));
        left("keys").set(i64::try_from(keys).unwrap_or(i64::MAX));
        left("data_keys").set(signed(data_keys));
    }

    pub(crate) fn live(&self, count: usize) {
        self.live.set(signed(count));
    }

    pub(crate) fn generation_failed(&self) {
        self.generation_failures.inc();
    }

    pub(crate) fn store_error(&self, error: &VaultError) {
        let kind = match error {
            VaultError::Conflict
            | VaultError::NameTaken
            | VaultError::KidTaken
            | VaultError::MaterialTaken
            | VaultError::RequestDone => "conflict",
            VaultError::TooManyRevocations { .. } | VaultError::TooManyGenerations { .. } => "full",
            VaultError::NoDataKey => "refused",
            VaultError::Store(error) if error.retry_helps() => "unavailable",
            VaultError::Store(_) => "refused",
            VaultError::Damaged { .. } => "damaged",
            VaultError::Kek(_) | VaultError::Seal(_) => "seal",
        };
        self.store_errors.get_or_create(&vec![("kind", kind)]).inc();
    }

    pub(crate) fn written(&self, before: &KeySet, after: &KeySet) {
        let active = |set: &KeySet| set.active().map(|version| version.kid.clone());
        if active(after).is_some() && active(before) != active(after) {
            let forced = after
                .active()
                .is_some_and(|version| version.forced.is_some());
            self.rotations
                .get_or_create(&vec![("cause", if forced { "forced" } else { "planned" })])
                .inc();
        }
    }

    pub(crate) fn census(&self, epoch: u64, census: &Census) {
        self.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
        self.sets.set(signed(census.sets));
        for (_, name) in STATES {
            self.versions
                .get_or_create(&vec![("state", name)])
                .set(signed(
                    census.versions.get(name).copied().unwrap_or_default(),
                ));
        }
        for name in WAITS {
            self.holds
                .get_or_create(&vec![("reason", name)])
                .set(signed(census.holds.get(name).copied().unwrap_or_default()));
        }
    }
}

/// A count of everything, made once per round of the rotator.
#[derive(Debug, Default)]
pub(crate) struct Census {
    sets: usize,
    versions: BTreeMap<&'static str, usize>,
    holds: BTreeMap<&'static str, usize>,
}

impl Census {
    pub(crate) fn set(&mut self, set: &KeySet) {
        self.sets += 1;
        for version in &set.versions {
            for (_, name) in STATES.iter().filter(|(state, _)| *state == version.state) {
                *self.versions.entry(name).or_default() += 1;
            }
        }
    }

    pub(crate) fn hold(&mut self, wait: &Wait) {
        *self.holds.entry(crate::held::reason(wait)).or_default() += 1;
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
