//! What a verifier must accept and refuse, over keys that secure nothing.

mod claims;
mod form;
mod rules;
mod split;

use super::*;
use crate::base64url;
use crate::jws::{EncodedHeader, sign};
use crate::provider::{Failed, Sign, Verify};

const NOW: u64 = 1_700_000_000;
const ISSUER: &str = "https://op.example.com";
const GOOD: &str = r#"{"iss":"https://op.example.com","aud":["rs","b"],"sub":"u","exp":1700000300,"iat":1700000000,"jti":"j"}"#;

/// NO SECURITY AT ALL: the "signature" is a checksum that anyone can compute.
#[derive(Debug)]
struct InsecureTestKey(JwsAlgorithm, u8);

impl InsecureTestKey {
    fn checksum(&self, message: &[u8]) -> [u8; 4] {
        let mix =
            |sum: u32, byte: &u8| sum.rotate_left(5) ^ u32::from(*byte).wrapping_mul(0x9E37_79B1);
        message.iter().fold(u32::from(self.1), mix).to_be_bytes()
    }
}

impl Sign for InsecureTestKey {
    fn algorithm(&self) -> JwsAlgorithm {
        self.0
    }

    fn signature_len(&self) -> usize {
        4
    }

    fn sign(&self, message: &[u8], signature: &mut [u8]) -> Result<(), Failed> {
        signature.copy_from_slice(&self.checksum(message));
        Ok(())
    }
}

impl Verify for InsecureTestKey {
    fn algorithm(&self) -> JwsAlgorithm {
        self.0
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Failed> {
        if signature == self.checksum(message) {
            Ok(())
        } else {
            Err(Failed)
        }
    }
}

const KEY: InsecureTestKey = InsecureTestKey(JwsAlgorithm::Es256, 1);
const OTHER: InsecureTestKey = InsecureTestKey(JwsAlgorithm::Es256, 2);
const RSA: InsecureTestKey = InsecureTestKey(JwsAlgorithm::Rs256, 3);

struct View {
    profile: Profile,
    issuer: Option<&'static str>,
}

impl View {
    fn found(
        &self,
        kid: &'static str,
        key: &'static InsecureTestKey,
        state: KeyState,
    ) -> Lookup<'_> {
        let (issuer, profile) = (self.issuer, &self.profile);
        Lookup::Found(TrustedKey {
            kid,
            key_set: "op/access-token",
            issuer,
            profile,
            state,
            algorithm: key.0,
            verifier: Verifier::Held(key),
        })
    }
}

impl Trust for View {
    fn key(&self, kid: &str) -> Lookup<'_> {
        match kid {
            "active" => self.found("active", &KEY, KeyState::Active),
            "prepared" => self.found("prepared", &KEY, KeyState::Prepared),
            "retiring" => self.found("retiring", &KEY, KeyState::Retiring),
            "retired" => self.found("retired", &KEY, KeyState::Retired),
            "other" => self.found("other", &OTHER, KeyState::Active),
            "rsa" => self.found("rsa", &RSA, KeyState::Active),
            "mixed up" => match self.found("mixed up", &KEY, KeyState::Active) {
                Lookup::Found(key) => Lookup::Found(TrustedKey {
                    verifier: Verifier::Held(&RSA),
                    ..key
                }),
                other => other,
            },
            "remote rsa" => match self.found("remote rsa", &RSA, KeyState::Active) {
                Lookup::Found(key) => Lookup::Found(TrustedKey {
                    verifier: Verifier::AskService,
                    ..key
                }),
                other => other,
            },
            "revoked" => Lookup::Revoked {
                key_set: "op/access-token",
            },
            "ask" => Lookup::AskService,
            _ => Lookup::Unknown,
        }
    }

    fn only_key(&self, key_set: &str, algorithm: JwsAlgorithm) -> Lookup<'_> {
        match (key_set, algorithm) {
            ("op/access-token", JwsAlgorithm::Es256) => {
                self.found("active", &KEY, KeyState::Active)
            }
            _ => Lookup::Unknown,
        }
    }

    fn standing(&self, claims: &Claims) -> Standing {
        match claims.jwt_id().as_deref() {
            Some("revoked") => Standing::Revoked,
            Some("perhaps") => Standing::AskService,
            _ => Standing::Stands,
        }
    }
}

fn view() -> View {
    let profile = Profile {
        types: vec!["at+jwt".to_owned()],
        expiry_optional: false,
        hint_window: 1000,
        max_lifetime: 3600,
    };
    View {
        profile,
        issuer: Some(ISSUER),
    }
}

fn options() -> VerifyOptions {
    VerifyOptions {
        audiences: vec!["x".to_owned(), "b".to_owned()],
        ..VerifyOptions::default()
    }
}

fn token(kid: Option<&str>, typ: Option<&str>, claims: &str) -> String {
    sign(
        &EncodedHeader::new(JwsAlgorithm::Es256, kid, typ, None),
        claims.as_bytes(),
        &KEY,
    )
    .unwrap()
}

fn good(claims: &str) -> String {
    token(Some("active"), Some("at+jwt"), claims)
}

fn judge_in(view: &View, token: &str, options: VerifyOptions, now: u64) -> Result<(), NotVerified> {
    let rules = VerifyRules::try_from(options).unwrap();
    verify(token, view, &rules, now).map(|_verified| ())
}

fn judge(token: &str) -> Result<(), NotVerified> {
    judge_in(&view(), token, options(), NOW)
}

fn rejected(reason: RejectReason) -> Result<(), NotVerified> {
    Err(NotVerified::Rejected(reason))
}

/// Header and claims as given, the signature right.
fn raw(header: &str, claims: &str) -> String {
    let input = format!(
        "{}.{}",
        base64url::encode(header),
        base64url::encode(claims)
    );
    let signature = base64url::encode(KEY.checksum(input.as_bytes()));
    format!("{input}.{signature}")
}
