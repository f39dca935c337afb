//! Which calls cost alike, as far as a client can know. A class is a hint: a wrong one costs time and nothing else.
//!
//! | call | class | why |
//! | --- | --- | --- |
//! | verify | `alg` of the token's header, length of the signature | the algorithm, and for RSA the size of the key |
//! | decrypt | `alg` of the token's header, length of the encrypted key | the algorithm, and for RSA the size of the key |
//! | sign | that of the first key set whose tokens look alike; before there is one, its own | the client knows neither algorithm nor size beforehand |
//! | encrypt | likewise; `kty` and `crv` of a JWK | clients' keys are many and their kinds are few |
//!
//! So calls for any number of key sets share batches as soon as each set has answered once. Tokens look alike when their `alg` is
//! the same, and the length of what depends on the key. `alg` is peeked from the token as it
//! is sent. Nobody trusts it: the service picks the algorithm by the key.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{PoisonError, RwLock};

use crypto_proto::jwe::v1::encrypt_request::Recipient;

use crate::request::{Decrypt, Encrypt, EncryptedToken, Sign, SignedToken, Verify};

/// How much of a header is searched for its `alg`.
const PEEKED: usize = 384;

/// Key sets whose class is remembered, at most: 3 MiB. Beyond that all are forgotten, and learned again.
const REMEMBERED: usize = 1 << 17;

/// Tells classes, and learns those of key sets from their answers.
#[derive(Default)]
pub(crate) struct Classes {
    /// Names classes. Its keys are random, so that nobody can choose requests whose classes collide.
    hasher: RandomState,
    learned: RwLock<Knowledge>,
}

#[derive(Default)]
struct Knowledge {
    sets: HashMap<u64, Learned>,
    /// The class that stands for tokens which look so: that of the first set which gave one.
    looks: HashMap<u64, u64>,
}

/// What a key set has answered with.
#[derive(Clone, Copy)]
struct Learned {
    /// The key's id: as long as it answers there is nothing new to learn.
    kid: u64,
    class: u64,
}

impl Classes {
    pub(super) fn of_sign(&self, sign: &Sign) -> u64 {
        self.of_set(self.signer(sign))
    }

    pub(super) fn of_verify(&self, verify: &Verify) -> u64 {
        self.of_token(&verify.token, 2)
    }

    pub(super) fn of_decrypt(&self, decrypt: &Decrypt) -> u64 {
        self.of_token(decrypt.token(), 1)
    }

    pub(super) fn of_encrypt(&self, encrypt: &Encrypt) -> u64 {
        if let Some(set) = self.recipient(encrypt) {
            return self.of_set(set);
        }
        let wire = encrypt.as_wire();
        let Some(Recipient::RecipientJwk(jwk)) = &wire.recipient else {
            return self.hasher.hash_one(());
        };
        let kind = (member(jwk.as_bytes(), "kty"), member(jwk.as_bytes(), "crv"));
        self.hasher.hash_one((kind, &wire.alg))
    }

    pub(super) fn signed(&self, sign: &Sign, answer: &SignedToken) {
        self.learn(self.signer(sign), &answer.kid, || {
            self.of_token(&answer.token, 2)
        });
    }

    pub(super) fn encrypted(&self, encrypt: &Encrypt, answer: &EncryptedToken) {
        if let Some(set) = self.recipient(encrypt) {
            self.learn(set, &answer.kid, || self.of_token(&answer.token, 1));
        }
    }

    fn signer(&self, sign: &Sign) -> u64 {
        self.hasher.hash_one(sign.signer())
    }

    /// The key set, or the client, that stands for a key.
    fn recipient(&self, encrypt: &Encrypt) -> Option<u64> {
        let wire = encrypt.as_wire();
        match &wire.recipient {
            Some(Recipient::KeySet(name) | Recipient::ClientId(name)) => {
                Some(self.hasher.hash_one((&wire.tenant, name)))
            }
            Some(Recipient::RecipientJwk(_)) | None => None,
        }
    }

    fn of_set(&self, set: u64) -> u64 {
        self.known(set).map_or(set, |learned| learned.class)
    }

