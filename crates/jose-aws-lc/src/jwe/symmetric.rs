//! Key management under a shared secret: AES key wrap, AES-GCM key wrap and `dir`.

use std::fmt;

use aws_lc_rs::aead;
use aws_lc_rs::key_wrap::{AES_128, AES_256, AesBlockCipher, AesKek, KeyWrap};
use jose::algorithm::{Algorithm, ContentEncryption, KeyManagement};
use jose::jwe::{
    ContentCipher, ContentKey, Decrypter, Encrypter, Established, JweHeader, KeyParameters,
    MAX_CONTENT_KEY, PartyInfo,
};
use jose::key::{KeyError, SymmetricKey};
use jose::provider::{Failed, SecureRandom};
use zeroize::Zeroizing;

use super::content::{Content, gcm_open, gcm_seal};
use super::{refused, unfit};

/// Which use of a shared secret a key is for, with what that use needs of the library.
#[derive(Clone, Copy)]
enum Mode {
    Wrap(&'static AesBlockCipher),
    GcmWrap(&'static aead::Algorithm),
    Direct(ContentEncryption),
}

/// A shared secret for one key management algorithm; encrypts and decrypts.
pub struct SharedKey {
    algorithm: KeyManagement,
    mode: Mode,
    secret: SymmetricKey,
}

impl SharedKey {
    /// A key for A128KW, A256KW, A128GCMKW or A256GCMKW: 16 or 32 bytes, as the name says.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] for another algorithm, [`KeyError::Invalid`] for another length.
    pub fn wrapping(algorithm: KeyManagement, secret: &SymmetricKey) -> Result<Self, KeyError> {
        let mode = match algorithm {
            KeyManagement::A128Kw => Mode::Wrap(&AES_128),
            KeyManagement::A256Kw => Mode::Wrap(&AES_256),
            KeyManagement::A128GcmKw => Mode::GcmWrap(&aead::AES_128_GCM),
            KeyManagement::A256GcmKw => Mode::GcmWrap(&aead::AES_256_GCM),
            _ => return Err(unfit(algorithm)),
        };
        secret.check_algorithm(Algorithm::Jwe(algorithm))?;
        Ok(Self::new(algorithm, mode, secret))
    }

    /// A key for `dir`: the secret encrypts the content itself, under `enc` and no other algorithm.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] for a length other than the one that `enc` demands.
    pub fn direct(enc: ContentEncryption, secret: &SymmetricKey) -> Result<Self, KeyError> {
        if secret.as_bytes().len() != enc.key_len() {
            return Err(KeyError::Invalid {
                member: "k",
                reason: "not of the length of enc",
            });
        }
        Ok(Self::new(KeyManagement::Dir, Mode::Direct(enc), secret))
    }

    fn new(algorithm: KeyManagement, mode: Mode, secret: &SymmetricKey) -> Self {
        Self {
            algorithm,
            mode,
            secret: secret.clone(),
        }
    }

    fn direct_encryption(&self) -> Option<ContentEncryption> {
        match self.mode {
            Mode::Direct(enc) => Some(enc),
            Mode::Wrap(_) | Mode::GcmWrap(_) => None,
        }
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl Encrypter for SharedKey {
    fn algorithm(&self) -> KeyManagement {
        self.algorithm
    }

    fn fixed_encryption(&self) -> Option<ContentEncryption> {
        self.direct_encryption()
    }

    fn establish(
        &self,
        enc: ContentEncryption,
        _parties: PartyInfo<'_>,
        random: &dyn SecureRandom,
    ) -> Result<Established, Failed> {
        match self.mode {
            Mode::Wrap(cipher) => {
                let key = ContentKey::generate(enc, random)?;
                let encrypted_key = wrap(cipher, self.secret.as_bytes(), key.as_bytes())?;
                Ok(Established {
                    key,
                    encrypted_key,
                    parameters: KeyParameters::None,
                })
            }
            Mode::GcmWrap(algorithm) => gcm_wrap(algorithm, self.secret.as_bytes(), enc, random),
            Mode::Direct(fixed) => Ok(Established {
                key: ContentKey::from_slice(fixed, self.secret.as_bytes())?,
                encrypted_key: Vec::new(),
                parameters: KeyParameters::None,
            }),
        }
    }

    fn content(&self) -> &dyn ContentCipher {
        &Content
    }
}

impl Decrypter for SharedKey {
    fn algorithm(&self) -> KeyManagement {
        self.algorithm
    }

    fn fixed_encryption(&self) -> Option<ContentEncryption> {
        self.direct_encryption()
    }

    fn recover(&self, header: &JweHeader, encrypted_key: &[u8]) -> Result<ContentKey, Failed> {
        match self.mode {
            Mode::Wrap(cipher) => {
                unwrap(cipher, self.secret.as_bytes(), header.enc(), encrypted_key)
            }
            Mode::GcmWrap(algorithm) => {
                let KeyParameters::GcmWrap { iv, tag } = header.parameters() else {
                    return Err(Failed);
                };
                let mut key = ContentKey::from_slice(header.enc(), encrypted_key)?;
                gcm_open(
                    algorithm,
                    self.secret.as_bytes(),
                    iv,
                    &[],
                    tag,
                    key.as_mut_bytes(),
                )?;
                Ok(key)
            }
            Mode::Direct(fixed) => ContentKey::from_slice(fixed, self.secret.as_bytes()),
        }
    }

    fn content(&self) -> &dyn ContentCipher {
        &Content
    }
}

fn gcm_wrap(
    algorithm: &'static aead::Algorithm,
    secret: &[u8],
    enc: ContentEncryption,
    random: &dyn SecureRandom,
) -> Result<Established, Failed> {
    let key = ContentKey::generate(enc, random)?;
    let mut iv = [0; 12];
    random.fill(&mut iv)?;
    let mut encrypted_key = Vec::from(key.as_bytes());
    let tag = gcm_seal(algorithm, secret, &iv, &[], &mut encrypted_key)?;
    let tag = tag.as_ref().try_into().map_err(refused)?;
    Ok(Established {
        key,
        encrypted_key,
        parameters: KeyParameters::GcmWrap { iv, tag },
    })
}

/// The key wrap of RFC 3394 under `kek`.
pub(super) fn wrap(
    cipher: &'static AesBlockCipher,
    kek: &[u8],
    key: &[u8],
) -> Result<Vec<u8>, Failed> {
    let kek = AesKek::new(cipher, kek).map_err(refused)?;
    let mut wrapped = vec![0; key.len() + 8];
    let len = kek.wrap(key, &mut wrapped).map_err(refused)?.len();
    wrapped.truncate(len);
    Ok(wrapped)
}

/// Undoes [`wrap`]; the length must be that of a wrapped key for `enc`.
pub(super) fn unwrap(
    cipher: &'static AesBlockCipher,
    kek: &[u8],
    enc: ContentEncryption,
    wrapped: &[u8],
) -> Result<ContentKey, Failed> {
    let mut buffer = Zeroizing::new([0; MAX_CONTENT_KEY]);
    if wrapped.len() != enc.key_len() + 8 {
        return Err(Failed);
    }
    let kek = AesKek::new(cipher, kek).map_err(refused)?;
    let key = kek
        .unwrap(wrapped, buffer.as_mut_slice())
        .map_err(refused)?;
    ContentKey::from_slice(enc, key)
}
