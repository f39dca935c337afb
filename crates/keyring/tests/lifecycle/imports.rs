//! Import: as Prepared, as Retiring with a given end, or with force as Active.

use keyring::{Cause, ImportAs, NewKey, Refusal, State};

use crate::world::{World, minutes, spec};

#[test]
fn an_import_as_prepared_revokes_the_old_standby_and_waits_afresh() {
    let mut world = World::signing().serving(&["a"]);
    world.pass(minutes(15));
    world.ack("a");
    let key = world.key("ES256");
    world.import(key, ImportAs::Prepared, false).unwrap();
    assert_eq!(
        (world.state("key-2"), world.standby()),
        (State::Revoked, Some("key-3"))
    );
    world.rotate(false).unwrap();
    world.settle();
    world.ack("a");
    world.turns_exactly_at(
        world.now + minutes(15),
        "key-3",
        State::Prepared,
        State::Active,
    );
}

#[test]
fn an_import_as_retiring_verifies_until_the_given_end() {
    let mut world = World::signing().serving(&["a"]);
    let (key, end) = (world.key("RS256"), world.now + minutes(90));
    world
        .import(key, ImportAs::Retiring { end }, false)
        .unwrap();
    let version = world.set.version("key-3").unwrap();
    assert!(world.set.in_jwks(version));
    assert_eq!(
        (world.active(), world.standby()),
        (Some("key-1"), Some("key-2"))
    );
    world.turns_exactly_at(end, "key-3", State::Retiring, State::Retired);
    let (key, now) = (world.key("RS256"), world.now);
    let past = world
        .import(key, ImportAs::Retiring { end: now }, false)
        .unwrap_err();
    assert!(past.to_string().starts_with("end: "), "{past}");
}

#[test]
fn an_import_as_active_needs_force_and_is_recorded() {
    let mut world = World::signing().serving(&["a"]);
    let key = world.key("PS256");
    assert_eq!(
        world.import(key.clone(), ImportAs::Active, false),
        Err(Refusal::ForceNeeded)
    );
    world.import(key, ImportAs::Active, true).unwrap();
    assert_eq!(
        (world.active(), world.state("key-1")),
        (Some("key-3"), State::Retiring)
    );
    assert_eq!(world.standby(), Some("key-2"), "the standby stays");
    assert_eq!(
        world
            .set
            .version("key-3")
            .unwrap()
            .forced
            .as_ref()
            .unwrap()
            .cause,
        Cause::Import
    );
}

#[test]
fn a_public_only_key_enters_as_retiring_and_never_signs() {
    let mut world = World::signing().serving(&["a"]);
    let key = NewKey {
        public_only: true,
        ..world.key("ES256")
    };
    for enters in [ImportAs::Prepared, ImportAs::Active] {
        let refused = world.import(key.clone(), enters, true).unwrap_err();
        assert!(
            refused.to_string().contains("RETIRING"),
            "{enters:?}: {refused}"
        );
    }
    let end = world.now + minutes(1);
    world
        .import(key, ImportAs::Retiring { end }, false)
        .unwrap();
    let version = world.set.version("key-3").unwrap();
    assert!(!world.set.may_sign(version));
    assert_eq!(world.set.fed(version), keyring::Fed::Public);
    let mut world = World::encryption();
    let key = NewKey {
        public_only: true,
        ..world.key("RSA-OAEP-256")
    };
    let end = world.now + minutes(1);
    assert!(
        world
            .import(key, ImportAs::Retiring { end }, false)
            .is_err(),
        "it would decrypt nothing"
    );
}

#[test]
fn a_kid_never_names_two_materials_and_no_key_enters_twice() {
    let mut world = World::signing().serving(&["a"]);
    let fresh = world.key("ES256");
    let rows = [
        (
            NewKey {
                kid: "key-1".to_owned(),
                ..fresh.clone()
            },
            Refusal::KidTaken("key-1".to_owned()),
        ),
        (
            NewKey {
                material: "material-1".to_owned(),
                ..fresh
            },
            Refusal::MaterialTaken("key-1".to_owned()),
        ),
    ];
    for (key, refusal) in rows {
        assert_eq!(world.import(key, ImportAs::Prepared, false), Err(refusal));
    }
}

#[test]
fn keys_that_do_not_fit_are_refused_by_field() {
    let mut world = World::signing();
    let key = world.key("ES256");
    let rows = [
        (
            NewKey {
                kid: String::new(),
                ..key.clone()
            },
            "kid",
        ),
        (
            NewKey {
                kid: "x".repeat(129),
                ..key.clone()
            },
            "kid",
        ),
        (
            NewKey {
                kid: "caf\u{e9}".to_owned(),
                ..key.clone()
            },
            "kid",
        ),
        (
            NewKey {
                algorithm: spec("dir").algorithm,
                ..key.clone()
            },
            "algorithm",
        ),
        (
            NewKey {
                enc: Some("A256GCM".to_owned()),
                ..key
            },
            "enc",
        ),
    ];
    for (key, field) in rows {
        let refused = world
            .import(key.clone(), ImportAs::Prepared, false)
            .unwrap_err();
        assert!(
            refused.to_string().starts_with(&format!("{field}: ")),
            "{key:?}: {refused}"
        );
    }
}
