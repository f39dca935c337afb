//! Random histories: commands, deliveries, lost acks, signatures, clocks and time, with the plan run to its
//! end after each step. What must hold is judged by a model of the instances that knows what each of them
//! really served and signed, not by the records that the plan reads.

use keyring::{Publish, Refusal, Use, plan};
use proptest::{collection::vec, prelude::*};

use crate::{
    model::History,
    world::{World, minutes},
};

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Pass(u64),
    Connect(i64),
    Deliver(usize),
    DeliverAndLoseTheAck(usize),
    Sign(usize, u64),
    Drain(usize),
    Rotate { force: bool },
    Revoke(usize),
    Destroy(usize, u64),
    Keep(usize),
    ImportPrepared,
    ImportRetiring(u64),
    ImportActive,
    MaxLifetime(u64),
    JwksCap(u64),
    Algorithm(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let who = any::<usize>();
    prop_oneof![
        8 => (0_u64..1_200).prop_map(Step::Pass),
        2 => Just(Step::Pass(5_400)),
        3 => (-2_000_i64..2_000).prop_map(Step::Connect),
        1 => prop_oneof![Just(-6_000_i64), Just(6_000)].prop_map(Step::Connect),
        12 => who.prop_map(Step::Deliver),
        3 => who.prop_map(Step::DeliverAndLoseTheAck),
        10 => (who, 1_u64..7_200).prop_map(|(who, lifetime)| Step::Sign(who, lifetime)),
        1 => who.prop_map(Step::Drain),
        4 => any::<bool>().prop_map(|force| Step::Rotate { force }),
        3 => Just(Step::Rotate { force: false }),
        1 => who.prop_map(Step::Revoke),
        2 => (who, 60_u64..7_200).prop_map(|(who, wait)| Step::Destroy(who, wait)),
        1 => who.prop_map(Step::Keep),
        1 => Just(Step::ImportPrepared),
        1 => (1_u64..7_200).prop_map(Step::ImportRetiring),
        1 => Just(Step::ImportActive),
        2 => (300_u64..7_200).prop_map(Step::MaxLifetime),
        1 => prop_oneof![Just(60_u64), Just(300), Just(1_800)].prop_map(Step::JwksCap),
        1 => any::<bool>().prop_map(Step::Algorithm),
    ]
}

const KINDS: [(Use, &str, Publish); 3] = [
    (Use::Sign, "ES256", Publish::Public),
    (Use::Sign, "HS256", Publish::None),
    (Use::Encrypt, "RSA-OAEP-256", Publish::Public),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_the_lifecycle(kind in 0_usize..3, steps in vec(step(), 1..160)) {
        let (key_use, algorithm, publish) = KINDS[kind];
        let mut history = History::new(key_use, algorithm, publish);
        steps.iter().for_each(|step| history.run(step));
    }
}

/// The property above would hold for a plan that does nothing: ordinary days see promotions and early
/// retirements, unforced.
#[test]
fn ordinary_days_see_planned_promotions_and_early_retirements() {
    let mut history = History::new(Use::Sign, "ES256", Publish::Public);
    history.run(&Step::Connect(100));
    history.run(&Step::Connect(-100));
    for _ in 0..20 {
        history.run(&Step::Rotate { force: false });
        for _ in 0..10 {
            for instance in 0..2 {
                history.run(&Step::Sign(instance, 300));
                history.run(&Step::Deliver(instance));
            }
            history.run(&Step::Pass(120));
        }
    }
    assert!(
        history.promotions >= 15,
        "{} promotions",
        history.promotions
    );
    assert!(history.early >= 10, "{} early retirements", history.early);
}

#[test]
fn replicas_that_race_on_one_record_plan_the_same() {
    let mut world = World::signing().serving(&["a"]);
    world.pass(minutes(15));
    world.rotate(false).unwrap();
    let (one, two) = (
        plan(&world.set, &world.ctx()),
        plan(&world.set, &world.ctx()),
    );
    assert_eq!((one.len(), &one), (1, &two));
    let stale = keyring::apply(&world.set, &one[0], None, &world.ctx());
    world.settle();
    let late = keyring::apply(&world.set, &one[0], None, &world.ctx());
    assert!(
        stale.is_ok(),
        "both see the same record; compare-and-swap picks one"
    );
    assert_eq!(late, Err(Refusal::Outdated));
}
