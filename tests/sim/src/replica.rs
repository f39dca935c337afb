//! A key-manager: the real vault, use cases, driver and feed, over a store that may fail, in a process that may die.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use key_manager::clocks::Clocks;
use key_manager::feed::{Down, Feed, FeedError, Up};
use key_manager::lifecycle::Lifecycle;
use key_manager::metrics::Metrics;
use key_manager::rotator::Rotator;
use key_manager::seal::LocalKek;
use key_manager::vault::Vault;
use service_kit::grants::PolicyHandle;
use service_kit::identity::Caller;
use service_kit::shutdown::Shutdown;
use service_kit::tls::Credentials;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Fault;
use crate::clock::NodeClock;
use crate::keys::SeededKeys;
use crate::rules::Broken;
use crate::sim::{Sim, lock};
use crate::stage::Assets;
use crate::store::{Disk, Line};

/// Messages on a stream that nobody has taken yet.
const CHANNEL: usize = 64;

/// A key-manager's place: what outlives its process.
pub(crate) struct Replica {
    sim: Sim,
    pub(crate) index: usize,
    pub(crate) clock: NodeClock,
    credentials: Credentials,
    policy: PolicyHandle,
    disk: Arc<Disk>,
    /// How often its process was started.
    starts: AtomicU64,
    running: Mutex<Option<Running>>,
}

/// One process.
struct Running {
    feed: Feed,
    lifecycle: Lifecycle,
    alive: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

/// Where an instance sends to.
pub(crate) type ToFeed = mpsc::Sender<Result<Up, FeedError>>;
/// Where it hears from.
pub(crate) type FromFeed = mpsc::Receiver<Result<Down, FeedError>>;
/// Both ends of a stream, from the instance's side.
pub(crate) type Stream = (ToFeed, FromFeed);

impl Replica {
    pub(crate) fn new(
        sim: &Sim,
        assets: &Assets,
        disk: &Arc<Disk>,
        index: usize,
    ) -> Result<Self, Fault> {
        let clock = sim.clock();
        Ok(Self {
            sim: sim.clone(),
            index,
            credentials: assets.of_manager(clock.shared())?,
            clock,
            policy: assets.policy.clone(),
            disk: Arc::clone(disk),
            starts: AtomicU64::new(0),
            running: Mutex::new(None),
        })
    }

    /// Starts the process, as soon as the store lets it.
    pub(crate) async fn start(&self) {
        if lock(&self.running).is_some() {
            return;
        }
        let alive = Arc::new(AtomicBool::new(true));
        let vault = loop {
            match self.open(&alive).await {
                Ok(vault) => break vault,
                Err(error) => {
                    self.sim.step(format_args!(
                        "r{} does not start: {}",
                        self.index,
                        short(&*error)
                    ));
                    self.sim.sleep(2_000).await;
                }
            }
        };
        let lifecycle = Lifecycle::new(
            Arc::clone(&vault),
            Arc::new(SeededKeys(self.sim.clone())),
            self.sim.world().times,
            self.clock.shared(),
            Metrics::default(),
        );
        let comparing = Clocks::of(
            &vault,
            &self.clock.shared(),
            format!(
                "r{}#{}",
                self.index,
                self.starts.fetch_add(1, Ordering::Relaxed)
            ),
            Duration::from_millis(self.sim.world().round),
        );
        let lifecycle = lifecycle.comparing(comparing.clone());
        let lifecycle = match self.sim.bug() {
            Some(bug) => lifecycle.under(Arc::new(Broken(bug))),
            None => lifecycle,
        };
        let feed = Feed::new(
            lifecycle.clone(),
            self.credentials.clone(),
            self.policy.clone(),
            Shutdown::new(),
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(vault.follow(Shutdown::new()));
        if let Some(clocks) = comparing {
            tasks.spawn(clocks.run(Shutdown::new()));
        }
        tasks.spawn(rounds(
            self.sim.clone(),
            self.index,
            Rotator::new(lifecycle.clone()),
        ));
        self.sim.step(format_args!("r{} runs", self.index));
        let mut running = lock(&self.running);
        if running.is_some() {
            // Somebody else was faster.
            alive.store(false, Ordering::Relaxed);
            return;
        }
        *running = Some(Running {
            feed,
            lifecycle,
            alive,
            tasks,
        });
    }

    async fn open(&self, alive: &Arc<AtomicBool>) -> Result<Arc<Vault>, Fault> {
        let line = Line::new(
            self.sim.clone(),
            Arc::clone(&self.disk),
            (self.index, self.clock.clone()),
            Arc::clone(alive),
        );
        let kek = LocalKek::new(&[7; 32])?;
        Ok(Arc::new(Vault::open(Arc::new(line), Arc::new(kek)).await?))
    }

    /// Ends the process between two instructions: its memory is lost.
    pub(crate) fn crash(&self) {
        if let Some(running) = lock(&self.running).take() {
            running.alive.store(false, Ordering::Relaxed);
            self.sim.step(format_args!("r{} dies", self.index));
        }
    }

    pub(crate) fn lifecycle(&self) -> Option<Lifecycle> {
        lock(&self.running)
            .as_ref()
            .map(|running| running.lifecycle.clone())
    }

    /// Opens a stream; `None` where nobody listens.
    pub(crate) fn connect(&self, caller: &Caller) -> Option<Stream> {
        let mut running = lock(&self.running);
        let running = running.as_mut()?;
        while running.tasks.try_join_next().is_some() {}
        let (to_feed, up) = mpsc::channel(CHANNEL);
        let (down, from_feed) = mpsc::channel(CHANNEL);
        let follow = running.feed.clone().follow(caller.clone(), up, down);
        running.tasks.spawn(follow);
        Some((to_feed, from_feed))
    }
}

async fn rounds(sim: Sim, index: usize, mut rotator: Rotator) {
    loop {
        rotator.turn().await;
        sim.step(format_args!("r{index} has planned"));
        sim.sleep_about(sim.world().round).await;
    }
}

/// Errors name keys; their first words do not.
fn short(error: &(dyn std::error::Error + Send + Sync)) -> String {
    let text = error.to_string();
    text.split(':').next().unwrap_or_default().to_owned()
}
