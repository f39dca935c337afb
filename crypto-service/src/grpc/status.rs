//! The one place that builds a [`Status`].

use std::collections::HashMap;

use service_kit::identity::Caller;
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::refusal::Refusal;

/// `domain` of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "crypto-service";

impl Refusal {
    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Fields(_) => Code::InvalidArgument,
            Self::NotGranted(_) => Code::PermissionDenied,
            Self::KeySetNotFound { .. } | Self::IssuerNotFound { .. } => Code::NotFound,
            Self::TooLarge(_) | Self::Overloaded { .. } | Self::Unrecordable(_) => {
                Code::ResourceExhausted
            }
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::NotReady { .. } => Code::Unavailable,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// `reason` of the `google.rpc.ErrorInfo`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Fields(_) => "FIELD_INVALID",
            Self::NotGranted(_) => "NOT_GRANTED",
            Self::KeySetNotFound { .. } | Self::IssuerNotFound { .. } => "KEY_SET_NOT_FOUND",
            Self::TooLarge(_) => "MESSAGE_TOO_LARGE",
            Self::Overloaded { .. } | Self::Unrecordable(_) => "OVERLOADED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotReady { .. } => "NOT_READY",
            Self::Internal(_) => "INTERNAL",
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut details = ErrorDetails::with_error_info(refusal.reason(), DOMAIN, HashMap::new());
        match &refusal {
            Refusal::Fields(violations) => {
                let field = |violation: &crate::Violation| {
                    FieldViolation::new(&violation.field, &violation.description)
                };
                details.set_bad_request(violations.iter().map(field).collect::<Vec<_>>());
            }
            _ => {
                if let Some(delay) = refusal.retry_in() {
                    details.set_retry_info(Some(delay));
                }
            }
        }
        Self::with_error_details(refusal.code(), refusal.to_string(), details)
    }
}

/// Who calls. The stack is built wrongly if this ever fails: no request comes here without the authentication layer.
pub(super) fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = Caller::of(request);
    caller
        .cloned()
        .map_err(|error| Status::unauthenticated(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Violation;

    #[test]
    fn every_refusal_has_its_code_reason_and_details() {
        let set = || ("default".to_owned(), "op/x".to_owned());
        let (tenant, key_set) = set();
        let delay = Duration::from_secs(7);
        for (refusal, code, reason) in [
            (
                Refusal::field("typ", "too long"),
                Code::InvalidArgument,
                "FIELD_INVALID",
            ),
            (
                Refusal::KeySetNotFound { tenant, key_set },
                Code::NotFound,
                "KEY_SET_NOT_FOUND",
            ),
            (
                Refusal::IssuerNotFound { tenant: set().0 },
                Code::NotFound,
                "KEY_SET_NOT_FOUND",
            ),
            (
                Refusal::TooLarge("the token is too large"),
                Code::ResourceExhausted,
                "MESSAGE_TOO_LARGE",
            ),
            (
                Refusal::Overloaded {
                    retry_in: Some(delay),
                },
                Code::ResourceExhausted,
                "OVERLOADED",
            ),
            (
                Refusal::Unrecordable("the records fill their folder"),
                Code::ResourceExhausted,
                "OVERLOADED",
            ),
            (
                Refusal::Overloaded { retry_in: None },
                Code::ResourceExhausted,
                "OVERLOADED",
            ),
            (
                Refusal::DeadlineExceeded,
                Code::DeadlineExceeded,
                "DEADLINE_EXCEEDED",
            ),
            (
                Refusal::NotReady {
                    what: "no key",
                    retry_in: Some(delay),
                },
                Code::Unavailable,
                "NOT_READY",
            ),
            (Refusal::not_ready("no key"), Code::Unavailable, "NOT_READY"),
            (
                Refusal::Internal("the engine failed"),
                Code::Internal,
                "INTERNAL",
            ),
        ] {
            let status = Status::from(refusal.clone());
            let details = status.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!(
                (status.code(), info.reason.as_str()),
                (code, reason),
                "{refusal:?}"
            );
            assert_eq!(info.domain, DOMAIN);
            assert_eq!(
                details.bad_request().is_some(),
                matches!(refusal, Refusal::Fields(_)),
                "{refusal:?}"
            );
        }
        let (what, retry_in) = ("no key", Some(delay));
        for refusal in [
            Refusal::NotReady { what, retry_in },
            Refusal::Overloaded { retry_in },
        ] {
            let status = Status::from(refusal);
            let details = status.get_error_details();
            assert_eq!(details.retry_info().unwrap().retry_delay, Some(delay));
        }
    }

    #[test]
    fn every_violation_is_named() {
        let fields = vec![
            Violation::new("tenant", "use a-z"),
            Violation::new("typ", "too long"),
        ];
        let status = Status::from(Refusal::Fields(fields));
        let details = status.get_error_details();
        let named: Vec<_> = details
            .bad_request()
            .unwrap()
            .field_violations
            .iter()
            .map(|v| v.field.clone())
            .collect();
        assert_eq!(named, ["tenant", "typ"]);
        assert!(
            status.message().contains("tenant, typ"),
            "{}",
            status.message()
        );
    }
}
