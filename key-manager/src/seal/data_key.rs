//! A data key and what is derived from it.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    hmac,
};
use zeroize::Zeroizing;

use super::{KEY_LEN, SealError, bind, random};

/// The form of bytes that say nothing of the key: this byte, a nonce of 12, the ciphertext and its tag of 16. What a key-encryption key wraps
/// has it, and what the first generation of a data key sealed before there were generations.
pub(super) const FORMAT: u8 = 1;

/// Length of a record's tag, in bytes.
pub(crate) const TAG_LEN: usize = 32;

/// What a sealed key belongs to; it opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct KeyBinding<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The key set.
    pub set: &'a str,
    /// The key.
    pub kid: &'a str,
    /// Its algorithm.
    pub algorithm: &'a str,
    /// What it is for.
    pub key_use: &'a str,
}

/// What a record belongs to.
#[derive(Clone, Copy, Debug)]
pub struct RecordBinding<'a> {
    /// The kind of record.
    pub kind: &'a str,
    /// The tenant; empty where the record belongs to none.
    pub tenant: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Our own count of its writes.
    pub revision: u64,
}

/// One generation of a data key, as the two keys that are derived from it.
pub struct DataKey {
    sealing: LessSafeKey,
    records: hmac::Key,
}

impl DataKey {
    /// Derives the two.
    ///
    /// # Errors
    /// [`SealError::Engine`].
    pub fn new(key: &[u8; KEY_LEN]) -> Result<Self, SealError> {
        let sealing = UnboundKey::new(&AES_256_GCM, derive(key, "seal")?.as_slice())
            .map_err(|_engine| SealError::Engine)?;
        Ok(Self {
            sealing: LessSafeKey::new(sealing),
            records: hmac::Key::new(hmac::HMAC_SHA256, derive(key, "record")?.as_slice()),
        })
    }

    /// Seals private bytes, behind a header that says under what.
    pub(super) fn seal(
        &self,
        header: &[u8],
        binding: KeyBinding<'_>,
        secret: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        seal(&self.sealing, header, &binding.bytes(), secret)
    }

    /// Opens what stands behind the header.
    pub(super) fn open(
        &self,
        binding: KeyBinding<'_>,
        rest: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        open(&self.sealing, &binding.bytes(), rest)
    }

    /// The tag of a record.
    #[must_use]
    pub fn tag(&self, binding: RecordBinding<'_>, record: &[u8]) -> [u8; TAG_LEN] {
        let mut tag = [0; TAG_LEN];
        let made = hmac::sign(&self.records, &binding.bytes(record));
        for (out, byte) in tag.iter_mut().zip(made.as_ref()) {
            *out = *byte;
        }
        tag
    }

    /// Compares a tag in constant time.
    ///
    /// # Errors
    /// [`SealError::Refused`].
    pub fn verify(
        &self,
        binding: RecordBinding<'_>,
        record: &[u8],
        tag: &[u8],
    ) -> Result<(), SealError> {
        hmac::verify(&self.records, &binding.bytes(record), tag)
            .map_err(|_altered| SealError::Refused)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(redacted)")
    }
}

/// What tells equal secrets without storing their hash. It does not rotate with the data key: the digests of keys that are destroyed could never be
/// made again, and it opens nothing. The first data key of its owner derives it; from then on it is kept sealed beside the data keys.
pub struct MaterialKey {
    bytes: Zeroizing<[u8; KEY_LEN]>,
    key: hmac::Key,
}

impl MaterialKey {
    /// That of an owner's first data key.
    ///
    /// # Errors
    /// [`SealError::Engine`].
    pub fn of_data_key(key: &[u8; KEY_LEN]) -> Result<Self, SealError> {
        derive(key, "material").map(Self::new)
    }

    pub(super) fn new(bytes: Zeroizing<[u8; KEY_LEN]>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice());
        Self { bytes, key }
    }

    pub(super) fn copy(&self) -> Self {
        Self::new(self.bytes.clone())
    }

    pub(super) fn expose(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Equal exactly where the secrets are equal, and of no use without this key.
    #[must_use]
    pub fn material(&self, secret: &[u8]) -> String {
        jose::base64url::encode(hmac::sign(&self.key, secret).as_ref())
    }
}

impl fmt::Debug for MaterialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaterialKey(redacted)")
    }
}

impl KeyBinding<'_> {
    fn bytes(&self) -> Vec<u8> {
        let parts = [
            self.tenant,
            self.set,
            self.kid,
            self.algorithm,
            self.key_use,
        ];
        bind("crypto-service/key/v1", &parts.map(str::as_bytes))
    }
}

impl RecordBinding<'_> {
    fn bytes(&self, record: &[u8]) -> Vec<u8> {
        let revision = self.revision.to_be_bytes();
        let [kind, tenant, name] = [self.kind, self.tenant, self.name].map(str::as_bytes);
        bind(
            "crypto-service/record/v1",
            &[kind, tenant, name, &revision, record],
        )
    }
}

/// Random 96-bit nonces: a key seals a few hundred thousand times in its life, far below 2^32.
pub(super) fn seal(
    key: &LessSafeKey,
    header: &[u8],
    binding: &[u8],
    secret: &[u8],
) -> Result<Vec<u8>, SealError> {
    let nonce: [u8; NONCE_LEN] = random()?;
    let mut text = Zeroizing::new(secret.to_vec());
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(binding),
            &mut text,
        )
        .map_err(|_engine| SealError::Engine)?;
    Ok([header, nonce.as_slice(), text.as_slice(), tag.as_ref()].concat())
}

