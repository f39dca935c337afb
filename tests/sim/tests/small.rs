//! The simulation at its small size.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up stops")]

use std::fs::File;
use std::io::Read as _;
use std::process::Command;

use sim::{Bug, Options, Outcome, Runner};

const WORLDS: [&str; 8] = [
    "quiet", "one", "three", "slow", "clocks", "apart", "lossy", "rollback",
];

fn run(seed: u64, steps: u64, world: Option<&str>, bug: Option<Bug>) -> Outcome {
    let options = Options {
        seed,
        steps,
        bug,
        world: world.map(str::to_owned),
        after: 0,
    };
    Runner::new().unwrap().run(&options, |_| {}).unwrap()
}

fn holds(outcome: &Outcome) {
    let failure = outcome.failure.as_ref().map(ToString::to_string);
    assert_eq!(failure, None);
}

#[test]
fn the_invariants_hold_in_every_world() {
    for (seed, world) in (1..).zip(WORLDS) {
        let outcome = run(seed, 24_000, Some(world), None);
        holds(&outcome);
        assert!(
            outcome.steps >= 24_000 && outcome.promotions > 10,
            "{world}: {outcome:?}"
        );
    }
}

#[test]
fn the_invariants_hold_for_a_seed_that_nobody_chose() {
    // the standard library's randomness is none here
    let mut random = [0; 6];
    let system = File::open("/dev/urandom");
    system.unwrap().read_exact(&mut random).unwrap();
    let seed = random
        .iter()
        .fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    println!("seed {seed}");
    holds(&run(seed, 60_000, None, None));
}

#[test]
fn what_breaks_breaks_again_at_the_same_step_by_the_command_that_is_said() {
    breaks_again(Options {
        seed: 3,
        steps: 400_000,
        bug: Some(Bug::MaxAgeBeyondLease),
        world: Some("one".to_owned()),
        after: 2,
    });
}

#[test]
fn what_breaks_in_a_later_episode_breaks_again_without_those_before() {
    // replicas race here, and tokio draws who is woken first
    let after = breaks_again(Options {
        seed: 5,
        steps: 400_000,
        bug: Some(Bug::NoCompareAndSwap),
        world: None,
        after: 0,
    });
    assert!(after > 0);
}

/// Gives back how many episodes went before.
fn breaks_again(options: Options) -> u64 {
    let runner = Runner::new().unwrap();
    let failure = runner.run(&options, |_| {}).unwrap().failure.unwrap();
    let text = failure.to_string();
    let again = format!(
        "--seed {} --world {} --steps {} --after {} --bug {}",
        failure.seed,
        failure.world,
        failure.step,
        failure.after,
        options.bug.unwrap()
    );
    assert!(text.contains(&again), "{text}");
    let program = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(again.split(' '))
        .output()
        .unwrap();
    assert_eq!(program.status.code(), Some(1));
    let shown = String::from_utf8(program.stderr).unwrap();
    assert!(shown.contains(&text), "{shown}\n--- before ---\n{text}");
    failure.after
}

#[test]
fn a_seed_gives_the_same_steps_again() {
    let digest = || {
        let program = Command::new(env!("CARGO_BIN_EXE_sim"))
            .args(["--seed", "5", "--steps", "50000"])
            .output()
            .unwrap();
        let shown = String::from_utf8(program.stderr).unwrap();
        shown.lines().last().unwrap_or_default().to_owned()
    };
    let first = digest();
    assert!(first.contains("digest"), "{first}");
    assert_eq!(digest(), first);
}

#[test]
fn bugs_have_names_and_a_wrong_one_is_told_which_there_are() {
    assert_eq!(Bug::ALL.len(), 20);
    for bug in Bug::ALL {
        assert_eq!(bug.name().parse(), Ok(*bug));
    }
    let error = "none".parse::<Bug>().unwrap_err().to_string();
    assert!(error.contains("dead-lease"), "{error}");
}
