//! A token that is not byte for byte what its maker wrote does not decrypt, and the answer says nothing.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use jose::algorithm::ContentEncryption;
use jose::base64url;
use jose::jwe::{ContentInput, ContentKey, EncryptRequest, Fault, decrypt, encrypt};
use jose::key::SymmetricKey;
use jose_aws_lc::AwsLc;
use jose_aws_lc::jwe::SharedKey;

use crate::keys::{Pair, pairs};

fn token(pair: &Pair, enc: ContentEncryption) -> String {
    let request = EncryptRequest {
        kid: Some("k1"),
        ..EncryptRequest::default()
    };
    encrypt(
        &request,
        b"a payload of some length",
        pair.encrypter.as_ref(),
        enc,
        &AwsLc,
    )
    .unwrap()
}

fn fails(pair: &Pair, token: &str, what: &str) -> Fault {
    let error = decrypt(token, pair.decrypter.as_ref()).err();
    let error = error.unwrap_or_else(|| panic!("{}: {what}: accepted {token}", pair.name));
    assert_eq!(
        error.to_string(),
        "decryption failed",
        "{}: {what}",
        pair.name
    );
    error.fault()
}

/// The content encryptions of a pair: one of each family.
fn families(pair: &Pair) -> impl Iterator<Item = ContentEncryption> {
    let few = [ContentEncryption::A256Gcm, ContentEncryption::A128CbcHs256];
    let fixed = pair.encrypter.fixed_encryption();
    pair.encryptions()
        .into_iter()
        .filter(move |enc| fixed.is_some() || few.contains(enc))
}

#[test]
fn no_token_decrypts_with_one_character_changed() {
    let mut changed = 0;
    for pair in pairs() {
        for enc in families(pair) {
            let good = token(pair, enc);
            assert!(
                decrypt(&good, pair.decrypter.as_ref()).is_ok(),
                "{}",
                pair.name
            );
            for at in 0..good.len() {
                let other = if good.as_bytes()[at] == b'A' {
                    "Q"
                } else {
                    "A"
                };
                let mut bad = good.clone();
                bad.replace_range(at..=at, other);
                fails(pair, &bad, "one character changed");
                changed += 1;
            }
        }
    }
    assert!(changed > 10_000, "{changed}");
}

#[test]
fn no_token_decrypts_cut_or_lengthened() {
    for pair in pairs() {
        let good = token(pair, pair.encryptions()[0]);
        for len in 0..good.len() {
            fails(pair, &good[..len], "cut");
        }
        for extra in ["A", ".", ".A", "=", "\n", " ", "\0"] {
            fails(pair, &format!("{good}{extra}"), "lengthened at the end");
            fails(pair, &format!("{extra}{good}"), "lengthened at the start");
        }
    }
}

#[test]
fn tags_and_initialization_vectors_have_exactly_their_length() {
    for pair in pairs() {
        for enc in pair.encryptions() {
            let good = token(pair, enc);
            for segment in [2, 4] {
                let full = base64url::decode(good.split('.').nth(segment).unwrap()).unwrap();
                let longer = [full.as_slice(), &[0]].concat();
                for bytes in (0..full.len())
                    .map(|len| &full[..len])
                    .chain([longer.as_slice()])
                {
                    let fault = fails(pair, &with(&good, segment, bytes), "tag or IV cut");
                    assert_eq!(
                        fault,
                        Fault::Malformed,
                        "{} {enc} {} bytes",
                        pair.name,
                        bytes.len()
                    );
                }
            }
        }
    }
}

#[test]
fn parts_of_two_tokens_under_one_key_do_not_mix() {
    for pair in pairs() {
        let enc = pair.encryptions()[0];
        let (one, two) = (token(pair, enc), token(pair, enc));
        for segment in 0..5 {
            let other = two.split('.').nth(segment).unwrap();
            if one.split('.').nth(segment) != Some(other) {
                fails(
                    pair,
                    &with_text(&one, segment, other),
                    "segment of another token",
                );
            }
        }
    }
}

#[test]
fn a_header_in_another_spelling_does_not_authenticate() {
    for pair in pairs() {
        let good = token(pair, pair.encryptions()[0]);
        let header = base64url::decode(good.split('.').next().unwrap()).unwrap();
        let header = String::from_utf8(header).unwrap();
        for other in [
            header.replacen('{', "{ ", 1),
            header.replace("k1", "k2"),
            header.replace("k1", "k\\u0031"),
            header.replacen('{', "{\"x\":1,", 1),
            header.replace("\"kid\":\"k1\"", "\"cty\":\"k1\""),
        ] {
            assert_ne!(other, header);
            let fault = fails(pair, &with(&good, 0, other.as_bytes()), &other);
            assert_eq!(fault, Fault::Decryption, "{} {other}", pair.name);
        }
    }
}

