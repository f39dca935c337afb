//! A run: episodes one after the other, each a world of its own, until so many steps are done or something breaks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tokio::runtime::{Builder, Runtime};

use crate::Fault;
use crate::bug::Bug;
use crate::calls;
use crate::invariant::Broken;
use crate::operator;
use crate::sim::Sim;
use crate::stage::{Assets, Stage};
use crate::trace::Stamp;
use crate::trouble;
use crate::world::World;

/// The steps of one episode at most: about a day of virtual time.
const EPISODE: u64 = 40_000;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed of the first episode; it chooses the world.
    pub seed: u64,
    /// Steps in all.
    pub steps: u64,
    /// A planted bug.
    pub bug: Option<Bug>,
    /// A world by name, whatever the seed.
    pub world: Option<String>,
    /// Episodes that the program is to have had before: what a failure says, to see it again.
    pub after: u64,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Steps that were done.
    pub steps: u64,
    /// Episodes that were begun.
    pub episodes: u64,
    /// Virtual time, in milliseconds.
    pub millis: u64,
    /// Keys that became Active.
    pub promotions: u64,
    /// Tokens that were signed.
    pub tokens: u64,
    /// A digest of the whole trace.
    pub digest: u64,
    /// What broke.
    pub failure: Option<Failure>,
}

/// What broke, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed of the episode.
    pub seed: u64,
    /// The world.
    pub world: &'static str,
    /// The step of the episode.
    pub step: u64,
    /// Episodes that the program had before.
    pub after: u64,
    /// Which invariant, how and when.
    pub broken: Broken,
    /// The last lines of the trace.
    pub trace: Vec<String>,
    /// The planted bug, where there was one.
    pub bug: Option<Bug>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        writeln!(
            f,
            "seed {}, world {}, step {}, after {}",
            self.seed,
            self.world,
            self.step,
            Stamp(self.broken.at)
        )?;
        writeln!(f, "invariant: {}", self.broken.invariant)?;
        writeln!(f, "broken: {}", self.broken.what)?;
        let bug = self
            .bug
            .map(|bug| format!(" --bug {bug}"))
            .unwrap_or_default();
        write!(
            f,
            "again: make sim SIM='--seed {} --world {} --steps {} --after {}{bug}'",
            self.seed, self.world, self.step, self.after
        )
    }
}

/// Runs episodes. What all of them stand on is made once.
pub struct Runner {
    assets: Arc<Assets>,
    /// Episodes that were begun. tokio numbers its runtimes, and the number is part of the seed from which it draws.
    begun: AtomicU64,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runner")
    }
}

impl Runner {
    /// Makes certificates, grants and threads.
    ///
    /// # Errors
    /// Where the system has no room for them.
    pub fn new() -> Result<Self, Fault> {
        Ok(Self {
            assets: Arc::new(Assets::new()?),
            begun: AtomicU64::new(0),
        })
    }

    /// Runs as many episodes as the steps take. `told` hears of each, by its number of steps so far.
    ///
    /// # Errors
    /// Where the run cannot be set up; what breaks is in the outcome.
    pub fn run(&self, options: &Options, mut told: impl FnMut(&Outcome)) -> Result<Outcome, Fault> {
        let mut outcome = Outcome::default();
        let mut seed = options.seed;
        while self.begun.load(Ordering::Relaxed) < options.after {
            // A runtime draws once when it is made, and once when a thread enters it.
            let enter = || self.begin().map(|(_, runtime)| runtime.block_on(async {}));
            thread::scope(|scope| scope.spawn(enter).join())
                .map_err(|_panic| "an episode panicked")??;
        }
        while outcome.steps < options.steps && outcome.failure.is_none() {
            let left = options.steps - outcome.steps;
            // A thread of its own: what it draws does not depend on what was drawn before.
            thread::scope(|scope| {
                let episode =
                    scope.spawn(|| self.episode(options, seed, left.min(EPISODE), &mut outcome));
                episode.join().map_err(|_panic| "an episode panicked")?
            })?;
            seed = next_seed(seed);
            told(&outcome);
        }
        Ok(outcome)
    }

    /// Everything runs on the thread of an episode, and its clock goes on only when nothing is left to do. Also gives the
    /// number of episodes before.
    fn begin(&self) -> Result<(u64, Runtime), Fault> {
        let after = self.begun.fetch_add(1, Ordering::Relaxed);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        Ok((after, runtime))
    }

    fn episode(
        &self,
        options: &Options,
        seed: u64,
        steps: u64,
        outcome: &mut Outcome,
    ) -> Result<(), Fault> {
        let (after, runtime) = self.begin()?;
        let world = match &options.world {
            Some(name) => World::named(name, seed),
            None => World::of(seed),
        };
        let name = world.name;
        let assets = Arc::clone(&self.assets);
        let sim = runtime.block_on(play(world, seed, options.bug, steps, assets))?;
        // Tasks end with their runtime: none of them writes to the trace any more.
        drop(runtime);
        let trace = sim.trace();
        outcome.steps += trace.steps;
        outcome.episodes += 1;
        outcome.millis += sim.at_the_end();
        outcome.promotions += sim.truth().promotions;
        outcome.tokens += sim.truth().issued;
        outcome.digest = outcome.digest.rotate_left(5) ^ trace.digest();
        if let Some(broken) = sim.take_broken() {
            outcome.failure = Some(Failure {
                seed,
                world: name,
                step: trace.steps,
                after,
                broken,
                trace: trace.last(),
                bug: options.bug,
            });
        }
        Ok(())
    }
}

/// Neighbours choose neighbouring worlds, and no episode follows itself.
const fn next_seed(seed: u64) -> u64 {
    seed.wrapping_mul(0x5851_F42D_4C95_7F2D)
        .wrapping_add(0x1405_7B7E_F767_814F)
        >> 16
}

async fn play(
    world: World,
    seed: u64,
    bug: Option<Bug>,
    steps: u64,
    assets: Arc<Assets>,
) -> Result<Sim, Fault> {
    let sim = Sim::new(world, seed, bug, steps);
    let stage = Arc::new(Stage::new(sim.clone(), assets)?);
    let acts = {
        let stage = Arc::clone(&stage);
        tokio::spawn(async move { act(stage).await })
    };
    tokio::select! {
        biased;
        () = sim.over() => {}
        ended = acts => ended??,
    }
    sim.end();
    Ok(sim)
}

/// Everybody comes on, and the play goes on until it is stopped.
async fn act(stage: Arc<Stage>) -> Result<(), Fault> {
    trouble::set_clocks(&stage);
    for replica in &stage.replicas {
        replica.start().await;
    }
    for node in &stage.nodes {
        node.start(&stage)?;
    }
    operator::begin(&stage).await?;
    stage.sim.sleep(120_000).await;
    tokio::spawn(calls::run(Arc::clone(&stage)));
    operator::start(&stage);
    trouble::start(&stage);
    trouble::weather(stage).await;
    Ok(())
}
