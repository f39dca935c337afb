//! Signatures made by arithmetic instead of by a key: what only the engine can refuse, or must accept.

use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose::base64url;
use jose::jwk::SecretJwk;
use jose::jwt::RejectReason;
use jose::key::{
    EcCurve, EcPublicKey, KeyMaterial, OkpCurve, OkpPublicKey, PublicKey, RsaPublicKey,
};
use jose::provider::Provider;
use jose_aws_lc::{AwsLc, KeySpec};
use jose_ring::Ring;
use serde_json::json;

use crate::numbers::{minus, number, plus, reversed, small};
use crate::ours::{self, named, view_of};
use crate::peer::{Peer, token};
use crate::views::{View, one_verdict};

/// The orders of the groups, big-endian (SEC 2, RFC 8032).
const ORDER_P256: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const ORDER_P384: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";
const ORDER_ED25519: &str = "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed";

fn generated(algorithm: JwsAlgorithm) -> SecretJwk {
    let spec = KeySpec::new(Algorithm::Jws(algorithm));
    named(
        AwsLc.generate(&spec).unwrap().material,
        "key",
        spec.algorithm,
    )
}

/// A signature and whether it holds.
type Row = (&'static str, Vec<u8>, bool);

fn check(jwk: &SecretJwk, token: &str, rows: Vec<Row>) {
    let (service, client) = (view_of(&AwsLc, jwk), view_of(&Ring, jwk));
    let (input, _signature) = token.rsplit_once('.').unwrap();
    for (name, signature, holds) in rows {
        let token = format!("{input}.{}", base64url::encode(signature));
        let expected = if holds {
            Ok(ours::CLAIMS.to_owned())
        } else {
            Err(RejectReason::Signature.into())
        };
        assert_eq!(
            one_verdict(&service, &client, &token),
            expected,
            "{name}: {token}"
        );
    }
}

fn signature_of(token: &str) -> Vec<u8> {
    base64url::decode(token.rsplit_once('.').unwrap().1).unwrap()
}

#[test]
fn ecdsa_numbers_out_of_range_and_other_encodings_get_one_verdict() {
    for (algorithm, order) in [
        (JwsAlgorithm::Es256, ORDER_P256),
        (JwsAlgorithm::Es384, ORDER_P384),
    ] {
        let jwk = generated(algorithm);
        let token = ours::sign(&jwk);
        let whole = signature_of(&token);
        let order = number(order);
        let len = order.len();
        let (r, s) = whole.split_at(len);
        let pair = |r: &[u8], s: &[u8]| [r, s].concat();
        let (zero, one) = (small(len, 0), small(len, 1));
        let mut rows = vec![
            ("as signed", whole.clone(), true),
            // no signature is bound to one of the two values of s (FIPS 186-5): a token is not its own identifier
            ("n - s", pair(r, &minus(&order, s)), true),
            ("n - r", pair(&minus(&order, r), s), false),
            ("r and s exchanged", pair(s, r), false),
            ("r is 0", pair(&zero, s), false),
            ("s is 0", pair(r, &zero), false),
            ("both 0", pair(&zero, &zero), false),
            ("both 1", pair(&one, &one), false),
            ("r is n", pair(&order, s), false),
            ("s is n", pair(r, &order), false),
            ("both n", pair(&order, &order), false),
            (
                "both n - 1",
                pair(&minus(&order, &one), &minus(&order, &one)),
                false,
            ),
            (
                "each with a leading zero",
                pair(&[&[0], r].concat(), &[&[0], s].concat()),
                false,
            ),
            ("each without its first byte", pair(&r[1..], &s[1..]), false),
            ("r alone", r.to_vec(), false),
            ("DER", der(r, s), false),
        ];
        rows.extend(
            [("r + n", plus(r, &order), s), ("s + n", plus(s, &order), r)]
                .into_iter()
                .filter_map(|(name, sum, other)| {
                    let sum = sum?;
                    Some((
                        name,
                        if name == "r + n" {
                            pair(&sum, other)
                        } else {
                            pair(other, &sum)
                        },
                        false,
                    ))
                }),
        );
        check(&jwk, &token, rows);
    }
}

/// The X9.62 form, which JOSE does not use (RFC 7518 section 3.4).
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let len = u8::try_from(number.len() + 1).unwrap();
        [&[2, len, 0], number].concat()
    };
    let content = [integer(r), integer(s)].concat();
    [vec![0x30, u8::try_from(content.len()).unwrap()], content].concat()
}

