//! The state tables, row by row, and each invariant against a record that breaks it.

use keyring::{
    Fed, Forced, KeySet, Publish, Purpose, State, Use,
    invariants::{Violation, check, check_live_tokens, check_step},
};

use crate::world::{World, minutes, new_set, secs};

const STATES: [State; 6] = [
    State::Prepared,
    State::Active,
    State::Retiring,
    State::Retired,
    State::Revoked,
    State::Destroyed,
];

/// A set with one version, put into that state.
fn in_state(key_use: Use, algorithm: &str, publish: Publish, state: State) -> World {
    let mut world = World::of(new_set(key_use, algorithm, publish));
    world.set.profile.hint_window = minutes(10);
    let version = &mut world.set.versions[0];
    version.state = state;
    version.retired_at = (state == State::Retired).then_some(world.now);
    world
}

fn letters(world: &World) -> String {
    let (set, version) = (&world.set, &world.set.versions[0]);
    let hint = set.may_verify(version, Purpose::Hint, world.now);
    let rows = [
        (set.in_jwks(version), 'j'),
        (set.may_sign(version), 's'),
        (set.may_verify(version, Purpose::Access, world.now), 'v'),
        (hint, 'h'),
        (set.may_encrypt(version), 'e'),
        (set.may_decrypt(version), 'd'),
        (set.fed(version) == Fed::Public, 'p'),
        (set.fed(version) == Fed::Whole, 'W'),
    ];
    rows.iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, letter)| letter)
        .collect()
}

#[test]
fn the_tables_hold_row_by_row() {
    let rows = [
        (
            Use::Sign,
            "ES256",
            Publish::Public,
            ["jvhp", "jsvhW", "jvhp", "hp", "", ""],
        ),
        (
            Use::Sign,
            "ES256",
            Publish::Internal,
            ["vhp", "svhW", "vhp", "hp", "", ""],
        ),
        (
            Use::Sign,
            "HS256",
            Publish::None,
            ["vhW", "svhW", "vhW", "hW", "", ""],
        ),
        (
            Use::RawSign,
            "Ed25519",
            Publish::None,
            ["vhp", "svhW", "vhp", "", "", ""],
        ),
        (
            Use::Encrypt,
            "RSA-OAEP-256",
            Publish::Public,
            ["dW", "jedW", "dW", "", "", ""],
        ),
        (
            Use::Encrypt,
            "A256KW",
            Publish::None,
            ["dW", "edW", "dW", "", "", ""],
        ),
        (
            Use::Seal,
            "dir",
            Publish::None,
            ["dW", "edW", "dW", "", "", ""],
        ),
    ];
    for (key_use, algorithm, publish, expected) in rows {
        for (state, expected) in STATES.into_iter().zip(expected) {
            let world = in_state(key_use, algorithm, publish, state);
            assert_eq!(
                letters(&world),
                expected,
                "{key_use:?} {algorithm} {publish:?} {state:?}"
            );
        }
    }
}

#[test]
fn a_retired_key_verifies_hints_within_the_hint_window_only() {
    let mut world = in_state(Use::Sign, "ES256", Publish::Public, State::Retired);
    let (set, retired) = (&world.set, world.now);
    let version = &set.versions[0];
    assert!(set.may_verify(version, Purpose::Hint, retired + minutes(9)));
    assert!(!set.may_verify(version, Purpose::Hint, retired + minutes(10)));
    assert!(!set.may_verify(version, Purpose::Access, retired));
    world.set.profile.hint_window = secs(0);
    assert_eq!(letters(&world), "", "without a window nothing is fed");
}

#[test]
fn the_trust_of_clients_lists_internal_sets_and_jwks_does_not() {
    for (publish, trust, jwks) in [
        (Publish::None, false, false),
        (Publish::Internal, true, false),
        (Publish::Public, true, true),
    ] {
        let world = in_state(Use::Sign, "ES256", publish, State::Active);
        let version = &world.set.versions[0];
        assert_eq!(
            (world.set.in_trust(version), world.set.in_jwks(version)),
            (trust, jwks),
            "{publish:?}"
        );
    }
}

#[test]
fn states_go_forward_one_step_or_to_revoked() {
    let forward = |from: State, to: State| {
        let order = [
            State::Prepared,
            State::Active,
            State::Retiring,
            State::Retired,
        ];
        let place = |state: State| order.iter().position(|other| *other == state);
        match (place(from), place(to)) {
            (Some(from), Some(to)) => to == from + 1,
            (Some(_), None) => to == State::Revoked || from == State::Retired,
            (None, None) => from == State::Revoked && to == State::Destroyed,
            (None, Some(_)) => false,
        }
    };
    for from in STATES {
        for to in STATES {
            assert_eq!(from.may_become(to), forward(from, to), "{from:?} to {to:?}");
        }
    }
}

