//! Keys: the snapshot that requests read, the cache of parsed private keys, and the feed that writes.
//!
//! ```text
//! feed --KeysWriter--> Snapshot (ArcSwap) + lease <--KeysReader-- requests --> PrivateKeys (by generation)
//! ```

pub mod feed;
mod lease;
mod model;
mod private;
mod sealed;
mod sharded;
mod snapshot;
mod usage;
mod writer;

pub use lease::{LeaseOut, Terms};
pub(crate) use model::StateRules;
pub use model::{KeySet, KeySetSpec, Profile, Version, VersionSpec};
pub use private::PrivateKeys;
pub use sealed::{Binding, SealedError, SealedKey, StreamKey};
pub(crate) use snapshot::{KeyRef, Tenant};
pub use snapshot::{Snapshot, Times};
pub(crate) use usage::{InFlight, Usage};
pub(crate) use writer::Change;
pub use writer::{ApplyError, KeysReader, KeysWriter, pair};

#[cfg(test)]
mod tests;
