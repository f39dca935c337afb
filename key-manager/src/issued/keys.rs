//! The key that segments are sealed to, and the one that subjects are hashed with.

use std::fmt;

use issued_log::{RecipientKey, SubjectKey};
use zeroize::Zeroizing;

use super::IssuedError;
use crate::vault::Vault;

/// Both keys.
pub struct IssuedKeys {
    recipient: RecipientKey,
    subjects: SubjectKey,
    subject_key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for IssuedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedKeys")
            .field("recipient", &self.recipient)
            .finish_non_exhaustive()
    }
}

impl IssuedKeys {
    /// Opens the keys that the store keeps, or makes them where it has none yet.
    ///
    /// # Errors
    /// [`IssuedError::Vault`], or [`IssuedError::Key`] for keys that are none.
    pub async fn load(vault: &Vault) -> Result<Self, IssuedError> {
        let bytes = match vault.issued_key().await? {
            Some(bytes) => bytes,
            None => {
                let made = RecipientKey::generate_pair()?;
                vault.keep_issued_key(&made).await?
            }
        };
        let (recipient, subject_key) = bytes.split_at_checked(32).ok_or(IssuedError::Key)?;
        if subject_key.len() != 32 {
            return Err(IssuedError::Key);
        }
        Ok(Self {
            recipient: RecipientKey::new(recipient)?,
            subjects: SubjectKey::new(subject_key),
            subject_key: Zeroizing::new(subject_key.to_vec()),
        })
    }

    /// The public key that segments are sealed to.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.recipient.recipient().public().to_vec()
    }

    /// What subjects are hashed with: it leaves wrapped, as private keys do.
    #[must_use]
    pub fn subject_key(&self) -> &[u8] {
        &self.subject_key
    }

    pub(super) fn recipient(&self) -> &RecipientKey {
        &self.recipient
    }

    pub(super) fn subjects(&self) -> &SubjectKey {
        &self.subjects
    }
}
