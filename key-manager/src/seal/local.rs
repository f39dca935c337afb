//! A key-encryption key that is held in memory, wherever it came from.

use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use zeroize::Zeroizing;

use super::{KEY_LEN, KeyEncryptionKey, SealError, bind, data_key};

/// AES-256-GCM under 32 bytes.
pub struct LocalKek {
    key: LessSafeKey,
    id: String,
}

impl LocalKek {
    /// Takes the key.
    ///
    /// # Errors
    /// [`SealError::Engine`].
    pub fn new(key: &[u8; KEY_LEN]) -> Result<Self, SealError> {
        let id = public_id(key)?;
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_engine| SealError::Engine)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            id,
        })
    }
}

impl fmt::Debug for LocalKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalKek(redacted)")
    }
}

#[async_trait]
impl KeyEncryptionKey for LocalKek {
    fn id(&self) -> &str {
        &self.id
    }

    async fn wrap(&self, owner: &str, data_key: &[u8; KEY_LEN]) -> Result<Vec<u8>, SealError> {
        data_key::seal(&self.key, &[data_key::FORMAT], &binding(owner), data_key)
    }

    async fn unwrap(
        &self,
        owner: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<[u8; KEY_LEN]>, SealError> {
        let (format, rest) = wrapped.split_first().ok_or(SealError::Refused)?;
        if *format != data_key::FORMAT {
            return Err(SealError::Format(*format));
        }
        key_of(&data_key::open(&self.key, &binding(owner), rest)?)
    }
}

/// 128 bits that are derived from the key and lead to nothing else of it.
fn public_id(key: &[u8; KEY_LEN]) -> Result<String, SealError> {
    let derived = data_key::expand(key, &bind("crypto-service/kek-id/v1", &[]))?;
    let digits = derived.iter().take(16).map(|byte| format!("{byte:02x}"));
    Ok(format!("local:{}", digits.collect::<String>()))
}

/// What was opened, where it is as long as a key.
pub(super) fn key_of(opened: &[u8]) -> Result<Zeroizing<[u8; KEY_LEN]>, SealError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    match opened.len() == KEY_LEN {
        true => key.copy_from_slice(opened),
        false => return Err(SealError::Refused),
    }
    Ok(key)
}

/// The associated data of a wrapped key: a key-encryption key in memory and one in a token bind alike.
pub(super) fn binding(owner: &str) -> Vec<u8> {
    bind("crypto-service/kek/v1", &[owner.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::contract;

    #[tokio::test]
    async fn a_key_in_memory_keeps_the_contract() {
        let kek = |byte| LocalKek::new(&[byte; KEY_LEN]).unwrap();
        contract::holds(&kek(1), &kek(0xC3), &["1, 1", "195", "c3"]).await;
        assert_eq!(format!("{:?}", kek(0xC3)), "LocalKek(redacted)");
        assert_eq!(
            kek(1).unwrap("a", &[9; 61]).await.unwrap_err(),
            SealError::Format(9)
        );
    }
}
