//! For management services: revoking tokens, at the key-manager.
//!
//! A revocation reaches every instance of the crypto-service and every client that verifies locally; the answer says how far it has come.
//! It carries a request id, so that a repetition after a lost answer does not act twice.
//!
//! ```no_run
#![doc = include_str!("../examples/revoke_tokens.rs")]
//! ```

mod client;
mod request;
mod revoked;

pub use client::ManagementClient;
pub use request::{Matching, RevokeToken};
pub use revoked::RevokedTokens;
