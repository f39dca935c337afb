//! "Retirement at demotion + max_sign_staleness + the largest lifetime permitted while it was Active + 60 s."

use keyring::{Profile, Span, State, Update, Usage, next_change, retires_at};

use crate::world::{World, minutes, secs};

const LONG: Span = Span::from_secs(5 * 60 + 3600 + 60);

/// Two instances; key 1 has just been demoted, and nobody has acked that yet.
fn demoted() -> World {
    let mut world = World::signing().serving(&["a", "b"]);
    world.pass(minutes(15));
    ["a", "b"].iter().for_each(|name| world.ack(name));
    world.rotate(false).unwrap();
    world.settle();
    assert_eq!(world.state("key-1"), State::Retiring);
    world
}

fn signed(world: &World, lifetime: Span, in_flight: bool) -> Usage {
    Usage {
        highest_exp: Some(world.now + lifetime),
        in_flight,
    }
}

#[test]
fn a_demoted_key_retires_exactly_at_the_long_bound() {
    let mut world = demoted();
    let end = world.now + LONG;
    assert_eq!(next_change(&world.set, &world.ctx()), Some(end));
    world.turns_exactly_at(end, "key-1", State::Retiring, State::Retired);
    assert_eq!(world.set.version("key-1").unwrap().retired_at, Some(end));
}

#[test]
fn the_largest_lifetime_permitted_while_active_counts() {
    let longer = Profile {
        max_lifetime: minutes(180),
        ..Profile::default()
    };
    let shorter = Profile {
        max_lifetime: minutes(10),
        ..Profile::default()
    };
    let mut world = World::signing().serving(&["a"]);
    for profile in [longer, shorter] {
        world
            .update(Update {
                profile: Some(profile),
                ..Update::default()
            })
            .unwrap();
    }
    world.rotate(true).unwrap();
    // What is permitted after the demotion is no matter of the demoted key.
    let end = world.now + minutes(5) + minutes(180) + secs(60);
    let longest = Profile {
        max_lifetime: minutes(600),
        ..Profile::default()
    };
    world
        .update(Update {
            profile: Some(longest),
            ..Update::default()
        })
        .unwrap();
    world.turns_exactly_at(end, "key-1", State::Retiring, State::Retired);
}

#[test]
fn acks_with_nothing_in_flight_retire_it_at_the_highest_exp_and_the_leeway() {
    let mut world = demoted();
    world.pass(secs(1));
    let (first, last) = (
        signed(&world, minutes(4), false),
        signed(&world, minutes(7), false),
    );
    world.report("a", 0, &[("key-1", last)]);
    world.report("b", 0, &[("key-1", first)]);
    let end = last.highest_exp.unwrap() + secs(60);
    world.turns_exactly_at(end, "key-1", State::Retiring, State::Retired);
}

#[test]
fn one_missing_ack_or_one_signature_in_flight_keeps_the_long_bound() {
    for in_flight in [false, true] {
        let mut world = demoted();
        let end = world.now + LONG;
        let usage = signed(&world, minutes(4), false);
        world.report("a", 0, &[("key-1", usage)]);
        if in_flight {
            world.report("b", 0, &[("key-1", signed(&world, minutes(4), true))]);
        }
        let version = world.set.version("key-1").unwrap();
        assert_eq!(
            retires_at(&world.set, version, &world.ctx()),
            Some(end),
            "in flight: {in_flight}"
        );
        world.turns_exactly_at(end, "key-1", State::Retiring, State::Retired);
    }
}

#[test]
fn a_drained_instance_that_never_acked_the_demotion_keeps_the_long_bound() {
    let mut world = demoted();
    let (now, end) = (world.now, world.now + LONG);
    let usage = signed(&world, minutes(4), false);
    world.report("a", 0, &[("key-1", usage)]);
    world.subscriber("b").drained(now);
    world.turns_exactly_at(end, "key-1", State::Retiring, State::Retired);
}

