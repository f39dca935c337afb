use jose::revocation::{Claim, Filter, Id, Match, Table, forget_at};
use proptest::prelude::*;

use crate::model::{Asked, InsecureDigest, Token, asked, token};

proptest! {
    #[test]
    fn a_token_is_revoked_exactly_where_some_revocation_says_so(
        asked in proptest::collection::vec(asked(), 0..12),
        tokens in proptest::collection::vec(token(), 1..12),
    ) {
        let table: Table = asked.iter().map(Asked::entry).collect();
        let filter = Filter::of(&table);
        for token in &tokens {
            let expected = asked.iter().any(|one| one.revokes(token));
            let (revoked, may) = token.with_facts(|facts| {
                (table.revokes(facts, &InsecureDigest), filter.may_revoke(facts, &InsecureDigest))
            });
            prop_assert_eq!(revoked, expected, "{:?}", token);
            prop_assert!(may || !revoked, "a filter misses nothing: {:?}", token);
        }
    }

    #[test]
    fn nothing_is_issued_inside_the_second_of_a_live_revocation(
        asked in proptest::collection::vec(asked(), 0..12), token in token(), now in 0_u64..25,
    ) {
        let asked: Vec<_> = asked.into_iter().filter(|one| one.jti.is_none()).collect();
        let table: Table = asked.iter().map(Asked::entry).collect();
        let iat = token.with_facts(|facts| table.first_free(facts, now, &InsecureDigest));
        prop_assert!(iat >= now);
        let issued = Token { iat: Some(iat), ..token.clone() };
        prop_assert!(!asked.iter().any(|one| one.revokes(&issued)), "{} is inside", iat);
        // and no later than it has to be
        if iat > now {
            let earlier = Token { iat: Some(iat - 1), ..token };
            prop_assert!(asked.iter().any(|one| one.revokes(&earlier)), "{} would do", iat - 1);
        }
    }
}

#[test]
fn claims_that_are_told_apart_have_ids_that_are() {
    let whole = |sub, sid, client| Match { sub, sid, client };
    let a = Some("a");
    let mut ids: Vec<Id> = [
        whole(a, None, None),
        whole(None, a, None),
        whole(None, None, a),
        whole(a, a, None),
        whole(a, None, a),
        whole(None, a, a),
        whole(a, a, a),
        whole(Some("aa"), Some(""), None),
        whole(Some(""), Some("aa"), None),
        whole(Some("a\0\u{1}a"), None, None),
    ]
    .iter()
    .map(|wanted| Id::of_match(wanted, &InsecureDigest).unwrap())
    .collect();
    ids.push(Id::of_jti("a", &InsecureDigest));
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    assert_eq!(
        Id::of_match(&Match::default(), &InsecureDigest),
        None,
        "nothing is compared"
    );
}

#[test]
fn an_id_says_what_it_compares_and_shows_no_value() {
    let wanted = Match {
        sub: Some("alice"),
        client: Some("shop"),
        ..Match::default()
    };
    let id = Id::of_match(&wanted, &InsecureDigest).unwrap();
    assert_eq!(Some(id.claim()), wanted.claim());
    assert!(id.claim().is_bound_in_time() && !Claim::JTI.is_bound_in_time());
    let shown = format!("{id:?} {wanted:?}");
    assert!(
        shown.contains("sub+client") && !shown.contains("alice") && !shown.contains("shop"),
        "{shown}"
    );
    assert_eq!(Id::from_bytes(*id.bytes()), Some(id));
    assert_eq!(Id::from_bytes([0xff; 16]), None);
}

#[test]
fn a_revocation_is_kept_until_no_leeway_and_no_hint_window_saves_its_tokens() {
    for (last_exp, hint_window, at) in [
        (1000, 0, 1065),
        (1000, 300, 1365),
        (u64::from(u32::MAX), 0, u32::MAX),
        (u64::MAX, u64::MAX, u32::MAX),
    ] {
        assert_eq!(
            forget_at(last_exp, hint_window),
            at,
            "{last_exp} {hint_window}"
        );
    }
}
