//! The sealer: re-seals in the background what stands under older data keys, and wraps data keys by the present key-encryption key.
//!
//! There is no leader: each replica has one, and of two that write the same one wins. It rests after each write for as long as that took, so that
//! operators and instances find the store free at least half of the time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use service_kit::shutdown::Shutdown;

use crate::{
    lifecycle::{Lifecycle, LifecycleError},
    vault::{Owner, Step, VaultError, Work},
};

/// How often it looks for work. A rotation at this replica wakes it at once.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// How often what is left is counted during a pass.
const COUNTED: Duration = Duration::from_secs(1);

/// The rest between two writes, at least and at most.
const REST: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));

/// The sealer.
#[derive(Debug)]
pub struct Sealer {
    lifecycle: Lifecycle,
    /// Owners whose data keys were all wrapped by the present key-encryption key, and up to which generation.
    settled: BTreeMap<Owner, u32>,
    /// One of those was wrapped by another one since: a replica with newer settings took over. Taking it back would go on until
    /// the last replica has them.
    overtaken: bool,
}

impl Sealer {
    /// A sealer of everything in the vault.
    #[must_use]
    pub fn new(lifecycle: Lifecycle) -> Self {
        Self {
            lifecycle,
            settled: BTreeMap::new(),
            overtaken: false,
        }
    }

    /// Works until shutdown, and ends between two writes.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let vault = Arc::clone(self.lifecycle.vault());
        loop {
            let woken = async {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = vault.rotated() => {}
                }
            };
            if shutdown.guard(woken).await.is_none() {
                return;
            }
            self.round(&shutdown).await;
        }
    }

    /// Does whatever there is to do.
    pub async fn round(&mut self, shutdown: &Shutdown) {
        let work = match self.lifecycle.vault().sealing_work().await {
            Ok(work) => work,
            Err(error) => {
                tracing::error!(%error, "the data keys cannot be read");
                self.lifecycle.metrics.store_error(&error);
                return;
            }
        };
        self.rewrap(&work, shutdown).await;
        for Work { owner, .. } in work.iter().filter(|work| work.reseal) {
            if let Err(error) = self.reseal(owner, shutdown).await {
                tracing::warn!(%error, %owner, "re-sealing goes on later");
            }
        }
        let left = self.lifecycle.vault().sealing_left();
        self.lifecycle.metrics.sealing_left(left);
    }

    async fn rewrap(&mut self, work: &[Work], shutdown: &Shutdown) {
        let taken =
            |work: &&Work| work.rewrap && self.settled.get(&work.owner) == Some(&work.generation);
        if let Some(Work { owner, .. }) = work.iter().find(taken).filter(|_| !self.overtaken) {
            tracing::info!(%owner, "another replica wraps data keys by another key-encryption key: this one leaves them");
            self.overtaken = true;
        }
        let mut done = 0;
        for work in work {
            if shutdown.is_triggered() || self.overtaken {
                break;
            }
            if work.rewrap {
                let owner = &work.owner;
                match self.lifecycle.rewrap(owner).await {
                    Ok(true) => done += 1,
                    Ok(false) | Err(LifecycleError::Vault(VaultError::Conflict)) => continue,
                    Err(error) => {
                        tracing::warn!(%error, %owner, "the data key is wrapped by the present key-encryption key later");
                        continue;
                    }
                }
            }
            self.settled.insert(work.owner.clone(), work.generation);
        }
        if done > 0 {
            let left = self.lifecycle.vault().sealing_left().2;
            tracing::info!(
                done,
                left,
                "data keys are wrapped by the present key-encryption key"
            );
        }
    }

    async fn reseal(&self, owner: &Owner, shutdown: &Shutdown) -> Result<(), LifecycleError> {
        let (vault, clock) = (self.lifecycle.vault(), &self.lifecycle.clock);
        let Some(mut pass) = vault.begin_pass(owner, self.lifecycle.now()).await? else {
            return Ok(());
        };
        let (begun, generation) = (clock.boot(), pass.generation());
        let (records, keys, _) = vault.sealing_left();
        self.lifecycle.metrics.sealing_left(vault.sealing_left());
        tracing::info!(%owner, generation, records, keys, "re-sealing begins");
        let mut counted = begun;
        loop {
            if shutdown.is_triggered() {
                return Ok(());
            }
            let at = clock.boot();
            let step = self.lifecycle.reseal_some(&mut pass).await?;
            // Counting goes through every key set.
            if at.saturating_since(counted) >= COUNTED {
                self.lifecycle.metrics.sealing_left(vault.sealing_left());
                counted = at;
            }
            match step {
                Step::More => {}
                Step::Done => break,
                Step::Outdated => {
                    tracing::info!(%owner, generation, resealed = pass.resealed(), "re-sealing was overtaken");
                    return Ok(());
                }
            }
            let took = clock.boot().saturating_since(at);
            tokio::time::sleep(took.clamp(REST.0, REST.1)).await;
        }
        let elapsed_ms =
            u64::try_from(clock.boot().saturating_since(begun).as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            %owner, generation, resealed = pass.resealed(), elapsed_ms,
            "re-sealing has ended, older data keys are removed"
        );
        Ok(())
    }
}
