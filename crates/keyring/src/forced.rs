//! What promotion waits for, and the record of waits that were skipped.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Span, Time};

/// Who skipped the waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// `RotateKeySet` with `force`.
    Operator,
    /// The revocation of the Active version.
    Revocation,
    /// An import as Active.
    Import,
}

/// One thing that promotion waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Wait {
    /// There is no Prepared version yet.
    Standby,
    /// No instance has acked the version.
    FirstAck,
    /// Live instances have not acked the version.
    Acks,
    /// Verifiers may still hold a JWKS without the version.
    Lead {
        /// How long the version is published before it is used.
        wait: Span,
    },
    /// Clocks disagree by more than [`crate::MAX_CLOCK_SPREAD`].
    Clocks {
        /// How far they are apart.
        spread: Span,
    },
    /// The decider shares its store, and has not yet heard the clocks of the others.
    Peers,
}

/// One thing that promotion waits for, who holds it up and until when at the latest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    /// What is waited for.
    pub wait: Wait,
    /// The subscribers concerned, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribers: Vec<String>,
    /// When it is over at the latest, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.subscribers.join(", ");
        match &self.wait {
            Wait::Standby => f.write_str("no key has been prepared yet"),
            Wait::FirstAck => f.write_str("no instance has acknowledged the key yet"),
            Wait::Acks => write!(
                f,
                "not yet acknowledged by {names}; their leases bound the wait"
            ),
            Wait::Lead { wait } => {
                write!(
                    f,
                    "verifiers may hold a JWKS without the key for {wait} after the last instance served one"
                )
            }
            Wait::Clocks { spread } => {
                write!(f, "clocks are {spread} apart: {names}; set them right")
            }
            Wait::Peers => f.write_str(
                "the key-manager listens for the clocks of those that share its store: a few seconds after its start",
            ),
        }
    }
}

/// The record of a promotion before its waits were over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forced {
    /// Who skipped the waits.
    pub cause: Cause,
    /// When.
    pub at: Time,
    /// What was skipped, and so what it may have broken.
    pub skipped: Vec<Holding>,
}
