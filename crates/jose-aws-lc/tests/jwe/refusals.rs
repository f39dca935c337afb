//! What is refused: headers, tokens and requests.

use jose::algorithm::{ContentEncryption, KeyManagement};
use jose::base64url;
use jose::jwe::{
    EncryptError, EncryptRequest, Fault, MemberValue, PartyInfo, decrypt, encrypt, peek,
};
use jose::limits;
use jose_aws_lc::AwsLc;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::keys::{AGREEMENTS, Dry, agreement_keys, decrypter, header, pairs};

fn fault(header: &str) -> Option<Fault> {
    let token = format!("{}....", base64url::encode(header));
    peek(&token).err().map(|error| error.fault())
}

#[test]
fn headers_are_strict() {
    let deep = r#"{"alg":"dir","enc":"A256GCM","x":{"a":{"b":{"c":{}}}}}"#;
    let long = format!(
        r#"{{"alg":"dir","enc":"A256GCM","x":"{}"}}"#,
        "x".repeat(4096)
    );
    for (text, expected) in [
        (r#"{"alg":"dir","enc":"A256GCM"}"#, None),
        (
            r#"{"alg":"dir","enc":"A256GCM","x":{"a":{"b":{"c":1}}}}"#,
            None,
        ),
        (
            r#"{"alg":"dir","enc":"A256GCM","apu":"A","epk":1,"p2c":2147483647}"#,
            None,
        ),
        (deep, Some(Fault::Header)),
        (&long, Some(Fault::TooLarge)),
        ("", Some(Fault::Header)),
        ("null", Some(Fault::Header)),
        ("[]", Some(Fault::Header)),
        ("{}", Some(Fault::Header)),
        (r#"{"alg":"dir"}"#, Some(Fault::Header)),
        (r#"{"enc":"A256GCM"}"#, Some(Fault::Header)),
        (r#"{"alg":1,"enc":"A256GCM"}"#, Some(Fault::Header)),
        (r#"{"alg":"dir","enc":null}"#, Some(Fault::Header)),
        (
            r#"{"alg":"dir","enc":"A256GCM","kid":7}"#,
            Some(Fault::Header),
        ),
        (
            r#"{"alg":"dir","enc":"A256GCM","cty":["JWT"]}"#,
            Some(Fault::Header),
        ),
        (
            r#"{"alg":"dir","enc":"A256GCM","alg":"dir"}"#,
            Some(Fault::Header),
        ),
        (
            r#"{"alg":"dir","enc":"A256GCM","\u0061lg":"dir"}"#,
            Some(Fault::Header),
        ),
        (
            r#"{"alg":"dir","enc":"A256GCM","x":{"y":1,"y":2}}"#,
            Some(Fault::Header),
        ),
        (r#"{"alg":"dir","enc":"A256GCM"} {}"#, Some(Fault::Header)),
        (
            r#"{"alg":"dir","enc":"A256GCM","crit":["x"],"x":1}"#,
            Some(Fault::CriticalHeader),
        ),
        (
            r#"{"alg":"dir","enc":"A256GCM","crit":["exp"],"exp":1}"#,
            Some(Fault::CriticalHeader),
        ),
        (
            r#"{"alg":"dir","enc":"A256GCM","crit":[]}"#,
            Some(Fault::CriticalHeader),
        ),
        (
            r#"{"alg":"dir","enc":"A256GCM","crit":null}"#,
            Some(Fault::CriticalHeader),
        ),
        (
            r#"{"alg":"dir","enc":"A256GCM","\u0063rit":["x"]}"#,
            Some(Fault::CriticalHeader),
        ),
        (
            r#"{"alg":"dir","enc":"A256GCM","zip":"DEF"}"#,
            Some(Fault::Compression),
        ),
        (
            r#"{"alg":"dir","enc":"A256GCM","zip":null}"#,
            Some(Fault::Compression),
        ),
        (
            r#"{"alg":"RSA1_5","enc":"A256GCM"}"#,
            Some(Fault::Algorithm),
        ),
        (r#"{"alg":"none","enc":"A256GCM"}"#, Some(Fault::Algorithm)),
        (r#"{"alg":"DIR","enc":"A256GCM"}"#, Some(Fault::Algorithm)),
        (r#"{"alg":"dir","enc":"none"}"#, Some(Fault::Algorithm)),
        (
            r#"{"alg":"PBES2-HS256+A128KW","enc":"A256GCM","p2s":"AAAA","p2c":2147483647}"#,
            Some(Fault::Algorithm),
        ),
    ] {
        assert_eq!(fault(text), expected, "{text}");
    }
}

#[test]
fn key_parameters_are_there_and_of_their_length() {
    let (x32, x48) = (base64url::encode([1; 32]), base64url::encode([1; 48]));
    let epk = |value: Value| json!({ "alg": "ECDH-ES", "enc": "A256GCM", "epk": value });
    let wrap = |iv: usize, tag: usize| {
        let [iv, tag] = [iv, tag].map(|len| base64url::encode(vec![0; len]));
        json!({ "alg": "A256GCMKW", "enc": "A256GCM", "iv": iv, "tag": tag })
    };
    for (json, accepted) in [
        (
            epk(json!({ "kty": "EC", "crv": "P-256", "x": x32, "y": x32 })),
            true,
        ),
        (
            epk(json!({ "kty": "EC", "crv": "P-384", "x": x48, "y": x48 })),
            true,
        ),
        (
            epk(json!({ "kty": "OKP", "crv": "X25519", "x": x32 })),
            true,
        ),
        (json!({ "alg": "ECDH-ES", "enc": "A256GCM" }), false),
        (epk(json!("AAAA")), false),
        (epk(json!({ "kty": "EC", "crv": "P-256", "x": x32 })), false),
        (
            epk(json!({ "kty": "EC", "crv": "P-256", "x": x32, "y": x48 })),
            false,
        ),
        (
            epk(json!({ "kty": "EC", "crv": "P-256", "x": x48, "y": x48 })),
            false,
        ),
        (
            epk(json!({ "kty": "EC", "crv": "P-256", "x": x32, "y": &x32[1..] })),
            false,
        ),
        (
            epk(json!({ "kty": "EC", "crv": "P-256", "x": x32, "y": x32, "d": x32 })),
            false,
        ),
        (
            epk(json!({ "kty": "OKP", "crv": "P-256", "x": x32, "y": x32 })),
            false,
        ),
        (
            epk(json!({ "kty": "EC", "crv": "X25519", "x": x32 })),
            false,
        ),
        (
            epk(json!({ "kty": "OKP", "crv": "Ed25519", "x": x32 })),
            false,
        ),
        (
            epk(json!({ "kty": "EC", "crv": "secp256k1", "x": x32, "y": x32 })),
            false,
        ),
        (wrap(12, 16), true),
        (wrap(0, 16), false),
        (wrap(11, 16), false),
        (wrap(13, 16), false),
        (wrap(16, 16), false),
        (wrap(12, 0), false),
        (wrap(12, 1), false),
        (wrap(12, 15), false),
        (wrap(12, 17), false),
        (
            json!({ "alg": "A256GCMKW", "enc": "A256GCM", "iv": "AAAAAAAAAAAAAAAA" }),
            false,
        ),
        (
            json!({ "alg": "ECDH-ES", "enc": "A256GCM", "apu": "A", "epk": { "kty": "OKP", "crv": "X25519", "x": x32 } }),
            false,
        ),
    ] {
        assert_eq!(header(&json).is_some(), accepted, "{json}");
    }
}

#[test]
fn points_off_the_curve_other_curves_and_weak_points_agree_on_nothing() {
    let encode = |len: usize, byte: u8| base64url::encode(vec![byte; len]);
    for (own, key) in agreement_keys() {
        for alg in AGREEMENTS {
            let private = decrypter(alg, None, &key).unwrap();
            let mut tried = 0;
            for byte in [0, 1, 0xff] {
                for (curve, len) in [("P-256", 32), ("P-384", 48), ("P-521", 66), ("X25519", 32)] {
                    // 1 and 0xff.. are ordinary X25519 public values; 0 and 1 are of low order
                    if curve == own && own == "X25519" && byte == 0xff {
                        continue;
                    }
                    let coordinate = encode(len, byte);
                    let mut epk =
                        json!({ "kty": "EC", "crv": curve, "x": coordinate, "y": coordinate });
                    if curve == "X25519" {
                        let mut low_order = [0; 32];
                        low_order[0] = byte;
                        epk = json!({ "kty": "OKP", "crv": curve, "x": base64url::encode(low_order) });
                    }
                    let header = json!({ "alg": alg.name(), "enc": "A128GCM", "epk": epk });
                    let header = self::header(&header).unwrap();
                    assert!(
                        private.recover(&header, &[0; 24]).is_err(),
                        "{own} {alg} {curve} {byte}"
                    );
                    tried += 1;
                }
            }
            assert!(tried >= 11);
        }
    }
}

#[test]
fn direct_modes_have_no_encrypted_key_and_the_others_have_one() {
    for pair in pairs() {
        let enc = pair.encryptions()[0];
        let request = EncryptRequest::default();
        let good = encrypt(&request, b"x", pair.encrypter.as_ref(), enc, &AwsLc).unwrap();
        let mut segments: Vec<_> = good.split('.').collect();
        let direct = segments[1].is_empty();
        assert_eq!(
            direct,
            matches!(
                pair.encrypter.algorithm(),
                KeyManagement::Dir | KeyManagement::EcdhEs
            )
        );
        let too_long = "A".repeat(2000);
        for other in if direct {
            ["AA", "AAAA", &too_long]
        } else {
            ["", "AA", &too_long]
        } {
            segments[1] = other;
            assert!(
                decrypt(&segments.join("."), pair.decrypter.as_ref()).is_err(),
                "{} {other}",
                pair.name
            );
        }
    }
}

#[test]
fn a_key_never_decrypts_under_another_algorithm() {
    let tokens: Vec<_> = pairs().iter().map(|pair| (pair, pair.token())).collect();
    for (maker, token) in &tokens {
        for other in pairs() {
            let same = maker.name == other.name;
            assert_eq!(
                decrypt(token, other.decrypter.as_ref()).is_ok(),
                same,
                "{} {}",
                maker.name,
                other.name
            );
        }
    }
}

#[test]
fn tokens_and_payloads_over_the_limit_are_refused_before_any_work() {
    let pair = pairs().last().unwrap();
    let over = vec![0; limits::JWE_PAYLOAD + 1];
    let refusal = encrypt(
        &EncryptRequest::default(),
        &over,
        pair.encrypter.as_ref(),
        pair.encryptions()[0],
        &AwsLc,
    );
    assert_eq!(refusal, Err(EncryptError::PayloadTooLarge(over.len())));
    let good = pair.token();
    let header = good.split('.').next().unwrap();
    for (token, fault) in [
        ("A".repeat(limits::ENCRYPTED_TOKEN + 1), Fault::TooLarge),
        (".".repeat(limits::ENCRYPTED_TOKEN), Fault::Malformed),
        (format!("{header}....."), Fault::Malformed),
        (format!("{header}..."), Fault::Malformed),
        (
            format!("{header}..{}.{}.", "A".repeat(22), "A".repeat(360_000)),
            Fault::TooLarge,
        ),
    ] {
        let error = decrypt(&token, pair.decrypter.as_ref()).unwrap_err();
        assert_eq!(error.fault(), fault, "{} characters", token.len());
    }
}

#[test]
fn requests_are_refused_by_name() {
    let pair = pairs().last().unwrap();
    let enc = pair.encryptions()[0];
    let attempt =
        |request: &EncryptRequest<'_>| encrypt(request, b"x", pair.encrypter.as_ref(), enc, &AwsLc);
    for name in [
        "alg", "enc", "kid", "typ", "cty", "epk", "apu", "apv", "iv", "tag", "crit", "p2s", "p2c",
        "b64", "",
    ] {
        let extra = [(name, MemberValue::Number(1))];
        let refusal = attempt(&EncryptRequest {
            extra: &extra,
            ..EncryptRequest::default()
        });
        assert_eq!(refusal, Err(EncryptError::Member(name.to_owned())));
    }
    let twice = [("x", MemberValue::Number(1)), ("x", MemberValue::Number(2))];
    let refusal = attempt(&EncryptRequest {
        extra: &twice,
        ..EncryptRequest::default()
    });
    assert_eq!(refusal, Err(EncryptError::Member("x".to_owned())));

    let zip = [("zip", MemberValue::String("DEF"))];
    let refusal = attempt(&EncryptRequest {
        extra: &zip,
        ..EncryptRequest::default()
    })
    .unwrap_err();
    assert!(refusal.to_string().contains("zip"), "{refusal}");

    let parties = PartyInfo {
        apu: b"Alice",
        apv: b"",
    };
    let refusal = attempt(&EncryptRequest {
        parties,
        ..EncryptRequest::default()
    });
    assert_eq!(refusal, Err(EncryptError::Parties("dir")));

    let kid = "k".repeat(4096);
    let refusal = attempt(&EncryptRequest {
        kid: Some(&kid),
        ..EncryptRequest::default()
    });
    assert!(
        matches!(refusal, Err(EncryptError::HeaderTooLarge(len)) if len > 4096),
        "{refusal:?}"
    );

    let wanted = ContentEncryption::A128Gcm;
    let refusal = encrypt(
        &EncryptRequest::default(),
        b"x",
        pair.encrypter.as_ref(),
        wanted,
        &AwsLc,
    );
    assert_eq!(
        refusal,
        Err(EncryptError::ContentEncryption { wanted, fixed: enc })
    );
}

#[test]
fn without_randomness_nothing_is_encrypted() {
    for pair in pairs() {
        let enc = pair.encryptions()[0];
        let refusal = encrypt(
            &EncryptRequest::default(),
            b"x",
            pair.encrypter.as_ref(),
            enc,
            &Dry,
        );
        assert!(
            matches!(refusal, Err(EncryptError::Engine(_))),
            "{}: {refusal:?}",
            pair.name
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}", segments in "[A-Za-z0-9_.-]{0,300}") {
        for pair in pairs() {
            let decrypter = pair.decrypter.as_ref();
            prop_assert!(decrypt(&text, decrypter).is_err());
            prop_assert!(decrypt(&segments, decrypter).is_err());
        }
    }

    #[test]
    fn arbitrary_segments_under_a_good_header_never_panic(
        key in "[A-Za-z0-9_-]{0,100}", iv in "[A-Za-z0-9_-]{0,24}", text in "[A-Za-z0-9_-]{0,100}", tag in "[A-Za-z0-9_-]{0,44}",
    ) {
        for pair in pairs() {
            let good = pair.token();
            let header = good.split('.').next().unwrap();
            let token = [header, &key, &iv, &text, &tag].join(".");
            prop_assert!(decrypt(&token, pair.decrypter.as_ref()).is_err());
        }
    }
}