#[test]
fn ed25519_signatures_that_others_could_derive_are_refused_by_both() {
    let jwk = generated(JwsAlgorithm::Ed25519);
    let token = ours::sign(&jwk);
    let whole = signature_of(&token);
    let (r, s) = whole.split_at(32);
    let order = number(ORDER_ED25519);
    let scalar = reversed(s.to_vec());
    let mut rows = vec![
        ("as signed", whole.clone(), true),
        ("S is 0", [r, &[0; 32]].concat(), false),
        ("S is L", [r, &reversed(order.clone())].concat(), false),
        (
            "R is the identity",
            [reversed(small(32, 1)), s.to_vec()].concat(),
            false,
        ),
        ("R and S exchanged", [s, r].concat(), false),
        (
            "S is L - S",
            [r.to_vec(), reversed(minus(&order, &scalar))].concat(),
            false,
        ),
    ];
    // RFC 8032 section 5.1.7: S has to be below L, or anyone makes a second signature out of the first
    let mut sum = scalar;
    for name in [
        "S + L", "S + 2L", "S + 3L", "S + 4L", "S + 5L", "S + 6L", "S + 7L",
    ] {
        sum = plus(&sum, &order).unwrap();
        rows.push((name, [r.to_vec(), reversed(sum.clone())].concat(), false));
    }
    check(&jwk, &token, rows);
}

#[test]
fn rsa_numbers_out_of_range_get_one_verdict() {
    for algorithm in [
        JwsAlgorithm::Rs256,
        JwsAlgorithm::Rs512,
        JwsAlgorithm::Ps256,
        JwsAlgorithm::Ps512,
    ] {
        let jwk = generated(algorithm);
        let Some(PublicKey::Rsa(public)) = jwk.key.public_key() else {
            panic!("{jwk:?}")
        };
        let token = ours::sign(&jwk);
        let s = signature_of(&token);
        let (n, len) = (public.n(), s.len());
        let mut rows = vec![
            ("as signed", s.clone(), true),
            ("0", small(len, 0), false),
            ("1", small(len, 1), false),
            ("n", n.to_vec(), false),
            ("n - 1", minus(n, &small(len, 1)), false),
            ("n - s", minus(n, &s), false),
            ("a leading zero", [&[0], s.as_slice()].concat(), false),
            ("without the first byte", s[1..].to_vec(), false),
            ("twice", s.repeat(2), false),
        ];
        rows.extend(plus(&s, n).map(|sum| ("s + n", sum, false)));
        check(&jwk, &token, rows);
    }
}

/// A key that the service's engine refuses is never published, and ring believes nothing under it.
#[test]
fn keys_that_are_none_are_refused_or_verify_nothing() {
    let es256 = generated(JwsAlgorithm::Es256);
    let rs256 = generated(JwsAlgorithm::Rs256);
    let Some(PublicKey::Rsa(rsa)) = rs256.key.public_key() else {
        panic!()
    };
    let even = minus(rsa.n(), &small(rsa.n().len(), 1));
    let point = |curve, x: &[u8], y: &[u8]| EcPublicKey::new(curve, x, y).map(PublicKey::Ec);
    for (name, signed, key) in [
        ("(0, 0)", &es256, point(EcCurve::P256, &[0; 32], &[0; 32])),
        (
            "(1, 1)",
            &es256,
            point(EcCurve::P256, &small(32, 1), &small(32, 1)),
        ),
        (
            "coordinates above the prime",
            &es256,
            point(EcCurve::P256, &[0xff; 32], &[0xff; 32]),
        ),
        (
            "an even modulus",
            &rs256,
            RsaPublicKey::new(&even, rsa.e()).map(PublicKey::Rsa),
        ),
    ] {
        let Ok(key) = key else { continue };
        let Some(Algorithm::Jws(algorithm)) = signed.algorithm else {
            panic!("{signed:?}")
        };
        assert!(
            AwsLc.check_public(&key).is_err(),
            "{name}: an import accepts it"
        );
        assert!(
            AwsLc.verifying_key(algorithm, &key).is_err(),
            "{name}: the service prepares it"
        );
        if let Ok(verifier) = Ring.verifying_key(algorithm, &key) {
            let token = ours::sign(signed);
            let (input, _signature) = token.rsplit_once('.').unwrap();
            assert!(
                verifier
                    .verify(input.as_bytes(), &signature_of(&token))
                    .is_err(),
                "{name}: ring believes it"
            );
        }
    }
}

