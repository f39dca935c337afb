//! The control plane: key lifecycle, sealing, store and feed.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`store`] | bytes under keys, written by compare-and-swap; the engines, and the move from one to another |
//! | [`command`] | what the program does besides serving |
//! | [`seal`] | key-encryption keys and data keys |
//! | [`vault`] | key sets over a store: records, epoch, what is known in memory |
//! | [`keys`] | keys as they enter: generated or imported |
//! | [`lifecycle`] | the use cases: decisions of `keyring`, carried out by compare-and-swap |
//! | [`rotator`] | the driver that runs the plan each second |
//! | [`sealer`] | the driver that re-seals what stands under older data keys |
//! | [`audit`] | the audit log: what operators did and what was refused |
//! | [`issued`] | the records of issued tokens: taken from instances, listed for operators |
//! | [`clocks`] | the clocks of the key-managers that share a store, compared |
//! | [`anchor`] | a file that remembers the highest epoch |
//! | [`feed`] | snapshots, deltas and leases for the instances |
//! | [`grpc`] | one file per service: decode, use case, encode; `status.rs` alone builds a status |

#![forbid(unsafe_code)]

pub mod anchor;
pub mod audit;
pub mod clocks;
pub mod command;
pub mod config;
pub mod feed;
pub mod grpc;
mod held;
pub mod issued;
pub mod keys;
pub mod lifecycle;
mod listeners;
pub mod metrics;
pub mod rotator;
mod run;
pub mod seal;
pub mod sealer;
pub mod store;
pub mod vault;

pub use listeners::Listeners;
pub use run::{Environment, RunError, run, run_in};
