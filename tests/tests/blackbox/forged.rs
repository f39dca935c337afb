//! Tokens that say anything, soundly signed with keys that the key-manager has imported.

use std::sync::Arc;

use client_core::request::RejectReason;
use jose::algorithm::JwsAlgorithm;
use jose::base64url;
use jose::jwk::SecretJwk;
use jose::provider::Sign;
use jose_aws_lc::AwsLc;
use serde_json::{Value, json};

use crate::support::{AUDIENCE, ISSUER};

/// Signs with a key from outside.
pub(crate) struct Signer {
    kid: String,
    pub(crate) alg: &'static str,
    key: Arc<dyn Sign>,
}

impl Signer {
    pub(crate) fn new(alg: &'static str, jwk: &str) -> Self {
        let jwk = SecretJwk::parse(jwk.trim().as_bytes()).unwrap();
        let key = AwsLc
            .signing_key(JwsAlgorithm::parse(alg).unwrap(), &jwk.key)
            .unwrap();
        Self {
            kid: jwk.kid.unwrap().as_str().to_owned(),
            alg,
            key,
        }
    }

    /// A token that says anything, soundly signed.
    fn token(&self, header: &Value, claims: &str) -> String {
        let mut head = json!({"alg": self.alg, "kid": self.kid, "typ": "JWT"});
        for (name, value) in header.as_object().unwrap() {
            match value {
                Value::Null => head.as_object_mut().unwrap().remove(name),
                value => head
                    .as_object_mut()
                    .unwrap()
                    .insert(name.clone(), value.clone()),
            };
        }
        let input = format!(
            "{}.{}",
            base64url::encode(head.to_string()),
            base64url::encode(claims)
        );
        let mut signature = vec![0; self.key.signature_len()];
        self.key.sign(input.as_bytes(), &mut signature).unwrap();
        format!("{input}.{}", base64url::encode(&signature))
    }
}

/// Tokens by the reason for which they are refused; `None` for those that are believed.
pub(crate) fn table(
    signer: &Signer,
    now: u64,
) -> Vec<(&'static str, String, Option<RejectReason>)> {
    let claims = |more: &str| format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}"{more}}}"#);
    let exp = format!(r#","exp":{}"#, now + 600);
    let good = claims(&exp);
    let plain = |claims: &str| signer.token(&json!({}), claims);
    let head = |header: Value| signer.token(&header, &good);
    let sound = plain(&good);
    // a public key taken for a secret above all
    let other = if signer.alg == "HS256" {
        "ES256"
    } else {
        "HS256"
    };
    vec![
        ("sound", sound.clone(), None),
        (
            "a long number and an escape",
            plain(&claims(&format!(
                r#"{exp},"n":9007199254740993.10,"s":"\u00e9""#
            ))),
            None,
        ),
        (
            "audiences",
            plain(&format!(
                r#"{{"iss":"{ISSUER}","aud":["x","{AUDIENCE}"]{exp}}}"#
            )),
            None,
        ),
        (
            "application/jwt",
            head(json!({"typ": "application/jwt"})),
            None,
        ),
        (
            "no exp",
            plain(&claims("")),
            Some(RejectReason::ClaimInvalid),
        ),
        (
            "exp in words",
            plain(&claims(r#","exp":"tomorrow""#)),
            Some(RejectReason::ClaimInvalid),
        ),
        (
            "a negative exp",
            plain(&claims(r#","exp":-1"#)),
            Some(RejectReason::ClaimInvalid),
        ),
        (
            "sub as a number",
            plain(&claims(&format!(r#"{exp},"sub":7"#))),
            Some(RejectReason::ClaimInvalid),
        ),
        (
            "expired",
            plain(&claims(&format!(r#","exp":{}"#, now - 60))),
            Some(RejectReason::Expired),
        ),
        (
            "not yet",
            plain(&claims(&format!(r#"{exp},"nbf":{}"#, now + 300))),
            Some(RejectReason::NotYetValid),
        ),
        (
            "issued tomorrow",
            plain(&claims(&format!(r#"{exp},"iat":{}"#, now + 300))),
            Some(RejectReason::NotYetValid),
        ),
        (
            "another issuer",
            plain(&good.replace(ISSUER, "https://other")),
            Some(RejectReason::Issuer),
        ),
        (
            "another audience",
            plain(&good.replace(AUDIENCE, "https://other")),
            Some(RejectReason::Audience),
        ),
        (
            "a claim twice",
            plain(&claims(&format!(r#"{exp},"\u0065xp":1"#))),
            Some(RejectReason::Malformed),
        ),
        ("a list", plain("[]"), Some(RejectReason::Malformed)),
        (
            "claims over 12 KiB",
            plain(&claims(&format!(
                r#"{exp},"x":"{}""#,
                "x".repeat(12 * 1024)
            ))),
            Some(RejectReason::TooLarge),
        ),
        (
            "33 levels",
            plain(&claims(&format!(
                r#"{exp},"x":{}1{}"#,
                "[".repeat(33),
                "]".repeat(33)
            ))),
            Some(RejectReason::Malformed),
        ),
        (
            "another type",
            head(json!({"typ": "at+jwt"})),
            Some(RejectReason::Type),
        ),
        (
            "no type",
            head(json!({"typ": null})),
            Some(RejectReason::Type),
        ),
        (
            "crit",
            head(json!({"crit": ["x"], "x": 1})),
            Some(RejectReason::CriticalHeader),
        ),
        (
            "an empty crit",
            head(json!({"crit": []})),
            Some(RejectReason::CriticalHeader),
        ),
        (
            "alg none",
            head(json!({"alg": "none"})),
            Some(RejectReason::Algorithm),
        ),
        (
            "alg of another kind of key",
            head(json!({"alg": other})),
            Some(RejectReason::Algorithm),
        ),
        (
            "a cut signature",
            shortened(&sound),
            Some(RejectReason::Signature),
        ),
        (
            "no signature",
            format!("{}.", sound.rsplit_once('.').unwrap().0),
            Some(RejectReason::Signature),
        ),
    ]
}

/// The token with the last byte of its signature left out.
fn shortened(token: &str) -> String {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut signature = base64url::decode(signature).unwrap();
    signature.pop();
    format!("{input}.{}", base64url::encode(&signature))
}
