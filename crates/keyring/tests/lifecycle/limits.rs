//! How many versions a set takes.

use keyring::{
    ImportAs, MAX_USABLE_VERSIONS, MAX_VERSIONS, Refusal, State, Version, plan, request_rotation,
};

use crate::world::{World, minutes};

/// A set with an Active, a standby and Revoked versions, `versions` in all.
fn crowded(versions: usize) -> World {
    let mut world = World::signing().serving(&[]);
    let key = world.key("ES256");
    let end = world.now + minutes(60);
    world
        .import(key.clone(), ImportAs::Retiring { end }, false)
        .unwrap();
    world.revoke(&key.kid).unwrap();
    let revoked = world.set.version(&key.kid).unwrap().clone();
    for number in world.set.versions.len()..versions {
        let (kid, material) = (format!("old-{number}"), format!("old-material-{number}"));
        world.set.versions.push(Version {
            kid,
            material,
            ..revoked.clone()
        });
    }
    assert_eq!(world.set.versions.len(), versions);
    world
}

/// Every way in of another version is refused, and the plan asks for none.
#[track_caller]
fn takes_no_more(world: &mut World, refusal: &Refusal) {
    let end = world.now + minutes(60);
    for (enters, force) in [
        (ImportAs::Retiring { end }, false),
        (ImportAs::Active, true),
    ] {
        let key = world.key("ES256");
        assert_eq!(
            world.import(key, enters, force).as_ref(),
            Err(refusal),
            "{enters:?}"
        );
    }
    // The last standby is used up; no other follows.
    if world.standby().is_some() {
        world.rotate(true).unwrap();
    }
    assert_eq!(plan(&world.set, &world.ctx()), []);
    for force in [false, true] {
        let refused = request_rotation(&world.set, force, None, &world.ctx());
        assert_eq!(refused.as_ref(), Err(refusal), "force {force}");
    }
}

#[test]
fn a_set_full_of_usable_versions_takes_no_more_until_one_is_revoked() {
    let mut world = World::signing();
    while world.set.versions.len() < MAX_USABLE_VERSIONS {
        world.rotate(true).unwrap();
        world.settle();
    }
    takes_no_more(&mut world, &Refusal::TooManyUsable);
    let oldest = world.set.in_state(State::Retiring).next().unwrap();
    let oldest = oldest.kid.clone();
    world.revoke(&oldest).unwrap();
    world.settle();
    assert!(world.standby().is_some());
}

#[test]
fn a_set_with_the_most_versions_takes_no_more_in_whatever_state_they_are() {
    let mut world = crowded(MAX_VERSIONS);
    takes_no_more(&mut world, &Refusal::TooManyVersions);
    let prepared = world.key("ES256");
    assert_eq!(
        world.import(prepared, ImportAs::Prepared, false),
        Err(Refusal::TooManyVersions)
    );
}

#[test]
fn the_active_key_of_a_full_set_is_revoked_also_where_none_can_follow() {
    let mut world = crowded(MAX_VERSIONS);
    world.rotate(true).unwrap();
    let active = world.active().unwrap().to_owned();
    world.revoke(&active).unwrap();
    assert_eq!(
        (world.state(&active), world.active()),
        (State::Revoked, None)
    );
    assert_eq!(plan(&world.set, &world.ctx()), []);
}
