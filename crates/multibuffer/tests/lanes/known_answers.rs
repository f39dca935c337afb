//! Signatures out of RFCs.

use jose::algorithm::JwsAlgorithm;
use jose::jwk::PublicJwk;
use jose::jws::UnverifiedJws;
use jose::key::{OkpCurve, OkpPrivateKey, OkpPublicKey, PrivateKey};
use multibuffer::{LANES, Verifier};

use crate::support::{Key, engine, sign_all, verify_all};

fn hex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// RFC 8032 section 7.1: seed, public key, message, signature.
const RFC_8032: [[&str; 4]; 3] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
];

#[test]
fn the_signatures_of_rfc_8032_come_out_of_every_lane() {
    let Some(engine) = engine() else { return };
    let vectors = RFC_8032.map(|vector| vector.map(hex));
    let keys = vectors.each_ref().map(|[seed, public, ..]| {
        let public = OkpPublicKey::new(OkpCurve::Ed25519, public).unwrap();
        let key = PrivateKey::Okp(OkpPrivateKey::new(public, seed).unwrap());
        Key::new(engine, JwsAlgorithm::Ed25519, &key)
    });
    for rotation in 0..3 {
        let order: Vec<usize> = (0..LANES).map(|lane| (lane + rotation) % 3).collect();
        let work: Vec<(&Key, &[u8])> = order
            .iter()
            .map(|at| (&keys[*at], &*vectors[*at][2]))
            .collect();
        for (signature, at) in sign_all(engine, &work).iter().zip(&order) {
            assert_eq!(*signature, vectors[*at][3], "vector {at}");
        }
        let checks: Vec<_> = order
            .iter()
            .map(|at| (&keys[*at].verifier, &*vectors[*at][2], &*vectors[*at][3]))
            .collect();
        assert_eq!(verify_all(engine, &checks), [true; LANES]);
    }
}

/// RFC 7515 A.2.1, the public members
const RS256_KEY: &str = r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#;
const RS256: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
/// RFC 7515 A.3.1, the public members
const ES256_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

#[test]
fn the_signatures_of_rfc_7515_verify() {
    let Some(engine) = engine() else { return };
    for (algorithm, key, token) in [
        (JwsAlgorithm::Rs256, RS256_KEY, RS256),
        (JwsAlgorithm::Es256, ES256_KEY, ES256),
    ] {
        let jwk = PublicJwk::parse(key.as_bytes()).unwrap();
        let verifier = Verifier::prepare(engine, algorithm, &jwk.key)
            .unwrap()
            .unwrap();
        let jws = UnverifiedJws::parse(token, 4096).unwrap();
        let (input, _) = token.rsplit_once('.').unwrap();
        let work = [
            (&verifier, input.as_bytes(), &*jws.signature),
            (&verifier, &input.as_bytes()[1..], &*jws.signature),
        ];
        assert_eq!(verify_all(engine, &work), [true, false], "{algorithm}");
    }
}
