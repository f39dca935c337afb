//! What a crypto library provides for JWE: prepared recipient keys, prepared private keys and content ciphers.

use std::fmt;

use zeroize::Zeroizing;

use super::{AgreementKey, JweHeader};
use crate::algorithm::{ContentEncryption, KeyManagement};
use crate::provider::{Failed, SecureRandom};

/// The longest content encryption key, that of A256CBC-HS512.
pub const MAX_CONTENT_KEY: usize = 64;

/// A content encryption key (CEK) of exactly the length that its `enc` demands; zeroised on drop.
pub struct ContentKey {
    bytes: Zeroizing<[u8; MAX_CONTENT_KEY]>,
    len: usize,
}

impl ContentKey {
    /// A key of zeros for `enc`, to be filled.
    #[must_use]
    pub fn zeroed(enc: ContentEncryption) -> Self {
        Self {
            bytes: Zeroizing::new([0; MAX_CONTENT_KEY]),
            len: enc.key_len().min(MAX_CONTENT_KEY),
        }
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    /// Where the length is not the one that `enc` demands.
    pub fn from_slice(enc: ContentEncryption, bytes: &[u8]) -> Result<Self, Failed> {
        let mut key = Self::zeroed(enc);
        if bytes.len() != key.len {
            return Err(Failed);
        }
        key.as_mut_bytes().copy_from_slice(bytes);
        Ok(key)
    }

    /// A fresh key.
    ///
    /// # Errors
    /// Where the generator fails.
    pub fn generate(enc: ContentEncryption, random: &dyn SecureRandom) -> Result<Self, Failed> {
        let mut key = Self::zeroed(enc);
        random.fill(key.as_mut_bytes())?;
        Ok(key)
    }

    /// The key itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The key itself, to be filled.
    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentKey({} bytes)", self.len)
    }
}

/// What goes beside the text into and out of a content cipher.
#[derive(Clone, Copy)]
pub struct ContentInput<'a> {
    /// The content encryption algorithm; key and IV have its exact lengths.
    pub enc: ContentEncryption,
    /// The content encryption key.
    pub key: &'a ContentKey,
    /// The initialization vector.
    pub iv: &'a [u8],
    /// The additional authenticated data: the encoded protected header.
    pub aad: &'a [u8],
}

impl fmt::Debug for ContentInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentInput")
            .field("enc", &self.enc)
            .finish_non_exhaustive()
    }
}

/// The longest authentication tag, that of A256CBC-HS512.
pub const MAX_TAG: usize = 32;

/// An authentication tag.
#[derive(Debug, Clone, Copy)]
pub struct Tag {
    bytes: [u8; MAX_TAG],
    len: usize,
}

impl Tag {
    /// The first `len` bytes of `full`, which is how AES-CBC-HMAC makes its tag.
    ///
    /// # Errors
    /// Where `full` is shorter than `len`, or `len` longer than any tag.
    pub fn truncated(full: &[u8], len: usize) -> Result<Self, Failed> {
        let mut bytes = [0; MAX_TAG];
        let (out, source) = (bytes.get_mut(..len), full.get(..len));
        out.ok_or(Failed)?.copy_from_slice(source.ok_or(Failed)?);
        Ok(Self { bytes, len })
    }

    /// The tag itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The content ciphers of RFC 7518 section 5.
pub trait ContentCipher: fmt::Debug + Send + Sync {
    /// Turns the plaintext in `text` into ciphertext, padding included, and returns the tag.
    ///
    /// # Errors
    /// Where the library refuses.
    fn seal(&self, input: ContentInput<'_>, text: &mut Vec<u8>) -> Result<Tag, Failed>;

    /// Turns the ciphertext in `text` into plaintext. The tag is compared first and in constant time; before it
    /// agrees, nothing is decrypted and no padding looked at. After an error `text` holds nothing of use.
    ///
    /// # Errors
    /// One for a wrong tag, key, IV or padding.
    fn open(&self, input: ContentInput<'_>, text: &mut Vec<u8>, tag: &[u8]) -> Result<(), Failed>;
}

/// Header members that key management adds.
#[derive(Debug, Clone)]
pub enum KeyParameters {
    /// None: RSA-OAEP, AES key wrap, `dir`.
    None,
    /// `epk` of the ECDH-ES family.
    Ephemeral(AgreementKey),
    /// `iv` and `tag` of AES-GCM key wrap.
    GcmWrap {
        /// The 96-bit IV under which the CEK is wrapped.
        iv: [u8; 12],
        /// The tag of the wrapped CEK.
        tag: [u8; 16],
    },
}

/// A content key made for one token, and how its recipient gets it.
#[derive(Debug)]
pub struct Established {
    /// The content encryption key.
    pub key: ContentKey,
    /// The JWE Encrypted Key; empty for ECDH-ES and `dir`.
    pub encrypted_key: Vec<u8>,
    /// Members for the protected header.
    pub parameters: KeyParameters,
}

/// What the two parties say of themselves in `apu` and `apv`, before encoding.
#[derive(Debug, Clone, Copy, Default)]
pub struct PartyInfo<'a> {
    /// Agreement PartyUInfo: the producer.
    pub apu: &'a [u8],
    /// Agreement PartyVInfo: the recipient.
    pub apv: &'a [u8],
}

/// A recipient's key, parsed once: makes or wraps content keys under its one algorithm.
pub trait Encrypter: fmt::Debug + Send + Sync {
    /// The key management algorithm that this key is for; it writes no other `alg`.
    fn algorithm(&self) -> KeyManagement;

    /// The only `enc` of this key, where the key itself encrypts content (`dir`).
    fn fixed_encryption(&self) -> Option<ContentEncryption> {
        None
    }

    /// Makes a content key for one token.
    ///
    /// # Errors
    /// Where the library or the generator fails.
    fn establish(
        &self,
        enc: ContentEncryption,
        parties: PartyInfo<'_>,
        random: &dyn SecureRandom,
    ) -> Result<Established, Failed>;

    /// The ciphers for the content.
    fn content(&self) -> &dyn ContentCipher;
}

/// A private or secret key, parsed once: recovers content keys under its one algorithm.
pub trait Decrypter: fmt::Debug + Send + Sync {
    /// The key management algorithm that this key is for. A header's `alg` is compared with it and chooses nothing.
    fn algorithm(&self) -> KeyManagement;

    /// The only `enc` of this key, where the key itself encrypts content (`dir`).
    fn fixed_encryption(&self) -> Option<ContentEncryption> {
        None
    }

    /// Recovers the content key of a token whose `alg` is this key's.
    ///
    /// # Errors
    /// One for everything.
    fn recover(&self, header: &JweHeader, encrypted_key: &[u8]) -> Result<ContentKey, Failed>;

    /// The same from the secret Z that this key and the header's `epk` agree on (RFC 7518 section 4.6.2), where that was computed
    /// elsewhere, together with others.
    ///
    /// # Errors
    /// One for everything; always for keys that do not agree.
    fn recover_agreed(
        &self,
        header: &JweHeader,
        encrypted_key: &[u8],
        shared: &[u8],
    ) -> Result<ContentKey, Failed> {
        let _none_agrees = (header, encrypted_key, shared);
        Err(Failed)
    }

    /// The ciphers for the content.
    fn content(&self) -> &dyn ContentCipher;
}
