//! The rules of the codec, with ciphers that protect nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::algorithm::{ContentEncryption, KeyManagement};
use crate::base64url;
use crate::provider::{Failed, SecureRandom};

/// NO SECURITY AT ALL: the text is left as it is, the tag is a sum, and the wrapped key is the key.
#[derive(Debug, Default)]
struct InsecureForTestsOnly {
    recovers: bool,
    opened: AtomicUsize,
    opened_under: Mutex<Vec<u8>>,
}

fn sum(input: ContentInput<'_>, text: &[u8]) -> Tag {
    let parts = [input.key.as_bytes(), input.iv, input.aad, text].concat();
    let sum = parts
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_left(1) ^ byte);
    Tag::truncated(&[sum; MAX_TAG], input.enc.tag_len()).unwrap()
}

impl ContentCipher for InsecureForTestsOnly {
    fn seal(&self, input: ContentInput<'_>, text: &mut Vec<u8>) -> Result<Tag, Failed> {
        Ok(sum(input, text))
    }

    fn open(&self, input: ContentInput<'_>, text: &mut Vec<u8>, tag: &[u8]) -> Result<(), Failed> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        *self.opened_under.lock().unwrap() = input.key.as_bytes().to_vec();
        if sum(input, text).as_bytes() == tag {
            Ok(())
        } else {
            Err(Failed)
        }
    }
}

impl Encrypter for InsecureForTestsOnly {
    fn algorithm(&self) -> KeyManagement {
        KeyManagement::A256Kw
    }

    fn establish(
        &self,
        enc: ContentEncryption,
        _parties: PartyInfo<'_>,
        random: &dyn SecureRandom,
    ) -> Result<Established, Failed> {
        let key = ContentKey::generate(enc, random)?;
        let encrypted_key = key.as_bytes().to_vec();
        Ok(Established {
            key,
            encrypted_key,
            parameters: KeyParameters::None,
        })
    }

    fn content(&self) -> &dyn ContentCipher {
        self
    }
}

impl Decrypter for InsecureForTestsOnly {
    fn algorithm(&self) -> KeyManagement {
        KeyManagement::A256Kw
    }

    fn recover(&self, header: &JweHeader, encrypted_key: &[u8]) -> Result<ContentKey, Failed> {
        if self.recovers {
            ContentKey::from_slice(header.enc(), encrypted_key)
        } else {
            Err(Failed)
        }
    }

    fn content(&self) -> &dyn ContentCipher {
        self
    }
}

/// Counts up: no two draws are equal.
#[derive(Debug, Default)]
struct Counter(AtomicUsize);

impl SecureRandom for Counter {
    fn fill(&self, out: &mut [u8]) -> Result<(), Failed> {
        for byte in out {
            let next = self.0.fetch_add(1, Ordering::Relaxed) % 256;
            *byte = u8::try_from(next).unwrap();
        }
        Ok(())
    }
}

fn key(recovers: bool) -> InsecureForTestsOnly {
    InsecureForTestsOnly {
        recovers,
        ..InsecureForTestsOnly::default()
    }
}

fn token(enc: ContentEncryption) -> String {
    let request = EncryptRequest {
        kid: Some("k1"),
        ..EncryptRequest::default()
    };
    encrypt(&request, b"payload", &key(true), enc, &Counter::default()).unwrap()
}

