//! Batches, of the caller's making and of the channel's.

#[path = "../serve/mod.rs"]
mod serve;

mod batcher;
mod batches;
mod coalescing;
mod crowd;
mod failures;
