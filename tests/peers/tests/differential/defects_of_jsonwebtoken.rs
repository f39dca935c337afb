//! What jsonwebtoken 11 takes by default, and we refuse.

use jose::algorithm::JwsAlgorithm;
use jose::jwt::{RejectReason, VerifyOptions};
use jsonwebtoken::{Validation, decode};
use serde_json::Value;

use crate::ours::{self, EXP};
use crate::theirs;

/// Who the token is for and who made it, demanded on both sides.
const AUDIENCE: &str = "https://rp.example.com";
const ISSUER: &str = "https://op.example.com";

fn options() -> VerifyOptions {
    VerifyOptions {
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        ..VerifyOptions::default()
    }
}

fn claims(more: &str) -> String {
    format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","exp":{EXP}{more}}}"#)
}

fn header(more: &str) -> String {
    format!(r#"{{"alg":"ES256","kid":"{}"{more}}}"#, ours::KID)
}

#[test]
fn what_jsonwebtoken_accepts_by_default_is_refused_here_by_reason() {
    let jwk = ours::signing_key(JwsAlgorithm::Es256);
    let (_encoding, decoding) = theirs::jsonwebtoken_keys(JwsAlgorithm::Es256, &jwk);
    let mut validation = Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);

    let sound = header(r#","typ":"JWT""#);
    let good = ours::sign_raw(&jwk, &sound, &claims(""));
    assert!(decode::<Value>(&good, &decoding, &validation).is_ok());
    assert!(ours::verify(&jwk, &good, options()).is_ok());

    for (defect, header, claims, reason) in [
        (
            "unknown crit",
            header(r#","typ":"JWT","crit":["understand"],"understand":1"#),
            claims(""),
            RejectReason::CriticalHeader,
        ),
        (
            "crit that lists nothing that is there",
            header(r#","typ":"JWT","crit":["absent"]"#),
            claims(""),
            RejectReason::CriticalHeader,
        ),
        (
            "empty crit",
            header(r#","typ":"JWT","crit":[]"#),
            claims(""),
            RejectReason::CriticalHeader,
        ),
        (
            "b64",
            header(r#","typ":"JWT","b64":false"#),
            claims(""),
            RejectReason::CriticalHeader,
        ),
        (
            "another typ",
            header(r#","typ":"logout+jwt""#),
            claims(""),
            RejectReason::Type,
        ),
        ("no typ", header(""), claims(""), RejectReason::Type),
        (
            "no aud",
            sound.clone(),
            format!(r#"{{"iss":"{ISSUER}","exp":{EXP}}}"#),
            RejectReason::Audience,
        ),
        (
            "no iss",
            sound.clone(),
            format!(r#"{{"aud":"{AUDIENCE}","exp":{EXP}}}"#),
            RejectReason::Issuer,
        ),
        (
            "iss is a list",
            sound.clone(),
            format!(r#"{{"iss":["{ISSUER}","x"],"aud":"{AUDIENCE}","exp":{EXP}}}"#),
            RejectReason::ClaimInvalid,
        ),
        (
            "a private claim twice",
            sound.clone(),
            claims(r#","admin":false,"admin":true"#),
            RejectReason::Malformed,
        ),
        (
            "nbf ahead",
            sound.clone(),
            claims(&format!(r#","nbf":{EXP}"#)),
            RejectReason::NotYetValid,
        ),
        (
            "iat ahead",
            sound.clone(),
            claims(&format!(r#","iat":{EXP}"#)),
            RejectReason::NotYetValid,
        ),
        (
            "iat of the wrong type",
            sound,
            claims(r#","iat":"now""#),
            RejectReason::ClaimInvalid,
        ),
    ] {
        let token = ours::sign_raw(&jwk, &header, &claims);
        let theirs = decode::<Value>(&token, &decoding, &validation);
        assert!(
            theirs.is_ok(),
            "{defect}: jsonwebtoken refuses it now ({theirs:?}): {header} {claims}"
        );
        assert_eq!(
            ours::verify(&jwk, &token, options()),
            Err(reason),
            "{defect}: {header} {claims}"
        );
    }
}
