//! RSA-OAEP and RSA-OAEP-256 (RFC 7518 section 4.3).
//!
//! The library's OAEP decoding runs in constant time and has one error for every fault, so that a refusal does not
//! say which check failed (Manger's attack needs to know). The codec decrypts the content under a decoy key after
//! a refusal, so that the work that follows is the same either way.

use std::fmt;

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey, PublicKeyComponents,
};
use jose::algorithm::{ContentEncryption, KeyManagement};
use jose::jwe::{
    ContentCipher, ContentKey, Decrypter, Encrypter, Established, JweHeader, KeyParameters,
    PartyInfo,
};
use jose::key::{KeyError, PrivateKey, RsaPrivateKey, RsaPublicKey};
use jose::provider::{Failed, SecureRandom};
use zeroize::Zeroizing;

use super::content::Content;
use super::{refused, unfit};

fn oaep(algorithm: KeyManagement) -> Result<&'static OaepAlgorithm, KeyError> {
    match algorithm {
        KeyManagement::RsaOaep => Ok(&OAEP_SHA1_MGF1SHA1),
        KeyManagement::RsaOaep256 => Ok(&OAEP_SHA256_MGF1SHA256),
        _ => Err(unfit(algorithm)),
    }
}

fn inconsistent<E>(_rejected: E) -> KeyError {
    KeyError::Inconsistent
}

/// A recipient's RSA public key, parsed once.
pub struct RsaEncrypter {
    algorithm: KeyManagement,
    oaep: &'static OaepAlgorithm,
    key: OaepPublicEncryptingKey,
}

impl RsaEncrypter {
    /// Parses a public key.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] for another algorithm, [`KeyError::Inconsistent`] where the library refuses the key.
    pub fn new(algorithm: KeyManagement, key: &RsaPublicKey) -> Result<Self, KeyError> {
        let oaep = oaep(algorithm)?;
        let components = PublicKeyComponents {
            n: key.n(),
            e: key.e(),
        };
        let key: PublicEncryptingKey = components.try_into().map_err(inconsistent)?;
        let key = OaepPublicEncryptingKey::new(key).map_err(inconsistent)?;
        Ok(Self {
            algorithm,
            oaep,
            key,
        })
    }
}

impl fmt::Debug for RsaEncrypter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaEncrypter")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl Encrypter for RsaEncrypter {
    fn algorithm(&self) -> KeyManagement {
        self.algorithm
    }

    fn establish(
        &self,
        enc: ContentEncryption,
        _parties: PartyInfo<'_>,
        random: &dyn SecureRandom,
    ) -> Result<Established, Failed> {
        let key = ContentKey::generate(enc, random)?;
        let mut encrypted_key = vec![0; self.key.ciphertext_size()];
        let len = self
            .key
            .encrypt(self.oaep, key.as_bytes(), &mut encrypted_key, None)
            .map_err(refused)?
            .len();
        encrypted_key.truncate(len);
        Ok(Established {
            key,
            encrypted_key,
            parameters: KeyParameters::None,
        })
    }

    fn content(&self) -> &dyn ContentCipher {
        &Content
    }
}

/// An RSA private key, parsed once.
pub struct RsaDecrypter {
    algorithm: KeyManagement,
    oaep: &'static OaepAlgorithm,
    key: OaepPrivateDecryptingKey,
}

impl RsaDecrypter {
    /// Parses a private key. The library checks that all its numbers belong together.
    ///
    /// # Errors
    /// As [`RsaEncrypter::new`].
    pub fn new(algorithm: KeyManagement, key: &RsaPrivateKey) -> Result<Self, KeyError> {
        let oaep = oaep(algorithm)?;
        let pkcs8 = PrivateKey::Rsa(key.clone()).to_pkcs8();
        let key = PrivateDecryptingKey::from_pkcs8(&pkcs8).map_err(inconsistent)?;
        let key = OaepPrivateDecryptingKey::new(key).map_err(inconsistent)?;
        Ok(Self {
            algorithm,
            oaep,
            key,
        })
    }
}

impl fmt::Debug for RsaDecrypter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaDecrypter")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl Decrypter for RsaDecrypter {
    fn algorithm(&self) -> KeyManagement {
        self.algorithm
    }

    fn recover(&self, header: &JweHeader, encrypted_key: &[u8]) -> Result<ContentKey, Failed> {
        if encrypted_key.len() != self.key.key_size_bytes() {
            return Err(Failed);
        }
        let mut buffer = Zeroizing::new(vec![0; self.key.min_output_size()]);
        let key = self
            .key
            .decrypt(self.oaep, encrypted_key, buffer.as_mut_slice(), None)
            .map_err(refused)?;
        ContentKey::from_slice(header.enc(), key)
    }

    fn content(&self) -> &dyn ContentCipher {
        &Content
    }
}
