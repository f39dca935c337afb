use std::collections::BTreeMap;

use jose::revocation::{ENTRY_LEN, Entry, Filter, Id, NEVER, Table};
use proptest::prelude::*;

use crate::model::InsecureDigest;

fn entry(number: u32, issued_before: u32, forget_at: u32) -> Entry {
    Entry {
        id: Id::of_jti(&number.to_string(), &InsecureDigest),
        issued_before,
        forget_at,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Extend(Vec<(u32, u32, u32)>),
    Forget(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let forget_at = prop_oneof![9 => 0_u32..100, 1 => Just(NEVER)];
    let extend = proptest::collection::vec((0_u32..3000, 0_u32..50, forget_at), 0..700);
    let step =
        prop_oneof![3 => extend.prop_map(Step::Extend), 1 => (0_u32..100).prop_map(Step::Forget)];
    proptest::collection::vec(step, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_table_holds_what_a_map_holds(steps in steps()) {
        let (mut table, mut map) = (Table::default(), BTreeMap::<Id, Entry>::new());
        for step in steps {
            let before = table.clone();
            let shown: Vec<_> = before.iter().copied().collect();
            match step {
                Step::Extend(added) => {
                    let added: Vec<_> = added.into_iter().map(|(n, iat, end)| entry(n, iat, end)).collect();
                    for one in &added {
                        map.entry(one.id).and_modify(|known| *known = known.joined(*one)).or_insert(*one);
                    }
                    table.extend(added);
                }
                Step::Forget(until) => {
                    let gone = map.values().filter(|entry| entry.forget_at <= until).count();
                    map.retain(|_, entry| entry.forget_at > until);
                    prop_assert_eq!(table.forget(until), gone);
                }
            }
            prop_assert_eq!(table.iter().copied().collect::<Vec<_>>(), map.values().copied().collect::<Vec<_>>());
            prop_assert_eq!(table.len(), map.len());
            prop_assert!(map.values().all(|entry| entry.forget_at >= table.next_end()), "none is due unseen");
            prop_assert!(map.values().all(|entry| entry.issued_before <= table.latest()));
            for number in (0..3000).step_by(97) {
                let id = Id::of_jti(&number.to_string(), &InsecureDigest);
                prop_assert_eq!(table.get(&id), map.get(&id));
            }
            prop_assert_eq!(before.iter().copied().collect::<Vec<_>>(), shown, "a copy does not change");
        }
    }
}

#[test]
fn memory_grows_by_little_more_than_the_entries() {
    for count in [1_000, 10_000, 100_000] {
        let table: Table = (0..count).map(|number| entry(number, 0, 1)).collect();
        let (entries, memory) = (table.len() * ENTRY_LEN, table.memory());
        assert!(
            memory >= entries && memory < entries * 102 / 100 + 1024,
            "{count}: {memory}"
        );
    }
}

#[test]
fn a_filter_hits_everything_that_is_in_it_and_little_else() {
    for count in [1, 10, 1_000, 100_000] {
        let table: Table = (0..count).map(|number| entry(number, 0, 1)).collect();
        let filter = Filter::of(&table);
        assert!(table.iter().all(|entry| filter.hits(&entry.id)), "{count}");
        let strangers = (1_000_000..1_020_000).map(|number| entry(number, 0, 1).id);
        let hits = strangers.filter(|id| filter.hits(id)).count();
        // 0.8 % are expected; a tiny filter is rounded up to whole bytes and varies more
        assert!(
            hits < if count < 100 { 2_000 } else { 300 },
            "{count}: {hits} of 20000"
        );
        assert!(filter.bits().len() <= table.len() * 10 / 8 + 2);
    }
    assert!(
        !Filter::of(&Table::default()).hits(&entry(1, 0, 1).id),
        "of nothing, it hits nothing"
    );
}
