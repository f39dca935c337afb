use proptest::prelude::*;

use super::*;

fn modulus(bytes: usize) -> Vec<u8> {
    let mut n = vec![0xA5; bytes];
    n[bytes - 1] |= 1;
    n
}

#[test]
fn rsa_public_keys_stay_within_their_bounds() {
    let good = modulus(256);
    for (n, e, member) in [
        (modulus(255), vec![1, 0, 1], Some("n")),
        (modulus(1025), vec![1, 0, 1], Some("n")),
        ([&[0x7F], &good[1..]].concat(), vec![1, 0, 1], Some("n")),
        ([&[0], good.as_slice()].concat(), vec![1, 0, 1], Some("n")),
        ([&good[..255], &[0xA4]].concat(), vec![1, 0, 1], Some("n")),
        (vec![], vec![1, 0, 1], Some("n")),
        (good.clone(), vec![], Some("e")),
        (good.clone(), vec![1], Some("e")),
        (good.clone(), vec![2], Some("e")),
        (good.clone(), vec![1, 0, 0], Some("e")),
        (good.clone(), vec![0, 3], Some("e")),
        (good.clone(), vec![2, 0, 0, 0, 1], Some("e")),
        (good.clone(), vec![1, 0xFF, 0xFF, 0xFF, 0xFF], None),
        (good.clone(), vec![3], None),
        (modulus(1024), vec![1, 0, 1], None),
    ] {
        let outcome = RsaPublicKey::new(&n, &e);
        assert_eq!(
            outcome.as_ref().err().and_then(KeyError::member),
            member,
            "n of {} bytes, e {e:?}",
            n.len()
        );
    }
}

#[test]
fn private_rsa_keys_have_the_exponent_65537() {
    let part: &[u8] = &[7];
    let parts = RsaPrivateParts {
        d: part,
        p: part,
        q: part,
        dp: part,
        dq: part,
        qi: part,
    };
    let other = RsaPublicKey::new(&modulus(256), &[3]).unwrap();
    assert_eq!(
        RsaPrivateKey::new(other, &parts).unwrap_err().member(),
        Some("e")
    );
    let f4 = RsaPublicKey::new(&modulus(256), &[1, 0, 1]).unwrap();
    assert!(RsaPrivateKey::new(f4, &parts).is_ok());
}

#[test]
fn hmac_keys_are_not_shorter_than_the_hash_and_wrapping_keys_have_their_length() {
    for (name, len, fits) in [
        ("HS256", 31, false),
        ("HS256", 32, true),
        ("HS384", 47, false),
        ("HS384", 48, true),
        ("HS512", 63, false),
        ("HS512", 64, true),
        ("HS512", 512, true),
        ("A128KW", 16, true),
        ("A128KW", 32, false),
        ("A256GCMKW", 32, true),
        ("A256GCMKW", 16, false),
        ("dir", 48, true),
        ("dir", 20, false),
        ("ES256", 32, false),
        ("RSA-OAEP-256", 32, false),
    ] {
        let key = KeyMaterial::from(SymmetricKey::new(&vec![9; len]).unwrap());
        assert_eq!(
            key.check_algorithm(Algorithm::parse(name).unwrap()).is_ok(),
            fits,
            "{name} {len}"
        );
    }
    assert!(SymmetricKey::new(&[0; 15]).is_err() && SymmetricKey::new(&[0; 513]).is_err());
}

/// Little-endian p + `above`, for p = 2^255 - 19.
fn past_the_field(above: i16, top: u8) -> [u8; 32] {
    let mut x = [0xFF; 32];
    x[0] = u8::try_from(0xED + above).unwrap();
    x[31] = 0x7F | top;
    x
}

#[test]
fn points_of_small_order_and_other_spellings_are_no_keys() {
    let small = |first: u8, top: u8| {
        let mut x = [0; 32];
        (x[0], x[31]) = (first, top);
        x
    };
    for top in [0, 0x80] {
        for curve in [OkpCurve::Ed25519, OkpCurve::X25519] {
            let mut weak = vec![small(0, top), small(1, top)];
            weak.extend([-1, 0, 1].map(|above| past_the_field(above, top)));
            weak.extend(small_order_eight(curve).map(|mut x| {
                x[31] |= top;
                x
            }));
            for x in weak {
                assert!(
                    OkpPublicKey::new(curve, &x).is_err(),
                    "{} {x:02x?}",
                    curve.name()
                );
            }
            for x in [small(3, top), past_the_field(-2, top)] {
                assert!(
                    OkpPublicKey::new(curve, &x).is_ok(),
                    "{} {x:02x?}",
                    curve.name()
                );
            }
        }
        for above in 2..=18 {
            let x = past_the_field(above, top);
            assert!(
                OkpPublicKey::new(OkpCurve::Ed25519, &x).is_err(),
                "{x:02x?}"
            );
            // RFC 7748 section 5: these must be accepted
            assert!(OkpPublicKey::new(OkpCurve::X25519, &x).is_ok(), "{x:02x?}");
        }
    }
}

/// Written out once more in their published form.
fn small_order_eight(curve: OkpCurve) -> [[u8; 32]; 2] {
    let points = match curve {
        OkpCurve::Ed25519 => [
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        ],
        OkpCurve::X25519 => [
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        ],
    };
    points.map(|hex| {
        let mut x = [0; 32];
        for (at, byte) in x.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        }
        x
    })
}

