use super::*;

#[test]
fn claims_are_judged_by_type_and_range() {
    use RejectReason as R;
    let with =
        |member: &str| format!(r#"{{"iss":"{ISSUER}","aud":"b","exp":1700000300,{member}}}"#);
    let exp = |exp: &str| format!(r#"{{"iss":"{ISSUER}","aud":"b","exp":{exp}}}"#);
    for (claims, reason) in [
        (String::new(), R::Malformed),
        ("[]".to_owned(), R::Malformed),
        ("\"x\"".to_owned(), R::Malformed),
        (with(r#""exp":1700000300"#), R::Malformed),
        (with(r#""\u0065xp":1700000300"#), R::Malformed),
        (with(r#""a":{"b":1,"b":2}"#), R::Malformed),
        (
            with(&format!(r#""a":{}{}"#, "[".repeat(32), "]".repeat(32))),
            R::Malformed,
        ),
        (exp("NaN"), R::Malformed),
        (exp("-Infinity"), R::Malformed),
        (exp("01700000300"), R::Malformed),
        (exp("\"1700000300\""), R::ClaimInvalid),
        (exp("null"), R::ClaimInvalid),
        (exp("true"), R::ClaimInvalid),
        (exp("[1700000300]"), R::ClaimInvalid),
        (exp("1e400"), R::ClaimInvalid),
        (exp("-1"), R::ClaimInvalid),
        (exp("-1700000300"), R::ClaimInvalid),
        (exp("-0"), R::ClaimInvalid),
        (exp("253402300800"), R::ClaimInvalid),
        (exp("99999999999999999999999999"), R::ClaimInvalid),
        (
            format!(r#"{{"iss":"{ISSUER}","aud":"b"}}"#),
            R::ClaimInvalid,
        ),
        (with(r#""nbf":"1""#), R::ClaimInvalid),
        (with(r#""iat":"1""#), R::ClaimInvalid),
        (with(r#""sub":1"#), R::ClaimInvalid),
        (with(r#""jti":null"#), R::ClaimInvalid),
        (
            format!(r#"{{"iss":["{ISSUER}"],"aud":"b","exp":1700000300}}"#),
            R::ClaimInvalid,
        ),
        (
            format!(r#"{{"iss":"{ISSUER}","aud":["b",1],"exp":1700000300}}"#),
            R::ClaimInvalid,
        ),
        (r#"{"aud":"b","exp":1700000300}"#.to_owned(), R::Issuer),
        (
            r#"{"iss":"https://op.example.com/","aud":"b","exp":1700000300}"#.to_owned(),
            R::Issuer,
        ),
        (
            format!(r#"{{"iss":"{ISSUER}","exp":1700000300}}"#),
            R::Audience,
        ),
        (
            format!(r#"{{"iss":"{ISSUER}","aud":[],"exp":1700000300}}"#),
            R::Audience,
        ),
        (
            format!(r#"{{"iss":"{ISSUER}","aud":"B","exp":1700000300}}"#),
            R::Audience,
        ),
        (exp("1700000000"), R::Expired),
        (exp("1699999999.9"), R::Expired),
        (exp("1"), R::Expired),
        (exp("0"), R::Expired),
        (with(r#""nbf":1700000001"#), R::NotYetValid),
        (with(r#""nbf":1700000000.5"#), R::NotYetValid),
        (with(r#""iat":1700000006"#), R::NotYetValid),
        (with(r#""jti":"revoked""#), R::Revoked),
    ] {
        assert_eq!(judge(&good(&claims)), rejected(reason), "{claims}");
    }
    for claims in [
        exp("1700000001"),
        exp("1700000000.1"),
        exp("17.000003e8"),
        exp("253402300799"),
        with(r#""nbf":1700000000,"iat":1700000005"#),
        with(r#""iat":1"#),
    ] {
        assert_eq!(judge(&good(&claims)), Ok(()), "{claims}");
    }
}

#[test]
fn leeway_moves_every_edge_and_is_bounded() {
    let token = good(
        r#"{"iss":"https://op.example.com","aud":"b","exp":1700000000,"nbf":1699999000,"iat":1699999000}"#,
    );
    for (leeway, now, verdict) in [
        (0, NOW - 1, Ok(())),
        (0, NOW, rejected(RejectReason::Expired)),
        (60, NOW + 59, Ok(())),
        (60, NOW + 60, rejected(RejectReason::Expired)),
        (0, 1_699_998_999, rejected(RejectReason::NotYetValid)),
        (10, 1_699_998_990, Ok(())),
        (10, 1_699_998_989, rejected(RejectReason::NotYetValid)),
        (0, u64::MAX, rejected(RejectReason::Expired)),
        (60, 0, rejected(RejectReason::NotYetValid)),
    ] {
        assert_eq!(
            judge_in(
                &view(),
                &token,
                VerifyOptions {
                    leeway,
                    ..options()
                },
                now
            ),
            verdict,
            "{leeway} {now}"
        );
    }
    let fields = |options: VerifyOptions| -> Vec<_> {
        VerifyRules::try_from(options)
            .unwrap_err()
            .into_iter()
            .map(|violation: Violation| violation.field)
            .collect()
    };
    assert_eq!(
        fields(VerifyOptions {
            leeway: 61,
            types: vec![String::new()],
            ..VerifyOptions::default()
        }),
        ["leeway", "audiences", "types"]
    );
    assert_eq!(fields(VerifyOptions::default()), ["audiences"]);
    assert_eq!(
        fields(VerifyOptions {
            audiences: vec!["a".to_owned(), String::new()],
            key_sets: vec![String::new()],
            ..VerifyOptions::default()
        }),
        ["audiences", "key_sets"]
    );
}

#[test]
fn only_profiles_without_expiry_accept_a_token_without_exp() {
    let mut optional = view();
    optional.profile.expiry_optional = true;
    let claims = r#"{"iss":"https://op.example.com","aud":"b","iat":1700000000}"#;
    let hint = || VerifyOptions {
        purpose: Purpose::Hint,
        ..options()
    };
    assert_eq!(
        judge_in(&optional, &good(claims), options(), NOW + 1_000_000),
        Ok(())
    );
    let retired = token(Some("retired"), Some("at+jwt"), claims);
    assert_eq!(judge_in(&optional, &retired, hint(), NOW + 4599), Ok(()));
    assert_eq!(
        judge_in(&optional, &retired, hint(), NOW + 4600),
        rejected(RejectReason::Expired)
    );
    let no_iat = token(
        Some("retired"),
        Some("at+jwt"),
        r#"{"iss":"https://op.example.com","aud":"b"}"#,
    );
    assert_eq!(
        judge_in(&optional, &no_iat, hint(), NOW),
        rejected(RejectReason::Expired)
    );
}
