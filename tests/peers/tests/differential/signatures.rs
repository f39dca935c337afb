//! JWS in both directions, over claims that nobody chose.

use jose::algorithm::JwsAlgorithm;
use josekit::jws;
use jsonwebtoken::{Header, Validation, decode, encode};
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::ours::{self, EXP, KID};
use crate::theirs;

/// Claims of any names, strings, whole numbers and nesting, but for the registered ones, which have their types.
fn claims() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".{0,8}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    let registered = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
    let others = proptest::collection::btree_map(".{0,8}", value, 0..6);
    (
        others,
        ".{0,20}",
        proptest::collection::vec(".{0,10}", 0..3),
    )
        .prop_map(move |(others, subject, audience)| {
            let mut all: Map<String, Value> = others
                .into_iter()
                .filter(|(name, _)| !registered.contains(&name.as_str()))
                .collect();
            all.insert("sub".to_owned(), subject.into());
            all.insert("aud".to_owned(), audience.into());
            all.insert("exp".to_owned(), EXP.into());
            all
        })
}

fn lenient(algorithm: jsonwebtoken::Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_aud = false;
    validation
}

fn both_ways_with_josekit(algorithm: JwsAlgorithm, text: &str) -> bool {
    let jwk = ours::signing_key(algorithm);
    let Some((signer, verifier)) = theirs::josekit_signature(algorithm, &jwk) else {
        return false;
    };
    let (payload, header) = jws::deserialize_compact(ours::sign(&jwk, text), verifier.as_ref())
        .unwrap_or_else(|error| panic!("{algorithm} {text}: {error}"));
    assert_eq!(
        (payload.as_slice(), header.key_id()),
        (text.as_bytes(), Some(KID)),
        "{algorithm}"
    );

    let theirs =
        jws::serialize_compact(text.as_bytes(), &theirs::josekit_header(), signer.as_ref())
            .unwrap();
    assert_eq!(
        ours::verify(&jwk, &theirs, ours::unchecked()).as_deref(),
        Ok(text),
        "{algorithm}: {theirs}"
    );
    true
}

fn both_ways_with_jsonwebtoken(
    algorithm: JwsAlgorithm,
    claims: &Map<String, Value>,
    text: &str,
) -> bool {
    let Some(named) = theirs::jsonwebtoken_algorithm(algorithm) else {
        return false;
    };
    let jwk = ours::signing_key(algorithm);
    let (encoding, decoding) = theirs::jsonwebtoken_keys(algorithm, &jwk);
    let token = ours::sign(&jwk, text);
    let opened = decode::<Map<String, Value>>(&token, &decoding, &lenient(named))
        .unwrap_or_else(|error| panic!("{algorithm} {text}: {error}"));
    assert_eq!(
        (&opened.claims, opened.header.kid.as_deref()),
        (claims, Some(KID)),
        "{algorithm}"
    );

    let header = Header {
        kid: Some(KID.to_owned()),
        ..Header::new(named)
    };
    let theirs = encode(&header, claims, &encoding).unwrap();
    let read = ours::verify(&jwk, &theirs, ours::unchecked())
        .unwrap_or_else(|reason| panic!("{algorithm}: {reason}: {theirs}"));
    assert_eq!(
        serde_json::from_str::<Map<String, Value>>(&read).unwrap(),
        *claims,
        "{algorithm}"
    );
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_josekit_signs_verifies_here_and_the_other_way_round(claims in claims()) {
        let text = serde_json::to_string(&claims).unwrap();
        let ran = JwsAlgorithm::ALL.iter().filter(|algorithm| both_ways_with_josekit(**algorithm, &text)).count();
        prop_assert_eq!(ran, 13, "josekit has all but the name Ed25519");
    }

    #[test]
    fn what_jsonwebtoken_signs_verifies_here_and_the_other_way_round(claims in claims()) {
        let text = serde_json::to_string(&claims).unwrap();
        let ran = JwsAlgorithm::ALL.iter().filter(|algorithm| both_ways_with_jsonwebtoken(**algorithm, &claims, &text)).count();
        prop_assert_eq!(ran, 12, "jsonwebtoken has neither ES512 nor the name Ed25519");
    }
}
