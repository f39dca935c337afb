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
        let opened = data_key::open(&self.key, &binding(owner), rest)?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        match opened.len() == KEY_LEN {
            true => key.copy_from_slice(&opened),
            false => return Err(SealError::Refused),
        }
        Ok(key)
    }
}

/// 128 bits that are derived from the key and lead to nothing else of it.
fn public_id(key: &[u8; KEY_LEN]) -> Result<String, SealError> {
    let derived = data_key::expand(key, &bind("crypto-service/kek-id/v1", &[]))?;
    let digits = derived.iter().take(16).map(|byte| format!("{byte:02x}"));
    Ok(format!("local:{}", digits.collect::<String>()))
}

fn binding(owner: &str) -> Vec<u8> {
    bind("crypto-service/kek/v1", &[owner.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wrapped_key_unwraps_for_its_owner_under_its_kek() {
        let (kek, other) = (
            LocalKek::new(&[1; KEY_LEN]).unwrap(),
            LocalKek::new(&[2; KEY_LEN]).unwrap(),
        );
        let wrapped = kek.wrap("a", &[9; KEY_LEN]).await.unwrap();
        assert_eq!(
            kek.unwrap("a", &wrapped).await.unwrap().as_slice(),
            [9; KEY_LEN]
        );
        assert_eq!(
            kek.unwrap("b", &wrapped).await.unwrap_err(),
            SealError::Refused
        );
        assert_eq!(
            other.unwrap("a", &wrapped).await.unwrap_err(),
            SealError::Refused
        );
        assert_ne!(kek.id(), other.id());
        assert_eq!(
            kek.id(),
            LocalKek::new(&[1; KEY_LEN]).unwrap().id(),
            "the same key is the same key after a restart"
        );
        assert_eq!(kek.unwrap("a", &[]).await.unwrap_err(), SealError::Refused);
        assert_eq!(
            kek.unwrap("a", &[9; 61]).await.unwrap_err(),
            SealError::Format(9)
        );
        assert_eq!(
            format!("{:?}", LocalKek::new(&[0xC3; KEY_LEN]).unwrap()),
            "LocalKek(redacted)"
        );
    }
}
