//! Wycheproof through both providers: the verdict of the vectors, and one verdict from both.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is unexpected fails the test"
)]

use std::sync::Arc;

use jose::algorithm::JwsAlgorithm;
use jose::key::{
    EcCurve, EcPublicKey, KeyError, OkpCurve, OkpPublicKey, PublicKey, RsaPublicKey, SymmetricKey,
};
use jose::provider::{Provider, Verify};
use jose_aws_lc::AwsLc;
use jose_ring::Ring;
use wycheproof::{TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify, rsa_pss_verify};

/// What ran, so that a set that lost its tests cannot pass.
#[derive(Default)]
struct Count {
    aws_lc: usize,
    ring: usize,
}

struct Case<'t> {
    name: String,
    message: &'t [u8],
    signature: &'t [u8],
    valid: bool,
}

/// Every provider that covers the key.
fn providers(algorithm: JwsAlgorithm, key: &PublicKey) -> Vec<(&'static str, Arc<dyn Verify>)> {
    let all: [(&'static str, &dyn Provider); 2] = [("aws-lc", &AwsLc), ("ring", &Ring)];
    let prepared = all.into_iter().filter_map(|(name, provider)| {
        match provider.verifying_key(algorithm, key) {
            Ok(verifier) => Some((name, verifier)),
            Err(KeyError::NotCovered(_)) => None,
            Err(error) => panic!("{name} {algorithm}: {error}"),
        }
    });
    prepared.collect()
}

impl Count {
    fn run(&mut self, algorithm: JwsAlgorithm, key: &PublicKey, case: &Case<'_>) {
        for (provider, verifier) in providers(algorithm, key) {
            let holds = verifier.verify(case.message, case.signature).is_ok();
            assert_eq!(holds, case.valid, "{provider} {algorithm} {}", case.name);
            match provider {
                "ring" => self.ring += 1,
                _ => self.aws_lc += 1,
            }
        }
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[test]
fn rsa_pkcs1_signatures_get_one_verdict() {
    use rsa_pkcs1_verify::TestName as T;
    let mut count = Count::default();
    for (set, algorithm) in [
        (T::Rsa2048Sha256, JwsAlgorithm::Rs256),
        (T::Rsa2048Sha384, JwsAlgorithm::Rs384),
        (T::Rsa2048Sha512, JwsAlgorithm::Rs512),
        (T::Rsa3072Sha256, JwsAlgorithm::Rs256),
        (T::Rsa3072Sha384, JwsAlgorithm::Rs384),
        (T::Rsa3072Sha512, JwsAlgorithm::Rs512),
        (T::Rsa4096Sha256, JwsAlgorithm::Rs256),
        (T::Rsa4096Sha384, JwsAlgorithm::Rs384),
        (T::Rsa4096Sha512, JwsAlgorithm::Rs512),
        (T::Rsa8192Sha256, JwsAlgorithm::Rs256),
        (T::Rsa8192Sha384, JwsAlgorithm::Rs384),
        (T::Rsa8192Sha512, JwsAlgorithm::Rs512),
    ] {
        for group in rsa_pkcs1_verify::TestSet::load(set).unwrap().test_groups {
            let key = RsaPublicKey::new(
                without_leading_zeros(&group.key.n),
                without_leading_zeros(&group.key.e),
            )
            .unwrap();
            let key = PublicKey::Rsa(key);
            for test in group.tests {
                // "acceptable" is a DigestInfo without NULL, which no signer makes: refused
                let case = Case {
                    name: format!("{set:?} {}", test.tc_id),
                    message: &test.msg,
                    signature: &test.sig,
                    valid: test.result == TestResult::Valid,
                };
                count.run(algorithm, &key, &case);
            }
        }
    }
    assert!(
        count.aws_lc > 2000 && count.ring == count.aws_lc,
        "{} {}",
        count.aws_lc,
        count.ring
    );
    println!(
        "RSASSA-PKCS1-v1_5: {} through aws-lc, {} through ring",
        count.aws_lc, count.ring
    );
}

#[test]
fn rsa_pss_signatures_get_one_verdict() {
    use rsa_pss_verify::TestName as T;
    let mut count = Count::default();
    for (set, algorithm) in [
        (T::RsaPss2048Sha256Mgf1SaltLen32, JwsAlgorithm::Ps256),
        (T::RsaPss2048Sha384Mgf1SaltLen48, JwsAlgorithm::Ps384),
        (T::RsaPss3072Sha256Mgf1SaltLen32, JwsAlgorithm::Ps256),
        (T::RsaPss4096Sha256Mgf1SaltLen32, JwsAlgorithm::Ps256),
        (T::RsaPss4096Sha384Mgf1SaltLen48, JwsAlgorithm::Ps384),
        (T::RsaPss4096Sha512Mgf1SaltLen64, JwsAlgorithm::Ps512),
    ] {
        for group in rsa_pss_verify::TestSet::load(set).unwrap().test_groups {
            let key = RsaPublicKey::new(
                without_leading_zeros(&group.key.n),
                without_leading_zeros(&group.key.e),
            )
            .unwrap();
            let key = PublicKey::Rsa(key);
            for test in group.tests {
                let case = Case {
                    name: format!("{set:?} {}", test.tc_id),
                    message: &test.msg,
                    signature: &test.sig,
                    valid: test.result == TestResult::Valid,
                };
                count.run(algorithm, &key, &case);
            }
        }
    }
    // a salt of another length than the hash's is another algorithm (RFC 7518 section 3.5)
    for set in [
        T::RsaPss2048Sha256Mgf1SaltLen0,
        T::RsaPss4096Sha512Mgf1SaltLen32,
    ] {
        for group in rsa_pss_verify::TestSet::load(set).unwrap().test_groups {
            let algorithm = if set == T::RsaPss2048Sha256Mgf1SaltLen0 {
                JwsAlgorithm::Ps256
            } else {
                JwsAlgorithm::Ps512
            };
            let key = PublicKey::Rsa(
                RsaPublicKey::new(
                    without_leading_zeros(&group.key.n),
                    without_leading_zeros(&group.key.e),
                )
                .unwrap(),
            );
            for test in group
                .tests
                .iter()
                .filter(|test| test.result == TestResult::Valid)
            {
                let case = Case {
                    name: format!("{set:?} {}", test.tc_id),
                    message: &test.msg,
                    signature: &test.sig,
                    valid: false,
                };
                count.run(algorithm, &key, &case);
            }
        }
    }
    assert!(
        count.aws_lc > 500 && count.ring == count.aws_lc,
        "{} {}",
        count.aws_lc,
        count.ring
    );
    println!(
        "RSASSA-PSS: {} through aws-lc, {} through ring",
        count.aws_lc, count.ring
    );
}

#[test]
fn ecdsa_signatures_get_one_verdict() {
    use ecdsa::TestName as T;
    let mut count = Count::default();
    for (set, algorithm, curve) in [
        (
            T::EcdsaSecp256r1Sha256P1363,
            JwsAlgorithm::Es256,
            EcCurve::P256,
        ),
        (
            T::EcdsaSecp384r1Sha384P1363,
            JwsAlgorithm::Es384,
            EcCurve::P384,
        ),
        (
            T::EcdsaSecp521r1Sha512P1363,
            JwsAlgorithm::Es512,
            EcCurve::P521,
        ),
    ] {
        for group in ecdsa::TestSet::load(set).unwrap().test_groups {
            let key = PublicKey::Ec(EcPublicKey::from_uncompressed(curve, &group.key.key).unwrap());
            for test in group.tests {
                let case = Case {
                    name: format!("{set:?} {}", test.tc_id),
                    message: &test.msg,
                    signature: &test.sig,
                    valid: test.result == TestResult::Valid,
                };
                count.run(algorithm, &key, &case);
            }
        }
    }
    assert!(
        count.aws_lc > 600 && count.ring > 400,
        "{} {}",
        count.aws_lc,
        count.ring
    );
    println!(
        "ECDSA: {} through aws-lc, {} through ring",
        count.aws_lc, count.ring
    );
}

#[test]
fn ed25519_signatures_get_one_verdict() {
    let mut count = Count::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519)
        .unwrap()
        .test_groups
    {
        let key = PublicKey::Okp(OkpPublicKey::new(OkpCurve::Ed25519, &group.key.pk).unwrap());
        for test in group.tests {
            let case = Case {
                name: format!("Ed25519 {}", test.tc_id),
                message: &test.msg,
                signature: &test.sig,
                valid: test.result == TestResult::Valid,
            };
            count.run(JwsAlgorithm::Ed25519, &key, &case);
        }
    }
    assert!(
        count.aws_lc > 100 && count.ring == count.aws_lc,
        "{} {}",
        count.aws_lc,
        count.ring
    );
    println!(
        "Ed25519: {} through aws-lc, {} through ring",
        count.aws_lc, count.ring
    );
}

#[test]
fn macs_get_the_verdict_of_the_vectors() {
    use mac::TestName as T;
    let (mut run, mut short) = (0, 0);
    for (set, algorithm) in [
        (T::HmacSha256, JwsAlgorithm::Hs256),
        (T::HmacSha384, JwsAlgorithm::Hs384),
        (T::HmacSha512, JwsAlgorithm::Hs512),
    ] {
        for group in mac::TestSet::load(set).unwrap().test_groups {
            let whole = group.tag_size == algorithm.hash().output_len() * 8;
            for test in group.tests {
                let Ok(verifier) = SymmetricKey::new(&test.key)
                    .and_then(|key| AwsLc.mac_verifying_key(algorithm, &key))
                else {
                    assert!(
                        test.key.len() < algorithm.hash().output_len(),
                        "{set:?} {}",
                        test.tc_id
                    );
                    short += 1;
                    continue;
                };
                // a truncated tag is valid HMAC and no JWS signature
                let valid = whole && test.result == TestResult::Valid;
                assert_eq!(
                    verifier.verify(&test.msg, &test.tag).is_ok(),
                    valid,
                    "{set:?} {}",
                    test.tc_id
                );
                run += 1;
            }
        }
    }
    assert!(run > 200, "{run}");
    println!("HMAC: {run} through aws-lc, {short} keys shorter than the hash refused");
}
