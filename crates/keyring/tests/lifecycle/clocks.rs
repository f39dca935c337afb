//! "Offsets spread over 5 s halt promotion, retirement and destruction, never revocation or force."

use keyring::{Due, PeerClock, State, Wait, clock_guard, date, due};

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
fn who_hears_no_instance_still_hears_the_other_deciders() {
    for (offset_ms, halts) in [(-3_600_000, true), (-5_000, false), (5_001, true)] {
        let mut world = World::signing().serving(&["a"]);
        let serving = world.now;
        world.rotate(false).unwrap();
        let peer = PeerClock {
            name: "other#1".to_owned(),
            offset_ms,
        };
        world.peers.clocks.push(peer);
        // An hour ahead, every lease has ended, and no ack says anything.
        world.at(serving + minutes(60));
        world.settle();
        let expected = if halts { "key-1" } else { "key-2" };
        assert_eq!(world.active(), Some(expected), "{offset_ms}");
        if halts {
            let holding = world.holding();
            let mut clocks = holding
                .iter()
                .filter(|held| matches!(held.wait, Wait::Clocks { .. }));
            let held = clocks.next().unwrap_or_else(|| panic!("{holding:?}"));
            assert_eq!(held.subscribers, ["other#1"]);
            world.rotate(true).unwrap();
            assert_eq!(world.active(), Some("key-2"));
        }
    }
}

#[test]
fn dates_wait_for_the_slowest_of_the_other_deciders() {
    let mut world = World::signing().serving(&[]);
    world.connect("a");
    world.settle();
    world.rotate(false).unwrap();
    let over = world.now + minutes(15);
    world.peers.clocks.push(PeerClock {
        name: "other#1".to_owned(),
        offset_ms: -4_000,
    });
    world.at(over);
    assert_eq!(date(&world.ctx()), Some(over.shifted(-4_000)));
    world.turns_exactly_at(over + secs(4), "key-2", State::Prepared, State::Active);
}

#[test]
fn what_another_decider_measured_is_not_compared_with_what_this_one_did() {
    // Own clock 2 s fast, the other's 2 s slow; it received the ack of an instance that is 2 s fast.
    let mut world = ready(4_000, 0);
    world.peers.clocks.push(PeerClock {
        name: "other#1".to_owned(),
        offset_ms: -4_000,
    });
    let guard = clock_guard(&world.ctx());
    assert!(!guard.halts(), "{guard:?}");
    assert_eq!(guard.lowest_ms, -4_000);
}

#[test]
fn nothing_happens_by_date_while_a_decider_listens() {
    let mut world = ready(0, 0);
    world.peers.listening = true;
    world.settle();
    assert_eq!(world.active(), Some("key-1"));
    assert_eq!(world.waits(), [Wait::Peers]);
    assert_eq!(date(&world.ctx()), None);
    world.peers.listening = false;
    world.settle();
    assert_eq!(world.active(), Some("key-2"));
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
