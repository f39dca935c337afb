//! Why a token is rejected.

use std::fmt;

/// The verdict on a token that is not believed. The names are those of the wire, without `REJECT_REASON_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectReason {
    /// Not three strict base64url parts, or header or claims are not a strict JSON object.
    Malformed,
    /// Token, header or claims are longer than the limits.
    TooLarge,
    /// `alg` is not known, or is not the key's.
    Algorithm,
    /// No key of that `kid` verifies here.
    UnknownKey,
    /// The key was revoked.
    KeyRevoked,
    /// The signature does not hold.
    Signature,
    /// `crit` or `b64` is present.
    CriticalHeader,
    /// `typ` is not one that is accepted.
    Type,
    /// A registered claim is missing, or has the wrong type or range.
    ClaimInvalid,
    /// The time of `exp` has come.
    Expired,
    /// `nbf` or `iat` lies ahead.
    NotYetValid,
    /// `iss` is not the issuer.
    Issuer,
    /// `aud` names none of the audiences.
    Audience,
    /// The token was revoked.
    Revoked,
}

impl RejectReason {
    /// Every reason.
    pub const ALL: [Self; 14] = [
        Self::Malformed,
        Self::TooLarge,
        Self::Algorithm,
        Self::UnknownKey,
        Self::KeyRevoked,
        Self::Signature,
        Self::CriticalHeader,
        Self::Type,
        Self::ClaimInvalid,
        Self::Expired,
        Self::NotYetValid,
        Self::Issuer,
        Self::Audience,
        Self::Revoked,
    ];

    /// The name on the wire, without `REJECT_REASON_`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "MALFORMED",
            Self::TooLarge => "TOO_LARGE",
            Self::Algorithm => "ALGORITHM",
            Self::UnknownKey => "UNKNOWN_KEY",
            Self::KeyRevoked => "KEY_REVOKED",
            Self::Signature => "SIGNATURE",
            Self::CriticalHeader => "CRITICAL_HEADER",
            Self::Type => "TYPE",
            Self::ClaimInvalid => "CLAIM_INVALID",
            Self::Expired => "EXPIRED",
            Self::NotYetValid => "NOT_YET_VALID",
            Self::Issuer => "ISSUER",
            Self::Audience => "AUDIENCE",
            Self::Revoked => "REVOKED",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