/// Under a key of small order one signature fits every message, or one in eight, and no private key was needed to
/// make it. Encodings with y at or above p (RFC 8032 section 5.1.3) name such points too, and the engines disagree
/// on them.
#[test]
fn ed25519_keys_of_small_order_or_not_canonical_verify_nothing() {
    let mut points = Vec::new();
    for y in SMALL_ORDER {
        let mut negative = number(y);
        negative[31] |= 0x80;
        points.extend([number(y), negative]);
    }
    let mut forged = Vec::new();
    for key in &points {
        let imported = OkpPublicKey::new(OkpCurve::Ed25519, key)
            .map(PublicKey::Okp)
            .and_then(|key| AwsLc.check_public(&key).map(|()| key));
        let Ok(public) = imported else { continue };
        for commitment in &points {
            let signature = [commitment.as_slice(), &[0; 32]].concat();
            let believed = |provider: &dyn Provider| {
                provider
                    .verifying_key(JwsAlgorithm::Ed25519, &public)
                    .is_ok_and(|key| key.verify(b"message", &signature).is_ok())
            };
            let verdicts = (believed(&AwsLc), believed(&Ring));
            if verdicts != (false, false) {
                forged.push(format!(
                    "A {key:02x?} R {commitment:02x?}: aws-lc, ring: {verdicts:?}"
                ));
            }
        }
    }
    assert!(
        forged.is_empty(),
        "nobody's signatures are believed:\n{}",
        forged.join("\n")
    );
}

/// The y of all points whose order divides 8, then those of them that fit a second time below 2^255.
const SMALL_ORDER: [&str; 7] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// Moduli between the usual sizes, as only others make them.
#[test]
fn rsa_keys_of_unusual_sizes_verify_in_both_engines_or_in_neither() {
    let mut peer = Peer::start("jose");
    for bits in [2049, 2050, 2055, 2056, 2057, 3000, 4095, 4097] {
        let answer = peer
            .ask(&json!({"op": "generate", "kty": "RSA", "size": bits}))
            .unwrap();
        let key: KeyMaterial = ours::read(&answer["jwk"]);
        for algorithm in [JwsAlgorithm::Rs256, JwsAlgorithm::Ps256] {
            let jwk = named(key.clone(), "key", Algorithm::Jws(algorithm));
            let made = peer.ask(&json!({
                "op": "sign", "alg": algorithm.name(), "jwk": answer["jwk"], "kid": "key", "header": {"typ": "JWT"},
                "payload": base64url::encode(ours::CLAIMS),
            }));
            let (service, client) = (view_of(&AwsLc, &jwk), view_of(&Ring, &jwk));
            for (maker, token) in [
                ("the peer", token(&made.unwrap())),
                ("ours", ours::sign(&jwk)),
            ] {
                let verdict = one_verdict(&service, &client, &token);
                assert_eq!(
                    verdict.as_deref(),
                    Ok(ours::CLAIMS),
                    "{algorithm}, {bits} bits, signed by {maker}"
                );
            }
        }
    }
    peer.finish();
}

/// No token at all, under both engines: the form is judged before any key.
#[test]
fn texts_that_are_no_token_get_one_verdict() {
    let jwk = generated(JwsAlgorithm::Es256);
    let views: [View; 2] = [view_of(&AwsLc, &jwk), view_of(&Ring, &jwk)];
    let good = ours::sign(&jwk);
    let [header, payload, signature]: [&str; 3] =
        good.split('.').collect::<Vec<_>>().try_into().unwrap();
    for (text, reason) in [
        (String::new(), RejectReason::Malformed),
        ("..".to_owned(), RejectReason::Malformed),
        (".".repeat(20 * 1024), RejectReason::Malformed),
        (".".repeat(20 * 1024 + 1), RejectReason::TooLarge),
        (format!("{good}."), RejectReason::Malformed),
        (format!(" {good}"), RejectReason::Malformed),
        (format!("{good}\n"), RejectReason::Malformed),
        (
            format!("{header}=.{payload}.{signature}"),
            RejectReason::Malformed,
        ),
        (
            format!("{header}.{payload}.{signature}=="),
            RejectReason::Malformed,
        ),
        (format!("{header}.{payload}."), RejectReason::Signature),
        (format!("{header}..{signature}"), RejectReason::Signature),
        (format!("{good}\u{0}"), RejectReason::Malformed),
        (good.replacen('.', "\u{ff0e}", 1), RejectReason::Malformed),
        (
            json!({"payload": payload, "protected": header, "signature": signature}).to_string(),
            RejectReason::Malformed,
        ),
    ] {
        let verdict = one_verdict(&views[0], &views[1], &text);
        assert_eq!(
            verdict,
            Err(reason.into()),
            "{:?}",
            text.chars().take(80).collect::<String>()
        );
    }
    assert_eq!(
        one_verdict(&views[0], &views[1], &good).as_deref(),
        Ok(ours::CLAIMS)
    );
}
