//! The simulation at its small size.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up stops")]

use std::hash::{BuildHasher, RandomState};

use sim::{Bug, Options, Outcome, Runner};

const WORLDS: [&str; 7] = [
    "quiet", "one", "three", "slow", "clocks", "lossy", "rollback",
];

fn run(seed: u64, steps: u64, world: Option<&str>, bug: Option<Bug>) -> Outcome {
    let options = Options {
        seed,
        steps,
        bug,
        world: world.map(str::to_owned),
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
    let seed = RandomState::new().hash_one(0) >> 16;
    println!("seed {seed}");
    holds(&run(seed, 60_000, None, None));
}

#[test]
fn what_breaks_is_said_with_the_command_that_shows_it_again() {
    let outcome = run(1, 100_000, Some("one"), Some(Bug::MaxAgeBeyondLease));
    let failure = outcome.failure.unwrap();
    let text = failure.to_string();
    let again = format!(
        "--seed {} --world one --steps {} --bug max-age-beyond-lease",
        failure.seed, failure.step
    );
    assert!(text.contains(&again), "{text}");
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
