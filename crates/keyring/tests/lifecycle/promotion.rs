//! "Promotion happens only when due and not before T + max(lead, longest max-age + skew)."

use keyring::{Ack, Due, KeySet, Policy, Publish, State, Update, Use, Wait, due, expected_at};

use crate::world::{MS, START, World, minutes, new_set, secs};

const LEAD: keyring::Span = keyring::Span::from_minutes(15);

#[test]
fn a_set_that_generates_keeps_exactly_one_standby() {
    let mut world = World::signing();
    for round in 1..4 {
        assert_eq!(
            world.set.in_state(State::Prepared).count(),
            1,
            "round {round}"
        );
        world.rotate(true).unwrap();
        assert_eq!(
            world.set.in_state(State::Prepared).count(),
            0,
            "round {round}"
        );
        world.settle();
    }
    assert_eq!(world.active(), Some("key-3"));
}

#[test]
fn nothing_is_promoted_that_is_not_due() {
    let mut world = World::signing().serving(&["a"]);
    for _ in 0..200 {
        world.pass(minutes(10));
        world.ack("a");
        world.settle();
    }
    assert_eq!(
        (world.active(), world.holding()),
        (Some("key-1"), Vec::new())
    );
    world.rotate(false).unwrap();
    world.settle();
    assert_eq!(world.active(), Some("key-2"));
    assert_eq!(world.set.version("key-2").unwrap().forced, None);
    assert_eq!(
        world.set.rotation_requested_at, None,
        "one request is one rotation"
    );
}

#[test]
fn a_due_standby_waits_for_the_lead_after_its_first_ack() {
    let mut world = World::signing().serving(&["a"]);
    world.rotate(false).unwrap();
    assert_eq!(world.waits(), [Wait::Lead { wait: LEAD }]);
    assert_eq!(world.holding()[0].until, Some(world.now + LEAD));
    let over = world.now + LEAD;
    world.pass(minutes(10));
    world.ack("a");
    world.turns_exactly_at(over, "key-2", State::Prepared, State::Active);
}

#[test]
fn a_withheld_ack_holds_promotion_until_it_is_given_and_the_lead_follows_it() {
    let mut world = World::signing();
    ["a", "b"].iter().for_each(|name| world.connect(name));
    world.rotate(true).unwrap();
    world.settle();
    world.rotate(false).unwrap();
    world.ack("a");
    world.settle();
    world.pass(minutes(14));
    let holding = world.holding();
    let acks = holding
        .iter()
        .find(|holding| holding.wait == Wait::Acks)
        .unwrap();
    assert_eq!(acks.subscribers, ["b"]);
    assert!(acks.to_string().contains('b'), "{acks}");
    world.ack("b");
    assert!(!world.waits().contains(&Wait::Acks));
    world.turns_exactly_at(world.now + LEAD, "key-2", State::Prepared, State::Active);
}

#[test]
fn a_withheld_ack_holds_promotion_until_its_lease_ends_and_the_lead_follows_that() {
    let mut world = World::signing();
    ["a", "b"].iter().for_each(|name| world.connect(name));
    let lease_end = world.subscriber("b").lease_end;
    world.rotate(true).unwrap();
    world.settle();
    world.rotate(false).unwrap();
    world.ack("a");
    assert_eq!(
        expected_at(&world.set, &world.ctx()),
        Some(lease_end + LEAD)
    );
    world.at(lease_end);
    world.ack("a");
    world.turns_exactly_at(lease_end + LEAD, "key-2", State::Prepared, State::Active);
}

#[test]
fn a_subscriber_whose_first_snapshot_held_the_version_adds_nothing() {
    let mut world = World::signing().serving(&["a"]);
    world.rotate(false).unwrap();
    let over = world.now + LEAD;
    world.pass(minutes(14));
    world.ack("a");
    world.connect("late");
    world.turns_exactly_at(over, "key-2", State::Prepared, State::Active);
}

#[test]
fn a_subscriber_gone_before_the_version_was_made_adds_nothing() {
    let mut world = World::signing();
    world.connect("gone");
    world.pass(minutes(16));
    let mut world = world.serving(&["a"]);
    world.rotate(false).unwrap();
    let over = world.now + LEAD;
    world.pass(minutes(5));
    // A late word from it, which renews nothing, is no sign that it served in between.
    let (at, epoch) = (world.now, world.epoch);
    let late = Ack {
        epoch,
        at,
        clock_offset_ms: 0,
        usage: Vec::new(),
    };
    world.subscriber("gone").ack(late);
    world.turns_exactly_at(over, "key-2", State::Prepared, State::Active);
}

#[test]
fn a_drained_or_forcibly_evicted_instance_no_longer_holds_promotion_but_its_jwks_does() {
    for forced in [false, true] {
        let mut world = World::signing();
        ["a", "b"].iter().for_each(|name| world.connect(name));
        world.rotate(true).unwrap();
        world.settle();
        world.rotate(false).unwrap();
        world.ack("a");
        world.pass(minutes(3));
        let now = world.now;
        match forced {
            true => world.subscriber("b").evict(now, true),
            false => world.subscriber("b").drained(now),
        }
        assert!(!world.waits().contains(&Wait::Acks), "forced: {forced}");
        world.turns_exactly_at(now + LEAD, "key-2", State::Prepared, State::Active);
    }
}

