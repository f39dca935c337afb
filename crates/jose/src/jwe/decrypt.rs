//! Decryption: the key judges the header, recovers the content key, and opens the content.

use std::fmt;

use zeroize::Zeroizing;

use super::compact::{JweView, Segments, peek};
use super::{ContentInput, ContentKey, Decrypter, DecryptionFailed, Fault, JweHeader, MAX_TAG};
use crate::algorithm::KeyManagement;
use crate::provider::Failed;
use crate::{base64url, limits};

/// What a token held; both parts are authentic.
pub struct Decrypted {
    /// The payload, zeroised on drop.
    pub payload: Zeroizing<Vec<u8>>,
    /// The protected header.
    pub header: JweHeader,
}

impl fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decrypted")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// Decrypts a token with the one key that it may be for.
///
/// # Errors
/// [`DecryptionFailed`], one for everything.
pub fn decrypt(token: &str, key: &dyn Decrypter) -> Result<Decrypted, DecryptionFailed> {
    peek(token)?.decrypt(key)
}

/// The longest JWE Encrypted Key: an RSA modulus.
const MAX_ENCRYPTED_KEY: usize = limits::RSA_MAX_BITS / 8;

/// What CBC padding adds to a payload at most.
const MAX_PADDING: usize = 16;

impl<T: AsRef<str>> JweView<T> {
    /// Decrypts with the key that the caller has chosen.
    ///
    /// # Errors
    /// [`DecryptionFailed`], one for everything.
    pub fn decrypt(self, key: &dyn Decrypter) -> Result<Decrypted, DecryptionFailed> {
        let payload = self.open(key)?;
        Ok(Decrypted {
            payload,
            header: self.into_header(),
        })
    }

    /// As [`JweView::decrypt`], for a token that may be for one of several keys.
    ///
    /// # Errors
    /// [`DecryptionFailed`], one for everything.
    pub fn open(&self, key: &dyn Decrypter) -> Result<Zeroizing<Vec<u8>>, DecryptionFailed> {
        self.open_by(key, |header, encrypted_key| {
            key.recover(header, encrypted_key)
        })
    }

    /// As [`JweView::open`], with the secret that `key` and the token's `epk` agree on.
    ///
    /// # Errors
    /// [`DecryptionFailed`], one for everything.
    pub fn open_agreed(
        &self,
        key: &dyn Decrypter,
        shared: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, DecryptionFailed> {
        self.open_by(key, |header, encrypted_key| {
            key.recover_agreed(header, encrypted_key, shared)
        })
    }

    fn open_by(
        &self,
        key: &dyn Decrypter,
        recover: impl FnOnce(&JweHeader, &[u8]) -> Result<ContentKey, Failed>,
    ) -> Result<Zeroizing<Vec<u8>>, DecryptionFailed> {
        match_algorithms(self.header(), key)?;
        let segments = self.segments();
        let sealed = Sealed::decode(&segments, self.header())?;
        let recovered = recover(self.header(), &sealed.encrypted_key);
        Ok(sealed.open(segments.protected, self.header(), key, recovered)?)
    }
}

/// One key, one algorithm: the header is compared and chooses nothing.
fn match_algorithms(header: &JweHeader, key: &dyn Decrypter) -> Result<(), Fault> {
    let enc_fits = key
        .fixed_encryption()
        .is_none_or(|fixed| fixed == header.enc());
    if header.alg() == key.algorithm() && enc_fits {
        Ok(())
    } else {
        Err(Fault::Algorithm)
    }
}

/// The decoded segments, of the lengths that `alg` and `enc` demand.
struct Sealed {
    encrypted_key: Vec<u8>,
    iv: [u8; 16],
    text: Zeroizing<Vec<u8>>,
    tag: [u8; MAX_TAG],
}

impl Sealed {
    fn decode(segments: &Segments<'_>, header: &JweHeader) -> Result<Self, Fault> {
        let enc = header.enc();
        if base64url::decoded_len(segments.ciphertext.len()) > limits::JWE_PAYLOAD + MAX_PADDING {
            return Err(Fault::TooLarge);
        }
        Ok(Self {
            encrypted_key: encrypted_key(segments.encrypted_key, header.alg())?,
            iv: exactly(segments.iv, enc.iv_len())?,
            tag: exactly(segments.tag, enc.tag_len())?,
            text: base64url::decode_secret(segments.ciphertext)?,
        })
    }

    /// A content key that cannot be recovered is replaced by a decoy and the content opened all the same, so that
    /// neither the answer nor the time it takes tells a bad key from a bad tag (RFC 7516 section 11.5). The decoy
    /// is no secret: what it opens is dropped.
    fn open(
        mut self,
        protected: &str,
        header: &JweHeader,
        key: &dyn Decrypter,
        recovered: Result<ContentKey, Failed>,
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let enc = header.enc();
        let genuine = recovered.is_ok();
        let content_key = recovered.unwrap_or_else(|_decoy| ContentKey::zeroed(enc));
        let input = ContentInput {
            enc,
            key: &content_key,
            iv: self.iv.get(..enc.iv_len()).unwrap_or_default(),
            aad: protected.as_bytes(),
        };
        let tag = self.tag.get(..enc.tag_len()).unwrap_or_default();
        let opened = key.content().open(input, &mut self.text, tag).is_ok();
        match (genuine & opened, self.text.len() <= limits::JWE_PAYLOAD) {
            (true, true) => Ok(self.text),
            (true, false) => Err(Fault::TooLarge),
            (false, _) => Err(Fault::Decryption),
        }
    }
}

/// Direct modes have no encrypted key, and one that is there all the same is refused (RFC 7516 section 5.2).
fn encrypted_key(segment: &str, alg: KeyManagement) -> Result<Vec<u8>, Fault> {
    let expected = !matches!(alg, KeyManagement::Dir | KeyManagement::EcdhEs);
    let too_long = segment.len() > base64url::encoded_len(MAX_ENCRYPTED_KEY);
    if segment.is_empty() == expected || too_long {
        return Err(Fault::Malformed);
    }
    Ok(base64url::decode(segment)?)
}

/// Decodes `len` bytes, not one more or less, to the start of a longer array.
pub(super) fn exactly<const N: usize>(segment: &str, len: usize) -> Result<[u8; N], Fault> {
    let mut out = [0; N];
    if segment.len() != base64url::encoded_len(len) {
        return Err(Fault::Malformed);
    }
    base64url::decode_slice(segment, out.get_mut(..len).unwrap_or_default())?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::ContentEncryption;

    #[test]
    fn every_initialization_vector_and_tag_fits_its_array() {
        for enc in ContentEncryption::ALL {
            assert!(enc.iv_len() <= 16 && enc.tag_len() <= MAX_TAG, "{enc}");
        }
    }

    #[test]
    fn only_the_exact_length_decodes() {
        assert_eq!(exactly::<4>("AAEC", 3), Ok([0, 1, 2, 0]));
        for bad in ["", "AA", "AAE", "AAECAw", "AAE=", "A.EC"] {
            assert_eq!(exactly::<4>(bad, 3), Err(Fault::Malformed), "{bad:?}");
        }
    }
}
