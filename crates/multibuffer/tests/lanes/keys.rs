//! What becomes a key, what does not, and what a call refuses.

use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose::key::{
    EcCurve, EcPrivateKey, EcPublicKey, KeyError, OkpCurve, OkpPrivateKey, PrivateKey, PublicKey,
    RsaPrivateKey, RsaPrivateParts, RsaPublicKey,
};
use jose::provider::Failed;
use jose_aws_lc::{AwsLc, RsaBits};
use multibuffer::{
    Agreement, AgreementJob, Class, Engine, LANES, PeerKey, SignJob, Signer, Unavailable, Verifier,
    VerifyJob, agree, sign, verify,
};

use crate::support::{Broken, Key, RSA, engine, generate, keys, sign_all, try_sign, verify_all};

fn new(algorithm: JwsAlgorithm) -> PrivateKey {
    generate(algorithm, RsaBits::B2048)
}

#[test]
fn the_build_says_whether_there_are_lanes() {
    let built = match Engine::detect() {
        Ok(engine) => {
            assert_eq!(format!("{engine:?}"), "Engine(crypto_mb)");
            true
        }
        Err(Unavailable::NotBuilt) => false,
        Err(Unavailable::Cpu) => true,
    };
    assert_eq!(built, cfg!(feature = "crypto-mb"));
    for why in [Unavailable::NotBuilt, Unavailable::Cpu] {
        assert!(!why.to_string().is_empty());
    }
    assert_eq!(Engine::detect().is_ok(), Engine::detect().is_ok());
}

#[test]
fn lanes_pay_from_a_fill_that_exists_or_never() {
    for class in Class::ALL {
        assert!(
            (2..=LANES + 1).contains(&class.sign_pays_from()),
            "{class:?}"
        );
        assert!((2..=LANES).contains(&class.verify_pays_from()), "{class:?}");
    }
    assert!((2..=LANES).contains(&Agreement::PAYS_FROM));
}

#[test]
fn prepared_keys_and_engines_go_to_other_threads() {
    fn both<T: Send + Sync>() {}
    both::<Engine>();
    both::<Signer>();
    both::<Verifier>();
    both::<Agreement>();
    both::<PeerKey>();
    both::<SignJob<'_>>();
    both::<VerifyJob<'_>>();
    both::<AgreementJob<'_>>();
}

#[test]
fn no_lanes_is_no_error() {
    let Some(engine) = engine() else { return };
    for algorithm in [JwsAlgorithm::Es384, JwsAlgorithm::Es512] {
        let key = new(algorithm);
        assert!(Signer::prepare(engine, algorithm, &key).unwrap().is_none());
        let verifier = Verifier::prepare(engine, algorithm, &key.public_key());
        assert!(verifier.unwrap().is_none());
        assert!(Agreement::prepare(engine, &key).unwrap().is_none());
        assert!(
            PeerKey::prepare(engine, &key.public_key())
                .unwrap()
                .is_none()
        );
    }
    for key in [new(JwsAlgorithm::Rs256), new(JwsAlgorithm::Ed25519)] {
        assert!(Agreement::prepare(engine, &key).unwrap().is_none());
        assert!(
            PeerKey::prepare(engine, &key.public_key())
                .unwrap()
                .is_none()
        );
    }
    for key in keys(engine, Class::Rsa3072) {
        assert!(key.signer.is_none(), "{}", key.algorithm);
        assert_eq!(key.verifier.class(), Class::Rsa3072);
    }
    // the library's public operation has the one exponent, and three sizes
    let PublicKey::Rsa(rsa) = new(JwsAlgorithm::Rs256).public_key() else {
        panic!("an RSA key");
    };
    let odd_size = [&rsa.n()[..255], &[1; 2]].concat();
    for (n, e) in [(rsa.n(), &[3][..]), (&odd_size, &[1, 0, 1])] {
        let key = PublicKey::Rsa(RsaPublicKey::new(n, e).unwrap());
        let verifier = Verifier::prepare(engine, JwsAlgorithm::Rs256, &key);
        assert!(verifier.unwrap().is_none());
    }
}

