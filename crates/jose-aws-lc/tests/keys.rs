//! Generation, import checks, and what a prepared key does and shows.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what is unexpected fails the test"
)]

use jose::algorithm::{Algorithm, JwsAlgorithm, KeyManagement};
use jose::jwk::{Jwk, PublicJwk, SecretJwk};
use jose::jws::{EncodedHeader, UnverifiedJws, sign};
use jose::key::{
    EcCurve, EcPrivateKey, EcPublicKey, KeyError, KeyMaterial, OkpCurve, OkpPrivateKey,
    OkpPublicKey, PrivateKey, PublicKey, RsaPrivateKey, RsaPrivateParts, RsaPublicKey,
};
use jose::provider::Provider as _;
use jose_aws_lc::{AgreementCurve, AwsLc, GeneratedKey, KeySpec, RsaBits};

fn generate(algorithm: Algorithm) -> GeneratedKey {
    AwsLc.generate(&KeySpec::new(algorithm)).unwrap()
}

fn jws(algorithm: JwsAlgorithm) -> GeneratedKey {
    generate(Algorithm::Jws(algorithm))
}

#[test]
fn a_generated_key_signs_what_it_verifies_and_nothing_else() {
    for algorithm in JwsAlgorithm::ALL {
        let key = jws(*algorithm);
        AwsLc.check_material(&key.material).unwrap();
        let signer = AwsLc.signing_key(*algorithm, &key.material).unwrap();
        let verifier = match (&key.public, &key.material) {
            (Some(public), _) => AwsLc.verifying_key(*algorithm, public).unwrap(),
            (None, KeyMaterial::Symmetric(secret)) => {
                AwsLc.mac_verifying_key(*algorithm, secret).unwrap()
            }
            (None, KeyMaterial::Private(_)) => panic!("{algorithm}"),
        };
        let header = EncodedHeader::new(*algorithm, Some(key.kid.as_str()), Some("JWT"), None);
        let token = sign(&header, b"payload", signer.as_ref()).unwrap();
        let parsed = UnverifiedJws::parse(&token, 100).unwrap();
        assert_eq!(
            (parsed.algorithm, parsed.signature.len()),
            (*algorithm, signer.signature_len())
        );
        assert!(
            verifier
                .verify(parsed.signing_input, &parsed.signature)
                .is_ok(),
            "{algorithm}"
        );
        for at in [0, parsed.signature.len() / 2, parsed.signature.len() - 1] {
            let mut changed = parsed.signature.clone();
            changed[at] ^= 1;
            assert!(
                verifier.verify(parsed.signing_input, &changed).is_err(),
                "{algorithm} byte {at}"
            );
        }
        for len in [0, 1, parsed.signature.len() - 1] {
            assert!(
                verifier
                    .verify(parsed.signing_input, &parsed.signature[..len])
                    .is_err(),
                "{algorithm} cut to {len}"
            );
        }
        assert!(
            verifier.verify(b"another", &parsed.signature).is_err(),
            "{algorithm}"
        );
        assert!(signer.sign(b"x", &mut [0; 7]).is_err(), "{algorithm}");
        let shown = format!("{key:?} {signer:?} {verifier:?}");
        assert!(
            shown.contains("redacted") && shown.len() < 12_000,
            "{shown}"
        );
    }
}

#[test]
fn generated_keys_have_the_size_and_the_identifier_of_their_kind() {
    let mut kids = std::collections::HashSet::new();
    for algorithm in KeyManagement::ALL {
        let key = generate(Algorithm::Jwe(*algorithm));
        key.material.check_algorithm(key.algorithm).unwrap();
        AwsLc.check_material(&key.material).unwrap();
        match &key.public {
            Some(public) => assert_eq!(key.kid.as_str(), public.thumbprint(&AwsLc)),
            None => assert_eq!(key.kid.as_str().len(), 22),
        }
        assert!(kids.insert(key.kid.clone()), "{algorithm}");
    }
    for curve in [
        AgreementCurve::P256,
        AgreementCurve::P384,
        AgreementCurve::P521,
        AgreementCurve::X25519,
    ] {
        let spec = KeySpec {
            curve,
            ..KeySpec::new(Algorithm::Jwe(KeyManagement::EcdhEs))
        };
        let key = AwsLc.generate(&spec).unwrap();
        AwsLc.check_material(&key.material).unwrap();
        AwsLc.check_public(&key.public.unwrap()).unwrap();
    }
    for (rsa_bits, bits) in [(RsaBits::B2048, 2048), (RsaBits::B3072, 3072)] {
        let key = AwsLc
            .generate(&KeySpec {
                rsa_bits,
                ..KeySpec::new(Algorithm::Jws(JwsAlgorithm::Ps256))
            })
            .unwrap();
        let Some(PublicKey::Rsa(public)) = key.public else {
            panic!("{bits}")
        };
        assert_eq!((public.bits(), public.e()), (bits, &[1, 0, 1][..]));
    }
}

