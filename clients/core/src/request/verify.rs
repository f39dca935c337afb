//! `Verify` and `DecryptThenVerify`.

use std::fmt;
use std::time::Duration;

use crypto_proto::jwt::v1 as proto;

use super::to_wire;
use crate::error::Error;
use crate::redact::Redacted;

/// What a token is verified for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// The ordinary check: every rule holds.
    #[default]
    Ordinary,
    /// An `id_token_hint`: an expired token passes within the set's hint window, Retired keys verify too, Revoked never.
    Hint,
}

/// A token and what it has to satisfy.
#[derive(Clone)]
pub struct Verify {
    pub(crate) token: String,
    pub(crate) tenant: String,
    pub(crate) issuer: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) types: Vec<String>,
    pub(crate) key_sets: Vec<String>,
    pub(crate) leeway: Duration,
    pub(crate) audience_unchecked: bool,
    pub(crate) purpose: Purpose,
    request_id: String,
}

impl Verify {
    /// Verifies `token`, which has to be meant for `audience`.
    #[must_use]
    pub fn new(token: impl Into<String>, audience: impl Into<String>) -> Self {
        Self::with_audiences(token.into(), vec![audience.into()])
    }

    /// Verifies `token` whoever it is meant for (introspection). Needs a grant of its own.
    #[must_use]
    pub fn any_audience(token: impl Into<String>) -> Self {
        Self {
            audience_unchecked: true,
            ..Self::with_audiences(token.into(), Vec::new())
        }
    }

    fn with_audiences(token: String, audiences: Vec<String>) -> Self {
        Self {
            token,
            audiences,
            tenant: String::new(),
            issuer: String::new(),
            types: Vec::new(),
            key_sets: Vec::new(),
            leeway: Duration::ZERO,
            audience_unchecked: false,
            purpose: Purpose::Ordinary,
            request_id: String::new(),
        }
    }

    /// One more audience that will do.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// The tenant. Default: `default`.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// The expected `iss`. Default: the one of the key set that signed the token.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = issuer.into();
        self
    }

    /// An accepted `typ`, such as `at+jwt`. Default: the one of the key set.
    #[must_use]
    pub fn typ(mut self, typ: impl Into<String>) -> Self {
        self.types.push(typ.into());
        self
    }

    /// A key set that may have signed it. Default: every one that the caller may verify with.
    #[must_use]
    pub fn key_set(mut self, key_set: impl Into<String>) -> Self {
        self.key_sets.push(key_set.into());
        self
    }

    /// Tolerance for `exp`, `nbf` and `iat`, at most 60 s. Default: none.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// What the token is verified for. Default: [`Purpose::Ordinary`].
    #[must_use]
    pub fn purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }

    /// Names the request in logs and traces: at most 128 printable ASCII characters.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }

    pub(crate) fn wire(&self) -> proto::VerifyRequest {
        let purpose = match self.purpose {
            Purpose::Ordinary => proto::Purpose::Unspecified,
            Purpose::Hint => proto::Purpose::Hint,
        };
        proto::VerifyRequest {
            tenant: self.tenant.clone(),
            token: self.token.clone(),
            issuer: self.issuer.clone(),
            audiences: self.audiences.clone(),
            types: self.types.clone(),
            key_sets: self.key_sets.clone(),
            leeway: (!self.leeway.is_zero()).then(|| to_wire(self.leeway)),
            audience_unchecked: self.audience_unchecked,
            purpose: purpose.into(),
            request_id: self.request_id.clone(),
        }
    }
}

impl fmt::Debug for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verify")
            .field("token", &Redacted::of(&self.token))
            .field("tenant", &self.tenant)
            .field("issuer", &self.issuer)
            .field("audiences", &self.audiences)
            .field("types", &self.types)
            .field("key_sets", &self.key_sets)
            .field("leeway", &self.leeway)
            .field("audience_unchecked", &self.audience_unchecked)
            .field("purpose", &self.purpose)
            .field("request_id", &self.request_id)
            .finish()
    }
}

/// A nested token, and what the token inside has to satisfy.
#[derive(Debug, Clone)]
pub struct DecryptThenVerify {
    verify: Verify,
    decrypt_key_sets: Vec<String>,
}

impl DecryptThenVerify {
    /// `verify` holds the JWE; everything else in it speaks of the token inside.
    #[must_use]
    pub fn new(verify: Verify) -> Self {
        Self {
            verify,
            decrypt_key_sets: Vec::new(),
        }
    }

    /// An encryption set that may decrypt it. Default: every one that the caller may decrypt with.
    #[must_use]
    pub fn decrypt_key_set(mut self, key_set: impl Into<String>) -> Self {
        self.decrypt_key_sets.push(key_set.into());
        self
    }

    pub(crate) fn wire(&self) -> proto::DecryptThenVerifyRequest {
        let decrypt_key_sets = self.decrypt_key_sets.clone();
        proto::DecryptThenVerifyRequest {
            verify: Some(self.verify.wire()),
            decrypt_key_sets,
        }
    }
}

/// The verdict on a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every check passed.
    Valid(ValidToken),
    /// A check failed.
    Rejected(RejectReason),
}

