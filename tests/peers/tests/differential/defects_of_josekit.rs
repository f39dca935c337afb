//! What josekit 0.10.3 takes by mistake, and we refuse.

use std::panic::catch_unwind;

use jose::algorithm::ContentEncryption;
use jose::base64url;
use jose::jwe::Fault;
use jose::jwk::SecretJwk;
use josekit::jwe::{self, JweHeader};
use serde_json::json;

use crate::ours;
use crate::theirs::{self, josekit_opens};

/// A token of josekit's own.
fn made(jwk: &SecretJwk, header: &JweHeader, payload: &[u8]) -> String {
    let (encrypter, _decrypter) =
        theirs::josekit_encryption(jose::algorithm::KeyManagement::Dir, jwk);
    jwe::serialize_compact(payload, header, encrypter.as_ref()).unwrap()
}

/// The token with one segment replaced: 0 header, 2 IV, 3 ciphertext, 4 tag.
fn with(token: &str, segment: usize, bytes: impl AsRef<[u8]>) -> String {
    let mut segments: Vec<_> = token.split('.').map(str::to_owned).collect();
    segments[segment] = base64url::encode(bytes);
    segments.join(".")
}

fn bytes_of(token: &str, segment: usize) -> Vec<u8> {
    base64url::decode(token.split('.').nth(segment).unwrap()).unwrap()
}

/// The token with a bit of its IV turned, which under CBC turns that bit of the first plaintext block.
fn with_iv_bit(token: &str, byte: usize, mask: u8) -> String {
    let mut iv = bytes_of(token, 2);
    iv[byte] ^= mask;
    with(token, 2, iv)
}

/// The padding oracle: without the key, an attacker tells bad padding from a bad tag by the answer.
#[test]
fn unpadding_before_the_tag_is_checked_answers_an_attacker_and_ours_does_not() {
    for enc in [
        ContentEncryption::A128CbcHs256,
        ContentEncryption::A192CbcHs384,
        ContentEncryption::A256CbcHs512,
    ] {
        let (jwk, decrypter) = ours::direct(enc);
        // 15 bytes: one block, whose last byte is the padding 01
        let token = made(&jwk, &theirs::josekit_jwe_header(enc.name()), &[b'a'; 15]);
        assert_eq!(
            ours::decrypt(decrypter.as_ref(), &token).as_deref(),
            Ok([b'a'; 15].as_slice()),
            "{enc}"
        );

        let bad_padding = with_iv_bit(&token, 15, 0x01 ^ 0x77);
        let good_padding = with_iv_bit(&token, 0, 0x77);
        let answers = [&bad_padding, &good_padding]
            .map(|token| josekit_opens(&jwk, token).unwrap_err().to_string());
        assert_ne!(answers[0], answers[1], "{enc}: josekit no longer tells");

        let ours = [&bad_padding, &good_padding]
            .map(|token| jose::jwe::decrypt(token, decrypter.as_ref()).unwrap_err());
        assert_eq!(ours[0], ours[1], "{enc}");
        assert_eq!(
            (ours[0].fault(), ours[0].to_string().as_str()),
            (Fault::Decryption, "decryption failed"),
            "{enc}"
        );
    }
}

#[test]
fn a_tag_cut_to_one_byte_opens_there_and_not_here() {
    for enc in [
        ContentEncryption::A128Gcm,
        ContentEncryption::A192Gcm,
        ContentEncryption::A256Gcm,
    ] {
        let (jwk, decrypter) = ours::direct(enc);
        let token = made(&jwk, &theirs::josekit_jwe_header(enc.name()), b"payload");
        let tag = bytes_of(&token, 4);
        for len in 1..tag.len() {
            let cut = with(&token, 4, &tag[..len]);
            assert_eq!(
                ours::decrypt(decrypter.as_ref(), &cut),
                Err(Fault::Malformed),
                "{enc}: {cut}"
            );
        }
        let cut = with(&token, 4, &tag[..1]);
        assert_eq!(josekit_opens(&jwk, &cut).unwrap(), b"payload", "{enc}");
    }
}

/// What a tag of one byte is worth: whoever turns a bit needs 256 tries.
#[test]
fn a_forged_ciphertext_opens_there_within_256_tries_and_never_here() {
    let enc = ContentEncryption::A256Gcm;
    let (jwk, decrypter) = ours::direct(enc);
    let token = made(&jwk, &theirs::josekit_jwe_header(enc.name()), b"amount=1");
    let mut ciphertext = bytes_of(&token, 3);
    *ciphertext.last_mut().unwrap() ^= b'1' ^ b'9';
    let forged = with(&token, 3, ciphertext);
    let tries: Vec<_> = (0..=u8::MAX).map(|tag| with(&forged, 4, [tag])).collect();
    let opened: Vec<_> = tries
        .iter()
        .filter_map(|token| josekit_opens(&jwk, token).ok())
        .collect();
    assert_eq!(opened, [b"amount=9"]);
    for token in &tries {
        assert_eq!(
            ours::decrypt(decrypter.as_ref(), token),
            Err(Fault::Malformed),
            "{token}"
        );
    }
}

#[test]
fn an_empty_iv_panics_there_and_is_refused_here() {
    for enc in ContentEncryption::ALL {
        let (jwk, decrypter) = ours::direct(*enc);
        let token = made(&jwk, &theirs::josekit_jwe_header(enc.name()), b"payload");
        let empty = with(&token, 2, []);
        let outcome = catch_unwind(|| josekit_opens(&jwk, &empty).is_ok());
        assert!(
            outcome.is_err(),
            "{enc}: josekit no longer panics: {outcome:?}"
        );
        assert_eq!(
            ours::decrypt(decrypter.as_ref(), &empty),
            Err(Fault::Malformed),
            "{enc}"
        );
    }
}

#[test]
fn a_small_token_inflates_without_limit_there_and_is_refused_here() {
    const INFLATED: usize = 64 * 1024 * 1024;
    let enc = ContentEncryption::A256Gcm;
    let (jwk, decrypter) = ours::direct(enc);
    let mut header = theirs::josekit_jwe_header(enc.name());
    header.set_compression("DEF");
    let token = made(&jwk, &header, &vec![0; INFLATED]);
    assert!(
        token.len() < jose::limits::ENCRYPTED_TOKEN,
        "{} bytes",
        token.len()
    );
    assert_eq!(josekit_opens(&jwk, &token).unwrap().len(), INFLATED);
    assert_eq!(
        ours::decrypt(decrypter.as_ref(), &token),
        Err(Fault::Compression)
    );
}

#[test]
fn an_unknown_critical_header_opens_there_and_is_refused_here() {
    let enc = ContentEncryption::A256Gcm;
    let (jwk, decrypter) = ours::direct(enc);
    let mut header = theirs::josekit_jwe_header(enc.name());
    header.set_critical(&vec!["https://example.com/understand-or-refuse"]);
    header
        .set_claim(
            "https://example.com/understand-or-refuse",
            Some(json!(true)),
        )
        .unwrap();
    let token = made(&jwk, &header, b"payload");
    assert_eq!(josekit_opens(&jwk, &token).unwrap(), b"payload");
    assert_eq!(
        ours::decrypt(decrypter.as_ref(), &token),
        Err(Fault::CriticalHeader)
    );
}