#[test]
fn keys_survive_jwk_and_sealing() {
    for algorithm in [
        "RS256",
        "ES256",
        "ES384",
        "ES512",
        "Ed25519",
        "HS384",
        "RSA-OAEP-256",
        "ECDH-ES",
        "A128KW",
        "dir",
    ] {
        let key = generate(Algorithm::parse(algorithm).unwrap());
        let sealed = key.material.to_bytes();
        assert_eq!(
            KeyMaterial::from_bytes(key.algorithm, &sealed)
                .unwrap()
                .to_bytes(),
            sealed,
            "{algorithm}"
        );
        let jwk = Jwk::new(key.material.clone())
            .with_kid(key.kid.clone())
            .with_algorithm(key.algorithm);
        let again = SecretJwk::parse(jwk.expose_json().as_bytes()).unwrap();
        assert_eq!(again.key.to_bytes(), sealed, "{algorithm}");
        assert_eq!(
            (again.kid, again.algorithm),
            (Some(key.kid), Some(key.algorithm))
        );
        if let Some(public) = jwk.public() {
            assert_eq!(
                PublicJwk::parse(public.to_json().as_bytes()).unwrap().key,
                public.key
            );
            assert!(!public.to_json().contains("\"d\""), "{algorithm}");
        }
    }
}

fn private(algorithm: JwsAlgorithm) -> PrivateKey {
    match jws(algorithm).material {
        KeyMaterial::Private(key) => key,
        KeyMaterial::Symmetric(_) => panic!("{algorithm}"),
    }
}

fn refused(name: &str, algorithm: JwsAlgorithm, key: PrivateKey) {
    let material = KeyMaterial::from(key);
    assert_eq!(
        AwsLc.check_material(&material),
        Err(KeyError::Inconsistent),
        "{name}"
    );
    assert_eq!(
        AwsLc.signing_key(algorithm, &material).err(),
        Some(KeyError::Inconsistent),
        "{name}"
    );
}

#[test]
fn public_members_that_disagree_with_private_ones_are_refused() {
    for algorithm in [
        JwsAlgorithm::Es256,
        JwsAlgorithm::Es384,
        JwsAlgorithm::Es512,
    ] {
        let (PrivateKey::Ec(one), PrivateKey::Ec(other)) = (private(algorithm), private(algorithm))
        else {
            panic!("{algorithm}")
        };
        refused(
            "EC",
            algorithm,
            PrivateKey::Ec(
                EcPrivateKey::new(other.public_key().clone(), one.expose_scalar()).unwrap(),
            ),
        );
        let zero = vec![0; one.expose_scalar().len()];
        refused(
            "EC zero",
            algorithm,
            PrivateKey::Ec(EcPrivateKey::new(one.public_key().clone(), &zero).unwrap()),
        );
        let ones = vec![0xFF; zero.len()];
        refused(
            "EC beyond the order",
            algorithm,
            PrivateKey::Ec(EcPrivateKey::new(one.public_key().clone(), &ones).unwrap()),
        );
    }
    let (PrivateKey::Okp(one), PrivateKey::Okp(other)) = (
        private(JwsAlgorithm::Ed25519),
        private(JwsAlgorithm::Ed25519),
    ) else {
        panic!()
    };
    refused(
        "Ed25519",
        JwsAlgorithm::Ed25519,
        PrivateKey::Okp(OkpPrivateKey::new(other.public_key().clone(), one.expose_seed()).unwrap()),
    );
}

#[test]
fn rsa_members_that_do_not_belong_together_are_refused() {
    let (PrivateKey::Rsa(one), PrivateKey::Rsa(other)) =
        (private(JwsAlgorithm::Rs256), private(JwsAlgorithm::Rs256))
    else {
        panic!()
    };
    let (a, b) = (one.expose_parts(), other.expose_parts());
    let public = || one.public_key().clone();
    for (name, key, parts) in [
        ("n", other.public_key().clone(), a),
        ("d", public(), RsaPrivateParts { d: b.d, ..a }),
        ("p", public(), RsaPrivateParts { p: b.p, ..a }),
        ("q", public(), RsaPrivateParts { q: b.q, ..a }),
        ("dp", public(), RsaPrivateParts { dp: b.dp, ..a }),
        ("dq", public(), RsaPrivateParts { dq: b.dq, ..a }),
        ("qi", public(), RsaPrivateParts { qi: b.qi, ..a }),
        ("p = q", public(), RsaPrivateParts { q: a.p, ..a }),
    ] {
        refused(
            name,
            JwsAlgorithm::Rs256,
            PrivateKey::Rsa(RsaPrivateKey::new(key, &parts).unwrap()),
        );
    }
    assert!(RsaPublicKey::new(one.public_key().n(), &[3]).is_ok());
}

