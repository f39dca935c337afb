//! What can go wrong between a decision and the store.

use std::{fmt, sync::Arc};

use crate::{
    seal::{KekError, SealError},
    store::StoreError,
};

/// Why a read or a write of key sets failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VaultError {
    /// Somebody else wrote first.
    #[error("the key set was changed meanwhile: read it again")]
    Conflict,
    /// A key set of that name exists.
    #[error("a key set of this name exists")]
    NameTaken,
    /// A key of that kid exists in the tenant.
    #[error("this kid is taken in the tenant")]
    KidTaken,
    /// The same key exists in the tenant.
    #[error("the same key is in the tenant already")]
    MaterialTaken,
    /// The request was executed meanwhile.
    #[error("the request was executed meanwhile")]
    RequestDone,
    /// As many revocations of tokens live as are kept.
    #[error(
        "{limit} revocations of tokens live, which is as many as are kept: wait until some are forgotten, raise tokens.max_revocations, or revoke the key"
    )]
    TooManyRevocations {
        /// How many are kept.
        limit: usize,
    },
    /// Re-sealing is far behind.
    #[error(
        "{generations} generations of the data key are kept, which is as many as may be: wait until what is under older ones is re-sealed"
    )]
    TooManyGenerations {
        /// How many are kept.
        generations: usize,
    },
    /// The tenant has no data key.
    #[error("the tenant has no data key: it has had no key set")]
    NoDataKey,
    /// The key-encryption key does not fit.
    #[error(transparent)]
    Kek(#[from] KekError),
    /// Sealing failed.
    #[error(transparent)]
    Seal(SealError),
    /// What is stored was altered, or is not whole.
    #[error("the store was altered or is damaged: `{entry}` {problem}")]
    Damaged {
        /// The entry.
        entry: Arc<str>,
        /// What is wrong with it.
        problem: Arc<str>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl VaultError {
    pub(super) fn damaged(entry: &str, problem: impl fmt::Display) -> Self {
        Self::Damaged {
            entry: entry.into(),
            problem: problem.to_string().into(),
        }
    }

    /// What a refused write of a set means, by the entry that was not as expected.
    pub(super) fn of_write(error: StoreError, set_key: &str, creates: bool) -> Self {
        match &error {
            StoreError::Conflict { key } if key == set_key && creates => Self::NameTaken,
            StoreError::Conflict { key } if key.starts_with("key/") => Self::KidTaken,
            StoreError::Conflict { key } if key.starts_with("material/") => Self::MaterialTaken,
            StoreError::Conflict { key } if key.starts_with("request/") => Self::RequestDone,
            _ => Self::from(error),
        }
    }

    /// Whether the same call may succeed later, unchanged.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            Self::Conflict => true,
            Self::Store(error) => error.retry_helps(),
            Self::Kek(error) => error.is_unavailable(),
            _ => false,
        }
    }
}

impl From<SealError> for VaultError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Kek(error) => Self::Kek(*error),
            other => Self::Seal(other),
        }
    }
}

impl From<StoreError> for VaultError {
    fn from(error: StoreError) -> Self {
        match error.is_conflict() {
            true => Self::Conflict,
            false => Self::Store(error),
        }
    }
}
