//! Caps, leads and what makes a standby wait afresh.

use keyring::{Policy, Publish, Span, State, Times, Update, Use, Wait};

use crate::world::{World, minutes, new_set, secs, spec};

const LEAD: Span = Span::from_minutes(15);

#[test]
fn a_long_max_age_and_the_skew_outweigh_a_short_lead() {
    let mut world = World::signing();
    world.times = Times {
        publication_lead: secs(300),
        ..Times::DEFAULT
    };
    let mut world = world.serving(&["a"]);
    world.rotate(false).unwrap();
    world.turns_exactly_at(
        world.now + secs(305),
        "key-2",
        State::Prepared,
        State::Active,
    );
}

#[test]
fn the_sets_own_lead_replaces_the_deployments() {
    let mut world = World::signing();
    let policy = Policy {
        publication_lead: Some(minutes(40)),
        ..world.set.policy.clone()
    };
    world
        .update(Update {
            policy: Some(policy),
            ..Update::default()
        })
        .unwrap();
    let mut world = world.serving(&["a"]);
    world.rotate(false).unwrap();
    let over = world.now + minutes(40);
    for _ in 0..3 {
        world.pass(minutes(10));
        world.ack("a");
    }
    world.turns_exactly_at(over, "key-2", State::Prepared, State::Active);
}

#[test]
fn a_lowered_cap_counts_until_the_old_one_has_run_out() {
    let mut world = World::signing();
    world.times = Times {
        jwks_cap: minutes(60),
        publication_lead: minutes(60),
        ..Times::DEFAULT
    };
    world.settle();
    let mut world = world.serving(&["a"]);
    world.times = Times {
        publication_lead: secs(300),
        ..Times::DEFAULT
    };
    world.settle();
    world.pass(minutes(2));
    world.ack("a");
    // The instance served the old cap until now, its ack of the lower one.
    let run_out = world.now + minutes(60);
    for _ in 0..5 {
        world.pass(minutes(10));
        world.ack("a");
    }
    // Key 3 is published ten minutes before that; the new cap and lead alone would ask for five.
    world.rotate(true).unwrap();
    world.settle();
    world.rotate(false).unwrap();
    world.ack("a");
    world.turns_exactly_at(run_out, "key-3", State::Prepared, State::Active);
}

#[test]
fn a_raised_cap_counts_at_once() {
    let mut world = World::signing().serving(&["a"]);
    world.times = Times {
        jwks_cap: minutes(30),
        publication_lead: minutes(30),
        ..Times::DEFAULT
    };
    world.rotate(false).unwrap();
    let over = world.now + minutes(30) + secs(5);
    world.pass(minutes(10));
    world.ack("a");
    world.pass(minutes(10));
    world.ack("a");
    world.turns_exactly_at(over, "key-2", State::Prepared, State::Active);
}

#[test]
fn a_lead_shorter_than_the_cap_is_refused() {
    let short = Times {
        publication_lead: secs(299),
        ..Times::DEFAULT
    };
    assert!(
        short
            .checked()
            .unwrap_err()
            .to_string()
            .contains("publication_lead")
    );
    for times in [Times::DEFAULT, Times::DEVELOPMENT] {
        assert_eq!(times.checked(), Ok(times));
    }
    let mut world = World::signing();
    for (lead, fits) in [(secs(299), false), (secs(300), true)] {
        let policy = Policy {
            publication_lead: Some(lead),
            ..world.set.policy.clone()
        };
        let result = world.update(Update {
            policy: Some(policy),
            ..Update::default()
        });
        assert_eq!(result.is_ok(), fits, "{lead}: {result:?}");
    }
}

#[test]
fn wider_publication_makes_the_standby_wait_afresh() {
    let mut world = World::of(new_set(Use::Sign, "ES256", Publish::None)).serving(&["a"]);
    world.pass(LEAD);
    world.ack("a");
    assert_eq!(world.waits(), []);
    world
        .update(Update {
            publish: Some(Publish::Public),
            ..Update::default()
        })
        .unwrap();
    world.rotate(false).unwrap();
    world.settle();
    assert_eq!(
        (world.active(), world.waits()),
        (Some("key-1"), vec![Wait::FirstAck, Wait::Acks])
    );
    world.ack("a");
    world.turns_exactly_at(world.now + LEAD, "key-2", State::Prepared, State::Active);
}

#[test]
fn a_changed_algorithm_policy_revokes_the_old_standby_and_the_new_one_waits_afresh() {
    let mut world = World::signing().serving(&["a"]);
    world.pass(LEAD);
    world.ack("a");
    let policy = Policy {
        key: spec("RS256"),
        ..world.set.policy.clone()
    };
    world
        .update(Update {
            policy: Some(policy),
            ..Update::default()
        })
        .unwrap();
    assert_eq!(world.state("key-2"), State::Revoked);
    world.settle();
    let standby = world.set.standby().unwrap();
    assert_eq!(
        (standby.kid.as_str(), standby.algorithm.as_str()),
        ("key-3", "RS256")
    );
    world.rotate(false).unwrap();
    world.ack("a");
    world.turns_exactly_at(world.now + LEAD, "key-3", State::Prepared, State::Active);
    assert_eq!(
        world.set.version("key-1").unwrap().algorithm.as_str(),
        "ES256",
        "one key, one algorithm"
    );
}
