use proptest::prelude::*;

use super::*;

#[test]
fn a_good_token_gives_its_claims_as_written() {
    let rules = VerifyRules::try_from(options()).unwrap();
    let claims = verify(&good(GOOD), &view(), &rules, NOW).unwrap();
    assert_eq!(
        (claims.json(), claims.kid(), claims.key_set()),
        (GOOD, "active", "op/access-token")
    );
    assert_eq!(
        claims.header_json(),
        r#"{"alg":"ES256","typ":"at+jwt","kid":"active"}"#
    );
    assert_eq!(
        (
            claims.subject().unwrap().as_ref(),
            claims.issuer().unwrap().as_ref(),
            claims.jwt_id().unwrap().as_ref()
        ),
        ("u", ISSUER, "j")
    );
    assert_eq!(
        (
            claims.audiences(),
            claims.expires_at(),
            claims.issued_at(),
            claims.not_before()
        ),
        (
            vec!["rs".into(), "b".into()],
            Some(1_700_000_300),
            Some(NOW),
            None
        )
    );
}

#[test]
fn headers_that_attack_are_refused_by_reason() {
    use RejectReason as R;
    for (header, reason) in [
        (r#"{"alg":"none","kid":"active"}"#, R::Algorithm),
        (r#"{"alg":"None","kid":"active"}"#, R::Algorithm),
        (r#"{"alg":"","kid":"active"}"#, R::Algorithm),
        (r#"{"alg":"HS256","kid":"active"}"#, R::Algorithm),
        (r#"{"alg":"RS256","kid":"active"}"#, R::Algorithm),
        (r#"{"alg":"ES256","kid":"rsa"}"#, R::Algorithm),
        (r#"{"alg":"ES256","kid":"mixed up"}"#, R::Algorithm),
        (r#"{"alg":"ES256","kid":"remote rsa"}"#, R::Algorithm),
        (
            r#"{"alg":"ES256","kid":"other","typ":"at+jwt"}"#,
            R::Signature,
        ),
        (r#"{"alg":"ES256","kid":"nobody"}"#, R::UnknownKey),
        (r#"{"alg":"ES256","kid":""}"#, R::UnknownKey),
        (r#"{"alg":"ES256"}"#, R::UnknownKey),
        (
            r#"{"alg":"ES256","jwk":{"kty":"oct","k":"AA"}}"#,
            R::UnknownKey,
        ),
        (r#"{"alg":"ES256","kid":"revoked"}"#, R::KeyRevoked),
        (r#"{"alg":"ES256","kid":"retired"}"#, R::UnknownKey),
        (
            r#"{"alg":"ES256","kid":"active","crit":["exp"]}"#,
            R::CriticalHeader,
        ),
        (
            r#"{"alg":"ES256","kid":"active","crit":["b64"],"b64":false}"#,
            R::CriticalHeader,
        ),
        (
            r#"{"alg":"ES256","kid":"active","b64":true}"#,
            R::CriticalHeader,
        ),
        (
            r#"{"alg":"ES256","kid":"active","crit":[]}"#,
            R::CriticalHeader,
        ),
        (
            r#"{"alg":"ES256","kid":"active","kid":"active"}"#,
            R::Malformed,
        ),
        (
            r#"{"alg":"ES256","kid":"active","\u006bid":"other"}"#,
            R::Malformed,
        ),
        (r#"{"alg":"ES256","kid":7}"#, R::Malformed),
        (r#"{"alg":["ES256"],"kid":"active"}"#, R::Malformed),
        (r#"{"kid":"active"}"#, R::Malformed),
        (
            r#"{"alg":"ES256","kid":"active","x":[[[[]]]]}"#,
            R::Malformed,
        ),
        (r#"[]"#, R::Malformed),
        ("", R::Malformed),
        (r#"{"alg":"ES256","kid":"active"}"#, R::Type),
        (r#"{"alg":"ES256","kid":"active","typ":""}"#, R::Type),
        (r#"{"alg":"ES256","kid":"active","typ":"JWT"}"#, R::Type),
        (
            r#"{"alg":"ES256","kid":"active","typ":"logout+jwt"}"#,
            R::Type,
        ),
        (
            r#"{"alg":"ES256","kid":"active","typ":"x/at+jwt"}"#,
            R::Type,
        ),
    ] {
        assert_eq!(judge(&raw(header, GOOD)), rejected(reason), "{header}");
    }
    for header in [
        r#"{"alg":"ES256","kid":"active","typ":"AT+JWT"}"#,
        r#" { "alg" : "ES256" , "kid" : "acti\u0076e" , "typ" : "Application/at+jwt" } "#,
        r#"{"alg":"ES256","kid":"retiring","typ":"at+jwt","jku":"https://evil.example","x5u":"https://evil.example"}"#,
        r#"{"alg":"ES256","kid":"prepared","typ":"at+jwt"}"#,
    ] {
        assert_eq!(judge(&raw(header, GOOD)), Ok(()), "{header}");
    }
}

#[test]
fn the_form_is_judged_before_anything_else() {
    use RejectReason as R;
    let token = good(GOOD);
    let parts: Vec<_> = token.split('.').collect();
    let (h, p, s) = (parts[0], parts[1], parts[2]);
    for (text, reason) in [
        (String::new(), R::Malformed),
        (".".to_owned(), R::Malformed),
        ("..".to_owned(), R::Malformed),
        ("....".to_owned(), R::Malformed),
        (".".repeat(20 * 1024), R::Malformed),
        (".".repeat(20 * 1024 + 1), R::TooLarge),
        (format!("{h}.{p}"), R::Malformed),
        (format!("{h}.{p}.{s}."), R::Malformed),
        (format!("{h}.{p}.{s}.{s}.{s}"), R::Malformed),
        (format!("{token}="), R::Malformed),
        (format!("{token} "), R::Malformed),
        (format!(" {token}"), R::Malformed),
        (format!("{token}\n"), R::Malformed),
        (format!("{h}.{p}=.{s}"), R::Malformed),
        (format!("{h}.{p}.{s}A"), R::Signature),
        (format!("{h}.{p}.{}", trailing_bits(s)), R::Malformed),
        (format!("{h}.$.02.{s}"), R::Malformed),
        (format!("{h}.$02.{s}"), R::Malformed),
        (format!("{h}.{p}."), R::Signature),
        (format!("{h}..{s}"), R::Signature),
        (format!(".{p}.{s}"), R::Malformed),
        (format!("{h}.{p}.{}", "A".repeat(4096)), R::Signature),
        (format!("{}.{p}.{s}", "A".repeat(5600)), R::TooLarge),
        (format!("{h}.{}.{s}", "A".repeat(16388)), R::TooLarge),
        (format!("{h}.\u{e9}{p}.{s}"), R::Malformed),
    ] {
        assert_eq!(
            judge(&text),
            rejected(reason),
            "{}",
            text.chars().take(120).collect::<String>()
        );
    }
}

#[test]
fn header_and_claims_are_accepted_up_to_their_limits() {
    let header = |len: usize| {
        let start = r#"{"alg":"ES256","kid":"active","typ":"at+jwt","x":""#;
        format!("{start}{}\"}}", "x".repeat(len - start.len() - 2))
    };
    let claims = |len: usize| {
        let start = format!("{},\"x\":\"", GOOD.trim_end_matches('}'));
        format!("{start}{}\"}}", "x".repeat(len - start.len() - 2))
    };
    for (header_len, claims_len, verdict) in [
        (4096, 500, Ok(())),
        (4097, 500, rejected(RejectReason::TooLarge)),
        (100, 12_288, Ok(())),
        (100, 12_289, rejected(RejectReason::TooLarge)),
    ] {
        assert_eq!(
            judge(&raw(&header(header_len), &claims(claims_len))),
            verdict,
            "{header_len} {claims_len}"
        );
    }
}

#[test]
fn a_header_for_another_algorithm_signs_nothing() {
    let header = EncodedHeader::new(JwsAlgorithm::Rs256, None, None, None);
    assert!(sign(&header, b"{}", &KEY).is_err());
    let long = EncodedHeader::new(JwsAlgorithm::Es256, Some(&"x".repeat(5000)), None, None);
    assert!(sign(&long, b"{}", &KEY).is_err());
    let header = EncodedHeader::new(JwsAlgorithm::Es256, None, None, None);
    assert!(sign(&header, &[b'x'; 20 * 1024], &KEY).is_err());
}

/// The same bytes with the unused low bits of the last character set.
fn trailing_bits(part: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_ne!(part.len() % 4, 0, "{part} has no unused bits");
    let (head, last) = part.split_at(part.len() - 1);
    let at = ALPHABET
        .iter()
        .position(|byte| [*byte] == last.as_bytes())
        .unwrap();
    format!("{head}{}", char::from(ALPHABET[at + 1]))
}

proptest! {
    #[test]
    fn arbitrary_text_is_rejected_and_never_panics(text in "\\PC{0,200}") {
        prop_assert!(matches!(judge(&text), Err(NotVerified::Rejected(_))));
    }

    #[test]
    fn arbitrary_claims_under_a_good_signature_never_panic(claims in "\\{[\"expniatubf:0-9.eE+,\\[\\]{} -]{0,60}\\}") {
        let _ = judge(&good(&claims));
    }

    #[test]
    fn one_changed_character_is_never_accepted(at in 0_usize..1000, with in "[A-Za-z0-9_.=-]") {
        let token = good(GOOD);
        let at = at % token.len();
        let changed = format!("{}{with}{}", &token[..at], &token[at + 1..]);
        prop_assert!(changed == token || judge(&changed).is_err(), "{changed}");
    }
}