#[test]
fn content_under_the_decoy_key_is_never_returned() {
    // The key that stands in for one that cannot be recovered is known to everyone.
    for pair in pairs()
        .iter()
        .filter(|pair| pair.encrypter.fixed_encryption().is_none())
    {
        for enc in families(pair) {
            let good = token(pair, enc);
            let mut segments: Vec<_> = good.split('.').map(str::to_owned).collect();
            let decoy = ContentKey::zeroed(enc);
            let iv = vec![7; enc.iv_len()];
            let input = ContentInput {
                enc,
                key: &decoy,
                iv: &iv,
                aad: segments[0].as_bytes(),
            };
            let mut text = b"forged".to_vec();
            let tag = pair.encrypter.content().seal(input, &mut text).unwrap();
            let mut encrypted_key = base64url::decode(&segments[1]).unwrap();
            encrypted_key.iter_mut().for_each(|byte| *byte ^= 0xff);
            segments[1] = base64url::encode(encrypted_key);
            segments[2] = base64url::encode(&iv);
            segments[3] = base64url::encode(&text);
            segments[4] = base64url::encode(tag.as_bytes());
            fails(pair, &segments.join("."), "content under zeros");
        }
    }
}

const CBC: ContentEncryption = ContentEncryption::A128CbcHs256;
const KEY: [u8; 32] = [0x33; 32];
const IV: [u8; 16] = [0x44; 16];

/// A `dir` token over whole blocks as they are, with a good tag: what only a holder of the key can make.
fn cbc_token(blocks: &[u8]) -> String {
    let header = base64url::encode(br#"{"alg":"dir","enc":"A128CBC-HS256"}"#);
    let mut text = blocks.to_vec();
    let key = UnboundCipherKey::new(&AES_128, &KEY[16..]).unwrap();
    let iv = EncryptionContext::Iv128((&IV).into());
    EncryptingKey::cbc(key)
        .unwrap()
        .less_safe_encrypt(&mut text, iv)
        .unwrap();
    let bits = (u64::try_from(header.len()).unwrap() * 8).to_be_bytes();
    let signed = [header.as_bytes(), &IV, &text, &bits].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &KEY[..16]), &signed);
    let [iv, text, tag] = [&IV[..], &text, &tag.as_ref()[..16]].map(base64url::encode);
    format!("{header}..{iv}.{text}.{tag}")
}

#[test]
fn padding_is_checked_in_full_and_its_fault_is_the_tags_fault() {
    let key = SharedKey::direct(CBC, &SymmetricKey::new(&KEY).unwrap()).unwrap();
    let mut block = *b"fifteen bytes..\x01";
    assert_eq!(
        *decrypt(&cbc_token(&block), &key).unwrap().payload,
        b"fifteen bytes.."
    );
    for last in [0, 2, 3, 15, 16, 17, 32, 128, 255] {
        block[15] = last;
        let error = decrypt(&cbc_token(&block), &key).unwrap_err();
        assert_eq!(error.fault(), Fault::Decryption, "last byte {last}");
    }
    assert!(
        decrypt(&cbc_token(&[16; 16]), &key)
            .unwrap()
            .payload
            .is_empty()
    );
    assert_eq!(
        decrypt(&cbc_token(&[]), &key).unwrap_err().fault(),
        Fault::Decryption
    );
    let good = cbc_token(b"fifteen bytes..\x01");
    let bad = with_text(&good, 4, &base64url::encode([0; 16]));
    assert_eq!(decrypt(&bad, &key).unwrap_err().fault(), Fault::Decryption);
}

#[test]
fn nothing_is_deciphered_or_unpadded_before_the_tag_agrees() {
    use jose::jwe::Decrypter as _;
    for enc in ContentEncryption::ALL
        .iter()
        .copied()
        .filter(|enc| enc.name().contains("CBC"))
    {
        let secret = SymmetricKey::new(&vec![0x33; enc.key_len()]).unwrap();
        let key = SharedKey::direct(enc, &secret).unwrap();
        let content_key = ContentKey::from_slice(enc, secret.as_bytes()).unwrap();
        let input = ContentInput {
            enc,
            key: &content_key,
            iv: &IV,
            aad: b"header",
        };
        let mut sealed = b"some plaintext".to_vec();
        let tag = key.content().seal(input, &mut sealed).unwrap();
        for at in 0..tag.as_bytes().len() {
            let mut bad = tag.as_bytes().to_vec();
            bad[at] ^= 1;
            let mut text = sealed.clone();
            assert!(
                key.content().open(input, &mut text, &bad).is_err(),
                "{enc} byte {at}"
            );
            assert_eq!(text, sealed, "{enc}: the cipher ran before the tag agreed");
        }
        let mut text = sealed.clone();
        assert!(key.content().open(input, &mut text, &[]).is_err());
        assert_eq!(text, sealed);
        key.content()
            .open(input, &mut text, tag.as_bytes())
            .unwrap();
        assert_eq!(text, b"some plaintext");
    }
}

fn with(token: &str, segment: usize, bytes: &[u8]) -> String {
    with_text(token, segment, &base64url::encode(bytes))
}

fn with_text(token: &str, segment: usize, text: &str) -> String {
    let mut segments: Vec<_> = token.split('.').collect();
    segments[segment] = text;
    segments.join(".")
}
