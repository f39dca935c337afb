//! Why a call is refused, in the words of the domain. `grpc::status` turns it into the wire's.

use std::time::Duration;

use crate::lanes::LaneError;
use crate::policy::NotGranted;

/// One field that cannot be accepted, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's path in the request, such as `sign.key_set`.
    pub field: String,
    /// What is wrong, without the value.
    pub description: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            description: description.into(),
        }
    }
}

/// Why a call is refused. What is wrong with a token is a verdict and no refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Fields of the request cannot be accepted: all of them, not the first.
    #[error("the request has unacceptable fields: {}", names(.0))]
    Fields(Vec<Violation>),
    /// The policy has no grant for it.
    #[error(transparent)]
    NotGranted(#[from] NotGranted),
    /// The caller may, but there is no such key set.
    #[error("there is no key set `{key_set}` in tenant `{tenant}`")]
    KeySetNotFound {
        /// The tenant.
        tenant: String,
        /// The name.
        key_set: String,
    },
    /// No public set has this issuer.
    #[error("no public key set of tenant `{tenant}` has this issuer")]
    IssuerNotFound {
        /// The tenant.
        tenant: String,
    },
    /// An answer or a request is larger than its limit.
    #[error("{0}")]
    TooLarge(&'static str),
    /// More is asked than can be done in time.
    #[error("more is asked than can be done in time; try again")]
    Overloaded {
        /// When to try again, where that is known.
        retry_in: Option<Duration>,
    },
    /// The token would be issued without the record that its key set asks for.
    #[error("{0}")]
    Unrecordable(&'static str),
    /// The deadline passed before the work was done.
    #[error("the deadline has passed")]
    DeadlineExceeded,
    /// The instance cannot answer yet, or not any more.
    #[error("{what}")]
    NotReady {
        /// What is missing.
        what: &'static str,
        /// When to try again, where that is known.
        retry_in: Option<Duration>,
    },
    /// The service is at fault.
    #[error("{0}")]
    Internal(&'static str),
}

impl Refusal {
    /// A refusal for one field.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Fields(vec![Violation::new(field, description)])
    }

    /// When to try again, where that is known.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::NotReady { retry_in, .. } | Self::Overloaded { retry_in } => *retry_in,
            _ => None,
        }
    }

    /// Not ready, without a time.
    #[must_use]
    pub fn not_ready(what: &'static str) -> Self {
        Self::NotReady {
            what,
            retry_in: None,
        }
    }
}

impl From<LaneError> for Refusal {
    fn from(error: LaneError) -> Self {
        match error {
            LaneError::Overloaded { retry_in } => Self::Overloaded {
                retry_in: Some(retry_in),
            },
            LaneError::DeadlineExceeded => Self::DeadlineExceeded,
            LaneError::Failed => Self::Internal("the crypto engine failed"),
            LaneError::Lost => Self::Internal("the crypto thread gave no answer"),
        }
    }
}

fn names(violations: &[Violation]) -> String {
    let names: Vec<&str> = violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    names.join(", ")
}
