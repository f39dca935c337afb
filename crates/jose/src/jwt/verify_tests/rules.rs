use super::*;

#[test]
fn the_callers_demands_bind_on_top_of_the_sets() {
    use RejectReason as R;
    let token = good(GOOD);
    let unchecked = VerifyOptions {
        audience_unchecked: true,
        ..VerifyOptions::default()
    };
    for (name, options, verdict) in [
        ("unchecked", unchecked.clone(), Ok(())),
        (
            "same issuer",
            VerifyOptions {
                issuer: ISSUER.to_owned(),
                ..options()
            },
            Ok(()),
        ),
        (
            "other issuer",
            VerifyOptions {
                issuer: "https://other".to_owned(),
                ..options()
            },
            rejected(R::Issuer),
        ),
        (
            "other audience",
            VerifyOptions {
                audiences: vec!["x".to_owned()],
                ..VerifyOptions::default()
            },
            rejected(R::Audience),
        ),
        (
            "audience is checked where one is named",
            VerifyOptions {
                audiences: vec!["x".to_owned()],
                ..unchecked
            },
            rejected(R::Audience),
        ),
        (
            "own types",
            VerifyOptions {
                types: vec!["application/AT+jwt".to_owned()],
                ..options()
            },
            Ok(()),
        ),
        (
            "other types",
            VerifyOptions {
                types: vec!["JWT".to_owned()],
                ..options()
            },
            rejected(R::Type),
        ),
        (
            "its set",
            VerifyOptions {
                key_sets: vec!["a".to_owned(), "op/access-token".to_owned()],
                ..options()
            },
            Ok(()),
        ),
        (
            "other set",
            VerifyOptions {
                key_sets: vec!["op/id-token".to_owned()],
                ..options()
            },
            rejected(R::UnknownKey),
        ),
    ] {
        assert_eq!(judge_in(&view(), &token, options, NOW), verdict, "{name}");
    }
    let anyone = View {
        issuer: None,
        ..view()
    };
    let other = good(r#"{"iss":"https://other","aud":"b","exp":1700000300}"#);
    assert_eq!(judge_in(&anyone, &other, options(), NOW), Ok(()));
    assert_eq!(
        judge_in(
            &anyone,
            &other,
            VerifyOptions {
                issuer: ISSUER.to_owned(),
                ..options()
            },
            NOW
        ),
        rejected(R::Issuer)
    );
}

#[test]
fn a_token_without_kid_needs_one_set_with_one_key() {
    let anonymous = token(None, Some("at+jwt"), GOOD);
    let sets = |names: &[&str]| VerifyOptions {
        key_sets: names.iter().map(|name| (*name).to_owned()).collect(),
        ..options()
    };
    for (names, verdict) in [
        (&["op/access-token"][..], Ok(())),
        (&["op/id-token"], rejected(RejectReason::UnknownKey)),
        (
            &["op/access-token", "op/id-token"],
            rejected(RejectReason::UnknownKey),
        ),
        (&[], rejected(RejectReason::UnknownKey)),
    ] {
        assert_eq!(
            judge_in(&view(), &anonymous, sets(names), NOW),
            verdict,
            "{names:?}"
        );
    }
}

#[test]
fn hints_outlive_expiry_and_retirement_but_never_revocation() {
    use RejectReason as R;
    let hint = || VerifyOptions {
        purpose: Purpose::Hint,
        ..options()
    };
    for (kid, now, verdict) in [
        ("active", NOW + 300, Ok(())),
        ("active", NOW + 1299, Ok(())),
        ("active", NOW + 1300, rejected(R::Expired)),
        ("retired", NOW + 1299, Ok(())),
        ("retired", NOW + 1300, rejected(R::Expired)),
        ("revoked", NOW, rejected(R::KeyRevoked)),
        ("nobody", NOW, rejected(R::UnknownKey)),
    ] {
        let token = token(Some(kid), Some("at+jwt"), GOOD);
        assert_eq!(
            judge_in(&view(), &token, hint(), now),
            verdict,
            "{kid} {now}"
        );
        assert_ne!(
            judge_in(&view(), &token, options(), now.max(NOW + 300)),
            Ok(()),
            "{kid} {now} without hint"
        );
    }
    let revoked = good(&GOOD.replace(r#""jti":"j""#, r#""jti":"revoked""#));
    assert_eq!(
        judge_in(&view(), &revoked, hint(), NOW),
        rejected(R::Revoked)
    );
}

#[test]
fn a_revoked_key_of_a_set_that_is_not_accepted_is_an_unknown_one() {
    let token = token(Some("revoked"), Some("at+jwt"), GOOD);
    for (named, reason) in [
        (vec![], RejectReason::KeyRevoked),
        (vec!["op/access-token"], RejectReason::KeyRevoked),
        (vec!["op/id-token"], RejectReason::UnknownKey),
    ] {
        let demands = VerifyOptions {
            key_sets: named.iter().map(|name| (*name).to_owned()).collect(),
            ..options()
        };
        assert_eq!(
            judge_in(&view(), &token, demands, NOW),
            rejected(reason),
            "{named:?}"
        );
    }
}

#[test]
fn what_a_view_cannot_tell_is_no_verdict_but_a_malformed_token_is() {
    assert_eq!(
        judge(&token(Some("ask"), Some("at+jwt"), GOOD)),
        Err(NotVerified::AskService)
    );
    assert_eq!(
        judge(&raw(r#"{"alg":"none","kid":"ask"}"#, GOOD)),
        rejected(RejectReason::Algorithm)
    );
    assert_eq!(
        judge(&raw(r#"{"alg":"ES256","kid":"ask","crit":["a"]}"#, GOOD)),
        rejected(RejectReason::CriticalHeader)
    );
}

#[test]
fn a_view_that_cannot_tell_whether_a_token_was_revoked_neither_believes_nor_rejects_it() {
    let perhaps = good(&GOOD.replace(r#""jti":"j""#, r#""jti":"perhaps""#));
    assert_eq!(judge(&perhaps), Err(NotVerified::AskService));
    // what is wrong with it otherwise is said without asking
    assert_eq!(
        judge_in(&view(), &perhaps, options(), NOW + 300),
        rejected(RejectReason::Expired)
    );
}

#[test]
fn who_checks_signatures_elsewhere_has_nobody_to_ask_and_believes_nothing_doubtful() {
    let perhaps = good(&GOOD.replace(r#""jti":"j""#, r#""jti":"perhaps""#));
    let (view, rules) = (view(), VerifyRules::try_from(options()).unwrap());
    let (_question, pending) = begin(perhaps, &view, &rules).unwrap();
    let verdict = pending.settle_by_external_check(Ok(()), NOW);
    assert_eq!(verdict.map(drop), Err(RejectReason::Revoked));
}
