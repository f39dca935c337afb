//! What the store keeps of a log: the newest checkpoint of each chain.

use audit_log::Statement;
use serde::{Deserialize, Serialize};

/// The newest checkpoint of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// What it states.
    pub statement: Statement,
    /// The checkpoint itself, a JWS in compact form.
    pub jws: String,
}
