//! JWE in both directions with josekit, over payloads that nobody chose.

use jose::algorithm::{ContentEncryption, KeyManagement};
use jose::jwe::{EncryptRequest, encrypt};
use jose_aws_lc::{AgreementCurve, AwsLc};
use josekit::jwe;
use proptest::prelude::*;

use crate::{ours, theirs};

fn curves(alg: KeyManagement) -> &'static [AgreementCurve] {
    use AgreementCurve::{P256, P384, P521, X25519};
    if alg.name().starts_with("ECDH") {
        &[P256, P384, P521, X25519]
    } else {
        &[P256]
    }
}

fn both_ways(alg: KeyManagement, curve: AgreementCurve, enc: ContentEncryption, payload: &[u8]) {
    let at = format!("{alg} {curve:?} {enc}, {} bytes", payload.len());
    let jwk = ours::encryption_key(alg, curve, enc);
    let (encrypter, decrypter) = theirs::josekit_encryption(alg, &jwk);

    let request = EncryptRequest {
        kid: Some(ours::KID),
        ..EncryptRequest::default()
    };
    let token = encrypt(
        &request,
        payload,
        ours::encrypter(&jwk, enc).as_ref(),
        enc,
        &AwsLc,
    )
    .unwrap();
    let (opened, header) = jwe::deserialize_compact(&token, decrypter.as_ref())
        .unwrap_or_else(|error| panic!("{at}: {error}: {token}"));
    assert_eq!(
        (opened.as_slice(), header.key_id()),
        (payload, Some(ours::KID)),
        "{at}"
    );

    let token = jwe::serialize_compact(
        payload,
        &theirs::josekit_jwe_header(enc.name()),
        encrypter.as_ref(),
    )
    .unwrap();
    let opened = ours::decrypt(ours::decrypter(&jwk, enc).as_ref(), &token);
    assert_eq!(opened.as_deref(), Ok(payload), "{at}: {token}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_josekit_encrypts_opens_here_and_the_other_way_round(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut ran = 0;
        for alg in KeyManagement::ALL {
            for curve in curves(*alg) {
                for enc in ContentEncryption::ALL {
                    both_ways(*alg, *curve, *enc, &payload);
                    ran += 1;
                }
            }
        }
        prop_assert_eq!(ran, 114);
    }
}
