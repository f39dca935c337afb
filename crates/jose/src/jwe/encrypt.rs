//! Encryption: header, content key, content, token.

use zeroize::Zeroizing;

use super::{ContentInput, Encrypter, Established, PartyInfo, header};
use crate::algorithm::{ContentEncryption, UnsupportedAlgorithm};
use crate::provider::{Failed, SecureRandom};
use crate::{base64url, limits};

/// What the caller puts into the protected header; `alg`, `enc` and key parameters are the key's.
#[derive(Debug, Clone, Copy, Default)]
pub struct EncryptRequest<'a> {
    /// The recipient's key identifier.
    pub kid: Option<&'a str>,
    /// The media type of the whole token.
    pub typ: Option<&'a str>,
    /// The media type of the payload; `JWT` for a nested token.
    pub cty: Option<&'a str>,
    /// `apu` and `apv`, for ECDH-ES only.
    pub parties: PartyInfo<'a>,
    /// Members of the caller's own, which the recipient compares. None may have a registered name.
    pub extra: &'a [(&'a str, MemberValue<'a>)],
}

/// The value of a header member of the caller's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberValue<'a> {
    /// A string.
    String(&'a str),
    /// A whole number.
    Number(u64),
}

/// Why nothing was encrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// The payload is too large.
    #[error("payload has {0} bytes: the limit is {limit}", limit = limits::JWE_PAYLOAD)]
    PayloadTooLarge(usize),
    /// The header is too large.
    #[error("protected header has {0} bytes: the limit is {limit}", limit = limits::HEADER.bytes)]
    HeaderTooLarge(usize),
    /// A member of the caller's own has a name that is registered, repeated or empty.
    #[error("header member {0:?}: choose a name that is neither registered, repeated nor empty")]
    Member(String),
    /// Refused by name.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedAlgorithm),
    /// `apu` or `apv` without key agreement.
    #[error("apu and apv belong to ECDH-ES: leave them empty for {0}")]
    Parties(&'static str),
    /// A `dir` key encrypts under one algorithm only.
    #[error("enc {wanted}: this key is for {fixed} only")]
    ContentEncryption {
        /// What was asked for.
        wanted: ContentEncryption,
        /// What the key is for.
        fixed: ContentEncryption,
    },
    /// The crypto library or the generator failed.
    #[error(transparent)]
    Engine(#[from] Failed),
}

/// Encrypts `payload` to one recipient.
///
/// Under `dir` and AES-GCM key wrap each call draws a random 96-bit IV under the long-lived key: the owner of the
/// key counts the calls and replaces the key before 2^32.
///
/// # Errors
/// [`EncryptError`].
pub fn encrypt(
    request: &EncryptRequest<'_>,
    payload: &[u8],
    key: &dyn Encrypter,
    enc: ContentEncryption,
    random: &dyn SecureRandom,
) -> Result<String, EncryptError> {
    check(payload, key, enc)?;
    let established = key.establish(enc, request.parties, random)?;
    let json = header::write(request, key.algorithm(), enc, &established.parameters)?;
    seal(&json, payload, key, enc, &established, random)
}

fn check(payload: &[u8], key: &dyn Encrypter, enc: ContentEncryption) -> Result<(), EncryptError> {
    if payload.len() > limits::JWE_PAYLOAD {
        return Err(EncryptError::PayloadTooLarge(payload.len()));
    }
    match key.fixed_encryption() {
        Some(fixed) if fixed != enc => Err(EncryptError::ContentEncryption { wanted: enc, fixed }),
        _ => Ok(()),
    }
}

/// Room for the padding of CBC, so that the plaintext never moves and leaves a copy behind.
const BLOCK: usize = 16;

fn seal(
    json: &str,
    payload: &[u8],
    key: &dyn Encrypter,
    enc: ContentEncryption,
    established: &Established,
    random: &dyn SecureRandom,
) -> Result<String, EncryptError> {
    let mut iv_buffer = [0; 16];
    let iv = iv_buffer.get_mut(..enc.iv_len()).unwrap_or_default();
    random.fill(iv)?;

    let mut token = String::with_capacity(capacity(json, payload, enc, established));
    base64url::encode_into(json, &mut token);
    let mut text = Zeroizing::new(Vec::with_capacity(payload.len() + BLOCK));
    text.extend_from_slice(payload);
    let input = ContentInput {
        enc,
        key: &established.key,
        iv,
        aad: token.as_bytes(),
    };
    let tag = key.content().seal(input, &mut text)?;

    for segment in [
        established.encrypted_key.as_slice(),
        iv,
        text.as_slice(),
        tag.as_bytes(),
    ] {
        token.push('.');
        base64url::encode_into(segment, &mut token);
    }
    Ok(token)
}

fn capacity(json: &str, payload: &[u8], enc: ContentEncryption, made: &Established) -> usize {
    let lengths = [
        json.len(),
        made.encrypted_key.len(),
        enc.iv_len(),
        payload.len() + BLOCK,
        enc.tag_len(),
    ];
    lengths
        .into_iter()
        .map(|len| base64url::encoded_len(len) + 1)
        .sum()
}
