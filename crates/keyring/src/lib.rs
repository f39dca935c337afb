//! The pure key lifecycle: states, plan and invariants.
//!
//! A [`KeySet`] is one record. Every function here takes the record, a [`Context`] (the time, the
//! bounds in force, the subscribers) and gives back a new record, a list of things to do or a typed
//! [`Refusal`]; nothing here reads a clock, does I/O or keeps state.
//!
//! ```text
//! Prepared -> Active -> Retiring -> Retired -> Destroyed      any of the first four -> Revoked -> Destroyed
//! ```
//!
//! A driver calls [`plan`], executes each [`Action`] through [`apply`] and a compare-and-swap on
//! [`KeySet::revision`], and plans again until nothing is left. Operators act through the commands:
//! [`create`], [`request_rotation`], [`import`], [`revoke`] and [`update`]. What a state permits is
//! answered by the methods in [`views`]; what must never happen is written once, in [`invariants`].
//!
//! # Acks and epochs
//!
//! The store counts its writes of key records in an *epoch*. A write that instances must have seen
//! before something may happen leaves a [`Mark`] (its epoch and time) in the record. A [`Subscriber`]
//! keeps the time of its first ack at or above each epoch that some mark still asks for
//! ([`Subscriber::compact`]), so "its first ack that covers the version" is one look-up, and a
//! subscriber whose first snapshot was at or above the mark never served without it.
//!
//! # Stored form
//!
//! The types that derive serde are the key-manager's record format: JSON, `snake_case` members, unknown
//! members refused, times and spans as whole milliseconds. A change to them is a new record version.

pub mod invariants;
pub mod views;

mod algorithm;
mod command;
mod context;
mod destroy;
mod forced;
pub mod invocations;
mod plan;
mod refusal;
mod set;
mod subscriber;
mod time;
mod update;
mod version;
mod waits;

pub use algorithm::{Algorithm, Family, KeySpec, UnknownAlgorithm, Use};
pub use command::{Import, ImportAs, NewKey, NewKeySet, create, import, request_rotation, revoke};
pub use context::{Context, MAX_CLOCK_SPREAD, MAX_LEEWAY, PeerClock, Peers, Times};
pub use destroy::{
    DEFAULT_DESTRUCTION_WAIT, LONGEST_DESTRUCTION_WAIT, SHORTEST_DESTRUCTION_WAIT,
    cancel_destruction, schedule_destruction,
};
pub use forced::{Cause, Forced, Holding, Wait};
pub use plan::{Action, Due, apply, due, next_change, plan, retires_at};
pub use refusal::Refusal;
pub use set::{
    FormerCap, JwksCap, KeySet, MAX_USABLE_VERSIONS, MAX_VERSIONS, Policy, Profile, Publish,
};
pub use subscriber::{Ack, Eviction, Invocations, RenewalRefused, Subscriber, Usage};
pub use time::{Span, Time};
pub use update::{Update, update};
pub use version::{Mark, Origin, State, Version};
pub use views::{Fed, Purpose};
pub use waits::{ClockGuard, clock_guard, date, expected_at, holding, longest_max_age};
