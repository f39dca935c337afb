use super::*;

/// A view whose keys are names: somebody else checks with them.
struct Elsewhere<'t>(&'t View);

impl<'t> crate::jwt::View<'t> for Elsewhere<'t> {
    type Key = (&'t str, Option<JwsAlgorithm>);

    fn key(&self, kid: &str) -> Lookup<'t, Self::Key> {
        named(Trust::key(self.0, kid))
    }

    fn only_key(&self, key_set: &str, algorithm: JwsAlgorithm) -> Lookup<'t, Self::Key> {
        named(Trust::only_key(self.0, key_set, algorithm))
    }

    fn algorithm((_kid, algorithm): &Self::Key) -> Option<JwsAlgorithm> {
        *algorithm
    }

    fn standing(&self, claims: &Claims) -> Standing {
        self.0.standing(claims)
    }
}

fn named(lookup: Lookup<'_>) -> Lookup<'_, (&str, Option<JwsAlgorithm>)> {
    match lookup {
        Lookup::Unknown => Lookup::Unknown,
        Lookup::AskService => Lookup::AskService,
        Lookup::Revoked { key_set } => Lookup::Revoked { key_set },
        Lookup::Found(key) => Lookup::Found(TrustedKey {
            verifier: (
                key.kid,
                <&View as crate::jwt::View>::algorithm(&key.verifier),
            ),
            kid: key.kid,
            key_set: key.key_set,
            issuer: key.issuer,
            profile: key.profile,
            state: key.state,
            algorithm: key.algorithm,
        }),
    }
}

fn checked_by(kid: &str, message: &[u8], signature: &[u8]) -> Result<(), Failed> {
    let key = match kid {
        "rsa" => RSA,
        "other" => OTHER,
        _ => KEY,
    };
    key.verify(message, signature)
}

/// The verdict in two phases, the signature checked by `check`.
fn judged_apart(
    token: &str,
    options: VerifyOptions,
    check: impl FnOnce(&str, &[u8], &[u8]) -> Result<(), Failed>,
) -> Result<Verified<Claims>, NotVerified> {
    let (view, rules) = (view(), VerifyRules::try_from(options).unwrap());
    let (question, pending) = begin(token.to_owned(), Elsewhere(&view), &rules)?;
    let (kid, _algorithm) = *question.key();
    let outcome = check(kid, question.signing_input(), question.signature());
    Ok(pending.settle_by_external_check(outcome, NOW)?)
}

/// Tokens and what is wrong with them, one for each step.
fn tokens() -> Vec<(&'static str, String)> {
    let signed = |kid, typ, claims| token(Some(kid), Some(typ), claims);
    let expired = GOOD.replace("1700000300", "1700000000");
    let other_audience = GOOD.replace(r#""rs","b""#, r#""rs""#);
    let mut forged = good(GOOD);
    forged.replace_range(forged.len() - 3.., "AAA");
    vec![
        ("good", good(GOOD)),
        ("malformed", "a.b".to_owned()),
        ("critical", raw(r#"{"alg":"ES256","crit":["x"]}"#, GOOD)),
        ("algorithm", raw(r#"{"alg":"none"}"#, GOOD)),
        ("no kid", token(None, Some("at+jwt"), GOOD)),
        ("unknown key", signed("nobody", "at+jwt", GOOD)),
        ("retired", signed("retired", "at+jwt", GOOD)),
        ("revoked key", signed("revoked", "at+jwt", GOOD)),
        ("another key's", signed("other", "at+jwt", GOOD)),
        ("another algorithm's", signed("rsa", "at+jwt", GOOD)),
        ("mixed up", signed("mixed up", "at+jwt", GOOD)),
        ("ask", signed("ask", "at+jwt", GOOD)),
        (
            "remote",
            raw(r#"{"alg":"RS256","kid":"remote rsa","typ":"at+jwt"}"#, GOOD),
        ),
        ("forged", forged),
        ("type", signed("active", "JWT", GOOD)),
        ("claims", good("[]")),
        ("no exp", good("{}")),
        ("audience", good(&other_audience)),
        ("expired", good(&expired)),
        ("revoked", good(&GOOD.replace(r#""j""#, r#""revoked""#))),
    ]
}

#[test]
fn two_phases_give_the_verdict_of_one() {
    let hint = VerifyOptions {
        purpose: Purpose::Hint,
        ..options()
    };
    for (name, token) in tokens() {
        for options in [options(), hint.clone()] {
            let apart = judged_apart(&token, options.clone(), checked_by);
            let whole = judge_in(&view(), &token, options, NOW);
            assert_eq!(apart.map(drop), whole, "{name}");
        }
    }
}

#[test]
fn a_check_that_failed_never_yields_claims() {
    for (name, token) in tokens() {
        let verdict = judged_apart(&token, options(), |_, _, _| Err(Failed));
        let reason = verdict.map(drop).expect_err(name);
        let known_before = judge_in(&view(), &token, options(), NOW).err();
        let before = [
            NotVerified::AskService,
            RejectReason::Malformed.into(),
            RejectReason::CriticalHeader.into(),
            RejectReason::Algorithm.into(),
            RejectReason::UnknownKey.into(),
            RejectReason::KeyRevoked.into(),
        ];
        // what is refused before the signature keeps its reason; `claims` is malformed after it
        match known_before.filter(|reason| before.contains(reason) && name != "claims") {
            Some(same) => assert_eq!(reason, same, "{name}"),
            None => assert_eq!(reason, RejectReason::Signature.into(), "{name}"),
        }
    }
}

#[test]
fn a_check_that_passed_skips_nothing_else() {
    for (name, token) in tokens() {
        let verdict = judged_apart(&token, options(), |_, _, _| Ok(()));
        let whole = judge_in(&view(), &token, options(), NOW);
        let by_signature = whole == rejected(RejectReason::Signature);
        let expected = if by_signature { Ok(()) } else { whole };
        assert_eq!(verdict.map(drop), expected, "{name}");
    }
}

#[test]
fn the_question_is_about_the_tokens_own_bytes() {
    let (view, rules) = (view(), VerifyRules::try_from(options()).unwrap());
    let token = good(GOOD);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (question, pending) = begin(token.clone(), &view, &rules).unwrap();
    assert_eq!(question.signing_input(), signed.as_bytes());
    assert_eq!(question.signature(), base64url::decode(signature).unwrap());
    assert_eq!(
        (pending.kid(), pending.key_set()),
        ("active", "op/access-token")
    );
    let shown = format!("{question:?} {pending:?}");
    assert!(!shown.contains(signed) && !shown.contains("sub"), "{shown}");
    let (_key, message, of_parts) = question.into_parts();
    assert_eq!(message, signed);
    assert_eq!(of_parts, base64url::decode(signature).unwrap());
}

#[test]
fn the_parts_of_claims_are_what_was_signed() {
    let verified = judged_apart(&good(GOOD), options(), checked_by).unwrap();
    let whole = verified.clone();
    let parts = verified.into_inner().into_parts();
    assert_eq!(parts.json, GOOD);
    assert_eq!(parts.header_json, whole.header_json());
    assert_eq!(
        (parts.kid.as_str(), parts.key_set.as_str()),
        (whole.kid(), whole.key_set())
    );
    assert!(!format!("{parts:?}").contains("sub"));
}
