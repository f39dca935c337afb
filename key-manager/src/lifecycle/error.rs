//! Why a use case was not carried out.

use keyring::Refusal;

use crate::{audit::AuditError, keys::ImportError, vault::VaultError};

/// Why a use case was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LifecycleError {
    /// There is no such key set.
    #[error("no such key set")]
    NotFound,
    /// The set is not the one that the caller has seen.
    #[error("expected_revision is {expected}, the key set has {present}: read it again")]
    RevisionMismatch {
        /// What the caller expects.
        expected: u64,
        /// What is.
        present: u64,
    },
    /// The `request_id` was used for something else within a day.
    #[error("request_id: was used for a different request; use a fresh one")]
    RequestReused,
    /// The lifecycle refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The key is not acceptable.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// No key could be generated. The present one stays.
    #[error("no key could be generated; nothing was changed, try again")]
    Generation,
    /// The step cannot be recorded, so it is not done.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The vault refuses or fails.
    #[error(transparent)]
    Vault(#[from] VaultError),
}
