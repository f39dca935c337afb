//! The key-encryption keys of a store: the present one, which wraps, and the one before, which opens what it has wrapped.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{KEY_LEN, KekError, KeyEncryptionKey, SealError};

/// The present key-encryption key, and perhaps the one before.
#[derive(Clone, Debug)]
pub struct Keks {
    present: Arc<dyn KeyEncryptionKey>,
    previous: Option<Arc<dyn KeyEncryptionKey>>,
}

/// Why a data key was not unwrapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnwrapError {
    #[error(transparent)]
    Kek(#[from] KekError),
    #[error(transparent)]
    Seal(SealError),
}

impl From<SealError> for UnwrapError {
    /// A key that cannot be used at present says nothing about what it has wrapped.
    fn from(error: SealError) -> Self {
        match error {
            SealError::Kek(error) => Self::Kek(*error),
            error => Self::Seal(error),
        }
    }
}

impl Keks {
    /// `present` wraps; `previous` opens, until nothing is under it any more.
    #[must_use]
    pub fn new(
        present: Arc<dyn KeyEncryptionKey>,
        previous: Option<Arc<dyn KeyEncryptionKey>>,
    ) -> Self {
        Self { present, previous }
    }

    /// The public id of the present one.
    #[must_use]
    pub fn id(&self) -> &str {
        self.present.id()
    }

    /// The public id of the one before.
    #[must_use]
    pub fn previous_id(&self) -> Option<&str> {
        self.previous.as_ref().map(|kek| kek.id())
    }

    /// Wraps under the present one.
    pub(crate) async fn wrap(
        &self,
        owner: &str,
        data_key: &[u8; KEY_LEN],
    ) -> Result<Vec<u8>, SealError> {
        self.present.wrap(owner, data_key).await
    }

    /// Unwraps what the key with that public id has wrapped.
    pub(crate) async fn unwrap(
        &self,
        id: &str,
        owner: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<[u8; KEY_LEN]>, UnwrapError> {
        let kek = self.both().find(|kek| kek.id() == id);
        let kek = kek.ok_or_else(|| self.wanted(id))?;
        Ok(kek.unwrap(owner, wrapped).await?)
    }

    /// Unwraps what does not say by which key it was wrapped.
    pub(crate) async fn unwrap_unnamed(
        &self,
        owner: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<[u8; KEY_LEN]>, UnwrapError> {
        for kek in self.both() {
            match kek.unwrap(owner, wrapped).await {
                Err(SealError::Refused | SealError::Format(_)) => {}
                done => return Ok(done?),
            }
        }
        Err(KekError::Wrong.into())
    }

    fn both(&self) -> impl Iterator<Item = &Arc<dyn KeyEncryptionKey>> {
        [&self.present].into_iter().chain(self.previous.as_ref())
    }

    fn wanted(&self, id: &str) -> KekError {
        KekError::Wanted {
            wanted: id.to_owned(),
            kek: self.id().to_owned(),
            previous: self.previous_id().unwrap_or("not given").to_owned(),
        }
    }
}

impl<K: KeyEncryptionKey> From<Arc<K>> for Keks {
    fn from(present: Arc<K>) -> Self {
        Self::new(present, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::LocalKek;

    fn kek(byte: u8) -> Arc<dyn KeyEncryptionKey> {
        Arc::new(LocalKek::new(&[byte; KEY_LEN]).unwrap())
    }

    #[tokio::test]
    async fn the_present_one_wraps_and_both_open() {
        let (old, new) = (kek(1), kek(2));
        let before = Keks::new(Arc::clone(&old), None);
        let wrapped = before.wrap("a/1", &[9; KEY_LEN]).await.unwrap();
        let both = Keks::new(Arc::clone(&new), Some(Arc::clone(&old)));
        for unwrapped in [
            both.unwrap(old.id(), "a/1", &wrapped).await,
            both.unwrap_unnamed("a/1", &wrapped).await,
        ] {
            assert_eq!(unwrapped.unwrap().as_slice(), [9; KEY_LEN]);
        }
        let again = both.wrap("a/1", &[9; KEY_LEN]).await.unwrap();
        let after = Keks::new(Arc::clone(&new), None);
        assert!(after.unwrap(new.id(), "a/1", &again).await.is_ok());
        assert_eq!((both.id(), both.previous_id()), (new.id(), Some(old.id())));
    }

    #[tokio::test]
    async fn a_key_that_is_wanted_and_missing_is_named() {
        let (old, new) = (kek(1), kek(2));
        let wrapped = old.wrap("", &[9; KEY_LEN]).await.unwrap();
        let alone = Keks::new(Arc::clone(&new), None);
        let refused = alone.unwrap(old.id(), "", &wrapped).await.unwrap_err();
        let said = refused.to_string();
        assert!(
            said.contains(old.id()) && said.contains(new.id()) && said.contains("not given"),
            "{said}"
        );
        assert_eq!(
            alone.unwrap_unnamed("", &wrapped).await.unwrap_err(),
            UnwrapError::Kek(KekError::Wrong)
        );
    }
}
