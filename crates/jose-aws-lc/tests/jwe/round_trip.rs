//! What is encrypted decrypts, for every algorithm, curve and `enc`.

use jose::algorithm::{ContentEncryption, KeyManagement};
use jose::jwe::{EncryptRequest, MemberValue, PartyInfo, decrypt, encrypt, peek};
use jose::limits;
use jose_aws_lc::AwsLc;
use proptest::prelude::*;

use crate::keys::{AGREEMENTS, Pair, pairs};

fn round_trip(pair: &Pair, enc: ContentEncryption, request: &EncryptRequest<'_>, payload: &[u8]) {
    let token = encrypt(request, payload, pair.encrypter.as_ref(), enc, &AwsLc).unwrap();
    let view = peek(&token).unwrap();
    assert_eq!(view.header().alg(), pair.decrypter.algorithm());
    assert_eq!((view.header().enc(), view.kid()), (enc, request.kid));
    let decrypted = view.decrypt(pair.decrypter.as_ref());
    let decrypted = decrypted.unwrap_or_else(|error| panic!("{} {enc}: {error:?}", pair.name));
    assert!(
        decrypted.payload.as_slice() == payload,
        "{} {enc}",
        pair.name
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_algorithm_decrypts_what_it_encrypts(
        payload in proptest::collection::vec(any::<u8>(), 0..100),
        kid in proptest::option::of("[ -~]{1,40}"),
        apu in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut combinations = 0;
        for pair in pairs() {
            let agrees = AGREEMENTS.contains(&pair.encrypter.algorithm());
            let parties = PartyInfo { apu: if agrees { &apu } else { &[] }, apv: b"" };
            let request = EncryptRequest { kid: kid.as_deref(), parties, ..EncryptRequest::default() };
            for enc in pair.encryptions() {
                round_trip(pair, enc, &request, &payload);
                combinations += 1;
            }
        }
        // 2 RSA, 3 agreements on 4 curves, 4 wraps: each with 6 encs; dir once per enc
        prop_assert_eq!(combinations, (2 + 12 + 4) * 6 + 6);
    }
}

#[test]
fn payloads_around_a_block_and_at_the_limit_come_back() {
    for pair in pairs()
        .iter()
        .filter(|pair| pair.encrypter.algorithm() == KeyManagement::Dir)
    {
        for len in [
            0,
            1,
            15,
            16,
            17,
            31,
            32,
            limits::JWE_PAYLOAD - 1,
            limits::JWE_PAYLOAD,
        ] {
            let payload = vec![0x61; len];
            for enc in pair.encryptions() {
                round_trip(pair, enc, &EncryptRequest::default(), &payload);
            }
        }
    }
}

#[test]
fn the_largest_token_stays_within_the_token_limit() {
    let kid = "k".repeat(128);
    for pair in pairs() {
        let request = EncryptRequest {
            kid: Some(&kid),
            ..EncryptRequest::default()
        };
        let payload = vec![0; limits::JWE_PAYLOAD];
        let enc = pair.encryptions()[0];
        let token = encrypt(&request, &payload, pair.encrypter.as_ref(), enc, &AwsLc).unwrap();
        assert!(
            token.len() <= limits::ENCRYPTED_TOKEN,
            "{}: {}",
            pair.name,
            token.len()
        );
    }
}

#[test]
fn no_two_tokens_share_a_key_or_an_initialization_vector() {
    for pair in pairs() {
        let enc = pair.encryptions()[0];
        let request = EncryptRequest::default();
        let [one, two] = [(); 2]
            .map(|()| encrypt(&request, b"same", pair.encrypter.as_ref(), enc, &AwsLc).unwrap());
        for (at, (a, b)) in one.split('.').zip(two.split('.')).enumerate().skip(1) {
            assert!(
                a != b || a.is_empty(),
                "{}: segment {at} repeats",
                pair.name
            );
        }
    }
}

#[test]
fn members_of_the_caller_come_back_for_comparison() {
    let extra = [
        ("epoch", MemberValue::Number(u64::MAX)),
        ("instance", MemberValue::String("a \"b\" \u{e9}")),
    ];
    let request = EncryptRequest {
        kid: Some("k1"),
        typ: Some("key+jwe"),
        cty: Some("jwk+json"),
        extra: &extra,
        ..EncryptRequest::default()
    };
    for pair in pairs() {
        let enc = pair.encryptions()[0];
        let token = encrypt(&request, b"{}", pair.encrypter.as_ref(), enc, &AwsLc).unwrap();
        let header = decrypt(&token, pair.decrypter.as_ref()).unwrap().header;
        assert_eq!(
            header.member("epoch").unwrap().raw(),
            "18446744073709551615"
        );
        assert_eq!(header.string("instance").as_deref(), Some("a \"b\" \u{e9}"));
        assert_eq!(header.typ().as_deref(), Some("key+jwe"));
        assert_eq!(header.cty().as_deref(), Some("jwk+json"));
        assert!(header.json().starts_with("{\"alg\":"), "{}", header.json());
    }
}
