//! The audit log's form: who writes it and who verifies it agree here, and nowhere else.
//!
//! A log is a folder of segments, files of lines. A line is an entry and its hash; each hash covers the one before it, so that nothing can be
//! changed, taken out, put in or reordered without a line that no longer fits:
//!
//! ```text
//! {"hash":"<base64url>","entry":{"seq":7,"at":1800000000000,"body":{"act":{...}}}}
//! hash(n) = SHA-256("crypto-service/audit/v1" 0 hash(n-1) entry(n))      hash(0) = 32 zero bytes
//! ```
//!
//! Whoever can write the files can write a whole new chain, so now and then an entry is a *checkpoint*: a JWS over chain, number and hash of the
//! entry before it. What stands before a checkpoint cannot be rewritten without the signing key. A log that is cut off *at* a checkpoint still
//! looks whole: that is found by whoever kept a later one, see [`Expected`]. What was written after the last checkpoint can be cut off unseen.
//!
//! Nothing here does I/O or reads a clock; digests and keys come in as arguments.

#![forbid(unsafe_code)]

mod chain;
mod checkpoint;
mod entry;
mod verify;

pub use chain::{Head, LineError, Read, read_line};
pub use checkpoint::{CheckpointError, Statement, TYP};
pub use entry::{Act, Body, Entry, Outcome, Segment};
pub use verify::{Expected, Fault, Report, Verifier, file_name, parse_file_name};