pub(super) fn open(
    key: &LessSafeKey,
    binding: &[u8],
    rest: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (nonce, text) = rest
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(SealError::Refused)?;
    let mut text = Zeroizing::new(text.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let len = key
        .open_in_place(nonce, Aad::from(binding), &mut text)
        .map_err(|_altered| SealError::Refused)?
        .len();
    text.truncate(len);
    Ok(text)
}

struct Key32;

impl KeyType for Key32 {
    fn len(&self) -> usize {
        KEY_LEN
    }
}

fn derive(key: &[u8; KEY_LEN], purpose: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, SealError> {
    expand(
        key,
        &bind("crypto-service/data-key/v1", &[purpose.as_bytes()]),
    )
}

/// HKDF-SHA-256 of a key for one purpose.
pub(super) fn expand(
    key: &[u8; KEY_LEN],
    info: &[u8],
) -> Result<Zeroizing<[u8; KEY_LEN]>, SealError> {
    let mut derived = Zeroizing::new([0; KEY_LEN]);
    let prk = Salt::new(HKDF_SHA256, &[]).extract(key);
    let info = [info];
    let okm = prk
        .expand(&info, Key32)
        .map_err(|_engine| SealError::Engine)?;
    okm.fill(derived.as_mut_slice())
        .map_err(|_engine| SealError::Engine)?;
    Ok(derived)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINDING: KeyBinding<'static> = KeyBinding {
        tenant: "default",
        set: "op/x",
        kid: "k",
        algorithm: "ES256",
        key_use: "sign",
    };
    const RECORD: RecordBinding<'static> = RecordBinding {
        kind: "set",
        tenant: "default",
        name: "op/x",
        revision: 7,
    };

    #[test]
    fn a_sealed_key_opens_only_where_it_belongs() {
        let key = DataKey::new(&[7; KEY_LEN]).unwrap();
        let sealed = key.seal(&[], BINDING, b"secret").unwrap();
        assert_eq!(key.open(BINDING, &sealed).unwrap().as_slice(), b"secret");
        for (what, other) in [
            (
                "tenant",
                KeyBinding {
                    tenant: "other",
                    ..BINDING
                },
            ),
            (
                "set",
                KeyBinding {
                    set: "op/y",
                    ..BINDING
                },
            ),
            (
                "kid",
                KeyBinding {
                    kid: "l",
                    ..BINDING
                },
            ),
            (
                "algorithm",
                KeyBinding {
                    algorithm: "ES384",
                    ..BINDING
                },
            ),
            (
                "use",
                KeyBinding {
                    key_use: "encrypt",
                    ..BINDING
                },
            ),
        ] {
            assert_eq!(key.open(other, &sealed), Err(SealError::Refused), "{what}");
        }
        let other = DataKey::new(&[8; KEY_LEN]).unwrap();
        assert_eq!(other.open(BINDING, &sealed), Err(SealError::Refused));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_sealed_bytes_is_seen() {
        let key = DataKey::new(&[7; KEY_LEN]).unwrap();
        let sealed = key.seal(&[], BINDING, b"secret").unwrap();
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(key.open(BINDING, &altered).is_err(), "byte {at}");
            assert!(key.open(BINDING, &sealed[..at]).is_err(), "cut at {at}");
        }
        assert_ne!(
            sealed,
            key.seal(&[], BINDING, b"secret").unwrap(),
            "nonces do not repeat"
        );
    }

    #[test]
    fn a_tag_holds_for_one_record_of_one_revision() {
        let key = DataKey::new(&[7; KEY_LEN]).unwrap();
        let tag = key.tag(RECORD, b"{}");
        assert_eq!(key.verify(RECORD, b"{}", &tag), Ok(()));
        for (what, binding, record) in [
            (
                "kind",
                RecordBinding {
                    kind: "subscriber",
                    ..RECORD
                },
                "{}",
            ),
            (
                "tenant",
                RecordBinding {
                    tenant: "",
                    ..RECORD
                },
                "{}",
            ),
            (
                "name",
                RecordBinding {
                    name: "op/y",
                    ..RECORD
                },
                "{}",
            ),
            (
                "revision",
                RecordBinding {
                    revision: 8,
                    ..RECORD
                },
                "{}",
            ),
            ("record", RECORD, "{ }"),
        ] {
            assert_eq!(
                key.verify(binding, record.as_bytes(), &tag),
                Err(SealError::Refused),
                "{what}"
            );
        }
        assert_eq!(
            key.verify(RECORD, b"{}", &tag[..31]),
            Err(SealError::Refused)
        );
    }

    #[test]
    fn equal_secrets_are_told_without_their_hash() {
        let (key, other) = (
            MaterialKey::of_data_key(&[7; KEY_LEN]).unwrap(),
            MaterialKey::of_data_key(&[8; KEY_LEN]).unwrap(),
        );
        assert_eq!(key.material(b"a"), key.material(b"a"));
        assert_ne!(key.material(b"a"), key.material(b"b"));
        assert_ne!(key.material(b"a"), other.material(b"a"));
    }

    #[test]
    fn no_data_key_shows_itself() {
        let shown = format!("{:?}", DataKey::new(&[0xC3; KEY_LEN]).unwrap());
        assert_eq!(shown, "DataKey(redacted)");
        let shown = format!("{:?}", MaterialKey::of_data_key(&[0xC3; KEY_LEN]).unwrap());
        assert_eq!(shown, "MaterialKey(redacted)");
    }
}
