//! Faults that tests put into lanes; there is no such code outside of tests.

use std::cell::Cell;

use crate::LANES;
use crate::ffi::Block;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// One bit of the lane's CRT result is wrong, its status fine.
    Result(usize),
    /// The lane's status is not fine.
    Status(usize),
}

thread_local! {
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Runs `body` with the fault in place.
pub(crate) fn with<T>(fault: Fault, body: impl FnOnce() -> T) -> T {
    FAULT.set(Some(fault));
    let value = body();
    FAULT.set(None);
    value
}

pub(crate) fn corrupt(results: &mut [Block; LANES]) {
    if let Some(Fault::Result(lane)) = FAULT.get() {
        results[lane][100] ^= 1;
    }
}

pub(crate) fn fails(lane: usize) -> bool {
    FAULT.get() == Some(Fault::Status(lane))
}

mod tests {
    use jose::algorithm::{Algorithm, JwsAlgorithm};
    use jose::key::{KeyMaterial, PrivateKey};
    use jose::provider::Failed;
    use jose_aws_lc::{AwsLc, KeySpec};

    use super::{Fault, with};
    use crate::{Engine, LANES, Outcomes, SignJob, Signer, Verifier, VerifyJob, sign, verify};

    fn key(algorithm: JwsAlgorithm) -> PrivateKey {
        match AwsLc.generate(&KeySpec::new(Algorithm::Jws(algorithm))) {
            Ok(key) => match key.material {
                KeyMaterial::Private(key) => key,
                KeyMaterial::Symmetric(_) => unreachable!("{algorithm} is asymmetric"),
            },
            Err(failed) => panic!("{failed}"),
        }
    }

    fn signed(engine: Engine, signer: &Signer) -> (Outcomes, Vec<Vec<u8>>) {
        let mut out = vec![vec![0xAA; signer.signature_len()]; LANES];
        let mut jobs: Vec<SignJob<'_>> = out
            .iter_mut()
            .map(|signature| SignJob {
                key: signer,
                message: b"message",
                signature,
            })
            .collect();
        let outcomes = sign(engine, &AwsLc, &AwsLc, &mut jobs);
        (outcomes, out)
    }

    fn only_fails(lane: usize, outcomes: Outcomes, what: &str) {
        for (at, outcome) in outcomes.into_iter().enumerate() {
            let expected = if at == lane { Err(Failed) } else { Ok(()) };
            assert_eq!(outcome, expected, "{what}, lane {at}");
        }
    }

    #[test]
    fn a_wrong_crt_result_never_leaves_its_lane() {
        let Ok(engine) = Engine::detect() else { return };
        let private = key(JwsAlgorithm::Rs256);
        for algorithm in [JwsAlgorithm::Rs256, JwsAlgorithm::Ps512] {
            let signer = Signer::prepare(engine, algorithm, &private)
                .unwrap()
                .unwrap();
            for lane in 0..LANES {
                let (outcomes, out) = with(Fault::Result(lane), || signed(engine, &signer));
                only_fails(lane, outcomes, algorithm.name());
                assert_eq!(
                    out[lane],
                    vec![0; 256],
                    "nothing of the faulty result is left"
                );
            }
        }
    }

    #[test]
    fn a_lane_whose_status_is_bad_gives_nothing() {
        let Ok(engine) = Engine::detect() else { return };
        for algorithm in [
            JwsAlgorithm::Rs256,
            JwsAlgorithm::Es256,
            JwsAlgorithm::Ed25519,
        ] {
            let private = key(algorithm);
            let signer = Signer::prepare(engine, algorithm, &private)
                .unwrap()
                .unwrap();
            let public = Verifier::prepare(engine, algorithm, &private.public_key());
            let verifier = public.unwrap().unwrap();
            let (_, good) = signed(engine, &signer);
            for lane in 0..LANES {
                let (outcomes, out) = with(Fault::Status(lane), || signed(engine, &signer));
                only_fails(lane, outcomes, algorithm.name());
                assert!(out[lane].iter().all(|byte| *byte == 0), "{algorithm}");
                let jobs = [VerifyJob {
                    key: &verifier,
                    message: b"message",
                    signature: &good[0],
                }; LANES];
                let outcomes = with(Fault::Status(lane), || verify(engine, &AwsLc, &jobs));
                only_fails(lane, outcomes, algorithm.name());
            }
        }
    }
}