    fn known(&self, set: u64) -> Option<Learned> {
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        learned.sets.get(&set).copied()
    }

    fn learn(&self, set: u64, kid: &str, looks: impl FnOnce() -> u64) {
        let kid = self.hasher.hash_one(kid);
        if self.known(set).is_some_and(|known| known.kid == kid) {
            return;
        }
        let looks = looks();
        let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        if learned.sets.len() >= REMEMBERED {
            *learned = Knowledge::default();
        }
        let class = *learned.looks.entry(looks).or_insert(set);
        learned.sets.insert(set, Learned { kid, class });
    }

    /// By the header's `alg` and the length of the segment that is as long as the key.
    fn of_token(&self, token: &str, key_dependent: usize) -> u64 {
        let mut segments = token.split('.');
        let mut header = [0; PEEKED];
        let header = decode(segments.next().unwrap_or_default(), &mut header);
        let length = segments.nth(key_dependent - 1).map_or(0, str::len);
        self.hasher.hash_one((member(header, "alg"), length))
    }
}

/// The text of a member of a JSON object, as written; empty where it is not found.
fn member<'a>(json: &'a [u8], name: &str) -> &'a [u8] {
    let rest = json
        .windows(name.len() + 2)
        .position(|window| {
            window
                .strip_prefix(b"\"")
                .and_then(|rest| rest.strip_suffix(b"\""))
                == Some(name.as_bytes())
        })
        .and_then(|at| json.get(at + name.len() + 2..))
        .map(<[u8]>::trim_ascii_start)
        .and_then(|rest| rest.strip_prefix(b":"))
        .map(<[u8]>::trim_ascii_start)
        .and_then(|rest| rest.strip_prefix(b"\""));
    rest.and_then(|rest| rest.split(|byte| *byte == b'"').next())
        .unwrap_or_default()
}

