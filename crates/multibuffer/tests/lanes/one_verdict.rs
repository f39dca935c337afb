//! Where verifiers of Ed25519 are known to disagree, aws-lc, ring and the lanes do not.

use jose::algorithm::JwsAlgorithm;
use jose::key::{OkpCurve, OkpPublicKey, PublicKey};
use jose::provider::Provider as _;
use jose_aws_lc::AwsLc;
use jose_ring::Ring;
use multibuffer::{Class, Engine, Verifier};
use proptest::prelude::*;

use crate::support::{engine, keys, verify_all};

fn hex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn one_verdict(engine: Engine, public: &OkpPublicKey, message: &[u8], signature: &[u8]) -> bool {
    let key = PublicKey::Okp(public.clone());
    let algorithm = JwsAlgorithm::Ed25519;
    let lanes = Verifier::prepare(engine, algorithm, &key).unwrap().unwrap();
    let [verdict] = verify_all(engine, &[(&lanes, message, signature)])[..] else {
        panic!("one verdict");
    };
    let aws = AwsLc.verifying_key(algorithm, &key).unwrap();
    let ring = Ring.verifying_key(algorithm, &key).unwrap();
    assert_eq!(aws.verify(message, signature).is_ok(), verdict, "aws-lc");
    assert_eq!(ring.verify(message, signature).is_ok(), verdict, "ring");
    verdict
}

/// Message, public key, signature of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko, 2020), table 5, and
/// what the three say; `None` where the key itself is refused.
const CASES: [(&str, &str, &str, Option<bool>); 12] = [
    // A and R of small order, S = 0
    (
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a0000000000000000000000000000000000000000000000000000000000000000",
        None,
    ),
    // A of small order
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        None,
    ),
    // R of small order
    (
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
        Some(true),
    ),
    // A and R of mixed order, and the equation holds without the cofactor
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
        Some(true),
    ),
    // the equation holds with the cofactor only
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed5125ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
        Some(false),
    ),
    // the same, with a hash that the cofactor must be multiplied into last
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405",
        Some(false),
    ),
    // S above L
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
        Some(false),
    ),
    // S far above L
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa19427e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
        Some(false),
    ),
    // R of small order in another spelling
    (
        "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff03be9678ac102edcd92b0210bb34d7428d12ffc5df5f37e359941266a4e35f0f",
        Some(false),
    ),
    // the same, hashed as it is spelt
    (
        "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffca8c5b64cd208982aa38d4936621a4775aa233aa0505711d8fdcfdaa943d4908",
        Some(false),
    ),
    // A of small order in another spelling
    (
        "e96b7021eb39c1a163b6da4e3093dcd3f21387da4cc4572be588fafae23c155b",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dca5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        None,
    ),
    // the same, hashed as it is spelt
    (
        "39a591f5321bbe07fd5a23dc2f39d025d74526615746727ceefd6e82ae65c06f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dca5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        None,
    ),
];

#[test]
fn the_many_ed_dsas_are_one_here() {
    let Some(engine) = engine() else { return };
    for (at, (message, public, signature, expected)) in CASES.iter().enumerate() {
        let public = OkpPublicKey::new(OkpCurve::Ed25519, &hex(public)).ok();
        let verdict =
            public.map(|public| one_verdict(engine, &public, &hex(message), &hex(signature)));
        assert_eq!(verdict, *expected, "case {at}");
    }
}

/// L, little-endian.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

#[test]
fn a_second_spelling_of_s_is_no_signature() {
    let Some(engine) = engine() else { return };
    for key in keys(engine, Class::Ed25519) {
        let PublicKey::Okp(public) = &key.public else {
            panic!("an Ed25519 key");
        };
        let mut signature = key.aws_sign(b"m");
        assert!(one_verdict(engine, public, b"m", &signature));
        // S + L, 2 L, ... as long as it fits
        for multiple in 1..=14 {
            let mut carry = 0;
            for (byte, add) in signature[32..].iter_mut().zip(hex(ORDER)) {
                let sum = u16::from(*byte) + u16::from(add) + carry;
                *byte = sum.to_le_bytes()[0];
                carry = sum >> 8;
            }
            assert_eq!(carry, 0);
            assert!(!one_verdict(engine, public, b"m", &signature), "{multiple}");
        }
    }
}

#[test]
fn s_is_below_l_and_not_at_it() {
    let Some(engine) = engine() else { return };
    let key = &keys(engine, Class::Ed25519)[0];
    let PublicKey::Okp(public) = &key.public else {
        panic!("an Ed25519 key");
    };
    let r = &key.aws_sign(b"m")[..32];
    for s in [hex(ORDER), vec![0xFF; 32], vec![0; 32]] {
        assert!(!one_verdict(engine, public, b"m", &[r, &s].concat()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Half of them are no points at all: that is found out while verifying, by each in its own way.
    #[test]
    fn arbitrary_keys_and_signatures_get_one_verdict(
        public in any::<[u8; 32]>(),
        r in any::<[u8; 32]>(),
        s in any::<[u8; 31]>(),
    ) {
        if let Some(engine) = engine() && let Ok(public) = OkpPublicKey::new(OkpCurve::Ed25519, &public) {
            let signature = [&r[..], &s, &[0]].concat();
            prop_assert!(!one_verdict(engine, &public, b"m", &signature));
        }
    }
}
