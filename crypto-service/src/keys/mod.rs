//! Keys: the snapshot that requests read, the cache of parsed private keys, and the feed that writes.
//!
//! ```text
//! feed --KeysWriter--> Snapshot (ArcSwap) + lease <--KeysReader-- requests --> PrivateKeys (by generation)
//! ```

mod edit;
pub mod feed;
mod issued;
mod lease;
mod model;
mod private;
mod revoked;
mod sealed;
mod sharded;
mod snapshot;
mod usage;
mod writer;

pub use issued::IssuedKeys;
pub use lease::{LeaseOut, Terms};
pub(crate) use model::StateRules;
pub use model::{KeySet, KeySetSpec, Profile, Version, VersionSpec};
pub use private::PrivateKeys;
pub use revoked::TokensSpec;
pub use sealed::{Binding, SealedError, SealedKey, StreamKey};
pub(crate) use snapshot::{KeyRef, Tenant};
pub use snapshot::{Snapshot, Times};
pub(crate) use usage::{InFlight, Usage};
pub use writer::{ApplyError, Delta, KeysReader, KeysWriter, pair};
pub(crate) use writer::{Change, Changed};

#[cfg(test)]
mod tests;
