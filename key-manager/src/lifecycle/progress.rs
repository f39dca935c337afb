//! How far a write has come among the instances.

use std::time::Duration;

use super::Lifecycle;
use crate::vault::{Instance, SetName};

/// The longest that an answer waits for acks.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far a write has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Live instances that have acknowledged it.
    pub acked: usize,
    /// Live instances.
    pub total: usize,
    /// Live instances that have not acknowledged it.
    pub stragglers: Vec<String>,
    /// Those of them that are connected.
    pub connected_stragglers: Vec<String>,
}

impl Lifecycle {
    /// Waits until every connected instance that is fed the set has acknowledged `epoch`, but no longer than 1 s.
    pub(crate) async fn settle(&self, name: &SetName, epoch: u64) -> Progress {
        let mut acks = self.vault.watch_instances();
        let wait = async {
            while !self.progress(name, epoch).connected_stragglers.is_empty() {
                if acks.changed().await.is_err() {
                    break;
                }
            }
        };
        // Either way the answer is what is known now.
        let _ = tokio::time::timeout(PATIENCE, wait).await;
        self.progress(name, epoch)
    }

    fn progress(&self, name: &SetName, epoch: u64) -> Progress {
        let now = self.now();
        // What has a lease may be connected to another replica of this one.
        let elsewhere = |instance: &Instance| {
            self.vault.is_shared() && instance.leased && instance.subscriber.is_live(now)
        };
        let connected = |instance: &Instance| {
            self.is_connected(&instance.subscriber.name) || elsewhere(instance)
        };
        let mut progress = Progress::default();
        for instance in self
            .vault
            .instances()
            .iter()
            .filter(|instance| instance.scope.covers(name))
        {
            let subscriber = &instance.subscriber;
            if !subscriber.is_live(now) && !connected(instance) {
                continue;
            }
            progress.total += 1;
            if subscriber.acked_epoch().is_some_and(|acked| acked >= epoch) {
                progress.acked += 1;
                continue;
            }
            progress.stragglers.push(subscriber.name.clone());
            if connected(instance) {
                progress.connected_stragglers.push(subscriber.name.clone());
            }
        }
        progress
    }
}
