//! Key agreement: Wycheproof, both sides of an agreement, and what is refused.

use aws_lc_rs::agreement::{self, ECDH_P256};
use jose::key::{
    EcCurve, EcPrivateKey, EcPublicKey, OkpCurve, OkpPrivateKey, OkpPublicKey, PrivateKey,
    PublicKey,
};
use jose::provider::Failed;
use multibuffer::{Agreement, AgreementJob, Engine, LANES, PeerKey, agree};
use proptest::prelude::*;
use wycheproof::{TestResult, ecdh};
use zeroize::Zeroizing;

use crate::support::engine;

/// The private key with its public half, as aws-lc computes it.
fn private(scalar: &[u8]) -> EcPrivateKey {
    let key = agreement::PrivateKey::from_private_key(&ECDH_P256, scalar).unwrap();
    let public = key.compute_public_key().unwrap();
    let public = EcPublicKey::from_uncompressed(EcCurve::P256, public.as_ref()).unwrap();
    EcPrivateKey::new(public, scalar).unwrap()
}

fn reference(key: &EcPrivateKey, peer: &EcPublicKey) -> [u8; 32] {
    let key = agreement::PrivateKey::from_private_key(&ECDH_P256, key.expose_scalar()).unwrap();
    let peer = agreement::UnparsedPublicKey::new(&ECDH_P256, peer.uncompressed());
    agreement::agree(&key, peer, (), |shared| Ok(shared.try_into().unwrap())).unwrap()
}

type Pair = (Agreement, PeerKey);

fn pair(engine: Engine, key: &EcPrivateKey, peer: &EcPublicKey) -> Pair {
    let key = Agreement::prepare(engine, &PrivateKey::Ec(key.clone()));
    let peer = PeerKey::prepare(engine, &PublicKey::Ec(peer.clone()));
    (key.unwrap().unwrap(), peer.unwrap().unwrap())
}

fn agree_all(engine: Engine, pairs: &[Pair]) -> Vec<Result<[u8; 32], Failed>> {
    let mut shared = vec![Zeroizing::new([0xAA; 32]); pairs.len()];
    let mut jobs: Vec<AgreementJob<'_>> = pairs
        .iter()
        .zip(&mut shared)
        .map(|((key, peer), shared)| AgreementJob { key, peer, shared })
        .collect();
    let outcomes = agree(engine, &mut jobs);
    assert!(
        outcomes[pairs.len().min(LANES)..]
            .iter()
            .all(Result::is_err)
    );
    let results = shared.iter().zip(outcomes).map(|(shared, outcome)| {
        assert!(outcome.is_ok() || **shared == [0; 32]);
        outcome.map(|()| **shared)
    });
    results.collect()
}

fn scalar_32(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let significant = &bytes[zeros..];
    [&vec![0; 32 - significant.len()], significant].concat()
}

#[test]
fn agreements_have_the_results_of_wycheproof() {
    let Some(engine) = engine() else { return };
    let (mut cases, mut refused) = (Vec::new(), 0);
    let set = ecdh::TestSet::load(ecdh::TestName::EcdhSecp256r1Ecpoint).unwrap();
    for test in set.test_groups.into_iter().flat_map(|group| group.tests) {
        let peer = EcPublicKey::from_uncompressed(EcCurve::P256, &test.public_key);
        let usable = peer
            .clone()
            .and_then(|peer| PeerKey::prepare(engine, &PublicKey::Ec(peer)));
        // compressed points, other curves and points off the curve are no keys here
        assert_eq!(
            usable.is_ok(),
            test.result == TestResult::Valid,
            "{}",
            test.tc_id
        );
        if usable.is_ok() {
            let key = private(&scalar_32(&test.private_key));
            cases.push((
                pair(engine, &key, &peer.unwrap()),
                test.shared_secret,
                test.tc_id,
            ));
        } else {
            refused += 1;
        }
    }
    assert!(
        cases.len() > 150 && refused > 5,
        "{} {refused}",
        cases.len()
    );
    let mut cases = cases.into_iter().peekable();
    while cases.peek().is_some() {
        let (mut pairs, mut expected) = (Vec::new(), Vec::new());
        for (pair, shared, name) in cases.by_ref().take(LANES) {
            pairs.push(pair);
            expected.push((shared, name));
        }
        for (result, (shared, name)) in agree_all(engine, &pairs).into_iter().zip(expected) {
            assert_eq!(result.map(Vec::from), Ok(shared.to_vec()), "{name}");
        }
    }
}

#[test]
fn more_agreements_than_lanes_fail_all() {
    let Some(engine) = engine() else { return };
    let key = private(&[0x11; 32]);
    let nine: Vec<Pair> = (0..=LANES)
        .map(|_| pair(engine, &key, key.public_key()))
        .collect();
    assert_eq!(agree_all(engine, &nine), vec![Err(Failed); LANES]);
}

#[test]
fn an_agreement_shows_nothing_secret() {
    let Some(engine) = engine() else { return };
    let key = private(&[0x11; 32]);
    let (key, peer) = pair(engine, &key, key.public_key());
    assert_eq!(
        format!("{key:?} {peer:?}"),
        "Agreement(P-256, redacted) PeerKey(P-256)"
    );
    let job = AgreementJob {
        key: &key,
        peer: &peer,
        shared: &mut Zeroizing::new([0xAB; 32]),
    };
    assert_eq!(
        format!("{job:?}"),
        "AgreementJob(Agreement(P-256, redacted))"
    );
}

/// The library loses a carry there (see the module `agree`).
#[test]
fn x25519_has_no_lanes() {
    let Some(engine) = engine() else { return };
    let public = OkpPublicKey::new(OkpCurve::X25519, &[9; 32]).unwrap();
    let key = OkpPrivateKey::new(public.clone(), &[1; 32]).unwrap();
    assert!(
        Agreement::prepare(engine, &PrivateKey::Okp(key))
            .unwrap()
            .is_none()
    );
    assert!(
        PeerKey::prepare(engine, &PublicKey::Okp(public))
            .unwrap()
            .is_none()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_sides_agree_with_each_other_and_with_aws_lc(
        secrets in prop::collection::vec((any::<[u8; 31]>(), any::<[u8; 31]>()), 1..=LANES),
    ) {
        let Some(engine) = engine() else { return Ok(()) };
        let (mut ours, mut theirs, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for (a, b) in &secrets {
            // 31 bytes and a one: below the order, never zero
            let [a, b] = [a, b].map(|secret| private(&[&secret[..], &[1]].concat()));
            ours.push(pair(engine, &a, b.public_key()));
            theirs.push(pair(engine, &b, a.public_key()));
            expected.push(Ok(reference(&a, b.public_key())));
        }
        prop_assert_eq!(&agree_all(engine, &ours), &expected);
        prop_assert_eq!(&agree_all(engine, &theirs), &expected);
    }
}