#[test]
fn an_eviction_without_force_lets_the_lease_run_out() {
    let mut world = World::signing();
    world.connect("b");
    let (now, epoch) = (world.now, world.epoch);
    let lease_end = world.subscriber("b").lease_end;
    world.subscriber("b").evict(now, false);
    assert_eq!(world.subscriber("b").lease_end, lease_end);
    assert!(
        world
            .subscriber("b")
            .renew(epoch, lease_end + secs(60))
            .is_err()
    );
    assert_eq!(world.subscriber("b").lease_end, lease_end);
}

#[test]
fn a_lease_is_renewed_only_on_the_acked_present_epoch() {
    let mut world = World::signing();
    world.connect("a");
    let (epoch, later) = (world.epoch, world.now + minutes(30));
    assert!(world.subscriber("a").renew(epoch + 1, later).is_err());
    assert!(world.subscriber("a").renew(epoch, later).is_ok());
    assert_eq!(world.subscriber("a").lease_end, later);
}

#[test]
fn the_first_keys_waits_begin_with_the_first_ack() {
    let mut world = World::signing();
    world.pass(minutes(600));
    world.settle();
    assert_eq!(
        (world.active(), world.waits()),
        (None, vec![Wait::FirstAck])
    );
    assert_eq!(expected_at(&world.set, &world.ctx()), None);
    world.connect("a");
    world.settle();
    assert_eq!(
        world.set.version("key-1").unwrap().published_at,
        Some(world.now)
    );
    assert_eq!(
        expected_at(&world.set, &world.ctx()),
        Some(world.now + LEAD)
    );
    world.turns_exactly_at(world.now + LEAD, "key-1", State::Prepared, State::Active);
    assert_eq!(world.set.version("key-1").unwrap().forced, None);
    assert_eq!(world.standby(), Some("key-2"));
}

#[test]
fn force_promotes_at_once_and_the_record_says_what_it_skipped() {
    let mut world = World::signing();
    world.connect("a");
    world.rotate(true).unwrap();
    world.settle();
    world.rotate(true).unwrap();
    assert_eq!(
        (world.active(), world.state("key-1")),
        (Some("key-2"), State::Retiring)
    );
    let forced = world.set.version("key-2").unwrap().forced.clone().unwrap();
    assert_eq!(
        (forced.cause, forced.at),
        (keyring::Cause::Operator, world.now)
    );
    let waits: Vec<_> = forced
        .skipped
        .iter()
        .map(|holding| holding.wait.clone())
        .collect();
    assert_eq!(waits, [Wait::FirstAck, Wait::Acks]);
    assert_eq!(forced.skipped[1].subscribers, ["a"]);
}

#[test]
fn force_on_a_standby_that_has_waited_is_not_recorded_as_forced() {
    let mut world = World::signing().serving(&["a"]);
    world.pass(LEAD);
    world.rotate(true).unwrap();
    assert_eq!(world.active(), Some("key-2"));
    assert_eq!(world.set.version("key-2").unwrap().forced, None);
}

#[test]
fn symmetric_sets_wait_for_the_acks_alone() {
    let mut world = World::symmetric();
    ["a", "b"].iter().for_each(|name| world.connect(name));
    world.rotate(true).unwrap();
    world.settle();
    world.rotate(false).unwrap();
    world.ack("a");
    world.settle();
    world.pass(minutes(3));
    world.settle();
    assert_eq!(
        (world.active(), world.waits()),
        (Some("key-1"), vec![Wait::Acks])
    );
    world.ack("b");
    world.settle();
    assert_eq!(world.active(), Some("key-2"));
}

#[test]
fn sealing_sets_wait_for_the_acks_alone() {
    let mut world = World::of(new_set(Use::Seal, "dir", Publish::None));
    world.settle();
    assert_eq!(world.waits(), [Wait::FirstAck]);
    world.connect("a");
    world.settle();
    assert_eq!(world.active(), Some("key-1"));
}

#[test]
fn the_end_of_the_cryptoperiod_makes_a_promotion_due() {
    let mut world = World::signing();
    let policy = Policy {
        cryptoperiod: Some(keyring::Span::from_days(90)),
        ..world.set.policy.clone()
    };
    world
        .update(Update {
            policy: Some(policy),
            ..Update::default()
        })
        .unwrap();
    let mut world = world.serving(&["a"]);
    let end = START + keyring::Span::from_days(90);
    world.at(keyring::Time::from_millis(end.as_millis() - 1));
    assert_eq!(due(&world.set, &world.ctx()), None);
    world.pass(MS);
    assert_eq!(due(&world.set, &world.ctx()), Some(Due::Cryptoperiod));
}

#[test]
fn a_record_keeps_its_meaning_through_its_stored_form() {
    let mut world = World::signing().serving(&["a"]);
    world.rotate(true).unwrap();
    world.settle();
    world.rotate(false).unwrap();
    let stored = serde_json::to_string(&world.set).unwrap();
    assert_eq!(
        serde_json::from_str::<KeySet>(&stored).unwrap(),
        world.set,
        "{stored}"
    );
    let stored = serde_json::to_string(&world.subscribers).unwrap();
    assert_eq!(
        serde_json::from_str::<Vec<keyring::Subscriber>>(&stored).unwrap(),
        world.subscribers,
        "{stored}"
    );
    let unknown = stored.replacen("\"name\"", "\"nom\"", 1);
    assert!(serde_json::from_str::<Vec<keyring::Subscriber>>(&unknown).is_err());
}