#[test]
fn points_off_the_curve_are_refused() {
    for (curve, algorithm) in [
        (EcCurve::P256, JwsAlgorithm::Es256),
        (EcCurve::P384, JwsAlgorithm::Es384),
        (EcCurve::P521, JwsAlgorithm::Es512),
    ] {
        let Some(PublicKey::Ec(good)) = jws(algorithm).public else {
            panic!("{algorithm}")
        };
        let mut y = good.y().to_vec();
        *y.last_mut().unwrap() ^= 1;
        let zero = vec![0; y.len()];
        for (name, point) in [
            ("other y", EcPublicKey::new(curve, good.x(), &y).unwrap()),
            ("zero", EcPublicKey::new(curve, &zero, &zero).unwrap()),
        ] {
            let key = PublicKey::Ec(point);
            assert_eq!(
                AwsLc.check_public(&key),
                Err(KeyError::Inconsistent),
                "{algorithm} {name}"
            );
            assert_eq!(
                AwsLc.verifying_key(algorithm, &key).err(),
                Some(KeyError::Inconsistent),
                "{algorithm} {name}"
            );
        }
    }
}

#[test]
fn an_ed25519_key_is_a_point_of_its_curve() {
    for _ in 0..50 {
        let key = jws(JwsAlgorithm::Ed25519).public.unwrap();
        assert_eq!(AwsLc.check_public(&key), Ok(()), "{key:?}");
    }
    for y in [2, 7, 8, 11, 12, 13, 17, 20] {
        let mut x = [0; 32];
        x[0] = y;
        let key = PublicKey::Okp(OkpPublicKey::new(OkpCurve::Ed25519, &x).unwrap());
        assert_eq!(
            AwsLc.check_public(&key),
            Err(KeyError::Inconsistent),
            "{key:?}"
        );
    }
}

#[test]
fn a_key_is_prepared_for_its_own_algorithms_only() {
    for made_for in JwsAlgorithm::ALL {
        let key = jws(*made_for);
        for algorithm in JwsAlgorithm::ALL {
            let fits = key
                .material
                .check_algorithm(Algorithm::Jws(*algorithm))
                .is_ok();
            assert_eq!(
                AwsLc.signing_key(*algorithm, &key.material).is_ok(),
                fits,
                "{made_for} as {algorithm}"
            );
            if let Some(public) = &key.public {
                assert_eq!(
                    AwsLc.verifying_key(*algorithm, public).is_ok(),
                    fits,
                    "{made_for} as {algorithm}"
                );
            }
        }
    }
    let x = OkpPublicKey::new(OkpCurve::X25519, &[9; 32]).unwrap();
    assert!(
        AwsLc
            .verifying_key(JwsAlgorithm::Ed25519, &PublicKey::Okp(x))
            .is_err()
    );
}

/// PKCS#8 as OpenSSL writes it (version 0, without the public half), for keys of RFC 8032 section 7.1 and RFC 7748 section 6.1, and an EC key of
/// RFC 6979 appendix A.2.5 without its public half.
#[test]
fn pkcs8_without_a_public_half_gets_the_computed_one() {
    let rows = [
        (
            "Ed25519",
            "302e020100300506032b657004220420\
             9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        ),
        (
            "X25519",
            "302e020100300506032b656e04220420\
             77076d0a7318a57d3c16c17251b26645\
             4c66542f30c6dabc13d3f5e4d2b0dba1",
            "",
        ),
        (
            "P-256",
            "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420\
             c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
            "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
             7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
        ),
    ];
    for (name, pkcs8, public) in rows {
        let read = AwsLc.private_key_from_pkcs8(&from_hex(pkcs8));
        let key = read.unwrap_or_else(|error| panic!("{name}: {error}"));
        let computed = match key.public_key() {
            PublicKey::Ec(key) => key.uncompressed().to_vec(),
            PublicKey::Okp(key) => key.x().to_vec(),
            PublicKey::Rsa(_) => panic!("{name}"),
        };
        assert!(public.is_empty() || computed == from_hex(public), "{name}");
        assert!(
            PrivateKey::from_pkcs8(&from_hex(pkcs8)).is_err(),
            "{name}: only with arithmetic"
        );
        AwsLc.check_material(&KeyMaterial::Private(key)).unwrap();
    }
}

#[test]
fn pkcs8_with_the_public_half_of_another_key_is_refused() {
    for algorithm in ["ES256", "ES512", "EdDSA", "RS256"] {
        let algorithm = JwsAlgorithm::parse(algorithm).unwrap();
        let (one, other) = (jws(algorithm), jws(algorithm));
        let bytes = one.material.to_bytes();
        assert!(AwsLc.private_key_from_pkcs8(&bytes).is_ok(), "{algorithm}");
        let (own, foreign) = (half(&one), half(&other));
        let at = bytes
            .windows(own.len())
            .position(|window| window == own)
            .unwrap();
        let mut mixed = bytes.to_vec();
        mixed.splice(at..at + own.len(), foreign.iter().copied());
        assert!(AwsLc.private_key_from_pkcs8(&mixed).is_err(), "{algorithm}");
    }
}

/// The bytes of the public half as PKCS#8 holds them.
fn half(key: &GeneratedKey) -> Vec<u8> {
    match key.public.as_ref().unwrap() {
        PublicKey::Rsa(key) => key.n().to_vec(),
        PublicKey::Ec(key) => key.uncompressed().to_vec(),
        PublicKey::Okp(key) => key.x().to_vec(),
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}
