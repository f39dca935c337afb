//! Deliberate bugs, each planted alone: whether the simulation finds it, and finds nothing in the same episodes without it.

use futures::FutureExt as _;
use sim::{Bug, Hunt, Runner, hunt};

use super::Group;
use crate::{
    Fault, count,
    figure::{Figure, Measured},
    number, progress,
    settings::Run,
};

const FOUND: Figure = Figure::at_least("planted_bugs_found", 20.0);

pub(super) const GROUP: Group = Group {
    name: "planted-bugs",
    about: "twenty deliberate bugs, one at a time, in the simulation: each is found, and the program without it passes the same episodes",
    figures: &[FOUND],
    run: |run| measure(run).boxed_local(),
};

async fn measure(run: Run) -> Result<Vec<Measured>, Fault> {
    // The simulation has a runtime of its own, whose time stands still.
    let hunts = tokio::task::spawn_blocking(move || all(run.seed)).await??;
    let found = hunts.iter().filter(|hunt| hunt.is_found()).count();
    Ok(vec![FOUND.measured(number(found), count(hunts.len()))])
}

fn all(seed: u64) -> Result<Vec<Hunt>, Fault> {
    let runner = Runner::new()?;
    let hunt = |bug: &Bug| {
        let hunt = hunt(&runner, *bug, seed)?;
        progress(&format!("planted-bugs: {}", told(&hunt)));
        Ok(hunt)
    };
    Bug::ALL.iter().map(hunt).collect()
}

fn told(hunt: &Hunt) -> String {
    let bug = hunt.bug;
    match (&hunt.found, &hunt.lawful) {
        (_, Some(lawful)) => format!("{bug}: it breaks without the bug too:\n{lawful}"),
        (None, None) => format!("{bug} is not found"),
        (Some(found), None) => format!(
            "{bug} is found at seed {}, step {}: {}",
            found.seed, found.step, found.broken.what
        ),
    }
}