fn serving() -> World {
    let mut world = World::signing().serving(&["a"]);
    world.rotate(true).unwrap();
    world.settle();
    world
}

#[test]
fn a_record_that_breaks_an_invariant_is_named() {
    type Break = fn(&mut KeySet);
    let rows: [(Break, Violation); 6] = [
        (
            |set| set.versions[2].state = State::Active,
            Violation::ManyActive,
        ),
        (
            |set| set.versions[1].state = State::Prepared,
            Violation::ManyPrepared,
        ),
        (
            |set| set.versions[0].kid = "key-2".to_owned(),
            Violation::KidTwice("key-2".to_owned()),
        ),
        (
            |set| set.versions[2].material = "material-1".to_owned(),
            Violation::MaterialTwice("key-3".to_owned()),
        ),
        (
            |set| (set.versions[1].forced, set.versions[1].published_at) = (None, None),
            Violation::Unpublished("key-2".to_owned()),
        ),
        (
            |set| set.versions[1].public_only = true,
            Violation::PublicOnlyInUse("key-2".to_owned()),
        ),
    ];
    for (spoil, violation) in rows {
        let mut world = serving();
        assert_eq!(check(&world.set), []);
        spoil(&mut world.set);
        assert!(
            check(&world.set).contains(&violation),
            "{violation}: {:?}",
            check(&world.set)
        );
    }
}

#[test]
fn a_write_that_breaks_an_invariant_is_named() {
    type Break = fn(&mut KeySet);
    let back = |kid: &str, from, to| Violation::StateWentBack {
        kid: kid.to_owned(),
        from,
        to,
    };
    let rows: [(Break, Violation); 7] = [
        (
            |set| set.versions[0].state = State::Active,
            back("key-1", State::Retiring, State::Active),
        ),
        (
            |set| set.versions[2].state = State::Retired,
            back("key-3", State::Prepared, State::Retired),
        ),
        (
            |set| drop(set.versions.remove(0)),
            Violation::Vanished("key-1".to_owned()),
        ),
        (
            |set| set.versions[0].material = "other".to_owned(),
            Violation::OtherKey("key-1".to_owned()),
        ),
        (|set| set.epoch -= 1, Violation::WentBack),
        (|set| set.revision -= 1, Violation::WentBack),
        (
            |set| {
                set.versions[1].state = State::Retiring;
                set.versions[2].state = State::Active;
                set.versions[2].published_at = set.versions[2].activated_at;
            },
            Violation::Unpublished("key-3".to_owned()),
        ),
    ];
    for (spoil, violation) in rows {
        let world = serving();
        let mut after = world.set.clone();
        (after.epoch, after.revision) = (world.epoch + 1, after.revision + 1);
        assert_eq!(check_step(&world.set, &after, &world.ctx()), []);
        if violation == Violation::WentBack {
            after = world.set.clone();
        }
        spoil(&mut after);
        let found = check_step(&world.set, &after, &world.ctx());
        assert!(found.contains(&violation), "{violation}: {found:?}");
    }
}

#[test]
fn a_recorded_force_is_no_violation() {
    let world = serving();
    let mut after = world.set.clone();
    (after.epoch, after.revision) = (world.epoch + 1, after.revision + 1);
    after.versions[1].state = State::Retiring;
    after.versions[2].state = State::Active;
    after.versions[2].forced = Some(Forced {
        cause: keyring::Cause::Operator,
        at: world.now,
        skipped: world.holding(),
    });
    assert_eq!(check_step(&world.set, &after, &world.ctx()), []);
}

#[test]
fn a_live_token_whose_key_is_retired_is_a_violation_and_one_revoked_or_expired_is_not() {
    let mut world = serving();
    let live = world.now + secs(1);
    let lost = |world: &World, exp| check_live_tokens(&world.set, [("key-1", exp)], world.now);
    assert_eq!(lost(&world, live), []);
    world.set.versions[0].state = State::Retired;
    assert_eq!(
        lost(&world, live),
        [Violation::LiveTokenLost("key-1".to_owned())]
    );
    let expired = world.now;
    world.pass(secs(60));
    assert_eq!(lost(&world, expired), [], "the leeway is over");
    world.set.versions[0].revoked_at = Some(world.now);
    assert_eq!(lost(&world, live), []);
}
