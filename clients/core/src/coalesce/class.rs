//! Which calls cost alike, as far as a client can know. A class is a hint: a wrong one costs time and nothing else.
//!
//! | call | class | why |
//! | --- | --- | --- |
//! | sign | tenant and key set | one Active key signs for a set, and the client knows neither its algorithm nor its size |
//! | verify | `alg` of the token's header, length of the signature | the algorithm, and for RSA the size of the key |
//! | encrypt | tenant and key set; `kty` and `crv` of a JWK | clients' keys are many and their kinds are few |
//! | decrypt | `alg` of the token's header, length of the encrypted key | the algorithm, and for RSA the size of the key |
//!
//! `alg` is peeked from the token as it is sent. Nobody trusts it: the service picks the algorithm by the key.

use std::hash::{BuildHasher as _, RandomState};

use crypto_proto::jwe::v1::encrypt_request::Recipient;

use crate::request::{Decrypt, Encrypt, Sign, Verify};

/// How much of a header is searched for its `alg`.
const PEEKED: usize = 384;

pub(super) fn of_sign(sign: &Sign, hasher: &RandomState) -> u64 {
    hasher.hash_one(sign.signer())
}

pub(super) fn of_verify(verify: &Verify, hasher: &RandomState) -> u64 {
    of_token(&verify.token, 2, hasher)
}

pub(super) fn of_decrypt(decrypt: &Decrypt, hasher: &RandomState) -> u64 {
    of_token(decrypt.token(), 1, hasher)
}

pub(super) fn of_encrypt(encrypt: &Encrypt, hasher: &RandomState) -> u64 {
    let wire = encrypt.as_wire();
    match &wire.recipient {
        Some(Recipient::RecipientJwk(jwk)) => {
            let kind = (member(jwk.as_bytes(), "kty"), member(jwk.as_bytes(), "crv"));
            hasher.hash_one((kind, &wire.alg))
        }
        Some(Recipient::KeySet(name) | Recipient::ClientId(name)) => {
            hasher.hash_one((&wire.tenant, name))
        }
        None => hasher.hash_one(()),
    }
}

/// By the header's `alg` and the length of the segment that is as long as the key.
fn of_token(token: &str, key_dependent: usize, hasher: &RandomState) -> u64 {
    let mut segments = token.split('.');
    let mut header = [0; PEEKED];
    let header = decode(segments.next().unwrap_or_default(), &mut header);
    let length = segments.nth(key_dependent - 1).map_or(0, str::len);
    hasher.hash_one((member(header, "alg"), length))
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
        let by = RandomState::new();
        let of =
            |header: &str, third| of_verify(&Verify::any_audience(token(header, 9, third)), &by);
        let rs256 = of(r#"{"alg":"RS256","kid":"one"}"#, 342);
        assert_eq!(rs256, of(r#"{ "kid":"two", "alg" : "RS256" }"#, 342));
        assert_ne!(rs256, of(r#"{"alg":"PS256","kid":"one"}"#, 342));
        assert_ne!(rs256, of(r#"{"alg":"RS256","kid":"one"}"#, 683));
        assert_eq!(of("{}", 1), of(r#"{"alg":7}"#, 1));
    }

    #[test]
    fn a_decryption_is_classed_by_algorithm_and_size_of_the_encrypted_key() {
        let by = RandomState::new();
        let of = |header: &str, second, third| {
            of_decrypt(&Decrypt::new(token(header, second, third)), &by)
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
    fn a_signature_is_classed_by_tenant_and_key_set() {
        let by = RandomState::new();
        let of = |tenant: &str, set: &str, claims: &str| {
            of_sign(&Sign::json(set, claims).tenant(tenant), &by)
        };
        assert_eq!(of("a", "op/x", "{}"), of("a", "op/x", r#"{"b":1}"#));
        assert_ne!(of("a", "op/x", "{}"), of("a", "op/y", "{}"));
        assert_ne!(of("a", "op/x", "{}"), of("b", "op/x", "{}"));
    }

    #[test]
    fn an_encryption_is_classed_by_key_set_or_kind_of_key() {
        let by = RandomState::new();
        let to = |recipient| of_encrypt(&Encrypt::new("payload", recipient), &by);
        let set = |name: &str| to(To::KeySet(name.into()));
        let jwk = |json: &str| to(To::Jwk(json.into()));
        assert_eq!(set("op/encryption"), set("op/encryption"));
        assert_ne!(set("op/encryption"), set("op/other"));
        let p256 = jwk(r#"{"kty":"EC","crv":"P-256","x":"one"}"#);
        assert_eq!(p256, jwk(r#"{"x":"two","crv":"P-256","kty":"EC"}"#));
        assert_ne!(p256, jwk(r#"{"kty":"EC","crv":"P-521","x":"one"}"#));
        assert_ne!(p256, jwk(r#"{"kty":"RSA","n":"one"}"#));
    }

    #[test]
    fn no_token_is_too_strange_to_be_classed() {
        let by = RandomState::new();
        let long = format!("{}.a.b", "A".repeat(100_000));
        for token in ["", ".", "...", "=.a.b", "\u{e9}.a.b", "e30", &long] {
            of_verify(&Verify::any_audience(token), &by);
            of_decrypt(&Decrypt::new(token), &by);
        }
        let mut out = [0; PEEKED];
        assert_eq!(decode(&long, &mut out).len(), PEEKED);
        for text in ["f", "fo", "foo", "{\"alg\":\"ES256\"}"] {
            assert_eq!(decode(&base64url::encode(text), &mut out), text.as_bytes());
        }
    }
}