#[test]
fn an_instance_that_never_held_the_private_half_is_not_asked() {
    let mut world = demoted();
    world.connect("late");
    world.subscriber("late").acks.clear();
    let usage = signed(&world, minutes(4), false);
    ["a", "b"]
        .iter()
        .for_each(|name| world.report(name, 0, &[("key-1", usage)]));
    world.turns_exactly_at(
        usage.highest_exp.unwrap() + secs(60),
        "key-1",
        State::Retiring,
        State::Retired,
    );
}

#[test]
fn reports_never_move_retirement_beyond_the_long_bound() {
    let mut world = demoted();
    let end = world.now + LONG;
    let usage = signed(&world, minutes(600), false);
    ["a", "b"]
        .iter()
        .for_each(|name| world.report(name, 0, &[("key-1", usage)]));
    world.turns_exactly_at(end, "key-1", State::Retiring, State::Retired);
}

#[test]
fn a_demotion_that_nobody_reported_on_keeps_the_long_bound() {
    let mut world = demoted();
    let end = world.now + LONG;
    ["a", "b"].iter().for_each(|name| world.ack(name));
    world.turns_exactly_at(end, "key-1", State::Retiring, State::Retired);
}

#[test]
fn an_imported_key_never_retires_early_because_others_may_have_signed_with_it() {
    let mut world = World::signing();
    let key = world.key("ES256");
    world.import(key, keyring::ImportAs::Active, true).unwrap();
    world.connect("a");
    world.rotate(true).unwrap();
    let usage = signed(&world, minutes(4), false);
    world.report("a", 0, &[("key-2", usage)]);
    world.turns_exactly_at(world.now + LONG, "key-2", State::Retiring, State::Retired);
}

#[test]
fn a_record_is_kept_for_a_day_and_for_as_long_as_its_tokens_live() {
    let mut world = World::signing();
    world.connect("a");
    let (times, lease_end) = (world.times, world.subscriber("a").lease_end);
    let rows = [
        (minutes(60), Span::ZERO, Span::from_days(1)),
        (
            Span::from_days(7),
            Span::ZERO,
            Span::from_days(7) + secs(60),
        ),
        (
            minutes(60),
            Span::from_days(2),
            Span::from_days(2) + secs(5),
        ),
    ];
    for (lifetime, lead, kept) in rows {
        let forget_at = world.subscriber("a").forget_at(lifetime, lead, &times);
        assert_eq!(
            forget_at,
            lease_end + kept,
            "lifetime {lifetime}, lead {lead}"
        );
    }
}

#[test]
fn compaction_keeps_the_acks_that_marks_ask_for_and_the_last_one() {
    let mut world = World::signing();
    world.connect("a");
    let first = world.subscriber("a").first_epoch;
    for step in 1..10 {
        world.pass(secs(1));
        world.epoch = first + step * 2;
        let usage = signed(&world, minutes(1), false);
        world.report("a", 0, &[("key-1", usage), ("gone", usage)]);
    }
    let full = world.subscriber("a").clone();
    let mut small = full.clone();
    let wanted = [first + 3, first + 10];
    small.compact(wanted, |_, kid| kid == "key-1");
    for epoch in wanted {
        assert_eq!(
            small.first_ack_covering(epoch),
            full.first_ack_covering(epoch),
            "epoch {epoch}"
        );
    }
    assert_eq!(small.acked_epoch(), full.acked_epoch());
    assert_eq!(small.acks.len(), 3, "{:?}", small.acks);
    assert_eq!(small.usage["default"].keys().collect::<Vec<_>>(), ["key-1"]);
}

#[test]
fn a_late_ack_moves_nothing_back() {
    let mut world = demoted();
    world.report("a", 3, &[("key-1", signed(&world, minutes(4), false))]);
    let before = world.subscriber("a").clone();
    let late = Usage {
        highest_exp: None,
        in_flight: true,
    };
    let usage = vec![("default".to_owned(), "key-1".to_owned(), late)];
    let (at, epoch) = (world.now, world.epoch - 1);
    world.subscriber("a").ack(keyring::Ack {
        epoch,
        at,
        clock_offset_ms: 9_000,
        usage,
    });
    assert_eq!(*world.subscriber("a"), before);
}
