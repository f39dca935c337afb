//! From claims to a token that lacks its signature.

use std::borrow::Cow;
use std::sync::Arc;

use jose::jws::{SignError, UnsignedToken};
use jose::jwt::{IssueRules, PreparedClaims, TokenHashes};

use super::SignCommand;
use super::choose::Signing;
use crate::lanes::SigningKey;
use crate::refusal::{Refusal, Violation};
use crate::usecase::SignedToken;

impl Signing {
    /// The token to sign, and what is known of it: all but its text. From here on the key counts as in use until the token
    /// expires. `jti` is for claims that have none.
    pub(super) fn unsigned(
        &self,
        key: &SigningKey,
        command: &SignCommand,
        hashes: TokenHashes<'_>,
        (now, jti): (u64, &str),
    ) -> Result<(UnsignedToken, SignedToken), Refusal> {
        let profile = &self.set.profile;
        let rules = IssueRules {
            issuer: self.set.issuer(),
            now,
            lifetime: command.lifetime,
            default_lifetime: profile.default_lifetime,
            max_lifetime: profile.max_lifetime,
            expiry_optional: profile.expiry_optional,
            jti: (!profile.jti_optional).then_some(jti),
        };
        let claims = PreparedClaims::prepare_with(command.claims.as_bytes(), &rules, hashes)
            .map_err(|found| Refusal::Fields(named(found)))?;
        let usual = command.typ.is_empty();
        let typ = if usual { profile.typ() } else { &command.typ };
        let header = self.version.header(key.algorithm(), typ, usual);
        let token = claims.unsigned(&header, key.signature_len());
        let token = token.map_err(refusal)?;
        let expires_at = claims.expires_at();
        // A token without `exp` counts as `iat` plus the longest lifetime.
        let longest = now.saturating_add(profile.max_lifetime);
        self.in_flight.will_expire(expires_at.unwrap_or(longest));
        let signed = SignedToken {
            token: String::new(),
            kid: Arc::clone(&self.version.kid),
            jti: claims.into_jti().map(Cow::into_owned),
            expires_at,
        };
        Ok((token, signed))
    }
}

/// What is wrong with the claims themselves, whatever the key set.
pub(crate) fn claims_violations(command: &SignCommand, hashes: TokenHashes<'_>) -> Vec<Violation> {
    let rules = IssueRules {
        issuer: None,
        now: 0,
        lifetime: command.lifetime,
        default_lifetime: 1,
        max_lifetime: u64::MAX,
        expiry_optional: true,
        jti: None,
    };
    let found = PreparedClaims::prepare_with(command.claims.as_bytes(), &rules, hashes)
        .err()
        .unwrap_or_default();
    named(found)
}

/// Fields are refused before grants and existence. The claims are read only once on the way of a signature, with the
/// rules of their set; a call that does not come so far has them read here.
pub(in crate::usecase) fn fields_first(
    command: &SignCommand,
    hashes: TokenHashes<'_>,
    refusal: Refusal,
) -> Refusal {
    match claims_violations(command, hashes) {
        none if none.is_empty() => refusal,
        found => Refusal::Fields(found),
    }
}

fn named(found: Vec<jose::jwt::Violation>) -> Vec<Violation> {
    found
        .into_iter()
        .map(|violation| Violation::new(violation.field, violation.fix))
        .collect()
}

fn refusal(error: SignError) -> Refusal {
    match error {
        SignError::TooLarge => Refusal::TooLarge("the token would be longer than 20 KiB"),
        SignError::Failed(_) => Refusal::Internal("the crypto engine failed"),
    }
}
