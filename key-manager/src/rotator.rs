//! The driver: runs the plan each second and carries out what it asks for.

use std::{collections::HashMap, time::Duration};

use keyring::{KeySet, State, Subscriber, Time};
use service_kit::shutdown::Shutdown;

use crate::{
    held::Held,
    lifecycle::{Lifecycle, LifecycleError},
    metrics::Census,
    vault::{Instance, SetName},
};

/// How often the plan runs.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// After so many rounds expired revocations of tokens are forgotten: here and in every instance that takes a pass over all of them.
const FORGET: u32 = 10;

/// After so many rounds old records of instances are looked for.
const SWEEP: u32 = 60;

/// The driver.
#[derive(Debug)]
pub struct Rotator {
    lifecycle: Lifecycle,
    interval: Duration,
    held: Held,
    rounds: u32,
}

impl Rotator {
    /// A driver of every set in the vault.
    #[must_use]
    pub fn new(lifecycle: Lifecycle) -> Self {
        Self {
            lifecycle,
            interval: INTERVAL,
            held: Held::default(),
            rounds: 0,
        }
    }

    /// Runs a round each second until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while shutdown.guard(ticks.tick()).await.is_some() {
            self.turn().await;
        }
    }

    /// A round, and what is done after each so many of them.
    pub async fn turn(&mut self) {
        self.round().await;
        self.rounds = self.rounds.wrapping_add(1);
        if self.rounds.is_multiple_of(FORGET)
            && let Err(error) = self.lifecycle.forget_tokens().await
        {
            tracing::warn!(%error, "revocations of tokens are forgotten later");
        }
        if self.rounds.is_multiple_of(FORGET) {
            self.forget_issued().await;
        }
        if self.rounds.is_multiple_of(SWEEP) {
            self.sweep().await;
        }
    }

    async fn forget_issued(&self) {
        let Some(issued) = self.lifecycle.issued() else {
            return;
        };
        if self.lifecycle.expired_by().is_none() {
            return;
        }
        if let Err(error) = issued.forget().await {
            tracing::warn!(%error, "records of issued tokens are dropped later");
        }
    }

    async fn sweep(&self) {
        if let Err(error) = self.lifecycle.forget_instances().await {
            tracing::warn!(%error, "old records of instances stay");
        }
        for entry in self.lifecycle.vault().all().1 {
            let set = &entry.set;
            if set.policy.generate
                && set.standby().is_none()
                && let Err(refusal) = set.has_room()
            {
                tracing::warn!(%refusal, tenant = set.tenant, key_set = set.name, "no standby is made");
            }
        }
    }

    /// One round over all sets.
    pub async fn round(&self) {
        let vault = self.lifecycle.vault();
        let read = async {
            vault.refresh().await?;
            vault.refresh_instances().await
        };
        if let Err(error) = read.await {
            // It was restored: another vault is opened over it.
            if vault.is_replaced() {
                return;
            }
            tracing::error!(%error, "the store cannot be read");
            self.lifecycle.metrics.store_error(&error);
            return;
        }
        if let Err(error) = self.lifecycle.clear_forgotten_tokens().await {
            tracing::warn!(%error, "records of forgotten revocations stay until the next start");
        }
        for name in self.pending() {
            match self.lifecycle.advance(&name).await {
                Ok(_) | Err(LifecycleError::NotFound) => {}
                Err(error) => {
                    tracing::warn!(%error, tenant = name.tenant, key_set = name.name, "the plan is not done yet")
                }
            }
        }
    }

    /// The sets that the plan wants something of. Nothing is decrypted, and quiet sets cost a few comparisons.
    fn pending(&self) -> Vec<SetName> {
        let lifecycle = &self.lifecycle;
        let (epoch, entries) = lifecycle.vault().all();
        let (now, instances) = (lifecycle.now(), lifecycle.vault().instances());
        lifecycle.metrics.live(
            instances
                .iter()
                .filter(|instance| instance.subscriber.is_live(now))
                .count(),
        );
        // Few instances are fed alike, so few lists of subscribers are made for however many sets.
        let mut fed: HashMap<Vec<bool>, Vec<Subscriber>> = HashMap::new();
        let (mut census, mut pending) = (Census::default(), Vec::new());
        let peers = lifecycle.peers();
        let mut held = self.held.begin();
        for entry in &entries {
            census.set(&entry.set);
            if is_quiet(&entry.set, now, lifecycle) {
                continue;
            }
            let name = SetName::of(&entry.set);
            let covered: Vec<bool> = instances
                .iter()
                .map(|instance| instance.scope.covers(&name))
                .collect();
            let subscribers = fed
                .entry(covered)
                .or_insert_with_key(|covered| select(&instances, covered));
            let ctx = lifecycle.context(subscribers, &peers);
            if let Some(due) = keyring::due(&entry.set, &ctx) {
                let holding = keyring::holding(&entry.set, &ctx);
                holding
                    .iter()
                    .for_each(|holding| census.hold(&holding.wait));
                held.note(&name, due, &holding);
            }
            if !lifecycle.rules.plan(&entry.set, &ctx).is_empty() {
                pending.push(name);
            }
        }
        lifecycle.metrics.census(epoch, &census);
        held.end();
        pending
    }
}

fn select(instances: &[std::sync::Arc<Instance>], covered: &[bool]) -> Vec<Subscriber> {
    let fed = instances
        .iter()
        .zip(covered)
        .filter(|(_, covered)| **covered);
    fed.map(|(instance, _)| instance.subscriber.clone())
        .collect()
}

/// Whether the plan cannot want anything: it has its keys, all are published, none retires, no date has come.
fn is_quiet(set: &KeySet, now: Time, lifecycle: &Lifecycle) -> bool {
    let end = |activated: Option<Time>| {
        activated
            .zip(set.policy.cryptoperiod)
            .map(|(at, period)| at + period)
    };
    set.rotation_requested_at.is_none()
        && set.jwks_cap.current == lifecycle.times().jwks_cap
        && set
            .standby()
            .is_some_and(|standby| standby.published_at.is_some())
        && set.active().is_some_and(|active| {
            active.published_at.is_some() && end(active.activated_at).is_none_or(|end| now < end)
        })
        && set.in_state(State::Retiring).next().is_none()
        && set
            .versions
            .iter()
            .all(|version| version.destroy_at.is_none() || version.state == State::Destroyed)
        && set
            .active()
            .is_some_and(|active| active.invocations_granted == 0)
}