/// One made-up key of every asymmetric type; the numbers need not belong together.
fn samples() -> Vec<PrivateKey> {
    let long = modulus(128);
    let parts = RsaPrivateParts {
        d: &modulus(255),
        p: &long,
        q: &long,
        dp: &[1],
        dq: &[0x80],
        qi: &long[..127],
    };
    let mut keys = vec![PrivateKey::Rsa(
        RsaPrivateKey::new(
            RsaPublicKey::new(&modulus(256), &[1, 0, 1]).unwrap(),
            &parts,
        )
        .unwrap(),
    )];
    for curve in EcCurve::ALL {
        let value = vec![0xC3; curve.coordinate_len()];
        keys.push(PrivateKey::Ec(
            EcPrivateKey::new(EcPublicKey::new(curve, &value, &value).unwrap(), &value).unwrap(),
        ));
    }
    for curve in [OkpCurve::Ed25519, OkpCurve::X25519] {
        keys.push(PrivateKey::Okp(
            OkpPrivateKey::new(OkpPublicKey::new(curve, &[0xC3; 32]).unwrap(), &[0xC3; 32])
                .unwrap(),
        ));
    }
    keys
}

#[test]
fn der_reads_back_and_refuses_every_truncation() {
    for key in samples() {
        let pkcs8 = key.to_pkcs8();
        let again = PrivateKey::from_pkcs8(&pkcs8).unwrap();
        assert_eq!(again.to_pkcs8(), pkcs8, "{key:?}");
        assert_eq!(again.public_key(), key.public_key());
        let spki = key.public_key().to_spki();
        assert_eq!(PublicKey::from_spki(&spki).unwrap(), key.public_key());
        for cut in 0..pkcs8.len() {
            assert!(
                PrivateKey::from_pkcs8(&pkcs8[..cut]).is_err(),
                "{key:?} cut at {cut}"
            );
        }
        for cut in 0..spki.len() {
            assert!(
                PublicKey::from_spki(&spki[..cut]).is_err(),
                "{key:?} cut at {cut}"
            );
        }
        assert!(
            PrivateKey::from_pkcs8(&[pkcs8.as_slice(), &[0]].concat()).is_err(),
            "{key:?} with a byte more"
        );
    }
}

#[test]
fn der_in_another_spelling_is_refused() {
    let Some(PublicKey::Okp(key)) = samples().last().map(PrivateKey::public_key) else {
        panic!("the last sample is no octet key pair")
    };
    let spki = PublicKey::Okp(key).to_spki();
    let long_form = [&[spki[0], 0x81, spki[1]], &spki[2..]].concat();
    assert_eq!(PublicKey::from_spki(&long_form), Err(KeyError::Der));

    // e = 65537 with a sign byte that it does not need; the lengths around it grow by one
    let rsa = RsaPublicKey::new(&modulus(256), &[1, 0, 1]).unwrap();
    let spki = PublicKey::Rsa(rsa).to_spki();
    let e = [2, 3, 1, 0, 1];
    let mut padded = spki.strip_suffix(&e).unwrap().to_vec();
    padded.extend([2, 4, 0, 1, 0, 1]);
    // SEQUENCE of the whole, BIT STRING, SEQUENCE of the key
    for low_byte_of_length in [3, 22, 27] {
        padded[low_byte_of_length] += 1;
    }
    assert!(PublicKey::from_spki(&spki).is_ok());
    assert_eq!(PublicKey::from_spki(&padded), Err(KeyError::Der));
}

#[test]
fn no_secret_type_shows_its_secret() {
    let secret = SymmetricKey::new(&[0xC3; 32]).unwrap();
    let mut shown = vec![format!(
        "{secret:?} {:?}",
        KeyMaterial::from(secret.clone())
    )];
    for key in samples() {
        shown.push(format!("{key:?}"));
        shown.push(format!("{:#?}", KeyMaterial::from(key.clone())));
        if let PrivateKey::Rsa(rsa) = &key {
            shown.push(format!("{:?}", rsa.expose_parts()));
        }
    }
    for text in shown {
        let lower = text.to_lowercase();
        assert!(
            !lower.contains("195") && !lower.contains("c3c3") && !lower.contains("165"),
            "{text}"
        );
        assert!(lower.contains("redacted"), "{text}");
    }
}

#[test]
fn key_identifiers_are_short_and_printable() {
    for (kid, good) in [
        ("a", true),
        ("a b\"~", true),
        ("", false),
        ("\n", false),
        ("\u{e9}", false),
        ("a\u{7f}", false),
    ] {
        assert_eq!(Kid::new(kid).is_ok(), good, "{kid:?}");
    }
    assert!(Kid::new("x".repeat(128)).is_ok() && Kid::new("x".repeat(129)).is_err());
}

proptest! {
    #[test]
    fn arbitrary_der_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), at in 0_usize..400, byte: u8) {
        let _ = PrivateKey::from_pkcs8(&bytes);
        let _ = PublicKey::from_spki(&bytes);
        for key in samples() {
            let mut der = key.to_pkcs8();
            let at = at % der.len();
            der[at] = byte;
            let _ = PrivateKey::from_pkcs8(&der);
        }
    }
}
