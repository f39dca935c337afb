//! Sealing: what makes bytes in a store unreadable, and any change of them seen.
//!
//! ```text
//! key-encryption key  (a file, an environment variable, a PKCS#11 token, AWS KMS; never beside the store)
//!                        Keks: the present one, and the one before
//!   wraps  the data keys of each tenant, and of what belongs to no tenant (the root)   Ring: every generation of one owner
//!     derives  a sealing key    AES-256-GCM over private keys
//!              a record key     HMAC-SHA-256 over records
//!   seals  one material key per owner, which does not rotate
//!                               HMAC-SHA-256: tells equal secrets without storing their hash
//! ```
//!
//! Whatever is sealed or authenticated says under which generation. The present one makes, every one that is kept opens.
//!
//! What a sealed key belongs to (tenant, set, kid, algorithm, use) is its associated data, so a key that is moved is a key that does not open.

mod aws_kms;
mod data_key;
mod env;
mod file;
mod keks;
mod local;
mod open;
mod pkcs11;
mod ring;

#[cfg(test)]
mod contract;

use std::fmt;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use aws_kms::AwsKmsError;
#[cfg(feature = "aws-kms")]
pub use aws_kms::AwsKmsKek;
pub(crate) use data_key::TAG_LEN;
pub use data_key::{DataKey, KeyBinding, MaterialKey, RecordBinding};
pub use env::read as from_env;
pub use file::read as from_file;
pub(crate) use file::read_private;
pub use keks::Keks;
pub(crate) use keks::UnwrapError;
pub use local::LocalKek;
pub use open::{open_kek, open_keks};
pub use pkcs11::{Pkcs11Error, Pkcs11Kek};
pub(crate) use ring::generation_of;
pub use ring::{FIRST, Ring};

/// Length of a key-encryption key and of a data key, in bytes.
pub const KEY_LEN: usize = 32;

/// Why something could not be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The bytes were altered, belong elsewhere, or were sealed with another key. It cannot be told which.
    #[error("the sealed bytes do not open: they were altered, moved, or sealed with another key")]
    Refused,
    /// The bytes are in a form that this version does not know.
    #[error("the sealed bytes have format {0}, which this version does not know")]
    Format(u8),
    /// The data key has no such generation, or not any more.
    #[error("sealed under generation {0} of the data key, which is not there")]
    Generation(u32),
    /// The crypto library failed.
    #[error("the crypto library failed")]
    Engine,
    /// The key-encryption key cannot be used, whatever the bytes are.
    #[error(transparent)]
    Kek(Box<KekError>),
}

impl From<KekError> for SealError {
    fn from(error: KekError) -> Self {
        Self::Kek(Box::new(error))
    }
}

/// Why there is no key-encryption key. The text names the file or the variable, never what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KekError {
    /// The file cannot be read.
    #[error("kek.file: {path}: {problem}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The variable is not set.
    #[error("kek.env: the environment variable {0} is not set")]
    NotSet(String),
    /// The variable holds something else.
    #[error("kek.env: {0} must hold 64 hexadecimal digits")]
    NotAKey(String),
    /// It is a key, but not the one that this store is sealed with.
    #[error(
        "the key-encryption key is not the one that the store is sealed with: give the right one; nothing was changed"
    )]
    Wrong,
    /// None of the keys that were given is the one that wraps a data key.
    #[error(
        "the key-encryption key {wanted} is wanted and was not given: kek is {kek}, kek.previous is {previous}. Give the one that is wanted as kek.previous to go over to kek, or as kek to stay with it; nothing was changed"
    )]
    Wanted {
        /// The public id of the one that wraps it.
        wanted: String,
        /// That of `[kek]`.
        kek: String,
        /// That of `[kek.previous]`, or that there is none.
        previous: String,
    },
    /// The settings name none.
    #[error("{0}")]
    Settings(String),
    /// The key in a PKCS#11 token cannot be used.
    #[error("kek.pkcs11: {0}")]
    Pkcs11(#[from] Pkcs11Error),
    /// The key in AWS KMS cannot be used.
    #[error("kek.aws_kms: {0}")]
    AwsKms(#[from] AwsKmsError),
}

impl KekError {
    /// Whether the same call may succeed later with the same settings.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Pkcs11(error) => error.is_unavailable(),
            Self::AwsKms(error) => error.is_unavailable(),
            _ => false,
        }
    }
}

