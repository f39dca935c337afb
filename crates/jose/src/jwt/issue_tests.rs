use proptest::prelude::*;

use super::*;
use crate::jws::{EncodedHeader, UnsignedToken, UnverifiedJws};

const NOW: u64 = 1_700_000_000;

fn rules() -> IssueRules<'static> {
    IssueRules {
        issuer: Some("https://op.example.com"),
        now: NOW,
        lifetime: None,
        default_lifetime: 300,
        max_lifetime: 3600,
        expiry_optional: false,
        jti: Some("j-1"),
    }
}

fn fields(outcome: Result<PreparedClaims<'_>, Vec<Violation>>) -> Vec<&'static str> {
    outcome
        .map(|claims| claims.json())
        .unwrap_err()
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

#[test]
fn members_are_carried_over_as_written_and_completed() {
    for (given, expected) in [
        (
            "{}",
            r#"{"iss":"https://op.example.com","iat":1700000000,"exp":1700000300,"jti":"j-1"}"#,
        ),
        (
            " {\"amount\": 10.00,\"big\":123456789012345678901234567890,\"e\":1E400 , \"n\":{\"x\":[1.0]} } \n",
            "{\"amount\": 10.00,\"big\":123456789012345678901234567890,\"e\":1E400 , \"n\":{\"x\":[1.0]} ,\"iss\":\"https://op.example.com\",\"iat\":1700000000,\"exp\":1700000300,\"jti\":\"j-1\"}",
        ),
        (
            r#"{"iss":"https:\/\/op.example.com","jti":"mine","nbf":1700000001.5,"aud":["a","b"],"sub":"s"}"#,
            r#"{"iss":"https:\/\/op.example.com","jti":"mine","nbf":1700000001.5,"aud":["a","b"],"sub":"s","iat":1700000000,"exp":1700000300}"#,
        ),
    ] {
        let claims = PreparedClaims::prepare(given.as_bytes(), &rules()).unwrap();
        assert_eq!(claims.json(), expected);
        assert_eq!(
            (claims.issued_at(), claims.expires_at()),
            (NOW, Some(NOW + 300))
        );
        assert_eq!(
            claims.jti(),
            Some(if given.contains("mine") {
                "mine"
            } else {
                "j-1"
            })
        );
    }
}

#[test]
fn every_violation_is_reported_at_once() {
    let bad = br#"{"iat":1,"exp":"x","iss":7,"sub":null,"jti":[],"aud":[1],"nbf":"soon"}"#;
    let all = fields(PreparedClaims::prepare(
        bad,
        &IssueRules {
            lifetime: Some(3601),
            ..rules()
        },
    ));
    assert_eq!(
        all,
        [
            "lifetime",
            "claims.iat",
            "claims.exp",
            "claims.iss",
            "claims.sub",
            "claims.jti",
            "claims.nbf",
            "claims.aud"
        ]
    );
}

#[test]
fn each_field_is_judged() {
    for (claims, field) in [
        ("", "claims_json"),
        ("[]", "claims_json"),
        ("{} {}", "claims_json"),
        (r#"{"a":1,"\u0061":2}"#, "claims_json"),
        (r#"{"iss":"https://other.example.com"}"#, "claims.iss"),
        (r#"{"exp":1}"#, "claims.exp"),
        (r#"{"\u0065xp":1}"#, "claims.exp"),
        (r#"{"iat":1}"#, "claims.iat"),
        (r#"{"sub":1}"#, "claims.sub"),
        (r#"{"aud":{}}"#, "claims.aud"),
        (r#"{"aud":null}"#, "claims.aud"),
        (r#"{"nbf":-1}"#, "claims.nbf"),
        (r#"{"nbf":1e400}"#, "claims.nbf"),
        (r#"{"nbf":253402300800}"#, "claims.nbf"),
    ] {
        assert_eq!(
            fields(PreparedClaims::prepare(claims.as_bytes(), &rules())),
            [field],
            "{claims}"
        );
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(32), "]".repeat(32));
    assert_eq!(
        fields(PreparedClaims::prepare(deep.as_bytes(), &rules())),
        ["claims_json"]
    );
    let wide = |len: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(len - 8));
    assert_eq!(
        fields(PreparedClaims::prepare(
            wide(12 * 1024).as_bytes(),
            &rules()
        )),
        ["claims_json"]
    );
    assert_eq!(
        fields(PreparedClaims::prepare(
            wide(12 * 1024 + 1).as_bytes(),
            &rules()
        )),
        ["claims_json"]
    );
    assert!(PreparedClaims::prepare(wide(12 * 1024 - 200).as_bytes(), &rules()).is_ok());
}

#[test]
fn lifetimes_are_bounded_by_the_set() {
    for (lifetime, optional, exp) in [
        (None, false, Some(Some(NOW + 300))),
        (Some(1), false, Some(Some(NOW + 1))),
        (Some(3600), false, Some(Some(NOW + 3600))),
        (Some(3601), false, None),
        (Some(0), false, None),
        (Some(u64::MAX), true, None),
        (None, true, Some(None)),
        (Some(60), true, Some(Some(NOW + 60))),
    ] {
        let outcome = PreparedClaims::prepare(
            b"{}",
            &IssueRules {
                lifetime,
                expiry_optional: optional,
                ..rules()
            },
        );
        assert_eq!(
            outcome.ok().map(|claims| claims.expires_at()),
            exp,
            "{lifetime:?} {optional}"
        );
    }
}

#[test]
fn the_default_lifetime_is_no_way_around_the_maximum() {
    let rules = IssueRules {
        default_lifetime: 300,
        max_lifetime: 60,
        ..rules()
    };
    let claims = PreparedClaims::prepare(b"{}", &rules).unwrap();
    assert_eq!(claims.expires_at(), Some(NOW + 60));
}

#[test]
fn what_the_rules_do_not_ask_for_is_not_added() {
    let bare = IssueRules {
        issuer: None,
        jti: None,
        expiry_optional: true,
        ..rules()
    };
    let claims = PreparedClaims::prepare(br#"{"iss":"anyone"}"#, &bare).unwrap();
    assert_eq!(claims.json(), r#"{"iss":"anyone","iat":1700000000}"#);
    assert_eq!(claims.jti(), None);
}

#[test]
fn hashes_are_added_and_never_given_beside_them() {
    let hashes = TokenHashes {
        at_hash: Some("77QmUPtjPfzWtF2AnpK9RQ"),
        c_hash: Some("LDktKdoQak3Pk0cnXxCltA"),
    };
    let claims = PreparedClaims::prepare_with(br#"{"sub":"s"}"#, &rules(), hashes).unwrap();
    assert!(claims.json().ends_with(
        r#","jti":"j-1","at_hash":"77QmUPtjPfzWtF2AnpK9RQ","c_hash":"LDktKdoQak3Pk0cnXxCltA"}"#
    ));
    let given = br#"{"at_hash":"a","c\u005fhash":"b"}"#;
    assert!(PreparedClaims::prepare(given, &rules()).is_ok());
    let refused = PreparedClaims::prepare_with(given, &rules(), hashes);
    assert_eq!(fields(refused), ["claims.at_hash", "claims.c_hash"]);
    let only_code = TokenHashes {
        at_hash: None,
        ..hashes
    };
    let refused = PreparedClaims::prepare_with(given, &rules(), only_code);
    assert_eq!(fields(refused), ["claims.c_hash"]);
}

#[test]
fn claims_go_into_the_token_as_they_are() {
    for given in ["{}", r#" {"sub":"\u00e9","n":1.0 } "#, r#"{"jti":"mine"}"#] {
        let claims = PreparedClaims::prepare(given.as_bytes(), &rules()).unwrap();
        let header = EncodedHeader::new(JwsAlgorithm::Es256, None, None, None);
        let token = claims.unsigned(&header, 64).unwrap().finish(&[0; 64]);
        let parsed = UnverifiedJws::parse(&token, 1000).unwrap();
        assert_eq!(parsed.payload, claims.json().as_bytes(), "{given}");
    }
}

#[test]
fn no_step_of_a_token_shows_its_claims() {
    let planted = br#"{"sub":"planted","jti":"planted"}"#;
    let claims = PreparedClaims::prepare(planted, &rules()).unwrap();
    let header = EncodedHeader::new(JwsAlgorithm::Es256, None, None, None);
    let unsigned = UnsignedToken::new(&header, claims.json().as_bytes(), 64).unwrap();
    let shown = format!("{claims:?} {unsigned:?}");
    let payload = base64url::encode(claims.json());
    let token = unsigned.finish(&[0; 64]);
    let parsed = UnverifiedJws::parse(&token, 1000).unwrap();
    let shown = format!("{shown} {parsed:?}");
    let bytes = format!("{:?}", b"planted");
    for secret in ["planted", &payload, bytes.trim_matches(['[', ']'])] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

proptest! {
    #[test]
    fn prepared_claims_are_strict_json_whatever_was_given(text in "\\{[{}\\[\\],:\"a0\\\\ ]{0,20}\\}", issuer in "\\PC{1,10}") {
        let rules = IssueRules { issuer: Some(&issuer), ..rules() };
        if let Ok(claims) = PreparedClaims::prepare(text.as_bytes(), &rules) {
            let json = claims.json();
            let object = crate::json::Object::parse(json.as_bytes(), crate::limits::CLAIMS).unwrap();
            prop_assert_eq!(object.get("iss").unwrap().as_str().unwrap(), issuer);
            prop_assert!(object.get("exp").is_some());
        }
    }
}
