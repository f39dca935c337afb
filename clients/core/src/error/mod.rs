//! What a call fails with: the inverse of how the services build a status.

mod code;

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use tonic::Status;
use tonic_types::StatusExt as _;

pub use self::code::{Code, Reason};

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
            bad.field_violations
                .iter()
                .map(FieldViolation::of)
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
    fn of(violation: &tonic_types::FieldViolation) -> Self {
        Self {
            field: violation.field.clone(),
            description: violation.description.clone(),
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
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn status(code: tonic::Code, reason: &str) -> Status {
        let mut details = ErrorDetails::with_error_info(
            reason,
            "crypto-service",
            std::collections::HashMap::<String, String>::new(),
        );
        details.add_bad_request_violation("lifetime", "at most 3600 s");
        details.set_retry_info(Some(Duration::from_millis(150)));
        Status::with_error_details(code, "refused", details)
    }

    #[test]
    fn every_code_and_reason_comes_back_from_a_status() {
        let rows = [
            (
                tonic::Code::InvalidArgument,
                Code::InvalidArgument,
                "FIELD_INVALID",
                Reason::FieldInvalid,
            ),
            (
                tonic::Code::PermissionDenied,
                Code::PermissionDenied,
                "NOT_GRANTED",
                Reason::NotGranted,
            ),
            (
                tonic::Code::NotFound,
                Code::NotFound,
                "KEY_SET_NOT_FOUND",
                Reason::KeySetNotFound,
            ),
            (
                tonic::Code::ResourceExhausted,
                Code::ResourceExhausted,
                "MESSAGE_TOO_LARGE",
                Reason::MessageTooLarge,
            ),
            (
                tonic::Code::ResourceExhausted,
                Code::ResourceExhausted,
                "OVERLOADED",
                Reason::Overloaded,
            ),
            (
                tonic::Code::Unavailable,
                Code::Unavailable,
                "NOT_READY",
                Reason::NotReady,
            ),
            (
                tonic::Code::Aborted,
                Code::Aborted,
                "CONFLICT",
                Reason::Conflict,
            ),
            (
                tonic::Code::DeadlineExceeded,
                Code::DeadlineExceeded,
                "LATER",
                Reason::Other("LATER".to_owned()),
            ),
            (
                tonic::Code::Unauthenticated,
                Code::Unauthenticated,
                "LATER",
                Reason::Other("LATER".to_owned()),
            ),
            (
                tonic::Code::Unimplemented,
                Code::Unimplemented,
                "LATER",
                Reason::Other("LATER".to_owned()),
            ),
            (
                tonic::Code::Unknown,
                Code::Unknown,
                "LATER",
                Reason::Other("LATER".to_owned()),
            ),
        ];
        for (sent, code, wire, reason) in rows {
            let error = Error::from_status(&status(sent, wire));
            assert_eq!(
                (error.code(), error.reason(), error.message()),
                (code, Some(&reason), "refused"),
                "{sent:?} {wire}"
            );
            assert_eq!(reason.name(), wire);
            assert_eq!(
                error.retry_after(),
                Some(Duration::from_millis(150)),
                "{wire}"
            );
            assert_eq!(
                error.violations(),
                [FieldViolation {
                    field: "lifetime".into(),
                    description: "at most 3600 s".into()
                }]
            );
            assert_eq!(
                error.to_string(),
                format!(
                    "{} ({wire}): refused; lifetime: at most 3600 s",
                    code.name()
                )
            );
        }
    }

    #[test]
    fn a_broken_connection_is_unavailable_whatever_the_transport_calls_it() {
        for code in [
            tonic::Code::Unknown,
            tonic::Code::Cancelled,
            tonic::Code::Internal,
            tonic::Code::Unavailable,
        ] {
            let mut broken = Status::new(code, "transport error");
            broken.set_source(std::sync::Arc::new(std::io::Error::other(
                "connection reset",
            )));
            let error = Error::from_status(&broken);
            assert_eq!(error.code(), Code::Unavailable, "{code:?}");
            assert!(error.is_transport());
            assert_eq!(error.message(), "transport error: connection reset");
            assert!(
                !Error::from_status(&Status::new(code, "said by the service")).is_transport(),
                "{code:?}"
            );
        }
    }
}
