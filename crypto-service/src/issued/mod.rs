//! The records of what this instance issues, for key sets that ask for them: which tokens did we sign with a key that leaked?
//!
//! ```text
//! request --permit--> queue --write_interval--> segment file --sync_interval--> shipper --> key-manager
//! ```
//!
//! - A request never waits for the disk. It asks for a permit before the work, and puts its entry into the queue before its answer leaves.
//! - What cannot be recorded is not signed: where the queue is full, the disk refuses or is full, or no key-manager has taken anything of this process yet, there
//!   is no permit. `when_unrecordable = "sign"` turns that into a count of what was signed without a record.
//! - A segment is sealed to the key-manager, frame by frame. It is deleted once the key-manager has all of it on its own disk.
//! - A process that was killed loses what waited in the queue: at most what was issued in the last `max_unwritten`. What it had written is found by the next process on
//!   the folder, and shipped.

mod carrier;
mod catalog;
mod counters;
mod folder;
mod hindrance;
mod queue;
mod recorder;
mod segment;
mod settings;
mod shipper;
mod syncer;
mod writer;

#[cfg(test)]
mod tests;

pub use carrier::GrpcCarrier;
pub use folder::FolderError;
pub(crate) use recorder::Running;
pub use recorder::{Issued, Permit, Recorder};
pub use settings::{IssuedSettings, WhenUnrecordable};
pub use shipper::Shipper;
