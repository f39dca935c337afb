//! The simulation: key-managers, their store, instances and the world outside as one program in virtual time.
//!
//! The code is the real one: `keyring`, the vault over the memory store, the use cases, the driver and both ends of the feed, the snapshot, the
//! lease and the use cases of the crypto-service. Time is virtual: it stands still while anything is left to do, then jumps to what comes next.
//! Messages are delayed and lost, lines break, processes die, machines stand still, clocks drift, stores are away, all as a seed says. After
//! each step the invariants are checked against what is true of all parts, which none of them knows.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`world`] | shapes of a deployment and what happens to them |
//! | [`stage`], [`replica`], [`instance`], [`store`], [`clock`], [`keys`] | the nodes, and what they stand on |
//! | [`calls`], [`outside`], [`operator`], [`trouble`] | what is asked of them, and what goes wrong |
//! | [`truth`], [`invariant`] | what is true, and what must hold |
//! | [`bug`], [`rules`], [`hunt`] | the planted bugs, and where they are looked for |
//! | [`trace`], [`sim`], [`run`] | a run, its steps and its digest |

#![expect(
    rustdoc::private_intra_doc_links,
    reason = "the map is for who works on the simulation"
)]

mod bug;
mod calls;
mod clock;
mod dice;
mod hunt;
mod instance;
mod invariant;
mod keys;
mod operator;
mod outside;
mod replica;
mod rules;
mod run;
mod sim;
mod stage;
mod store;
mod trace;
mod trouble;
mod truth;
mod world;

pub use bug::{Bug, UnknownBug};
pub use hunt::{HUNT, Hunt, hunt, world_for};
pub use invariant::{Broken, Invariant};
pub use run::{Failure, Options, Outcome, Runner};

/// What stops a run that could not even begin.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;
