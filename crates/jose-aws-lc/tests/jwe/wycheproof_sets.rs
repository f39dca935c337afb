//! Project Wycheproof, as far as JWE can reach it: what the tests call invalid must fail, what they call valid must
//! give their result. What JWE cannot express (other IV, tag or key lengths) must fail too.

use aws_lc_rs::agreement::{self, PrivateKey as Agreement};
use jose::algorithm::{ContentEncryption, KeyManagement};
use jose::base64url;
use jose::jwe::{ContentInput, ContentKey, Decrypter, KdfContext, concat_kdf};
use jose::key::{EcCurve, KeyMaterial, PrivateKey, SymmetricKey};
use jose_aws_lc::jwe::SharedKey;
use serde_json::{Value, json};
use wycheproof::TestResult;

use crate::keys::{decrypter, ec, header, secret, sha256, x25519};

#[derive(Debug, Default)]
struct Count {
    valid: usize,
    refused: usize,
    out_of_reach: usize,
}

impl Count {
    fn report(self, name: &str, at_least: (usize, usize)) {
        println!("wycheproof {name}: {self:?}");
        assert!(
            self.valid >= at_least.0 && self.refused >= at_least.1,
            "{name}: {self:?}"
        );
    }
}

fn content_encryption(key_len: usize, gcm: bool) -> Option<ContentEncryption> {
    ContentEncryption::ALL
        .iter()
        .copied()
        .find(|enc| enc.key_len() == key_len && enc.name().ends_with("GCM") == gcm)
}

fn aead(set: wycheproof::aead::TestName, gcm: bool, at_least: (usize, usize)) {
    let ciphers = SharedKey::direct(
        ContentEncryption::A128Gcm,
        &SymmetricKey::new(&[0; 16]).unwrap(),
    )
    .unwrap();
    let mut count = Count::default();
    for group in wycheproof::aead::TestSet::load(set).unwrap().test_groups {
        let Some(enc) = content_encryption(group.key_size / 8, gcm) else {
            count.out_of_reach += group.tests.len();
            continue;
        };
        let fits = group.nonce_size == enc.iv_len() * 8 && group.tag_size == enc.tag_len() * 8;
        for test in group.tests {
            let key = ContentKey::from_slice(enc, &test.key).unwrap();
            let input = ContentInput {
                enc,
                key: &key,
                iv: &test.nonce,
                aad: &test.aad,
            };
            let mut text = test.ct.to_vec();
            let opened = Decrypter::content(&ciphers).open(input, &mut text, &test.tag);
            if test.result == TestResult::Valid && fits {
                assert!(
                    opened.is_ok() && text == *test.pt,
                    "{enc} test {}",
                    test.tc_id
                );
                let mut sealed = test.pt.to_vec();
                let tag = Decrypter::content(&ciphers)
                    .seal(input, &mut sealed)
                    .unwrap();
                assert!(
                    sealed == *test.ct && tag.as_bytes() == test.tag.as_slice(),
                    "{enc} test {}",
                    test.tc_id
                );
                count.valid += 1;
            } else {
                assert!(opened.is_err(), "{enc} test {}", test.tc_id);
                count.refused += 1;
            }
        }
    }
    count.report(&format!("{set:?}"), at_least);
}

#[test]
fn aes_gcm() {
    aead(wycheproof::aead::TestName::AesGcm, true, (100, 50));
}

#[test]
fn aes_cbc_hmac() {
    aead(
        wycheproof::aead::TestName::Aes128CbcHmacSha256,
        false,
        (20, 10),
    );
    aead(
        wycheproof::aead::TestName::Aes192CbcHmacSha384,
        false,
        (20, 10),
    );
    aead(
        wycheproof::aead::TestName::Aes256CbcHmacSha512,
        false,
        (20, 10),
    );
}

#[test]
fn aes_key_wrap() {
    use wycheproof::keywrap::{TestName, TestSet};
    let mut count = Count::default();
    for group in TestSet::load(TestName::AesKeyWrap).unwrap().test_groups {
        let alg = match group.key_size {
            128 => KeyManagement::A128Kw,
            256 => KeyManagement::A256Kw,
            _ => {
                count.out_of_reach += group.tests.len();
                continue;
            }
        };
        for test in group.tests {
            let key = decrypter(alg, None, &secret(&test.key)).unwrap();
            let unwrapped: Vec<_> = ContentEncryption::ALL
                .iter()
                .filter_map(|enc| {
                    let header = header(&json!({ "alg": alg.name(), "enc": enc.name() })).unwrap();
                    key.recover(&header, &test.ct).ok()
                })
                .collect();
            let fits = ContentEncryption::ALL
                .iter()
                .any(|enc| enc.key_len() == test.pt.len());
            if test.result == TestResult::Valid && fits {
                assert!(!unwrapped.is_empty(), "test {}", test.tc_id);
                assert!(
                    unwrapped
                        .iter()
                        .all(|key| key.as_bytes() == test.pt.as_slice()),
                    "test {}",
                    test.tc_id
                );
                count.valid += 1;
            } else {
                assert!(unwrapped.is_empty(), "test {}", test.tc_id);
                count.refused += 1;
            }
        }
    }
    count.report("AES-KW", (20, 50));
}

