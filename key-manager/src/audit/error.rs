//! Why the log was not written or read.

use std::{fmt, io, path::Path, sync::Arc};

use crate::vault::VaultError;

/// Why the log was not written or read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    /// The disk refuses.
    #[error("the audit log cannot be used: {path}: {problem}")]
    Disk {
        /// The file or folder.
        path: Arc<str>,
        /// What the system says.
        problem: Arc<str>,
    },
    /// Another process writes there.
    #[error("the audit log is in use by another process: {0}")]
    InUse(Arc<str>),
    /// A page is asked for from a place where no entry begins.
    #[error("page_token: is none that an answer gave")]
    Cursor,
    /// The checkpoint could not be signed.
    #[error("the audit log's key does not sign")]
    Signing,
    /// The store does not keep the key or the checkpoint.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The process ends.
    #[error("the process ends")]
    Ended,
}

impl AuditError {
    pub(super) fn disk(path: &Path, problem: impl fmt::Display) -> Self {
        Self::Disk {
            path: path.display().to_string().into(),
            problem: problem.to_string().into(),
        }
    }

    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::disk(path, error)
    }
}
