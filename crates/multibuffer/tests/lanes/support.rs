//! Keys of every class, prepared for the lanes and for aws-lc.

use std::sync::{Arc, OnceLock};

use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose::key::{KeyMaterial, PrivateKey, PublicKey};
use jose::provider::{Failed, Provider as _, SecureRandom, Sign, Verify};
use jose_aws_lc::{AwsLc, KeySpec, RsaBits};
use multibuffer::{Class, Engine, LANES, SignJob, Signer, Verifier, VerifyJob, sign, verify};

/// The lanes, or one line that says why this machine cannot test them.
pub(crate) fn engine() -> Option<Engine> {
    Engine::detect()
        .inspect_err(|why| println!("the lanes are not tested: {why}"))
        .ok()
}

/// A key, everywhere.
pub(crate) struct Key {
    pub(crate) algorithm: JwsAlgorithm,
    pub(crate) public: PublicKey,
    /// None of RSA-3072.
    pub(crate) signer: Option<Signer>,
    pub(crate) verifier: Verifier,
    pub(crate) aws_signer: Arc<dyn Sign>,
    pub(crate) aws_verifier: Arc<dyn Verify>,
}

impl Key {
    pub(crate) fn new(engine: Engine, algorithm: JwsAlgorithm, private: &PrivateKey) -> Self {
        let public = private.public_key();
        Self {
            algorithm,
            signer: Signer::prepare(engine, algorithm, private).unwrap(),
            verifier: Verifier::prepare(engine, algorithm, &public)
                .unwrap()
                .unwrap(),
            aws_signer: AwsLc
                .signing_key(algorithm, &KeyMaterial::Private(private.clone()))
                .unwrap(),
            aws_verifier: AwsLc.verifying_key(algorithm, &public).unwrap(),
            public,
        }
    }

    pub(crate) fn aws_sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.aws_signer.signature_len()];
        self.aws_signer.sign(message, &mut signature).unwrap();
        signature
    }
}

pub(crate) fn generate(algorithm: JwsAlgorithm, rsa_bits: RsaBits) -> PrivateKey {
    let spec = KeySpec {
        rsa_bits,
        ..KeySpec::new(Algorithm::Jws(algorithm))
    };
    match AwsLc.generate(&spec).unwrap().material {
        KeyMaterial::Private(key) => key,
        KeyMaterial::Symmetric(_) => unreachable!("{algorithm} is asymmetric"),
    }
}

pub(crate) const RSA: [JwsAlgorithm; 6] = [
    JwsAlgorithm::Rs256,
    JwsAlgorithm::Rs384,
    JwsAlgorithm::Rs512,
    JwsAlgorithm::Ps256,
    JwsAlgorithm::Ps384,
    JwsAlgorithm::Ps512,
];

/// Several keys of the class; of RSA two under each algorithm.
pub(crate) fn keys(engine: Engine, class: Class) -> &'static [Key] {
    static KEYS: [OnceLock<Vec<Key>>; 5] = [const { OnceLock::new() }; 5];
    let at = Class::ALL.iter().position(|other| *other == class).unwrap();
    KEYS[at].get_or_init(|| match class {
        Class::Rsa2048 => rsa(engine, RsaBits::B2048),
        Class::Rsa3072 => rsa(engine, RsaBits::B3072),
        Class::Rsa4096 => rsa(engine, RsaBits::B4096),
        Class::P256 => several(engine, JwsAlgorithm::Es256),
        Class::Ed25519 => several(engine, JwsAlgorithm::Ed25519),
    })
}

fn rsa(engine: Engine, bits: RsaBits) -> Vec<Key> {
    let private = [(); 2].map(|()| generate(JwsAlgorithm::Rs256, bits));
    let each = private
        .iter()
        .flat_map(|private| RSA.map(|algorithm| Key::new(engine, algorithm, private)));
    each.collect()
}

fn several(engine: Engine, algorithm: JwsAlgorithm) -> Vec<Key> {
    (0..5)
        .map(|_| Key::new(engine, algorithm, &generate(algorithm, RsaBits::B2048)))
        .collect()
}

/// Signs in lanes where the class has them, else with aws-lc; everything must succeed.
pub(crate) fn sign_all(engine: Engine, work: &[(&Key, &[u8])]) -> Vec<Vec<u8>> {
    if work.iter().any(|(key, _)| key.signer.is_none()) {
        return work
            .iter()
            .map(|(key, message)| key.aws_sign(message))
            .collect();
    }
    let results = try_sign(engine, &AwsLc, work);
    results.into_iter().map(Result::unwrap).collect()
}

pub(crate) fn try_sign(
    engine: Engine,
    random: &dyn SecureRandom,
    work: &[(&Key, &[u8])],
) -> Vec<Result<Vec<u8>, Failed>> {
    let mut out: Vec<Vec<u8>> = work
        .iter()
        .map(|(key, _)| vec![0xAA; key.aws_signer.signature_len()])
        .collect();
    let mut jobs: Vec<SignJob<'_>> = work
        .iter()
        .zip(&mut out)
        .map(|((key, message), signature)| SignJob {
            key: key.signer.as_ref().unwrap(),
            message,
            signature,
        })
        .collect();
    let outcomes = sign(engine, random, &AwsLc, &mut jobs);
    assert!(outcomes[work.len().min(LANES)..].iter().all(Result::is_err));
    let results = out.into_iter().zip(outcomes).map(|(signature, outcome)| {
        assert!(outcome.is_ok() || signature.iter().all(|byte| *byte == 0));
        outcome.map(|()| signature)
    });
    results.collect()
}

/// Verifies in lanes.
pub(crate) fn verify_all(engine: Engine, work: &[(&Verifier, &[u8], &[u8])]) -> Vec<bool> {
    let jobs: Vec<VerifyJob<'_>> = work
        .iter()
        .map(|(key, message, signature)| VerifyJob {
            key,
            message,
            signature,
        })
        .collect();
    let outcomes = verify(engine, &AwsLc, &jobs);
    assert!(outcomes[work.len()..].iter().all(Result::is_err));
    outcomes[..work.len()].iter().map(Result::is_ok).collect()
}

/// A generator that is broken in a known way.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Gives the same bytes for ever.
    Constant,
    /// Has none.
    Empty,
}

impl SecureRandom for Broken {
    fn fill(&self, out: &mut [u8]) -> Result<(), Failed> {
        out.fill(7);
        match self {
            Self::Constant => Ok(()),
            Self::Empty => Err(Failed),
        }
    }
}