impl Verdict {
    /// The token, or why there is none.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn into_result(self) -> Result<ValidToken, RejectReason> {
        match self {
            Self::Valid(token) => Ok(token),
            Self::Rejected(reason) => Err(reason),
        }
    }

    pub(crate) fn rejected(wire: &proto::RejectedToken) -> Self {
        Self::Rejected(RejectReason::read(wire.reason))
    }

    pub(crate) fn read(wire: proto::VerifyResponse) -> Result<Self, Error> {
        use proto::verify_response::Verdict as Wire;
        match wire.verdict.ok_or_else(|| Error::answer("verdict"))? {
            Wire::Valid(token) => Ok(Self::Valid(token.into())),
            Wire::Rejected(rejected) => Ok(Self::rejected(&rejected)),
        }
    }

    pub(crate) fn read_nested(wire: proto::DecryptThenVerifyResponse) -> Result<Self, Error> {
        use proto::decrypt_then_verify_response::Verdict as Wire;
        match wire.verdict.ok_or_else(|| Error::answer("verdict"))? {
            Wire::Valid(token) => Ok(Self::Valid(token.into())),
            Wire::Rejected(rejected) => Ok(Self::rejected(&rejected)),
        }
    }
}

/// A token that passed every check.
#[derive(Clone, PartialEq, Eq)]
pub struct ValidToken {
    /// Its claims, byte for byte as signed.
    pub claims_json: String,
    /// Its protected header, byte for byte as signed.
    pub header_json: String,
    /// The key that verified it.
    pub kid: String,
    /// The key set of that key.
    pub key_set: String,
}

impl From<proto::ValidToken> for ValidToken {
    fn from(wire: proto::ValidToken) -> Self {
        Self {
            claims_json: wire.claims_json,
            header_json: wire.header_json,
            kid: wire.kid,
            key_set: wire.key_set,
        }
    }
}

impl fmt::Debug for ValidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidToken")
            .field("claims_json", &Redacted::of(&self.claims_json))
            .field("header_json", &self.header_json)
            .field("kid", &self.kid)
            .field("key_set", &self.key_set)
            .finish()
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident,)*) => {
        /// Why a token is rejected: the first check that failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum RejectReason {
            $($(#[$doc])* $variant,)*
            /// A reason that this client does not know. The token is rejected all the same.
            Unknown,
        }

        impl RejectReason {
            /// Every reason that this client knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub(crate) fn read(wire: i32) -> Self {
                match proto::RejectReason::try_from(wire) {
                    $(Ok(proto::RejectReason::$variant) => Self::$variant,)*
                    Ok(proto::RejectReason::Unspecified) | Err(_) => Self::Unknown,
                }
            }

            /// The name on the wire, such as `EXPIRED`.
            #[must_use]
            pub fn name(self) -> &'static str {
                let full = match self {
                    $(Self::$variant => proto::RejectReason::$variant.as_str_name(),)*
                    Self::Unknown => "REJECT_REASON_UNKNOWN",
                };
                full.trim_start_matches("REJECT_REASON_")
            }
        }
    };
}

reasons! {
    /// Not a strict compact JWS.
    Malformed,
    /// Longer than a limit: token 20 KiB, header 4 KiB, claims 12 KiB.
    TooLarge,
    /// `alg` is unknown, refused by name, or not the key's.
    Algorithm,
    /// No such key among the candidate sets, or one that does not verify in its state.
    UnknownKey,
    /// The key is Revoked.
    KeyRevoked,
    /// The signature does not verify.
    Signature,
    /// `crit` names an extension that is not understood, or is itself malformed.
    CriticalHeader,
    /// `typ` is not an accepted one.
    Type,
    /// A registered claim is missing, of the wrong type or out of range.
    ClaimInvalid,
    /// `exp` has passed.
    Expired,
    /// `nbf` is still ahead, or `iat` is too far ahead.
    NotYetValid,
    /// `iss` is not the expected one, or not the key set's.
    Issuer,
    /// `aud` holds none of the expected audiences.
    Audience,
    /// The token itself was revoked.
    Revoked,
    /// A nested token could not be decrypted; nothing more is said.
    DecryptionFailed,
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for RejectReason {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_wire_is_known_and_any_other_still_rejects() {
        for number in 1..=15 {
            let reason = RejectReason::read(number);
            assert_ne!(reason, RejectReason::Unknown, "{number}");
            let wire = proto::RejectReason::try_from(number).unwrap();
            assert_eq!(format!("REJECT_REASON_{reason}"), wire.as_str_name());
        }
        assert_eq!(RejectReason::ALL.len(), 15);
        for number in [0, 16, -1, i32::MAX] {
            let rejected = proto::RejectedToken { reason: number };
            let wire = proto::VerifyResponse {
                verdict: Some(proto::verify_response::Verdict::Rejected(rejected)),
            };
            assert_eq!(
                Verdict::read(wire),
                Ok(Verdict::Rejected(RejectReason::Unknown)),
                "{number}"
            );
        }
        assert!(Verdict::read(proto::VerifyResponse { verdict: None }).is_err());
    }
}