#[test]
fn a_token_has_five_segments_of_the_lengths_of_its_algorithm() {
    for enc in ContentEncryption::ALL {
        let token = token(*enc);
        let segments: Vec<_> = token
            .split('.')
            .map(|segment| base64url::decode(segment).unwrap())
            .collect();
        let lengths: Vec<_> = segments.iter().skip(1).map(Vec::len).collect();
        assert_eq!(
            lengths,
            [enc.key_len(), enc.iv_len(), 7, enc.tag_len()],
            "{enc}"
        );
        let header = format!(r#"{{"alg":"A256KW","enc":"{enc}","kid":"k1"}}"#);
        assert_eq!(std::str::from_utf8(&segments[0]).unwrap(), header);
        assert_eq!(
            token.capacity() - token.len(),
            base64url::encoded_len(23) - base64url::encoded_len(7) + 1
        );
        assert_eq!(*decrypt(&token, &key(true)).unwrap().payload, b"payload");
    }
}

#[test]
fn content_is_opened_under_a_decoy_when_the_key_cannot_be_recovered() {
    for enc in ContentEncryption::ALL {
        let blind = key(false);
        assert_eq!(
            decrypt(&token(*enc), &blind).unwrap_err().fault(),
            Fault::Decryption
        );
        assert_eq!(blind.opened.load(Ordering::Relaxed), 1, "{enc}");
        assert_eq!(
            *blind.opened_under.lock().unwrap(),
            vec![0; enc.key_len()],
            "{enc}"
        );
    }
}

#[test]
fn what_opens_under_the_decoy_is_dropped() {
    let enc = ContentEncryption::A256Gcm;
    let protected = base64url::encode(r#"{"alg":"A256KW","enc":"A256GCM"}"#);
    let (decoy, iv) = (ContentKey::zeroed(enc), [1; 12]);
    let input = ContentInput {
        enc,
        key: &decoy,
        iv: &iv,
        aad: protected.as_bytes(),
    };
    let tag = base64url::encode(sum(input, b"forged").as_bytes());
    let [iv, text] = [iv.as_slice(), b"forged"].map(base64url::encode);
    let forged = format!("{protected}.AAAA.{iv}.{text}.{tag}");
    let blind = key(false);
    assert_eq!(
        decrypt(&forged, &blind).unwrap_err().fault(),
        Fault::Decryption
    );
    assert_eq!(blind.opened.load(Ordering::Relaxed), 1);
}

/// The room for padding is no room for payload.
#[test]
fn a_payload_over_the_limit_is_refused_also_where_nothing_is_padded() {
    let enc = ContentEncryption::A256Gcm;
    let protected = base64url::encode(r#"{"alg":"A256KW","enc":"A256GCM"}"#);
    let (content_key, iv) = (ContentKey::from_slice(enc, &[7; 32]).unwrap(), [1; 12]);
    for (over, fault) in [
        (0, None),
        (1, Some(Fault::TooLarge)),
        (16, Some(Fault::TooLarge)),
    ] {
        let payload = vec![b'x'; crate::limits::JWE_PAYLOAD + over];
        let input = ContentInput {
            enc,
            key: &content_key,
            iv: &iv,
            aad: protected.as_bytes(),
        };
        let tag = sum(input, &payload);
        let parts = [content_key.as_bytes(), &iv, &payload, tag.as_bytes()].map(base64url::encode);
        let outcome = decrypt(&format!("{protected}.{}", parts.join(".")), &key(true));
        assert_eq!(outcome.err().map(|error| error.fault()), fault, "{over}");
    }
}

#[test]
fn a_header_for_another_algorithm_never_reaches_the_key() {
    let key = key(true);
    let good = token(ContentEncryption::A256Gcm);
    let rest = good.split_once('.').unwrap().1;
    for alg in ["A128KW", "RSA-OAEP", "dir"] {
        let header = base64url::encode(format!(r#"{{"alg":"{alg}","enc":"A256GCM"}}"#));
        let error = decrypt(&format!("{header}.{rest}"), &key).unwrap_err();
        assert_eq!(error.fault(), Fault::Algorithm, "{alg}");
    }
    assert_eq!(key.opened.load(Ordering::Relaxed), 0);
}

#[test]
fn every_fault_has_one_text_and_its_own_label() {
    let faults = [
        Fault::TooLarge,
        Fault::Malformed,
        Fault::Header,
        Fault::CriticalHeader,
        Fault::Compression,
        Fault::Algorithm,
        Fault::Decryption,
    ];
    let labels: std::collections::HashSet<_> = faults.iter().map(|fault| fault.label()).collect();
    assert_eq!(labels.len(), faults.len());
    for fault in faults {
        assert_eq!(
            DecryptionFailed::from(fault).to_string(),
            "decryption failed"
        );
    }
}

#[test]
fn agreement_keys_read_back_what_they_write() {
    for curve in AgreementCurve::ALL {
        let mut point = vec![
            0xc3;
            if curve == AgreementCurve::X25519 {
                32
            } else {
                1 + 2 * curve.coordinate_len()
            }
        ];
        point[0] = 4;
        let key = AgreementKey::from_bytes(curve, &point).unwrap();
        let header = format!(
            r#"{{"alg":"ECDH-ES","enc":"A256GCM","epk":{}}}"#,
            key.write()
        );
        let header = JweHeader::parse(&base64url::encode(header)).unwrap();
        let KeyParameters::Ephemeral(read) = header.parameters() else {
            panic!("{header:?}")
        };
        assert!(*read == key && read.as_bytes() == point, "{}", curve.name());
        assert!(AgreementKey::from_bytes(curve, &point[1..]).is_err());
        if curve != AgreementCurve::X25519 {
            point[0] = 2;
            assert!(AgreementKey::from_bytes(curve, &point).is_err());
        }
    }
}

#[test]
fn no_secret_type_shows_its_secret() {
    let enc = ContentEncryption::A128Gcm;
    let secret = ContentKey::from_slice(enc, &[0xc3; 16]).unwrap();
    let input = ContentInput {
        enc,
        key: &secret,
        iv: &[],
        aad: &[],
    };
    let opened = decrypt(&token(enc), &key(true)).unwrap();
    let shown = format!("{secret:?} {input:?} {opened:?}");
    assert!(
        !shown.contains("195") && !shown.contains("c3") && !shown.contains("112"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn arbitrary_tokens_never_panic(
        text in "\\PC{0,300}",
        json in r#"\{("(alg|enc|kid|epk|iv|tag|crit|zip)":("A256KW"|"ECDH-ES"|"A256GCM"|1|null|\{\}),?){0,5}\}"#,
        rest in "[A-Za-z0-9_-]{0,20}[.][A-Za-z0-9_-]{0,20}[.][A-Za-z0-9_-]{0,20}[.][A-Za-z0-9_-]{0,20}",
    ) {
        let key = key(true);
        prop_assert!(decrypt(&text, &key).is_err());
        let _ = decrypt(&[base64url::encode(json).as_str(), &rest].join("."), &key);
    }
}