impl From<SealError> for KekError {
    /// What a key-encryption key does not open was wrapped by another, unless it could not try.
    fn from(error: SealError) -> Self {
        match error {
            SealError::Kek(error) => *error,
            _ => Self::Wrong,
        }
    }
}

/// A key-encryption key: it wraps data keys and nothing else.
#[async_trait]
pub trait KeyEncryptionKey: fmt::Debug + Send + Sync + 'static {
    /// What tells it from others, the same for the same key at every start, and of no use to anybody. It stands beside what this key wraps.
    fn id(&self) -> &str;

    /// Wraps the data key of `owner`.
    ///
    /// # Errors
    /// [`SealError::Engine`]; [`SealError::Kek`] where the key cannot be used at present.
    async fn wrap(&self, owner: &str, data_key: &[u8; KEY_LEN]) -> Result<Vec<u8>, SealError>;

    /// Unwraps the data key of `owner`.
    ///
    /// # Errors
    /// [`SealError::Refused`] for what this key did not wrap for that owner; [`SealError::Kek`] where the key cannot be used
    /// at present.
    async fn unwrap(
        &self,
        owner: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<[u8; KEY_LEN]>, SealError>;
}

/// The parts of a binding, each with its length before it, so that no two lists of parts read alike.
pub(crate) fn bind(label: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut bound = Vec::with_capacity(
        label.len() + parts.iter().map(|part| part.len() + 8).sum::<usize>() + 8,
    );
    for part in std::iter::once(&label.as_bytes()).chain(parts) {
        bound.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        bound.extend_from_slice(part);
    }
    bound
}

/// Fills an array with random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_engine| SealError::Engine)?;
    Ok(bytes)
}

/// A fresh data key.
pub(crate) fn fresh_key() -> Result<Zeroizing<[u8; KEY_LEN]>, SealError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    aws_lc_rs::rand::fill(key.as_mut_slice()).map_err(|_engine| SealError::Engine)?;
    Ok(key)
}

/// 32 bytes as they are, or as 64 hexadecimal digits with white space around them.
fn parse_key(bytes: &[u8]) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    if bytes.len() == KEY_LEN {
        key.copy_from_slice(bytes);
        return Some(key);
    }
    let digits = bytes.trim_ascii();
    if digits.len() != 2 * KEY_LEN {
        return None;
    }
    for (out, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *out = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(key)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_or_64_digits() {
        let digits = "00ff10Ab".repeat(8);
        let key: Vec<u8> = [0x00, 0xff, 0x10, 0xab].repeat(8);
        for (what, bytes, good) in [
            ("raw", key.clone(), true),
            ("digits", digits.clone().into_bytes(), true),
            (
                "digits and a newline",
                format!("{digits}\n").into_bytes(),
                true,
            ),
            ("31 bytes", key[..31].to_vec(), false),
            ("33 bytes", [key.clone(), vec![1]].concat(), false),
            ("63 digits", digits.as_bytes()[..63].to_vec(), false),
            (
                "a digit that is none",
                digits.replacen('f', "g", 1).into_bytes(),
                false,
            ),
            ("nothing", Vec::new(), false),
        ] {
            let parsed = parse_key(&bytes);
            assert_eq!(parsed.is_some(), good, "{what}");
            assert!(
                parsed.is_none_or(|parsed| parsed.as_slice() == key),
                "{what}"
            );
        }
    }

    #[test]
    fn bindings_of_different_parts_differ() {
        assert_ne!(bind("x", &[b"a", b"bc"]), bind("x", &[b"ab", b"c"]));
        assert_ne!(bind("x", &[b"a", b""]), bind("x", &[b"a"]));
        assert_ne!(bind("xa", &[b"b"]), bind("x", &[b"ab"]));
    }
}
