//! Wycheproof through aws-lc, ring and the lanes: the verdict of the vectors, and one verdict from all three.

use jose::algorithm::JwsAlgorithm;
use jose::key::{EcCurve, EcPublicKey, OkpCurve, OkpPublicKey, PublicKey, RsaPublicKey};
use jose::provider::Provider;
use jose_aws_lc::AwsLc;
use jose_ring::Ring;
use multibuffer::{Engine, LANES, Verifier};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use crate::support::{engine, verify_all};

struct Case {
    name: String,
    key: PublicKey,
    algorithm: JwsAlgorithm,
    message: Vec<u8>,
    signature: Vec<u8>,
    valid: bool,
}

/// The cases of one class, eight at a time, so that good and bad ones, and several keys, share a call.
fn run(engine: Engine, cases: &[Case], at_least: usize) {
    assert!(cases.len() >= at_least, "{} cases", cases.len());
    let prepared: Vec<Verifier> = cases
        .iter()
        .map(|case| {
            let verifier = Verifier::prepare(engine, case.algorithm, &case.key);
            verifier.unwrap().unwrap()
        })
        .collect();
    for (cases, verifiers) in cases.chunks(LANES).zip(prepared.chunks(LANES)) {
        let work: Vec<_> = cases
            .iter()
            .zip(verifiers)
            .map(|(case, verifier)| (verifier, &*case.message, &*case.signature))
            .collect();
        for (case, verdict) in cases.iter().zip(verify_all(engine, &work)) {
            assert_eq!(
                verdict, case.valid,
                "lanes {} {}",
                case.algorithm, case.name
            );
            let others: [(&str, &dyn Provider); 2] = [("aws-lc", &AwsLc), ("ring", &Ring)];
            for (name, provider) in others {
                let verifier = provider.verifying_key(case.algorithm, &case.key).unwrap();
                let other = verifier.verify(&case.message, &case.signature).is_ok();
                assert_eq!(other, verdict, "{name} {} {}", case.algorithm, case.name);
            }
        }
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

fn rsa_key(n: &[u8], e: &[u8]) -> PublicKey {
    PublicKey::Rsa(RsaPublicKey::new(without_leading_zeros(n), without_leading_zeros(e)).unwrap())
}

fn pkcs1(set: rsa_pkcs1_verify::TestName, algorithm: JwsAlgorithm) -> Vec<Case> {
    let mut cases = Vec::new();
    for group in rsa_pkcs1_verify::TestSet::load(set).unwrap().test_groups {
        let key = rsa_key(&group.key.n, &group.key.e);
        cases.extend(group.tests.into_iter().map(|test| Case {
            name: format!("{set:?} {}", test.tc_id),
            key: key.clone(),
            algorithm,
            message: test.msg.to_vec(),
            signature: test.sig.to_vec(),
            // "acceptable" is a DigestInfo without NULL, which no signer makes: refused
            valid: test.result == TestResult::Valid,
        }));
    }
    cases
}

fn pss(set: rsa_pss_verify::TestName, algorithm: JwsAlgorithm, same_salt: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for group in rsa_pss_verify::TestSet::load(set).unwrap().test_groups {
        let key = rsa_key(&group.key.n, &group.key.e);
        // a salt of another length than the hash's is another algorithm (RFC 7518 section 3.5); among the invalid
        // cases of such a set is one with the length of the hash
        let tests = group.tests.into_iter();
        let tests = tests.filter(|test| same_salt || test.result == TestResult::Valid);
        cases.extend(tests.map(|test| Case {
            name: format!("{set:?} {}", test.tc_id),
            key: key.clone(),
            algorithm,
            message: test.msg.to_vec(),
            signature: test.sig.to_vec(),
            valid: same_salt && test.result == TestResult::Valid,
        }));
    }
    cases
}

/// The vectors have other exponents too; those have no lanes.
fn with_lanes(engine: Engine, cases: Vec<Case>) -> Vec<Case> {
    let has = |case: &Case| {
        let verifier = Verifier::prepare(engine, case.algorithm, &case.key);
        verifier.unwrap().is_some()
    };
    cases.into_iter().filter(has).collect()
}

#[test]
fn rsa_signatures_get_one_verdict() {
    use rsa_pkcs1_verify::TestName as T;
    use rsa_pss_verify::TestName as P;
    let Some(engine) = engine() else { return };
    let of_2048 = [
        pkcs1(T::Rsa2048Sha256, JwsAlgorithm::Rs256),
        pkcs1(T::Rsa2048Sha384, JwsAlgorithm::Rs384),
        pkcs1(T::Rsa2048Sha512, JwsAlgorithm::Rs512),
        pss(P::RsaPss2048Sha256Mgf1SaltLen32, JwsAlgorithm::Ps256, true),
        pss(P::RsaPss2048Sha384Mgf1SaltLen48, JwsAlgorithm::Ps384, true),
        pss(P::RsaPss2048Sha256Mgf1SaltLen0, JwsAlgorithm::Ps256, false),
    ];
    let of_3072 = [
        pkcs1(T::Rsa3072Sha256, JwsAlgorithm::Rs256),
        pkcs1(T::Rsa3072Sha384, JwsAlgorithm::Rs384),
        pkcs1(T::Rsa3072Sha512, JwsAlgorithm::Rs512),
        pss(P::RsaPss3072Sha256Mgf1SaltLen32, JwsAlgorithm::Ps256, true),
    ];
    let of_4096 = [
        pkcs1(T::Rsa4096Sha256, JwsAlgorithm::Rs256),
        pkcs1(T::Rsa4096Sha384, JwsAlgorithm::Rs384),
        pkcs1(T::Rsa4096Sha512, JwsAlgorithm::Rs512),
        pss(P::RsaPss4096Sha256Mgf1SaltLen32, JwsAlgorithm::Ps256, true),
        pss(P::RsaPss4096Sha384Mgf1SaltLen48, JwsAlgorithm::Ps384, true),
        pss(P::RsaPss4096Sha512Mgf1SaltLen64, JwsAlgorithm::Ps512, true),
        pss(P::RsaPss4096Sha512Mgf1SaltLen32, JwsAlgorithm::Ps512, false),
    ];
    for (sets, at_least) in [(&of_2048[..], 800), (&of_3072, 600), (&of_4096, 800)] {
        // one case of each set after the other, so that encodings and hashes are mixed within a call
        let longest = sets.iter().map(Vec::len).max().unwrap();
        let mut mixed = Vec::new();
        for at in 0..longest {
            for set in sets {
                mixed.extend(set.get(at).map(|case| Case {
                    name: case.name.clone(),
                    key: case.key.clone(),
                    message: case.message.clone(),
                    signature: case.signature.clone(),
                    ..*case
                }));
            }
        }
        run(engine, &with_lanes(engine, mixed), at_least);
    }
}

#[test]
fn es256_signatures_get_one_verdict() {
    let Some(engine) = engine() else { return };
    let mut cases = Vec::new();
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    for group in set.test_groups {
        let key = EcPublicKey::from_uncompressed(EcCurve::P256, &group.key.key).unwrap();
        cases.extend(group.tests.into_iter().map(|test| Case {
            name: test.tc_id.to_string(),
            key: PublicKey::Ec(key.clone()),
            algorithm: JwsAlgorithm::Es256,
            message: test.msg.to_vec(),
            signature: test.sig.to_vec(),
            valid: test.result == TestResult::Valid,
        }));
    }
    run(engine, &cases, 200);
}

#[test]
fn ed25519_signatures_get_one_verdict() {
    let Some(engine) = engine() else { return };
    let mut cases = Vec::new();
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    for group in set.test_groups {
        let key = OkpPublicKey::new(OkpCurve::Ed25519, &group.key.pk).unwrap();
        cases.extend(group.tests.into_iter().map(|test| Case {
            name: test.tc_id.to_string(),
            key: PublicKey::Okp(key.clone()),
            algorithm: JwsAlgorithm::Ed25519,
            message: test.msg.to_vec(),
            signature: test.sig.to_vec(),
            valid: test.result == TestResult::Valid,
        }));
    }
    run(engine, &cases, 100);
}
