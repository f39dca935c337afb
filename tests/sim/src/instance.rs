//! An instance of the crypto-service: the real snapshot, lease, use cases and protocol of the feed, in a process that may die or stand still.

mod messages;
mod stream;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crypto_service::issued::Recorder;
use crypto_service::keys::feed::{FeedOptions, Instance};
use crypto_service::keys::{KeysWriter, PrivateKeys, Terms, pair};
use crypto_service::policy::Access;
use crypto_service::usecase::{DataPlane, Parts};
use service_kit::tls::{Credentials, endpoint};
use tokio::task::JoinHandle;

use crate::Fault;
use crate::bug::Bug;
use crate::clock::NodeClock;
use crate::sim::{Sim, lock};
use crate::stage::{Assets, Stage};

/// A machine for an instance: what outlives its process.
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) clock: NodeClock,
    credentials: Credentials,
    process: Mutex<Option<(Arc<Process>, JoinHandle<()>)>>,
    /// Until when the machine stands still.
    frozen: AtomicU64,
}

/// One start of the instance.
pub(crate) struct Process {
    /// Its number among all starts.
    pub(crate) id: usize,
    plane: Mutex<DataPlane>,
    /// What signs, where a planted bug has that know less.
    signer: Option<DataPlane>,
    /// Keys that a planted bug asks about state.
    pub(crate) cached: Mutex<BTreeMap<String, ()>>,
}

impl Process {
    pub(crate) fn plane(&self) -> DataPlane {
        lock(&self.plane).clone()
    }

    pub(crate) fn signer(&self) -> DataPlane {
        self.signer.clone().unwrap_or_else(|| self.plane())
    }
}

impl Node {
    pub(crate) fn new(sim: &Sim, assets: &Assets, index: usize) -> Result<Self, Fault> {
        let clock = sim.clock();
        Ok(Self {
            index,
            credentials: assets.of_instance(clock.shared())?,
            clock,
            process: Mutex::new(None),
            frozen: AtomicU64::new(0),
        })
    }

    /// The process, where there is one and the machine runs.
    pub(crate) fn process(&self, sim: &Sim) -> Option<Arc<Process>> {
        if sim.now() < self.frozen.load(Ordering::Relaxed) {
            return None;
        }
        let process = lock(&self.process);
        process.as_ref().map(|(process, _)| Arc::clone(process))
    }

    pub(crate) fn freeze(&self, until: u64) {
        self.frozen.fetch_max(until, Ordering::Relaxed);
    }

    /// Returns when the machine runs.
    async fn thaw(&self, sim: &Sim) {
        loop {
            let (now, until) = (sim.now(), self.frozen.load(Ordering::Relaxed));
            if now >= until {
                return;
            }
            sim.sleep(until - now).await;
        }
    }

    /// Ends the process: its memory is lost.
    pub(crate) fn kill(&self, sim: &Sim) {
        if let Some((process, task)) = lock(&self.process).take() {
            task.abort();
            sim.truth().died(process.id, sim.now());
            sim.step(format_args!("i{} dies", self.index));
        }
    }

    /// Starts a process where there is none.
    ///
    /// # Errors
    /// Where it cannot make its key.
    pub(crate) fn start(self: &Arc<Self>, stage: &Arc<Stage>) -> Result<(), Fault> {
        let mut place = lock(&self.process);
        if place.is_some() {
            return Ok(());
        }
        let (sim, assets) = (&stage.sim, &stage.assets);
        let random: [u8; 16] = sim.dice().bytes();
        let nonce: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let options = FeedOptions {
            nonce: nonce.clone(),
            endpoint: endpoint("https://127.0.0.1:1")?,
            key_manager: None,
            credentials: self.credentials.clone(),
            clock: self.clock.shared(),
            metrics: assets.metrics.clone(),
        };
        let instance = Instance::new(options)?;
        let name = format!("{}#{nonce}", assets.instance_name.name());
        let id = sim.truth().born(sim.now(), self.index, name);
        let (writer, plane) = self.keys(assets);
        let twin = sim.has(Bug::IatInRevokedSecond).then(|| self.keys(assets));
        let (twin, signer) = twin.unzip();
        let process = Arc::new(Process {
            id,
            plane: Mutex::new(plane),
            signer,
            cached: Mutex::default(),
        });
        let feed = stream::Feed {
            stage: Arc::clone(stage),
            node: Arc::clone(self),
            process: Arc::clone(&process),
            instance,
            writer,
            twin,
            streams: 0,
        };
        sim.step(format_args!("i{} runs", self.index));
        *place = Some((process, tokio::spawn(Box::pin(feed.run()))));
        Ok(())
    }

    /// Empty memory for keys, and the use cases over it.
    fn keys(&self, assets: &Assets) -> (KeysWriter, DataPlane) {
        let (writer, keys) = pair(self.clock.shared(), Terms::default());
        let plane = DataPlane::new(Parts {
            issued: Recorder::off(keys.clone(), self.clock.shared()),
            keys,
            access: Access::new(assets.policy.clone()),
            lanes: assets.lanes.clone(),
            private: PrivateKeys::new(1_000, assets.lanes.engine().clone()),
            clock: self.clock.shared(),
            metrics: assets.metrics.clone(),
        });
        (writer, plane)
    }
}
