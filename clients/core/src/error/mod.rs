//! What a call fails with: the inverse of how the services build a status.

mod code;

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use crypto_proto::batch::v1 as proto;
use tonic::Status;
use tonic_types::StatusExt as _;

pub use self::code::{Code, Reason};
use crate::request::from_wire;

/// A field that is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field, such as `lifetime`.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub description: String,
}

/// A call that was not answered. A rejected token is no error: it is a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    code: Code,
    reason: Option<Reason>,
    message: String,
    violations: Vec<FieldViolation>,
    retry_after: Option<Duration>,
    /// The failure came from the way to the service, not from the service.
    local: bool,
}

impl Error {
    /// An error that this process finds by itself.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            reason: None,
            message: message.into(),
            violations: Vec::new(),
            retry_after: None,
            local: true,
        }))
    }

    /// A request that is wrong in one field, found before it is sent.
    #[must_use]
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        let violation = FieldViolation {
            field: field.into(),
            description: description.into(),
        };
        let mut error = Self::new(Code::InvalidArgument, "the request is not valid");
        error.0.reason = Some(Reason::FieldInvalid);
        error.0.violations = vec![violation];
        error
    }

    /// An answer that breaks the contract.
    #[must_use]
    pub fn answer(what: &str) -> Self {
        Self::new(Code::Internal, format!("the answer has no {what}"))
    }

    /// As the service would refuse it, without sending it.
    pub(crate) fn too_large() -> Self {
        let mut error = Self::new(Code::ResourceExhausted, "the request is larger than 1 MiB");
        error.0.reason = Some(Reason::MessageTooLarge);
        error
    }

    pub(crate) fn deadline(after: Duration) -> Self {
        Self::new(
            Code::DeadlineExceeded,
            format!("no answer within {} ms", after.as_millis()),
        )
    }

    /// What a status says.
    #[must_use]
    pub fn from_status(status: &Status) -> Self {
        // A status that was received has no source: one with a source was made here, because the connection failed.
        let local = status.source().is_some();
        let details = status.get_error_details();
        let violations = details.bad_request().map(|bad| {
            let fields = bad.field_violations.iter();
            fields
                .map(|wrong| FieldViolation::new(&wrong.field, &wrong.description))
                .collect()
        });
        Self(Box::new(Inner {
            code: if local {
                local_code(status)
            } else {
                Code::of(status.code())
            },
            reason: details.error_info().map(|info| Reason::parse(&info.reason)),
            message: message(status),
            violations: violations.unwrap_or_default(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            local,
        }))
    }

    /// What the error of an item says: the same as the status that the item would have had as a call of its own.
    pub(crate) fn from_item(item: proto::ItemError) -> Self {
        let fields = item.field_violations.iter();
        Self(Box::new(Inner {
            code: Code::of(tonic::Code::from_i32(item.code)),
            reason: (!item.reason.is_empty()).then(|| Reason::parse(&item.reason)),
            message: item.message,
            violations: fields
                .map(|wrong| FieldViolation::new(&wrong.field, &wrong.description))
                .collect(),
            retry_after: item.retry_in.map(from_wire),
            local: false,
        }))
    }

    /// The same, its fields named as in the call that an item stands for: without the item's own field in front.
    pub(crate) fn without_prefix(mut self, prefix: &str) -> Self {
        for violation in &mut self.0.violations {
            if let Some(field) = violation.field.strip_prefix(prefix) {
                violation.field = field.to_owned();
            }
        }
        self
    }

    /// The kind of failure.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Why the service refused, where it said so.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        self.0.reason.as_ref()
    }

    /// What is wrong, as a sentence. It holds no token, key or claim value.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Every field that is wrong.
    #[must_use]
    pub fn violations(&self) -> &[FieldViolation] {
        &self.0.violations
    }

    /// When to ask again, where the service said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the service was not reached, as opposed to having refused.
    #[must_use]
    pub fn is_transport(&self) -> bool {
        self.0.local && self.0.code == Code::Unavailable
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.code)?;
        if let Some(reason) = &self.0.reason {
            write!(f, " ({reason})")?;
        }
        write!(f, ": {}", self.0.message)?;
        self.0
            .violations
            .iter()
            .try_for_each(|violation| write!(f, "; {}: {}", violation.field, violation.description))
    }
}

impl std::error::Error for Error {}

impl FieldViolation {
    fn new(field: &str, description: &str) -> Self {
        Self {
            field: field.to_owned(),
            description: description.to_owned(),
        }
    }
}

/// tonic calls a connection that broke in the middle of a call UNKNOWN or CANCELLED; for a caller it is UNAVAILABLE.
fn local_code(status: &Status) -> Code {
    let timed_out = chain(status).any(<dyn std::error::Error>::is::<tonic::TimeoutExpired>);
    match (timed_out, status.code()) {
        (true, _) => Code::DeadlineExceeded,
        (_, tonic::Code::Unknown | tonic::Code::Cancelled | tonic::Code::Internal) => {
            Code::Unavailable
        }
        (_, code) => Code::of(code),
    }
}

fn chain(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(
        status.source(),
        |error: &&(dyn std::error::Error + 'static)| (*error).source(),
    )
}

/// The message, and where the connection failed, what its causes add to it.
fn message(status: &Status) -> String {
    chain(status)
        .map(ToString::to_string)
        .fold(status.message().to_owned(), |message, cause| {
            if message.contains(&cause) {
                message
            } else {
                format!("{message}: {cause}")
            }
        })
}

#[cfg(test)]
mod tests;
