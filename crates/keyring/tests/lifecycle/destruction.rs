//! "Retired, Revoked: left by the destruction date", in two steps.

use keyring::{
    Action, ImportAs, Profile, Refusal, SHORTEST_DESTRUCTION_WAIT, Span, State, Update, plan,
};

use crate::{
    history::Step,
    model::History,
    world::{MS, World, minutes, secs},
};

const DAY: Span = Span::from_days(1);

/// Key 1 is Revoked, key 2 Active.
fn revoked() -> World {
    let mut world = World::signing().serving(&["a"]);
    world.revoke("key-1").unwrap();
    world.settle();
    world
}

#[test]
fn only_what_is_out_of_use_is_scheduled_and_the_refusal_says_what_to_do() {
    let mut world = World::signing().serving(&["a"]);
    world.rotate(true).unwrap();
    world.settle();
    for (kid, state) in [
        ("key-1", State::Retiring),
        ("key-2", State::Active),
        ("key-3", State::Prepared),
    ] {
        let kid = kid.to_owned();
        let refused = Refusal::InUse {
            kid: kid.clone(),
            state,
        };
        assert_eq!(world.destroy(&kid, DAY).as_ref(), Err(&refused));
        assert_eq!(world.keep(&kid).as_ref(), Err(&refused));
        assert!(refused.to_string().contains("revoke it"), "{refused}");
    }
    let unknown = world.destroy("key-9", DAY);
    assert_eq!(unknown, Err(Refusal::UnknownKid("key-9".to_owned())));
}

#[test]
fn the_plan_destroys_on_the_date_and_not_before() {
    let mut world = revoked();
    world.destroy("key-1", DAY).unwrap();
    let date = world.now + DAY;
    assert_eq!(world.set.version("key-1").unwrap().destroy_at, Some(date));
    world.turns_exactly_at(date, "key-1", State::Revoked, State::Destroyed);
    let version = world.set.version("key-1").unwrap();
    assert_eq!(
        (version.destroyed_at, version.destroy_at),
        (Some(date), Some(date))
    );
}

#[test]
fn a_destruction_is_called_off_until_it_has_happened() {
    let mut world = revoked();
    world.destroy("key-1", DAY).unwrap();
    world.pass(Span::from_millis(DAY.as_millis() - 1));
    world.keep("key-1").unwrap();
    world.pass(DAY);
    assert_eq!(world.settle(), []);
    assert_eq!(world.state("key-1"), State::Revoked);
    let before = world.set.clone();
    world.keep("key-1").unwrap();
    assert_eq!(world.set, before, "there was nothing to call off");

    world.destroy("key-1", SHORTEST_DESTRUCTION_WAIT).unwrap();
    world.pass(SHORTEST_DESTRUCTION_WAIT);
    world.settle();
    let undone = world.keep("key-1");
    assert!(
        matches!(undone, Err(Refusal::WrongState { .. })),
        "{undone:?}"
    );
    world.destroy("key-1", DAY).unwrap();
    assert_eq!(
        world.state("key-1"),
        State::Destroyed,
        "again changes nothing"
    );
}

#[test]
fn a_later_request_replaces_the_date() {
    let mut world = revoked();
    world.destroy("key-1", minutes(10)).unwrap();
    world.destroy("key-1", minutes(20)).unwrap();
    let date = world.now + minutes(20);
    world.turns_exactly_at(date, "key-1", State::Revoked, State::Destroyed);
}

#[test]
fn the_wait_has_bounds() {
    let mut world = revoked();
    let rows = [
        (secs(0), false),
        (Span::from_millis(59_999), false),
        (secs(60), true),
        (Span::from_days(366), true),
        (Span::from_days(366) + MS, false),
    ];
    for (wait, fits) in rows {
        let scheduled = world.destroy("key-1", wait);
        assert_eq!(scheduled.is_ok(), fits, "{wait}: {scheduled:?}");
    }
}

#[test]
fn a_retired_key_outlives_its_hint_window() {
    let mut world = World::signing().serving(&["a"]);
    let profile = Profile {
        hint_window: minutes(120),
        ..Profile::default()
    };
    let change = Update {
        profile: Some(profile),
        ..Update::default()
    };
    world.update(change).unwrap();
    world.rotate(true).unwrap();
    world.pass(minutes(70));
    world.settle();
    assert_eq!(world.state("key-1"), State::Retired);
    let early = world.destroy("key-1", minutes(119));
    assert!(
        matches!(&early, Err(Refusal::Field { field: "wait", problem }) if problem.contains("7200 s")),
        "{early:?}"
    );
    world.destroy("key-1", minutes(120)).unwrap();
    let date = world.now + minutes(120);
    world.turns_exactly_at(date, "key-1", State::Retired, State::Destroyed);
}

#[test]
fn clocks_that_are_apart_halt_destruction() {
    let mut world = revoked();
    world.destroy("key-1", minutes(10)).unwrap();
    world.pass(minutes(10));
    world.report("a", 6_000, &[]);
    world.settle();
    assert_eq!(world.state("key-1"), State::Revoked);
    world.report("a", -4_000, &[]);
    let date = world.now + secs(4);
    world.turns_exactly_at(date, "key-1", State::Revoked, State::Destroyed);
}

#[test]
fn kid_and_material_stay_taken_for_ever() {
    let mut world = revoked();
    world.destroy("key-1", minutes(1)).unwrap();
    world.pass(minutes(1));
    world.settle();
    let gone = world.set.version("key-1").unwrap().clone();
    let end = world.now + minutes(60);
    let mut same_kid = world.key("ES256");
    same_kid.kid.clone_from(&gone.kid);
    let mut same_key = world.key("ES256");
    same_key.material.clone_from(&gone.material);
    let (by_kid, by_key) = (
        world.import(same_kid, ImportAs::Retiring { end }, false),
        world.import(same_key, ImportAs::Retiring { end }, false),
    );
    assert_eq!(by_kid, Err(Refusal::KidTaken(gone.kid.clone())));
    assert_eq!(by_key, Err(Refusal::MaterialTaken(gone.kid)));
}

#[test]
fn a_revocation_does_not_call_a_destruction_off() {
    let mut world = World::signing().serving(&["a"]);
    world.rotate(true).unwrap();
    world.pass(minutes(70));
    world.settle();
    world.destroy("key-1", minutes(10)).unwrap();
    let date = world.now + minutes(10);
    world.revoke("key-1").unwrap();
    world.turns_exactly_at(date, "key-1", State::Revoked, State::Destroyed);
    assert_eq!(plan(&world.set, &world.ctx()), []);
}

/// The histories would hold for a plan that destroys nothing.
#[test]
fn histories_with_dates_see_destructions() {
    let mut history = History::new(keyring::Use::Sign, "ES256", keyring::Publish::Public);
    history.run(&Step::Rotate { force: true });
    for _ in 0..5 {
        history.run(&Step::Revoke(history.active()));
        for which in 0..history.versions() {
            let revoked = history.is_revoked(which);
            if revoked {
                history.run(&Step::Destroy(which, 600));
            }
        }
        history.run(&Step::Pass(700));
    }
    assert_eq!(history.destroyed, 5);
    let mut world = revoked();
    world.destroy("key-1", minutes(1)).unwrap();
    world.pass(minutes(1));
    let planned = plan(&world.set, &world.ctx());
    let kid = "key-1".to_owned();
    assert_eq!(planned, [Action::Destroy { kid }]);
}
