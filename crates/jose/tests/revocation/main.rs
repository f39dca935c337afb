//! Revocations of tokens against what the text says: a plain list of them, walked for each token.

#![expect(clippy::unwrap_used, reason = "tests")]

mod matching;
mod model;
mod tables;
mod wire;
