//! "Offsets spread over 5 s halt promotion, retirement and destruction, never revocation or force."

use keyring::{Due, State, Wait, clock_guard, due};

use crate::world::{World, minutes, secs};

/// Key 2 is due and has waited; only the clocks of `a` and `b` are in question.
fn ready(a: i64, b: i64) -> World {
    let mut world = World::signing().serving(&["a", "b"]);
    world.pass(minutes(16));
    world.report("a", a, &[]);
    world.report("b", b, &[]);
    world.rotate(false).unwrap();
    world
}

#[test]
fn a_spread_over_five_seconds_halts_promotion_and_says_so() {
    let rows = [
        (0, 0, false),
        (5_000, 0, false),
        (5_001, 0, true),
        (-5_000, 0, false),
        (-5_001, 0, true),
        (-2_500, 2_500, false),
        (-2_500, 2_501, true),
        // Both run ahead together: the decider's own clock counts too.
        (6_000, 6_000, true),
    ];
    for (a, b, halts) in rows {
        let mut world = ready(a, b);
        assert_eq!(clock_guard(&world.ctx()).halts(), halts, "{a} {b}");
        world.settle();
        let expected = if halts { "key-1" } else { "key-2" };
        assert_eq!(
            world.active(),
            Some(expected),
            "{a} {b}: {:?}",
            world.holding()
        );
        if halts {
            let holding = world.holding();
            assert!(
                matches!(holding[0].wait, Wait::Clocks { .. }),
                "{a} {b}: {holding:?}"
            );
            assert!(
                holding[0].subscribers.contains(&"a".to_owned()),
                "{a} {b}: {holding:?}"
            );
        }
    }
}

#[test]
fn a_spread_never_halts_revocation_or_force() {
    let mut world = ready(60_000, 0);
    world.rotate(true).unwrap();
    assert_eq!(world.active(), Some("key-2"));
    assert!(
        world.set.version("key-2").unwrap().forced.is_some(),
        "the clocks were skipped"
    );
    world.settle();
    world.revoke("key-2").unwrap();
    assert_eq!(
        (world.state("key-2"), world.active()),
        (State::Revoked, Some("key-3"))
    );
}

#[test]
fn a_spread_halts_retirement_until_the_clock_is_no_longer_fresh() {
    let mut world = World::signing().serving(&["a", "b"]);
    world.rotate(true).unwrap();
    let end = world.now + secs(5 * 60 + 3600 + 60);
    world.at(end);
    world.report("a", 6_000, &[]);
    world.settle();
    assert_eq!(world.state("key-1"), State::Retiring);
    let lease_end = world.subscriber("a").lease_end;
    world.turns_exactly_at(lease_end, "key-1", State::Retiring, State::Retired);
}

#[test]
fn dates_are_compared_with_the_slowest_fresh_clock() {
    for (offset, late) in [(-4_000, secs(4)), (4_000, secs(0))] {
        let mut world = World::signing().serving(&["a"]);
        world.rotate(false).unwrap();
        let over = world.now + minutes(15);
        world.pass(minutes(10));
        world.report("a", offset, &[]);
        assert_eq!(
            world.holding()[0].until,
            Some(over + late),
            "offset {offset}"
        );
        world.turns_exactly_at(over + late, "key-2", State::Prepared, State::Active);
    }
}

#[test]
fn without_a_fresh_ack_the_own_clock_decides() {
    let mut world = World::signing().serving(&["a"]);
    world.report("a", -60_000, &[]);
    world.rotate(false).unwrap();
    let over = world.now + minutes(15);
    assert!(world.subscriber("a").lease_end <= over);
    world.turns_exactly_at(over, "key-2", State::Prepared, State::Active);
}

#[test]
fn a_slow_clock_delays_a_symmetric_promotion_without_a_word_about_acks() {
    let mut world = World::symmetric();
    world.connect("a");
    world.report("a", -3_000, &[]);
    world.settle();
    assert_eq!(world.waits(), [Wait::Lead { wait: secs(0) }]);
    world.turns_exactly_at(world.now + secs(3), "key-1", State::Prepared, State::Active);
}

#[test]
fn retirement_and_the_cryptoperiod_also_go_by_the_slowest_fresh_clock() {
    let mut world = World::signing().serving(&["a"]);
    world.set.policy.cryptoperiod = Some(minutes(70));
    world.rotate(true).unwrap();
    let (retires, ends) = (
        world.now + secs(5 * 60 + 3600 + 60),
        world.now + minutes(70),
    );
    world.at(retires);
    world.report("a", -4_000, &[]);
    world.turns_exactly_at(retires + secs(4), "key-1", State::Retiring, State::Retired);
    world.at(ends);
    assert_eq!(due(&world.set, &world.ctx()), None);
    world.pass(secs(4));
    assert_eq!(due(&world.set, &world.ctx()), Some(Due::Cryptoperiod));
}
