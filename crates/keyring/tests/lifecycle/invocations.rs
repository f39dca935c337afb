//! "An invocation budget (2^32, split over instances), and rotation before it runs out."

use keyring::{
    Due, ImportAs, Publish, Refusal, State, Use, due,
    invocations::{BUDGET, SHARE, grant_share, is_limited, wants_share},
};
use proptest::{collection::vec, prelude::*};

use crate::world::{World, minutes, new_set, spec};

fn sealed() -> World {
    World::of(new_set(Use::Encrypt, "dir", Publish::None)).serving(&["a"])
}

fn grant(world: &mut World, kid: &str) -> Result<(), Refusal> {
    let next = grant_share(&world.set, kid, &world.ctx());
    world.write(next)
}

#[test]
fn modes_with_random_96_bit_ivs_have_a_budget_and_no_others() {
    let rows = [
        ("dir", Some("A128GCM"), true),
        ("dir", Some("A256GCM"), true),
        ("dir", Some("A256CBC-HS512"), false),
        ("A128GCMKW", None, true),
        ("A256GCMKW", None, true),
        ("A256KW", None, false),
        ("RSA-OAEP-256", None, false),
        ("ECDH-ES", None, false),
    ];
    for (algorithm, enc, limited) in rows {
        let mut new = new_set(Use::Encrypt, algorithm, Publish::None);
        new.policy.key = spec(algorithm);
        let mut world = World::of(new);
        let version = world.set.versions.first_mut().unwrap();
        version.enc = enc.map(str::to_owned);
        assert_eq!(is_limited(version), limited, "{algorithm} {enc:?}");
        assert_eq!(wants_share(version, 0, 0), limited, "{algorithm} {enc:?}");
    }
}

#[test]
fn an_instance_wants_a_share_at_its_start_and_when_half_is_used() {
    let world = sealed();
    let active = world.set.active().unwrap();
    for (granted, used, wants) in [
        (0, 0, true),
        (SHARE, 0, false),
        (SHARE, SHARE / 2 - 1, false),
        (SHARE, SHARE / 2, true),
        (SHARE, SHARE, true),
        (2 * SHARE, SHARE - 1, false),
    ] {
        assert_eq!(
            wants_share(active, granted, used),
            wants,
            "{granted} {used}"
        );
    }
    let standby = world.set.standby().unwrap();
    assert!(
        wants_share(standby, 0, 0),
        "it is granted before it is needed"
    );
}

#[test]
fn half_of_the_budget_makes_a_rotation_due_and_the_other_half_bridges_it() {
    let mut world = sealed();
    for granted in 1..=BUDGET / SHARE {
        grant(&mut world, "key-1").unwrap();
        let expected = (granted * SHARE * 2 >= BUDGET).then_some(Due::Budget);
        assert_eq!(due(&world.set, &world.ctx()), expected, "{granted} shares");
    }
    let spent = grant(&mut world, "key-1");
    assert_eq!(spent, Err(Refusal::BudgetSpent("key-1".to_owned())));
    assert!(!wants_share(world.set.active().unwrap(), 0, 0));

    world.pass(minutes(1));
    world.ack("a");
    world.settle();
    assert_eq!(world.active(), Some("key-2"), "{:?}", world.holding());
    assert_eq!(
        due(&world.set, &world.ctx()),
        None,
        "the new key has a budget of its own"
    );
}

#[test]
fn keys_that_do_not_encrypt_are_granted_nothing() {
    let mut world = sealed();
    let key = world.key("dir");
    let end = world.now + minutes(60);
    world
        .import(key.clone(), ImportAs::Retiring { end }, false)
        .unwrap();
    assert!(!wants_share(world.set.version(&key.kid).unwrap(), 0, 0));
    let refused = grant(&mut world, &key.kid);
    assert!(
        matches!(
            refused,
            Err(Refusal::WrongState {
                state: State::Retiring,
                ..
            })
        ),
        "{refused:?}"
    );
    let unknown = grant(&mut world, "key-99");
    assert_eq!(unknown, Err(Refusal::UnknownKid("key-99".to_owned())));
    let mut unlimited = World::encryption().serving(&["a"]);
    assert!(grant(&mut unlimited, "key-1").is_err());
}

/// One instance of the model: what it may make, and what it has made.
#[derive(Clone, Copy, Debug, Default)]
struct Instance {
    granted: u64,
    used: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Start,
    /// The instance encrypts so often, as far as it may.
    Encrypt(usize, u64),
    /// It reports, and is granted what it wants.
    Renew(usize),
    /// A grant is stored, and the instance never hears of it.
    LoseTheGrant(usize),
    Rotate,
}

fn step() -> impl Strategy<Value = Step> {
    let who = any::<usize>();
    prop_oneof![
        2 => Just(Step::Start),
        8 => (who, 0..2 * SHARE).prop_map(|(who, times)| Step::Encrypt(who, times)),
        8 => who.prop_map(Step::Renew),
        2 => who.prop_map(Step::LoseTheGrant),
        1 => Just(Step::Rotate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However instances start, encrypt, die and lose grants: no key encrypts more often than its mode bears.
    #[test]
    fn no_history_overdraws_a_key(steps in vec(step(), 1..600)) {
        let mut world = sealed();
        let (mut instances, mut made) = (Vec::<Instance>::new(), 0);
        for step in steps {
            let active = world.active().unwrap().to_owned();
            let version = |world: &World| world.set.version(&active).unwrap().clone();
            match step {
                Step::Start => instances.push(Instance::default()),
                Step::Encrypt(who, times) => {
                    let count = instances.len();
                    if let Some(instance) = who.checked_rem(count).and_then(|i| instances.get_mut(i)) {
                        let times = times.min(instance.granted - instance.used);
                        instance.used += times;
                        made += times;
                    }
                }
                Step::Renew(who) => {
                    let count = instances.len();
                    if let Some(instance) = who.checked_rem(count).and_then(|i| instances.get_mut(i))
                        && wants_share(&version(&world), instance.granted, instance.used)
                    {
                        grant(&mut world, &active).unwrap();
                        instance.granted += SHARE;
                    }
                }
                Step::LoseTheGrant(who) => {
                    if who.checked_rem(instances.len()).is_some() {
                        let _spent = grant(&mut world, &active);
                    }
                }
                Step::Rotate => {
                    world.rotate(true).unwrap();
                    world.settle();
                    instances.clear();
                    made = 0;
                }
            }
            let active = world.active().unwrap();
            let granted = world.set.version(active).unwrap().invocations_granted;
            prop_assert!(made <= granted && granted <= BUDGET, "{} of {}", made, granted);
        }
    }
}
