//! What is wrong with a token: one error outside, a fault inside.

use crate::base64url::InvalidBase64url;
use crate::header::HeaderError;
use crate::json::JsonError;

/// The token cannot be decrypted. There is one text for every cause: whoever sends tokens could learn the key from
/// the difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("decryption failed")]
pub struct DecryptionFailed(Fault);

impl DecryptionFailed {
    /// The cause, for metrics and debug logs on this side only; never for an answer.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        self.0
    }
}

impl From<Fault> for DecryptionFailed {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

/// Where a token stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The token, its header or its payload is past its limit.
    TooLarge,
    /// Not five segments of strict base64url with lengths that fit `enc`.
    Malformed,
    /// The header is not strict JSON, or a member is missing or of the wrong type.
    Header,
    /// `crit` (or `b64`) is present; none is understood.
    CriticalHeader,
    /// `zip` is present.
    Compression,
    /// `alg` or `enc` is unknown, refused, or not the key's.
    Algorithm,
    /// The content key cannot be recovered, or tag, ciphertext or padding are wrong. Not told apart even here.
    Decryption,
}

impl Fault {
    /// A label for metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Header => "header",
            Self::CriticalHeader => "critical_header",
            Self::Compression => "compression",
            Self::Algorithm => "algorithm",
            Self::Decryption => "decryption",
        }
    }
}

impl From<InvalidBase64url> for Fault {
    fn from(_malformed: InvalidBase64url) -> Self {
        Self::Malformed
    }
}

impl From<JsonError> for Fault {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::TooLarge => Self::TooLarge,
            _ => Self::Header,
        }
    }
}

impl From<HeaderError> for Fault {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::TooLarge => Self::TooLarge,
            HeaderError::Malformed => Self::Header,
            HeaderError::Critical => Self::CriticalHeader,
        }
    }
}
