//! "Revoking the Active promotes the standby in the same write, ready or not."

use keyring::{Cause, Purpose, Refusal, State, Usage, revoke};

use crate::world::{World, minutes};

#[test]
fn revoking_the_active_promotes_a_ready_standby_in_the_same_write_unforced() {
    let mut world = World::signing().serving(&["a"]);
    world.pass(minutes(15));
    world.ack("a");
    world.rotate(false).unwrap();
    let revision = world.set.revision;
    world.revoke("key-1").unwrap();
    assert_eq!(
        (world.state("key-1"), world.active()),
        (State::Revoked, Some("key-2"))
    );
    assert_eq!(world.set.revision, revision + 1, "one write");
    assert_eq!(world.set.version("key-2").unwrap().forced, None);
    assert_eq!(
        world.set.rotation_requested_at, None,
        "the rotation has happened"
    );
}

#[test]
fn revoking_the_active_promotes_an_unready_standby_and_records_it_as_forced() {
    let mut world = World::signing().serving(&["a"]);
    world.revoke("key-1").unwrap();
    assert_eq!(world.active(), Some("key-2"));
    let forced = world.set.version("key-2").unwrap().forced.clone().unwrap();
    assert_eq!(forced.cause, Cause::Revocation);
    assert!(!forced.skipped.is_empty());
}

#[test]
fn without_a_standby_the_revoking_write_brings_a_new_key() {
    let mut world = World::signing();
    world.rotate(true).unwrap();
    assert_eq!((world.active(), world.standby()), (Some("key-1"), None));
    let needed = revoke(&world.set, "key-1", None, &world.ctx()).unwrap_err();
    assert_eq!(
        needed,
        Refusal::KeyNeeded(Box::new(world.set.policy.key.clone()))
    );
    world.revoke("key-1").unwrap();
    assert_eq!(
        (world.state("key-1"), world.active()),
        (State::Revoked, Some("key-2"))
    );
    assert_eq!(
        world
            .set
            .version("key-2")
            .unwrap()
            .forced
            .as_ref()
            .unwrap()
            .cause,
        Cause::Revocation
    );
}

#[test]
fn a_set_of_public_only_keys_is_left_without_a_successor() {
    let mut world = World::signing();
    world.rotate(true).unwrap();
    world.set.policy.generate = false;
    world.revoke("key-1").unwrap();
    assert_eq!((world.settle(), world.active()), (Vec::new(), None));
    assert_eq!(world.rotate(false), Err(Refusal::NoStandby));
}

#[test]
fn revoking_a_standby_makes_a_new_one_and_leaves_the_active_alone() {
    let mut world = World::signing().serving(&["a"]);
    world.revoke("key-2").unwrap();
    world.settle();
    assert_eq!(
        (world.active(), world.standby()),
        (Some("key-1"), Some("key-3"))
    );
}

#[test]
fn every_state_but_destroyed_can_be_revoked_and_verifies_nothing_from_then_on() {
    let history = || {
        let mut world = World::signing().serving(&["a"]);
        world.rotate(true).unwrap();
        world.settle();
        world.pass(minutes(66));
        world.settle();
        world.rotate(true).unwrap();
        world.settle();
        world.set.profile.hint_window = minutes(600);
        world
    };
    let rows = [
        ("key-1", State::Retired),
        ("key-2", State::Retiring),
        ("key-3", State::Active),
        ("key-4", State::Prepared),
    ];
    for (kid, state) in rows {
        let mut world = history();
        assert_eq!(world.state(kid), state);
        world.revoke(kid).unwrap();
        let version = world.set.version(kid).unwrap();
        assert_eq!(
            (version.state, version.revoked_at),
            (State::Revoked, Some(world.now))
        );
        for purpose in [Purpose::Access, Purpose::Hint] {
            assert!(
                !world.set.may_verify(version, purpose, world.now),
                "{kid} for {purpose:?}"
            );
        }
        let revision = world.set.revision;
        world.revoke(kid).unwrap();
        assert_eq!(
            world.set.revision, revision,
            "revoking twice changes nothing"
        );
    }
    let mut world = history();
    world.set.versions[0].state = State::Destroyed;
    let destroyed = Refusal::WrongState {
        kid: "key-1".to_owned(),
        state: State::Destroyed,
    };
    assert_eq!(world.revoke("key-1"), Err(destroyed));
    assert_eq!(
        world.revoke("nobody"),
        Err(Refusal::UnknownKid("nobody".to_owned()))
    );
}

#[test]
fn neither_acks_nor_time_bring_a_revoked_key_back() {
    let mut world = World::signing().serving(&["a"]);
    world.revoke("key-1").unwrap();
    for _ in 0..20 {
        world.pass(minutes(7));
        world.report(
            "a",
            0,
            &[(
                "key-1",
                Usage {
                    highest_exp: Some(world.now),
                    in_flight: true,
                },
            )],
        );
        world.settle();
        assert_eq!(world.state("key-1"), State::Revoked);
    }
}
