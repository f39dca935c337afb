//! Encryption sets: the private half is on every instance before anybody is told to encrypt to it.

use keyring::{Policy, Span, State, Times, Update, Wait};

use crate::world::{World, minutes, secs};

#[test]
fn an_encryption_key_is_promoted_past_t_without_a_lead() {
    let mut world = World::encryption();
    ["a", "b"].iter().for_each(|name| world.connect(name));
    world.rotate(true).unwrap();
    world.settle();
    world.rotate(false).unwrap();
    world.ack("a");
    world.settle();
    assert_eq!(
        (world.active(), world.waits()),
        (Some("key-1"), vec![Wait::Acks])
    );
    world.ack("b");
    world.settle();
    assert_eq!(world.active(), Some("key-2"));
    assert_eq!(world.set.version("key-2").unwrap().forced, None);
}

#[test]
fn an_encryption_key_retires_after_staleness_or_max_age_and_ciphertext_age_and_skew() {
    let rows = [
        (Times::DEFAULT, minutes(15)),
        (
            Times {
                jwks_cap: minutes(20),
                publication_lead: minutes(20),
                ..Times::DEFAULT
            },
            minutes(20),
        ),
    ];
    for (times, longer) in rows {
        let mut world = World::encryption();
        world.times = times;
        world.settle();
        let mut world = world.serving(&["a"]);
        world.rotate(false).unwrap();
        world.settle();
        assert_eq!(world.state("key-1"), State::Retiring);
        let end = world.now + longer + Span::from_days(1) + secs(5);
        world.turns_exactly_at(end, "key-1", State::Retiring, State::Retired);
    }
}

#[test]
fn a_raised_ciphertext_age_also_keeps_the_retiring_keys() {
    let mut world = World::encryption().serving(&["a"]);
    world.rotate(false).unwrap();
    world.settle();
    let end = world.now + minutes(15) + Span::from_days(3) + secs(5);
    let policy = Policy {
        max_ciphertext_age: Span::from_days(3),
        ..world.set.policy.clone()
    };
    world
        .update(Update {
            policy: Some(policy),
            ..Update::default()
        })
        .unwrap();
    world.turns_exactly_at(end, "key-1", State::Retiring, State::Retired);
}

#[test]
fn a_lowered_ciphertext_age_does_not_shorten_what_was_permitted() {
    let mut world = World::encryption().serving(&["a"]);
    let policy = Policy {
        max_ciphertext_age: minutes(1),
        ..world.set.policy.clone()
    };
    world
        .update(Update {
            policy: Some(policy),
            ..Update::default()
        })
        .unwrap();
    world.rotate(false).unwrap();
    world.settle();
    let end = world.now + minutes(15) + Span::from_days(1) + secs(5);
    world.turns_exactly_at(end, "key-1", State::Retiring, State::Retired);
}
