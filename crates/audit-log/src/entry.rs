//! What an entry says. It holds names and outcomes: no key, no token, no claim value.

use serde::{Deserialize, Serialize};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number in the chain, from 1.
    pub seq: u64,
    /// When it was written, in milliseconds since the Unix epoch.
    pub at: u64,
    /// What it says.
    pub body: Body,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// The first entry of a file.
    Segment(Segment),
    /// Something was done, or refused.
    Act(Box<Act>),
    /// A signed statement about everything before it, a JWS in compact form.
    Checkpoint(String),
}

/// The first entry of a file: where it stands in which chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// The chain.
    pub chain: String,
    /// The hash of the entry before it, base64url; of zeros at the start of the chain.
    pub previous: String,
}

/// What came of an act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was granted and is about to be done.
    #[default]
    Begun,
    /// It was done.
    Done,
    /// It was not: fields, grant or lifecycle forbid it.
    Refused,
    /// It failed.
    Failed,
    /// A read was granted.
    Read,
}

/// Something was done, or refused. Empty members are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// Who acted.
    pub caller: String,
    /// What: the rpc, or the step of the plan.
    pub act: String,
    /// The tenant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// The key set.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key_set: String,
    /// The key or the instance that it was about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// The request's id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Whether waits or checks were skipped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it was refused, or failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The fields that were refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// The number of the entry that began it; 0 = none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub of: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
