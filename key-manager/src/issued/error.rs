//! Why records were not taken or shown.

use std::{fmt, sync::Arc};

use issued_log::{SealFailed, Unopened};

use crate::vault::VaultError;

/// Why records were not taken or shown.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IssuedError {
    /// A frame or its segment does not open.
    #[error("{0}")]
    Unopened(#[from] Unopened),
    /// The shipment is none.
    #[error("{field}: {problem}")]
    Form {
        /// The field of the message.
        field: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The instance may not serve a key set that an entry speaks of.
    #[error("the caller has no grant `feed` on {tenant}/{key_set}")]
    NotGranted {
        /// The tenant.
        tenant: String,
        /// The key set.
        key_set: String,
    },
    /// Another caller has shipped of this process.
    #[error("the process belongs to another caller")]
    NotYours,
    /// The database refuses: its disk is full, or it cannot be reached.
    #[error("the records of issued tokens cannot be used: {0}")]
    Database(Arc<str>),
    /// The database is another's, or damaged.
    #[error("the records of issued tokens are damaged: {0}")]
    Damaged(Arc<str>),
    /// The keys cannot be made or used.
    #[error("the key of the records of issued tokens cannot be used")]
    Key,
    /// The store does not keep the keys.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl IssuedError {
    pub(super) fn database(error: impl fmt::Display) -> Self {
        Self::Database(error.to_string().into())
    }
}

impl From<SealFailed> for IssuedError {
    fn from(_nothing: SealFailed) -> Self {
        Self::Key
    }
}

impl From<rusqlite::Error> for IssuedError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(error.to_string().into()),
            _ => Self::database(error),
        }
    }
}