/// The beginning of what a base64url segment holds, up to the first byte that belongs to none.
fn decode<'a>(segment: &str, out: &'a mut [u8; PEEKED]) -> &'a [u8] {
    let (mut bits, mut held, mut written) = (0_u32, 0_u32, 0_usize);
    for six in segment.bytes().map_while(sextet) {
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            let [.., byte] = (bits >> held).to_be_bytes();
            let Some(slot) = out.get_mut(written) else {
                break;
            };
            *slot = byte;
            written += 1;
        }
    }
    out.get(..written).unwrap_or_default()
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Recipient as To;
    use jose::base64url;

    fn token(header: &str, second: usize, third: usize) -> String {
        let header = base64url::encode(header);
        format!("{header}.{}.{}", "a".repeat(second), "b".repeat(third))
    }

    #[test]
    fn a_verification_is_classed_by_algorithm_and_size_of_the_signature() {
        let by = Classes::default();
        let of = |header: &str, third| by.of_verify(&Verify::any_audience(token(header, 9, third)));
        let rs256 = of(r#"{"alg":"RS256","kid":"one"}"#, 342);
        assert_eq!(rs256, of(r#"{ "kid":"two", "alg" : "RS256" }"#, 342));
        assert_ne!(rs256, of(r#"{"alg":"PS256","kid":"one"}"#, 342));
        assert_ne!(rs256, of(r#"{"alg":"RS256","kid":"one"}"#, 683));
        assert_eq!(of("{}", 1), of(r#"{"alg":7}"#, 1));
    }

    #[test]
    fn a_decryption_is_classed_by_algorithm_and_size_of_the_encrypted_key() {
        let by = Classes::default();
        let of = |header: &str, second, third| {
            by.of_decrypt(&Decrypt::new(token(header, second, third)))
        };
        let rsa = of(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#, 342, 16);
        assert_eq!(
            rsa,
            of(r#"{"enc":"A256GCM","alg":"RSA-OAEP-256"}"#, 342, 22)
        );
        assert_ne!(
            rsa,
            of(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#, 683, 16)
        );
        assert_ne!(rsa, of(r#"{"alg":"ECDH-ES","enc":"A256GCM"}"#, 342, 16));
    }

    #[test]
    fn a_signature_of_an_unknown_key_set_is_classed_by_tenant_and_key_set() {
        let by = Classes::default();
        let of = |tenant: &str, set: &str, claims: &str| {
            by.of_sign(&Sign::json(set, claims).tenant(tenant))
        };
        assert_eq!(of("a", "op/x", "{}"), of("a", "op/x", r#"{"b":1}"#));
        assert_ne!(of("a", "op/x", "{}"), of("a", "op/y", "{}"));
        assert_ne!(of("a", "op/x", "{}"), of("b", "op/x", "{}"));
    }

    #[test]
    fn an_encryption_is_classed_by_key_set_or_kind_of_key() {
        let by = Classes::default();
        let to = |recipient| by.of_encrypt(&Encrypt::new("payload", recipient));
        let set = |name: &str| to(To::KeySet(name.into()));
        let jwk = |json: &str| to(To::Jwk(json.into()));
        assert_eq!(set("op/encryption"), set("op/encryption"));
        assert_ne!(set("op/encryption"), set("op/other"));
        let p256 = jwk(r#"{"kty":"EC","crv":"P-256","x":"one"}"#);
        assert_eq!(p256, jwk(r#"{"x":"two","crv":"P-256","kty":"EC"}"#));
        assert_ne!(p256, jwk(r#"{"kty":"EC","crv":"P-521","x":"one"}"#));
        assert_ne!(p256, jwk(r#"{"kty":"RSA","n":"one"}"#));
    }

    fn answer(token: String, kid: &str) -> SignedToken {
        SignedToken {
            token,
            kid: kid.to_owned(),
            jti: String::new(),
            expires_at: None,
        }
    }

    #[test]
    fn key_sets_that_answered_alike_share_a_class_until_one_answers_otherwise() {
        let by = Classes::default();
        let sign = |set: &str| Sign::json(set, "{}");
        let es256 = || token(r#"{"alg":"ES256"}"#, 9, 86);
        let first = by.of_sign(&sign("op/x"));
        by.signed(&sign("op/x"), &answer(es256(), "one"));
        assert_eq!(by.of_sign(&sign("op/x")), first);
        assert_ne!(by.of_sign(&sign("op/x")), by.of_sign(&sign("op/y")));
        by.signed(&sign("op/y"), &answer(es256(), "two"));
        assert_eq!(by.of_sign(&sign("op/x")), by.of_sign(&sign("op/y")));

        let rs256 = token(r#"{"alg":"RS256"}"#, 9, 342);
        by.signed(&sign("op/y"), &answer(rs256, "three"));
        assert_ne!(by.of_sign(&sign("op/x")), by.of_sign(&sign("op/y")));
    }

    #[test]
    fn encryption_to_a_key_set_is_classed_by_what_it_gave() {
        let by = Classes::default();
        let to = |set: &str| Encrypt::new("payload", To::KeySet(set.into()));
        for (set, kid) in [("op/x", "one"), ("op/y", "two")] {
            let token = token(r#"{"alg":"RSA-OAEP-256"}"#, 342, 16);
            let kid = kid.to_owned();
            by.encrypted(&to(set), &EncryptedToken { token, kid });
        }
        assert_eq!(by.of_encrypt(&to("op/x")), by.of_encrypt(&to("op/y")));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let by = Classes::default();
        for number in 0..=REMEMBERED {
            by.learn(u64::try_from(number).unwrap(), "kid", || 7);
        }
        assert_eq!(by.learned.read().unwrap().sets.len(), 1);
        assert_eq!((by.of_set(3), by.of_set(1 << 17)), (3, 1 << 17));
    }

    #[test]
    fn no_token_is_too_strange_to_be_classed() {
        let by = Classes::default();
        let long = format!("{}.a.b", "A".repeat(100_000));
        for token in ["", ".", "...", "=.a.b", "\u{e9}.a.b", "e30", &long] {
            by.of_verify(&Verify::any_audience(token));
            by.of_decrypt(&Decrypt::new(token));
        }
        let mut out = [0; PEEKED];
        assert_eq!(decode(&long, &mut out).len(), PEEKED);
        for text in ["f", "fo", "foo", "{\"alg\":\"ES256\"}"] {
            assert_eq!(decode(&base64url::encode(text), &mut out), text.as_bytes());
        }
    }
}
