//! Runs the simulation: `make sim`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use sim::{Bug, Fault, Options, Outcome, Runner};

/// Weeks of rotation under faults, in virtual time; prints what breaks, with the seed that shows it again.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "sim",
    version,
    after_help = "Examples:
  make sim
  make sim SIM='--seed 7 --steps 1000000'
  make sim SIM='--seed 7 --bug promotion-before-lead'
  make sim SIM='--world slow --steps 200000'
  make sim SIM=--bugs"
)]
struct Settings {
    /// The seed of the first episode; the next ones follow from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many steps: messages, reads and writes of the store, calls, faults.
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
    /// Plants a bug, by name. The run is then expected to fail.
    #[arg(long, value_name = "BUG")]
    bug: Option<Bug>,
    /// One world for all episodes: quiet, one, three, slow, clocks, lossy or rollback. Default: the seed chooses.
    #[arg(long, value_name = "WORLD")]
    world: Option<String>,
    /// As if so many episodes had gone before: part of what a failure says to see it again.
    #[arg(long, value_name = "EPISODES", default_value_t = 0)]
    after: u64,
    /// Lists the planted bugs, and ends.
    #[arg(long)]
    bugs: bool,
}

fn main() -> ExitCode {
    match run(Settings::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            say(&format!("sim: {fault}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing broke.
fn run(settings: Settings) -> Result<bool, Fault> {
    if settings.bugs {
        let lines = Bug::ALL
            .iter()
            .map(|bug| format!("{:30} {}", bug.name(), bug.about()));
        say(&lines.collect::<Vec<_>>().join("\n"));
        return Ok(true);
    }
    let options = Options {
        seed: settings.seed,
        steps: settings.steps,
        bug: settings.bug,
        world: settings.world,
        after: settings.after,
    };
    let began = now();
    let outcome = Runner::new()?.run(&options, |so_far| {
        say(&format!("sim: {}", line(so_far, began)));
    })?;
    match &outcome.failure {
        Some(failure) => {
            say(&failure.to_string());
            Ok(false)
        }
        None => {
            say(&format!(
                "sim: nothing broke; digest {:016x}",
                outcome.digest
            ));
            Ok(true)
        }
    }
}

fn line(so_far: &Outcome, began: Instant) -> String {
    let seconds = began.elapsed().as_secs_f64();
    let days = so_far.millis / 86_400_000;
    let steps = u32::try_from(so_far.steps).unwrap_or(u32::MAX);
    let a_minute = f64::from(steps) / seconds * 60.0 / 1_000_000.0;
    format!(
        "{} steps in {} episodes, {days} days, {} promotions, {} tokens; {a_minute:.2} million steps a minute",
        so_far.steps, so_far.episodes, so_far.promotions, so_far.tokens
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one clock of a program that measures itself"
)]
fn now() -> Instant {
    Instant::now()
}

/// On standard error: nothing of this is a program's to read.
fn say(text: &str) {
    // nobody to tell where standard error is closed
    let _written = writeln!(std::io::stderr().lock(), "{text}");
}
