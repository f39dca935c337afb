//! The lanes against aws-lc: every class, one to eight lanes filled, keys and hashes mixed.

use multibuffer::{Class, LANES};
use proptest::prelude::*;

use crate::support::{Key, engine, keys, sign_all, verify_all};

/// How a signature is changed before it is verified.
#[derive(Debug, Clone, Copy)]
enum Change {
    None,
    Bit(usize),
    Message,
    Short,
    Long,
    OtherKey,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => Just(Change::None),
        2 => (0_usize..4096).prop_map(Change::Bit),
        1 => Just(Change::Message),
        1 => Just(Change::Short),
        1 => Just(Change::Long),
        1 => Just(Change::OtherKey),
    ]
}

#[derive(Debug, Clone)]
struct Lane {
    key: usize,
    message: Vec<u8>,
    change: Change,
}

fn batch() -> impl Strategy<Value = Vec<Lane>> {
    let lane = (
        0_usize..1000,
        prop::collection::vec(any::<u8>(), 0..600),
        change(),
    )
        .prop_map(|(key, message, change)| Lane {
            key,
            message,
            change,
        });
    prop::collection::vec(lane, 1..=LANES)
}

fn agrees_with_aws_lc(class: Class, batch: &[Lane]) {
    let Some(engine) = engine() else { return };
    let all = keys(engine, class);
    let work: Vec<(&Key, &[u8])> = batch
        .iter()
        .map(|lane| (&all[lane.key % all.len()], &*lane.message))
        .collect();
    let signed = sign_all(engine, &work);
    let mut checks = Vec::new();
    for (((key, message), signature), lane) in work.iter().zip(&signed).zip(batch) {
        assert_eq!(
            key.aws_verifier.verify(message, signature),
            Ok(()),
            "{class:?} {}",
            key.algorithm
        );
        let other = &all[(lane.key + 1) % all.len()];
        let (mut key, mut message, mut signature) = (*key, message.to_vec(), signature.clone());
        match lane.change {
            Change::None => {}
            Change::Bit(at) => signature[at % class.signature_len()] ^= 1 << (at % 8),
            Change::Message => message.push(0),
            Change::Short => drop(signature.pop()),
            Change::Long => signature.push(0),
            Change::OtherKey => key = other,
        }
        checks.push((key, message, signature));
    }
    let lanes: Vec<_> = checks
        .iter()
        .map(|(key, message, signature)| (&key.verifier, &**message, &**signature))
        .collect();
    for ((verdict, (key, message, signature)), lane) in
        verify_all(engine, &lanes).iter().zip(&checks).zip(batch)
    {
        let aws = key.aws_verifier.verify(message, signature).is_ok();
        assert_eq!(
            *verdict, aws,
            "{class:?} {} {:?}",
            key.algorithm, lane.change
        );
        assert_eq!(
            aws,
            matches!(lane.change, Change::None),
            "{:?}",
            lane.change
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rsa_2048_agrees_with_aws_lc(batch in batch()) {
        agrees_with_aws_lc(Class::Rsa2048, &batch);
    }

    #[test]
    fn rsa_3072_agrees_with_aws_lc(batch in batch()) {
        agrees_with_aws_lc(Class::Rsa3072, &batch);
    }

    #[test]
    fn rsa_4096_agrees_with_aws_lc(batch in batch()) {
        agrees_with_aws_lc(Class::Rsa4096, &batch);
    }

    #[test]
    fn p_256_agrees_with_aws_lc(batch in batch()) {
        agrees_with_aws_lc(Class::P256, &batch);
    }

    #[test]
    fn ed25519_agrees_with_aws_lc(batch in batch()) {
        agrees_with_aws_lc(Class::Ed25519, &batch);
    }
}

#[test]
fn every_fill_signs_and_verifies_in_every_class() {
    let Some(engine) = engine() else { return };
    for class in Class::ALL {
        let all = keys(engine, class);
        for fill in 1..=LANES {
            let messages: Vec<Vec<u8>> = (0..fill).map(|lane| vec![b'm'; lane * 100]).collect();
            let work: Vec<(&Key, &[u8])> = messages
                .iter()
                .enumerate()
                .map(|(lane, message)| (&all[(lane + fill) % all.len()], &**message))
                .collect();
            let signed = sign_all(engine, &work);
            let checks: Vec<_> = work
                .iter()
                .zip(&signed)
                .map(|((key, message), signature)| (&key.verifier, *message, &**signature))
                .collect();
            assert_eq!(
                verify_all(engine, &checks),
                vec![true; fill],
                "{class:?} {fill}"
            );
            for ((key, message), signature) in work.iter().zip(&signed) {
                assert_eq!(key.aws_verifier.verify(message, signature), Ok(()));
                if !key.algorithm.name().starts_with("PS") && class != Class::P256 {
                    assert_eq!(
                        *signature,
                        key.aws_sign(message),
                        "{} is deterministic",
                        key.algorithm
                    );
                }
            }
        }
    }
}

#[test]
fn what_aws_lc_signs_verifies_in_every_lane() {
    let Some(engine) = engine() else { return };
    for class in Class::ALL {
        for key in keys(engine, class) {
            let signature = key.aws_sign(b"message");
            // one lane is right, the others hold a signature of something else
            for lane in 0..LANES {
                let mut work = [(&key.verifier, &b"another"[..], &*signature); LANES];
                work[lane].1 = b"message";
                let mut expected = [false; LANES];
                expected[lane] = true;
                assert_eq!(verify_all(engine, &work), expected, "{}", key.algorithm);
            }
        }
    }
}