#[test]
fn a_key_is_for_its_own_algorithms() {
    let Some(engine) = engine() else { return };
    for of in [
        JwsAlgorithm::Rs256,
        JwsAlgorithm::Es256,
        JwsAlgorithm::Ed25519,
    ] {
        let key = new(of);
        for algorithm in JwsAlgorithm::ALL.iter().copied() {
            let fits = key
                .public_key()
                .check_algorithm(Algorithm::Jws(algorithm))
                .is_ok();
            let unfit = Some(KeyError::Unfit(Algorithm::Jws(algorithm)));
            let signer = Signer::prepare(engine, algorithm, &key);
            let verifier = Verifier::prepare(engine, algorithm, &key.public_key());
            if fits {
                let (signer, verifier) = (signer.unwrap().unwrap(), verifier.unwrap().unwrap());
                assert_eq!(
                    (signer.algorithm(), verifier.algorithm()),
                    (algorithm, algorithm)
                );
                assert_eq!(signer.class(), verifier.class());
                assert_eq!(signer.signature_len(), signer.class().signature_len());
            } else {
                assert_eq!(signer.err(), unfit, "{of} {algorithm}");
                assert_eq!(verifier.err(), unfit, "{of} {algorithm}");
            }
        }
    }
}

#[test]
fn halves_that_do_not_belong_together_are_refused() {
    let Some(engine) = engine() else { return };
    let (PrivateKey::Ec(ec), PrivateKey::Ec(other)) =
        (new(JwsAlgorithm::Es256), new(JwsAlgorithm::Es256))
    else {
        panic!("two EC keys");
    };
    let order = b"\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51";
    for scalar in [other.expose_scalar(), &[0; 32], order, &[0xFF; 32]] {
        let key = PrivateKey::Ec(EcPrivateKey::new(ec.public_key().clone(), scalar).unwrap());
        let signer = Signer::prepare(engine, JwsAlgorithm::Es256, &key);
        assert_eq!(signer.err(), Some(KeyError::Inconsistent), "{scalar:?}");
        assert_eq!(
            Agreement::prepare(engine, &key).err(),
            Some(KeyError::Inconsistent)
        );
    }
    let off = EcPublicKey::new(EcCurve::P256, ec.public_key().x(), other.public_key().y()).unwrap();
    let off = PublicKey::Ec(off);
    let verifier = Verifier::prepare(engine, JwsAlgorithm::Es256, &off);
    assert_eq!(verifier.err(), Some(KeyError::Inconsistent));
    assert_eq!(
        PeerKey::prepare(engine, &off).err(),
        Some(KeyError::Inconsistent)
    );

    let (PrivateKey::Okp(ed), PrivateKey::Okp(other)) =
        (new(JwsAlgorithm::Ed25519), new(JwsAlgorithm::Ed25519))
    else {
        panic!("two Ed25519 keys");
    };
    let key = OkpPrivateKey::new(ed.public_key().clone(), other.expose_seed()).unwrap();
    let signer = Signer::prepare(engine, JwsAlgorithm::EdDsa, &PrivateKey::Okp(key));
    assert_eq!(signer.err(), Some(KeyError::Inconsistent));
}

