//! For operators and management services: key sets and their lifecycle, over the key-manager's admin rpcs.
//!
//! Every mutation carries a request id, so that a repetition after a lost answer does not act twice.
//!
//! ```no_run
#![doc = include_str!("../examples/key_sets.rs")]
//! ```

mod client;
mod key_set;
mod request;
mod wire;

pub use client::AdminClient;
pub use key_set::{
    Described, ForcedAct, Holding, HoldingReason, KeySet, KeyState, KeyUse, KeyVersion, Policy,
    Profile, Publish, Revoked, Rotated,
};
pub use request::{
    Change, CreateKeySet, ImportAs, ImportKey, RevokeKey, RotateKeySet, UpdateKeySet,
};
