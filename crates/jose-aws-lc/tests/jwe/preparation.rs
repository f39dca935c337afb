//! Which keys are prepared at all, and what of them is shown.

use jose::algorithm::{ContentEncryption, KeyManagement};
use jose::jwe::decrypt;
use jose::key::{
    EcCurve, EcPrivateKey, EcPublicKey, KeyError, KeyMaterial, PrivateKey, PublicKey,
    RsaPrivateKey, RsaPrivateParts,
};

use crate::keys::{
    AGREEMENTS, agreement_keys, decrypter, ec, encrypter, pairs, rsa, secret, shared,
};

#[test]
fn a_key_is_prepared_for_its_own_algorithms_only() {
    let mut keys = agreement_keys();
    keys.push(("RSA", rsa()));
    keys.push(("oct", secret(&[1; 32])));
    for (name, key) in &keys {
        for alg in KeyManagement::ALL {
            let fits = match *name {
                "RSA" => matches!(alg, KeyManagement::RsaOaep | KeyManagement::RsaOaep256),
                "oct" => matches!(alg, KeyManagement::A256Kw | KeyManagement::A256GcmKw),
                _ => AGREEMENTS.contains(alg),
            };
            assert_eq!(decrypter(*alg, None, key).is_ok(), fits, "{name} {alg}");
            if let KeyMaterial::Private(private) = key {
                assert_eq!(
                    encrypter(*alg, &private.public_key()).is_ok(),
                    fits,
                    "{name} {alg}"
                );
            }
            let fixed = Some(ContentEncryption::A256Gcm);
            let direct = *name == "oct" && *alg == KeyManagement::Dir;
            assert_eq!(
                decrypter(*alg, fixed, key).is_ok(),
                direct,
                "{name} {alg} with enc"
            );
        }
    }
}

#[test]
fn shared_secrets_have_exactly_the_length_of_their_algorithm() {
    for len in 16..=80 {
        let KeyMaterial::Symmetric(key) = secret(&vec![1; len]) else {
            panic!()
        };
        for alg in KeyManagement::ALL
            .iter()
            .filter(|alg| alg.key_len().is_some())
        {
            assert_eq!(
                shared(*alg, None, &key).is_ok(),
                alg.key_len() == Some(len),
                "{alg} {len}"
            );
        }
        for enc in ContentEncryption::ALL {
            let outcome = shared(KeyManagement::Dir, Some(*enc), &key);
            assert_eq!(outcome.is_ok(), enc.key_len() == len, "dir {enc} {len}");
        }
    }
}

#[test]
fn points_off_the_curve_and_foreign_halves_are_no_keys() {
    let alg = KeyManagement::EcdhEs;
    for curve in EcCurve::ALL {
        let ones = vec![1; curve.coordinate_len()];
        let off = PublicKey::Ec(EcPublicKey::new(curve, &ones, &ones).unwrap());
        assert_eq!(
            encrypter(alg, &off).err(),
            Some(KeyError::Inconsistent),
            "{}",
            curve.name()
        );

        let PrivateKey::Ec(own) = ec(curve, &ones) else {
            panic!()
        };
        let mut other = ones.clone();
        other[1] = 2;
        let PrivateKey::Ec(other) = ec(curve, &other) else {
            panic!()
        };
        let mixed = EcPrivateKey::new(other.public_key().clone(), own.expose_scalar()).unwrap();
        let mixed = KeyMaterial::Private(PrivateKey::Ec(mixed));
        assert_eq!(
            decrypter(alg, None, &mixed).err(),
            Some(KeyError::Inconsistent),
            "{}",
            curve.name()
        );
    }
}

#[test]
fn rsa_numbers_that_do_not_belong_together_are_no_key() {
    let KeyMaterial::Private(PrivateKey::Rsa(key)) = rsa() else {
        panic!()
    };
    let good = key.expose_parts();
    for bad in [
        RsaPrivateParts { d: good.dp, ..good },
        RsaPrivateParts {
            p: good.q,
            q: good.p,
            ..good
        },
        RsaPrivateParts {
            dp: good.dq,
            ..good
        },
        RsaPrivateParts { qi: good.p, ..good },
    ] {
        let bad = RsaPrivateKey::new(key.public_key().clone(), &bad).unwrap();
        let bad = KeyMaterial::Private(PrivateKey::Rsa(bad));
        let refusal = decrypter(KeyManagement::RsaOaep256, None, &bad).err();
        assert_eq!(refusal, Some(KeyError::Inconsistent));
    }
}

#[test]
fn no_prepared_key_shows_its_secret() {
    for pair in pairs() {
        let shown = format!("{:?} {:?}", pair.encrypter, pair.decrypter).to_lowercase();
        for secret in ["5a5a", "a5a5", "4242", "90, 90", "165", "66, 66"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        let token = pair.token();
        let shown = format!("{:?}", decrypt(&token, pair.decrypter.as_ref()).unwrap());
        assert!(
            !shown.contains("payload") && !shown.contains("120"),
            "{shown}"
        );
    }
}
