//! AES-GCM and AES-CBC with HMAC-SHA-2 (RFC 7518 sections 5.2 and 5.3).

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    self, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::{constant_time, hmac};
use jose::algorithm::ContentEncryption;
use jose::jwe::{ContentCipher, ContentInput, Tag};
use jose::provider::Failed;

use super::refused;

/// The content ciphers on aws-lc-rs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content;

const GCM_TAG: usize = 16;
const CBC_BLOCK: usize = 16;

/// How a content encryption algorithm is built.
enum Suite {
    Gcm(&'static aead::Algorithm),
    /// The first half of the key authenticates, the second encrypts; the tag is as long as either half.
    CbcHmac(&'static cipher::Algorithm, hmac::Algorithm),
}

fn suite(enc: ContentEncryption) -> Suite {
    match enc {
        ContentEncryption::A128Gcm => Suite::Gcm(&aead::AES_128_GCM),
        ContentEncryption::A192Gcm => Suite::Gcm(&aead::AES_192_GCM),
        ContentEncryption::A256Gcm => Suite::Gcm(&aead::AES_256_GCM),
        ContentEncryption::A128CbcHs256 => Suite::CbcHmac(&cipher::AES_128, hmac::HMAC_SHA256),
        ContentEncryption::A192CbcHs384 => Suite::CbcHmac(&cipher::AES_192, hmac::HMAC_SHA384),
        ContentEncryption::A256CbcHs512 => Suite::CbcHmac(&cipher::AES_256, hmac::HMAC_SHA512),
    }
}

impl ContentCipher for Content {
    fn seal(&self, input: ContentInput<'_>, text: &mut Vec<u8>) -> Result<Tag, Failed> {
        match suite(input.enc) {
            Suite::Gcm(algorithm) => {
                let tag = gcm_seal(algorithm, input.key.as_bytes(), input.iv, input.aad, text)?;
                Tag::truncated(tag.as_ref(), GCM_TAG)
            }
            Suite::CbcHmac(block, mac) => cbc_seal(block, mac, input, text),
        }
    }

    fn open(&self, input: ContentInput<'_>, text: &mut Vec<u8>, tag: &[u8]) -> Result<(), Failed> {
        match suite(input.enc) {
            Suite::Gcm(algorithm) => gcm_open(
                algorithm,
                input.key.as_bytes(),
                input.iv,
                input.aad,
                tag,
                text,
            ),
            Suite::CbcHmac(block, mac) => cbc_open(block, mac, input, text, tag),
        }
    }
}

pub(super) fn gcm_seal(
    algorithm: &'static aead::Algorithm,
    key: &[u8],
    iv: &[u8],
    aad: &[u8],
    text: &mut [u8],
) -> Result<aead::Tag, Failed> {
    let nonce = Nonce::try_assume_unique_for_key(iv).map_err(refused)?;
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key).map_err(refused)?);
    key.seal_in_place_separate_tag(nonce, Aad::from(aad), text)
        .map_err(refused)
}

/// Opens `text` in place. The library takes shorter tags than ours: the length is checked here.
pub(super) fn gcm_open(
    algorithm: &'static aead::Algorithm,
    key: &[u8],
    iv: &[u8],
    aad: &[u8],
    tag: &[u8],
    text: &mut [u8],
) -> Result<(), Failed> {
    if tag.len() != GCM_TAG {
        return Err(Failed);
    }
    let nonce = Nonce::try_assume_unique_for_key(iv).map_err(refused)?;
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key).map_err(refused)?);
    key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, text)
        .map_err(refused)?;
    Ok(())
}

fn cbc_seal(
    block: &'static cipher::Algorithm,
    mac: hmac::Algorithm,
    input: ContentInput<'_>,
    text: &mut Vec<u8>,
) -> Result<Tag, Failed> {
    let (mac_key, cipher_key) = halves(input.key.as_bytes());
    // The padding must not move the plaintext: what it leaves behind would not be zeroised.
    text.reserve_exact(CBC_BLOCK);
    let key = UnboundCipherKey::new(block, cipher_key).map_err(refused)?;
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(refused)?;
    let iv = EncryptionContext::Iv128(input.iv.try_into().map_err(refused)?);
    key.less_safe_encrypt(text, iv).map_err(refused)?;
    let tag = authenticate(&hmac::Key::new(mac, mac_key), input.aad, input.iv, text)?;
    Tag::truncated(tag.as_ref(), mac_key.len())
}

fn cbc_open(
    block: &'static cipher::Algorithm,
    mac: hmac::Algorithm,
    input: ContentInput<'_>,
    text: &mut Vec<u8>,
    tag: &[u8],
) -> Result<(), Failed> {
    let (mac_key, cipher_key) = halves(input.key.as_bytes());
    let expected = authenticate(&hmac::Key::new(mac, mac_key), input.aad, input.iv, text)?;
    let expected = expected.as_ref().get(..mac_key.len()).ok_or(Failed)?;
    constant_time::verify_slices_are_equal(expected, tag).map_err(refused)?;

    // From here on the text is known to come from a holder of the key: an error in its padding is no oracle.
    let key = UnboundCipherKey::new(block, cipher_key).map_err(refused)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(refused)?;
    let iv = DecryptionContext::Iv128(input.iv.try_into().map_err(refused)?);
    let len = key.decrypt(text, iv).map_err(refused)?.len();
    text.truncate(len);
    Ok(())
}

fn halves(key: &[u8]) -> (&[u8], &[u8]) {
    key.split_at(key.len() / 2)
}

/// HMAC over AAD, IV, ciphertext and the AAD's length in bits (RFC 7518 section 5.2.2.1).
fn authenticate(
    key: &hmac::Key,
    aad: &[u8],
    iv: &[u8],
    ciphertext: &[u8],
) -> Result<hmac::Tag, Failed> {
    let aad_bits = u64::try_from(aad.len())
        .map_err(refused)?
        .checked_mul(8)
        .ok_or(Failed)?;
    let mut context = hmac::Context::with_key(key);
    context.update(aad);
    context.update(iv);
    context.update(ciphertext);
    context.update(&aad_bits.to_be_bytes());
    Ok(context.sign())
}
