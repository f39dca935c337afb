//! For operators and management services: key sets and their lifecycle, over the key-manager's admin rpcs.
//!
//! Every mutation carries a request id, so that a repetition after a lost answer does not act twice.
//!
//! ```no_run
#![doc = include_str!("../examples/key_sets.rs")]
//! ```

mod audit;
mod backup;
mod client;
mod destroy;
mod issued;
mod key_set;
mod request;
mod sealing;
mod subscriber;
mod wire;

pub use audit::{AuditCheckpoint, AuditEntry, AuditOutcome, AuditPage, AuditQuery};
pub use backup::{
    BackupDownload, BackupEnd, BackupHeader, Restore, RestoreAnswer, RestoreProgress,
    RestoreResult, RestoreStep, RestoreUpload, Undone, UndoneKey, UndoneKeySet,
};
pub use client::AdminClient;
pub use destroy::DestroyKey;
pub use issued::{IssuedBehind, IssuedCount, IssuedEntry, IssuedPage, IssuedQuery};
pub use key_set::{
    Described, Destruction, ForcedAct, Holding, HoldingReason, KeySet, KeyState, KeyUse,
    KeyVersion, Policy, Profile, Publish, Revoked, Rotated,
};
pub use request::{
    Change, CreateKeySet, ImportAs, ImportKey, RevokeKey, RotateKeySet, UpdateKeySet,
};
pub use sealing::{DataKey, DataKeyGeneration, RotateDataKey, Sealing};
pub use subscriber::{Evicted, Subscriber};