#[test]
fn rsa_parts_that_do_not_belong_together_are_refused() {
    let Some(engine) = engine() else { return };
    let (PrivateKey::Rsa(key), PrivateKey::Rsa(other)) =
        (new(JwsAlgorithm::Rs256), new(JwsAlgorithm::Rs256))
    else {
        panic!("two RSA keys");
    };
    let (good, wrong) = (key.expose_parts(), other.expose_parts());
    let prepare = |public: &RsaPublicKey, parts: RsaPrivateParts<'_>| {
        let key = PrivateKey::Rsa(RsaPrivateKey::new(public.clone(), &parts).unwrap());
        Signer::prepare(engine, JwsAlgorithm::Rs256, &key)
    };
    for (what, parts) in [
        ("p", RsaPrivateParts { p: wrong.p, ..good }),
        ("q", RsaPrivateParts { q: wrong.q, ..good }),
        (
            "dp",
            RsaPrivateParts {
                dp: wrong.dp,
                ..good
            },
        ),
        (
            "dq",
            RsaPrivateParts {
                dq: wrong.dq,
                ..good
            },
        ),
        (
            "qi",
            RsaPrivateParts {
                qi: wrong.qi,
                ..good
            },
        ),
        (
            "p and q swapped",
            RsaPrivateParts {
                p: good.q,
                q: good.p,
                ..good
            },
        ),
        ("short p", RsaPrivateParts { p: &[3], ..good }),
        ("p of one", RsaPrivateParts { p: &[1], ..good }),
        ("dp of one", RsaPrivateParts { dp: &[1], ..good }),
    ] {
        let refused = prepare(key.public_key(), parts).err();
        assert_eq!(refused, Some(KeyError::Inconsistent), "{what}");
    }
    let refused = prepare(other.public_key(), good).err();
    assert_eq!(refused, Some(KeyError::Inconsistent), "another modulus");
    assert!(prepare(key.public_key(), good).unwrap().is_some());
}

#[test]
fn nothing_secret_is_shown() {
    let Some(engine) = engine() else { return };
    for class in Class::ALL {
        for key in keys(engine, class) {
            assert_eq!(
                format!("{:?}", key.verifier),
                format!("Verifier({})", key.algorithm)
            );
            let Some(signer) = &key.signer else { continue };
            let shown = format!("Signer({}, redacted)", key.algorithm);
            assert_eq!(format!("{signer:?}"), shown);
            assert_eq!(format!("{signer:#?}"), shown);
            let job = SignJob {
                key: signer,
                message: b"secret",
                signature: &mut [1, 2, 3],
            };
            assert_eq!(format!("{job:?}"), format!("SignJob({shown})"));
        }
    }
}

#[test]
fn a_job_of_another_class_or_length_fails_alone() {
    let Some(engine) = engine() else { return };
    let key = |class| &keys(engine, class)[0];
    for class in [Class::Rsa2048, Class::Rsa4096, Class::P256, Class::Ed25519] {
        let (own, strange) = (
            key(class),
            key(if class == Class::P256 {
                Class::Ed25519
            } else {
                Class::P256
            }),
        );
        let results = try_sign(engine, &AwsLc, &[(own, b"1"), (strange, b"2"), (own, b"3")]);
        let verdicts: Vec<_> = results.iter().map(Result::is_ok).collect();
        assert_eq!(verdicts, [true, false, true], "{class:?}");
        let (first, foreign) = (own.aws_sign(b"1"), strange.aws_sign(b"2"));
        let work = [
            (&own.verifier, &b"1"[..], &*first),
            (&strange.verifier, b"2", &*foreign),
            (&own.verifier, b"1", &first[1..]),
            (&own.verifier, b"1", &[]),
            (&own.verifier, b"1", &*first),
        ];
        assert_eq!(
            verify_all(engine, &work),
            [true, false, false, false, true],
            "{class:?}"
        );

        for wrong in [class.signature_len() - 1, class.signature_len() + 1, 0] {
            let (mut short, mut right) = (vec![0xAA; wrong], vec![0xAA; class.signature_len()]);
            let signer = own.signer.as_ref().unwrap();
            let mut jobs = [&mut short, &mut right].map(|signature| SignJob {
                key: signer,
                message: b"1",
                signature,
            });
            let outcomes = sign(engine, &AwsLc, &AwsLc, &mut jobs);
            assert_eq!(outcomes[..2], [Err(Failed), Ok(())], "{class:?} {wrong}");
            assert_eq!(short, vec![0; wrong]);
            assert_eq!(own.aws_verifier.verify(b"1", &right), Ok(()));
        }
    }
}