#[test]
fn rsa_oaep() {
    use wycheproof::rsa_oaep::{TestName, TestSet};
    for (set, alg) in [
        (TestName::Rsa2048Sha1Mgf1Sha1, KeyManagement::RsaOaep),
        (TestName::Rsa2048Sha256Mgf1Sha256, KeyManagement::RsaOaep256),
        (TestName::Rsa3072Sha256Mgf1Sha256, KeyManagement::RsaOaep256),
        (TestName::Rsa4096Sha256Mgf1Sha256, KeyManagement::RsaOaep256),
    ] {
        let mut count = Count::default();
        for group in TestSet::load(set).unwrap().test_groups {
            let key = PrivateKey::from_pkcs8(&group.pkcs8).unwrap();
            let key = decrypter(alg, None, &KeyMaterial::Private(key)).unwrap();
            for test in group.tests {
                let enc = ContentEncryption::ALL
                    .iter()
                    .find(|enc| enc.key_len() == test.pt.len());
                let name = enc.map_or("A128GCM", |enc| enc.name());
                let header = header(&json!({ "alg": alg.name(), "enc": name })).unwrap();
                let recovered = key.recover(&header, &test.ct);
                if test.result == TestResult::Valid && enc.is_some() && test.label.is_empty() {
                    assert_eq!(
                        recovered.unwrap().as_bytes(),
                        test.pt.as_slice(),
                        "test {}",
                        test.tc_id
                    );
                    count.valid += 1;
                } else {
                    assert!(recovered.is_err(), "test {}", test.tc_id);
                    count.refused += 1;
                }
            }
        }
        count.report(&format!("{set:?}"), (1, 10));
    }
}

/// Recovers with a header around `epk` and compares with the derivation from the published secret.
fn agrees(key: &PrivateKey, epk: Value, shared: &[u8]) -> Option<bool> {
    let header = header(&json!({ "alg": "ECDH-ES", "enc": "A128GCM", "epk": epk }))?;
    let key = decrypter(
        KeyManagement::EcdhEs,
        None,
        &KeyMaterial::Private(key.clone()),
    )
    .unwrap();
    let recovered = key.recover(&header, &[]).ok()?;
    let mut expected = [0; 16];
    let context = KdfContext {
        algorithm_id: "A128GCM",
        party_u: b"",
        party_v: b"",
    };
    concat_kdf(sha256, shared, context, &mut expected).unwrap();
    Some(recovered.as_bytes() == expected)
}

#[test]
fn ecdh_on_the_nist_curves() {
    use wycheproof::ecdh::{TestName, TestSet};
    for (set, curve, algorithm) in [
        (
            TestName::EcdhSecp256r1Ecpoint,
            EcCurve::P256,
            &agreement::ECDH_P256,
        ),
        (
            TestName::EcdhSecp384r1Ecpoint,
            EcCurve::P384,
            &agreement::ECDH_P384,
        ),
        (
            TestName::EcdhSecp521r1Ecpoint,
            EcCurve::P521,
            &agreement::ECDH_P521,
        ),
    ] {
        let (mut count, len) = (Count::default(), curve.coordinate_len());
        for group in TestSet::load(set).unwrap().test_groups {
            for test in group.tests {
                let digits = test
                    .private_key
                    .iter()
                    .copied()
                    .skip_while(|byte| *byte == 0);
                let digits: Vec<u8> = digits.collect();
                let scalar = [vec![0; len - digits.len()], digits].concat();
                assert!(
                    Agreement::from_private_key(algorithm, &scalar).is_ok(),
                    "test {}",
                    test.tc_id
                );
                // a JWK has no compressed points
                if test.public_key.len() != 1 + 2 * len || test.public_key[0] != 4 {
                    count.out_of_reach += 1;
                    continue;
                }
                let [x, y] =
                    [&test.public_key[1..=len], &test.public_key[1 + len..]].map(base64url::encode);
                let epk = json!({ "kty": "EC", "crv": curve.name(), "x": x, "y": y });
                let agreed = agrees(&ec(curve, &scalar), epk, &test.shared_secret);
                match test.result {
                    TestResult::Valid => {
                        assert_eq!(agreed, Some(true), "{} test {}", curve.name(), test.tc_id);
                        count.valid += 1;
                    }
                    TestResult::Invalid => {
                        assert_eq!(agreed, None, "{} test {}", curve.name(), test.tc_id);
                        count.refused += 1;
                    }
                    TestResult::Acceptable => {
                        assert_ne!(agreed, Some(false), "test {}", test.tc_id)
                    }
                }
            }
        }
        count.report(curve.name(), (100, 2));
    }
}

#[test]
fn x25519_agrees_but_never_on_zeros() {
    use wycheproof::xdh::{TestName, TestSet};
    let mut count = Count::default();
    for group in TestSet::load(TestName::X25519).unwrap().test_groups {
        for test in group.tests {
            let epk = json!({ "kty": "OKP", "crv": "X25519", "x": base64url::encode(test.public_key.as_slice()) });
            let agreed = agrees(&x25519(&test.private_key), epk, &test.shared_secret);
            if test.shared_secret.iter().all(|byte| *byte == 0) {
                assert_eq!(agreed, None, "test {}", test.tc_id);
                count.refused += 1;
            } else {
                assert_eq!(agreed, Some(true), "test {}", test.tc_id);
                count.valid += 1;
            }
        }
    }
    count.report("X25519", (400, 10));
}
