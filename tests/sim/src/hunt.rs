//! The hunt for the planted bugs: where each is looked for, and for how long.

use crate::Fault;
use crate::bug::Bug;
use crate::run::{Failure, Options, Runner};

/// Steps in which a bug is to be found, from each seed that is tried.
pub const HUNT: u64 = 240_000;

/// Seeds that are tried, one after the other.
const SEEDS: u64 = 5;

/// What a hunt came to.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The bug.
    pub bug: Bug,
    /// How it was found.
    pub found: Option<Failure>,
    /// What broke in the same episodes without the bug.
    pub lawful: Option<Failure>,
}

impl Hunt {
    /// Found, and by nothing that also happens without it.
    #[must_use]
    pub const fn is_found(&self) -> bool {
        self.found.is_some() && self.lawful.is_none()
    }
}

/// The world in which a bug has its occasion most often.
#[must_use]
pub const fn world_for(bug: Bug) -> &'static str {
    match bug {
        Bug::ClockGuardOff => "clocks",
        Bug::DeltaOverGap => "lossy",
        Bug::OlderSnapshot => "rollback",
        Bug::NoCompareAndSwap | Bug::AckInMemory => "three",
        Bug::PromotionBeforeAck
        | Bug::ParallelWaits
        | Bug::DeadLease
        | Bug::EncryptionBeforeAck
        | Bug::StalenessFromReceipt => "slow",
        _ => "one",
    }
}

/// Looks for a bug in its world, from that seed on, and runs the same episodes without it.
///
/// # Errors
/// Where a run cannot be set up.
pub fn hunt(runner: &Runner, bug: Bug, seed: u64) -> Result<Hunt, Fault> {
    let mut hunted = Hunt {
        bug,
        found: None,
        lawful: None,
    };
    for seed in seed..seed.saturating_add(SEEDS) {
        let options = Options {
            seed,
            steps: HUNT,
            bug: Some(bug),
            world: Some(world_for(bug).to_owned()),
            after: 0,
        };
        let with = runner.run(&options, |_| {})?;
        let without = Options {
            bug: None,
            steps: with.steps,
            ..options
        };
        hunted.lawful = runner.run(&without, |_| {})?.failure;
        hunted.found = with.failure;
        if hunted.found.is_some() || hunted.lawful.is_some() {
            break;
        }
    }
    Ok(hunted)
}
