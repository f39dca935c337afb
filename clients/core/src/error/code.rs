//! The kinds of failure and the reasons of the services.

use std::fmt;

/// The kind of failure, as in gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// A field of the request is wrong: see [`Error::violations`].
    InvalidArgument,
    /// The caller is not known.
    Unauthenticated,
    /// The caller may not do this.
    PermissionDenied,
    /// The key set does not exist.
    NotFound,
    /// Another write came first, or the name is taken.
    Aborted,
    /// Too much, of calls or of bytes.
    ResourceExhausted,
    /// The deadline passed. Whether the call took effect is not known.
    DeadlineExceeded,
    /// Nobody can answer now.
    Unavailable,
    /// The call was given up.
    Cancelled,
    /// A fault of the service, or an answer that breaks the contract.
    Internal,
    /// The service does not have this rpc.
    Unimplemented,
    /// Any other.
    Unknown,
}

impl Code {
    pub(super) fn of(code: tonic::Code) -> Self {
        match code {
            tonic::Code::InvalidArgument => Self::InvalidArgument,
            tonic::Code::Unauthenticated => Self::Unauthenticated,
            tonic::Code::PermissionDenied => Self::PermissionDenied,
            tonic::Code::NotFound => Self::NotFound,
            tonic::Code::Aborted => Self::Aborted,
            // OUT_OF_RANGE is what tonic says of a message that is longer than its limit.
            tonic::Code::ResourceExhausted | tonic::Code::OutOfRange => Self::ResourceExhausted,
            tonic::Code::DeadlineExceeded => Self::DeadlineExceeded,
            tonic::Code::Unavailable => Self::Unavailable,
            tonic::Code::Cancelled => Self::Cancelled,
            tonic::Code::Internal | tonic::Code::DataLoss => Self::Internal,
            tonic::Code::Unimplemented => Self::Unimplemented,
            _ => Self::Unknown,
        }
    }

    /// The name as in gRPC, such as `INVALID_ARGUMENT`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::NotFound => "NOT_FOUND",
            Self::Aborted => "ABORTED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Cancelled => "CANCELLED",
            Self::Internal => "INTERNAL",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Unknown => "UNKNOWN",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a service refused, from `google.rpc.ErrorInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A field is wrong.
    FieldInvalid,
    /// The policy does not grant this to the caller; also said of key sets that do not exist.
    NotGranted,
    /// The key set does not exist.
    KeySetNotFound,
    /// The request, or a part of it, is longer than a limit.
    MessageTooLarge,
    /// The service sheds load: see [`Error::retry_after`].
    Overloaded,
    /// The service cannot answer yet, or no longer: no key, no lease.
    NotReady,
    /// `expected_revision` is not the present one, or the name is taken.
    Conflict,
    /// A reason that this client does not know.
    Other(String),
}

impl Reason {
    pub(super) fn parse(name: &str) -> Self {
        match name {
            "FIELD_INVALID" => Self::FieldInvalid,
            "NOT_GRANTED" => Self::NotGranted,
            "KEY_SET_NOT_FOUND" => Self::KeySetNotFound,
            "MESSAGE_TOO_LARGE" => Self::MessageTooLarge,
            "OVERLOADED" => Self::Overloaded,
            "NOT_READY" => Self::NotReady,
            "CONFLICT" => Self::Conflict,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The name on the wire, such as `NOT_GRANTED`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::FieldInvalid => "FIELD_INVALID",
            Self::NotGranted => "NOT_GRANTED",
            Self::KeySetNotFound => "KEY_SET_NOT_FOUND",
            Self::MessageTooLarge => "MESSAGE_TOO_LARGE",
            Self::Overloaded => "OVERLOADED",
            Self::NotReady => "NOT_READY",
            Self::Conflict => "CONFLICT",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
