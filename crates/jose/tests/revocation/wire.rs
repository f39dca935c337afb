use jose::revocation::{
    ENTRY_LEN, Entry, Filter, Id, MalformedEntries, MalformedFilter, Table, decode, encode,
};
use proptest::prelude::*;

use crate::model::{Asked, InsecureDigest, asked};

proptest! {
    #[test]
    fn entries_and_filters_come_back_as_they_were_sent(asked in proptest::collection::vec(asked(), 0..20)) {
        let entries: Vec<_> = asked.iter().map(Asked::entry).collect();
        let bytes = encode(entries.iter().copied());
        prop_assert_eq!(bytes.len(), entries.len() * ENTRY_LEN);
        prop_assert_eq!(decode(&bytes), Ok(entries.clone()));
        let filter = Filter::of(&entries.into_iter().collect::<Table>());
        prop_assert_eq!(Filter::from_parts(filter.bits().to_vec(), filter.claims()), Ok(filter));
    }

    #[test]
    fn what_is_no_list_of_entries_is_refused_whole(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        match decode(&bytes) {
            Ok(entries) => prop_assert_eq!(encode(entries), bytes),
            Err(MalformedEntries) => {
                let unknown = |entry: &[u8]| entry.len() != ENTRY_LEN || entry.get(15).is_none_or(|last| last & 0x0f > 7);
                prop_assert!(bytes.chunks(ENTRY_LEN).any(unknown));
            }
        }
    }
}

#[test]
fn the_form_of_an_entry_is_fixed() {
    let id = Id::of_jti("a", &InsecureDigest);
    let entry = Entry {
        id,
        issued_before: 0x0102_0304,
        forget_at: 0x0506_0708,
    };
    let bytes = encode([entry]);
    let (head, times) = bytes.split_at(16);
    assert_eq!(head, id.bytes());
    assert_eq!(times, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_filter_without_bits_or_of_unknown_claims_is_refused() {
    assert_eq!(Filter::from_parts(Vec::new(), 1), Err(MalformedFilter));
    assert_eq!(Filter::from_parts(vec![0], 256), Err(MalformedFilter));
    assert!(Filter::from_parts(vec![0], 255).is_ok());
}