#[test]
fn no_jobs_or_too_many_fail_all() {
    let Some(engine) = engine() else { return };
    assert_eq!(sign(engine, &AwsLc, &AwsLc, &mut []), [Err(Failed); LANES]);
    assert_eq!(verify(engine, &AwsLc, &[]), [Err(Failed); LANES]);
    assert_eq!(agree(engine, &mut []), [Err(Failed); LANES]);
    let key = &keys(engine, Class::P256)[0];
    let nine: Vec<(&Key, &[u8])> = vec![(key, b"m"); LANES + 1];
    assert_eq!(try_sign(engine, &AwsLc, &nine), vec![Err(Failed); LANES]);
    let signature = key.aws_sign(b"m");
    let job = VerifyJob {
        key: &key.verifier,
        message: b"m",
        signature: &signature,
    };
    assert_eq!(
        verify(engine, &AwsLc, &[job; LANES + 1]),
        [Err(Failed); LANES]
    );
}

#[test]
fn without_randomness_what_needs_it_fails_and_the_rest_signs() {
    let Some(engine) = engine() else { return };
    for class in [Class::Rsa2048, Class::P256, Class::Ed25519] {
        for key in keys(engine, class) {
            let needs = key.algorithm.name().starts_with("PS") || class == Class::P256;
            let result = try_sign(engine, &Broken::Empty, &[(key, b"m")]);
            assert_eq!(result[0].is_err(), needs, "{}", key.algorithm);
        }
    }
}

#[test]
fn a_constant_generator_repeats_no_nonce() {
    let Some(engine) = engine() else { return };
    let all = keys(engine, Class::P256);
    let messages: Vec<[u8; 1]> = (0..4).map(|at| [at]).collect();
    let mut work: Vec<(&Key, &[u8])> = messages.iter().map(|m| (&all[0], &m[..])).collect();
    // the same key and message twice, and another key
    work.extend([(&all[0], &[0][..]), (&all[1], &[0]), (&all[1], &[1])]);
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for signed in try_sign(engine, &Broken::Constant, &work) {
        let r = signed.unwrap()[..32].to_vec();
        assert!(!seen.contains(&r), "r repeats, so a nonce does");
        seen.push(r);
    }
    let first = try_sign(engine, &AwsLc, &work[..1]);
    assert_ne!(first, try_sign(engine, &AwsLc, &work[..1]));
}

#[test]
fn one_batch_mixes_keys_and_hashes() {
    let Some(engine) = engine() else { return };
    let all = keys(engine, Class::Rsa2048);
    assert_eq!(all.len(), 2 * RSA.len());
    // both keys and all six algorithms in one call
    let work: Vec<(&Key, &[u8])> = (0..LANES)
        .map(|at| (&all[at * 5 % 12], &b"mixed"[..]))
        .collect();
    for (signature, (key, message)) in sign_all(engine, &work).iter().zip(&work) {
        assert_eq!(
            key.aws_verifier.verify(message, signature),
            Ok(()),
            "{}",
            key.algorithm
        );
        for other in all.iter().filter(|other| other.algorithm != key.algorithm) {
            assert_eq!(
                verify_all(engine, &[(&other.verifier, message, signature)]),
                [false]
            );
        }
    }
}

#[test]
fn an_x25519_key_signs_nothing() {
    let Some(engine) = engine() else { return };
    let x = [9; 32];
    let public = jose::key::OkpPublicKey::new(OkpCurve::X25519, &x).unwrap();
    let key = PrivateKey::Okp(OkpPrivateKey::new(public, &[1; 32]).unwrap());
    let unfit = Some(KeyError::Unfit(Algorithm::Jws(JwsAlgorithm::EdDsa)));
    assert_eq!(
        Signer::prepare(engine, JwsAlgorithm::EdDsa, &key).err(),
        unfit
    );
}
