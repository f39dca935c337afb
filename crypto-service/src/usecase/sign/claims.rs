//! From claims to a token that lacks its signature.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jose::json::Object;
use jose::jws::{SignError, UnsignedToken};
use jose::jwt::{IAT_SKEW, IssueRules, PreparedClaims, TokenHashes};
use jose::limits;
use jose::revocation::TokenFacts;
use jose_aws_lc::AwsLc;

use super::SignCommand;
use super::choose::Signing;
use crate::keys::KeysReader;
use crate::lanes::SigningKey;
use crate::refusal::{Refusal, Violation};
use crate::usecase::SignedToken;

impl Signing<'_> {
    /// The token to sign, and what is known of it: all but its text. From here on the key counts as in use until the token
    /// expires. `jti` is for claims that have none.
    pub(super) fn unsigned(
        &self,
        keys: &KeysReader,
        key: &SigningKey,
        command: &SignCommand,
        hashes: TokenHashes<'_>,
        (now, jti): (u64, &str),
    ) -> Result<(UnsignedToken, SignedToken), Refusal> {
        let profile = &self.set.profile;
        let now = self.issue_at(keys, &command.claims, now)?;
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
        let subject = self.subject(keys, &command.claims, claims.jti())?;
        // A token without `exp` counts as `iat` plus the longest lifetime.
        let longest = now.saturating_add(profile.max_lifetime);
        self.in_flight.will_expire(expires_at.unwrap_or(longest));
        let signed = SignedToken {
            token: String::new(),
            kid: Arc::clone(&self.version.kid),
            jti: claims.into_jti().map(Cow::into_owned),
            expires_at,
            subject,
        };
        Ok((token, signed))
    }
}

impl Signing<'_> {
    /// The `iat` of a token that is signed now. Where its subject, session or client was logged out in this second, it is the next one: a
    /// token with an `iat` up to that moment would be born revoked. It is not waited for, because verifiers take an `iat` of up to 5 s
    /// ahead; clocks further apart than that are refused until they meet.
    fn issue_at(&self, keys: &KeysReader, claims: &str, now: u64) -> Result<u64, Refusal> {
        let snapshot = keys.snapshot();
        let tenant = snapshot.tenant(&self.set.tenant);
        let revoked = tenant.and_then(|tenant| tenant.revoked(&self.set.name));
        let Some(table) = revoked.map(|revoked| revoked.table()) else {
            return Ok(now);
        };
        if u64::from(table.latest()) < now {
            return Ok(now);
        }
        // What is no JSON object is refused with the claims, in the words that they have for it.
        let Ok(object) = Object::parse(claims.as_bytes(), limits::CLAIMS) else {
            return Ok(now);
        };
        let at = table.first_free(&TokenFacts::of_object(&object), now, &AwsLc);
        let ahead = at.saturating_sub(now);
        if ahead <= IAT_SKEW {
            return Ok(at);
        }
        Err(Refusal::NotReady {
            what: "tokens of this subject, session or client are revoked up to a moment that is still to come",
            retry_in: Some(Duration::from_secs(ahead - IAT_SKEW)),
        })
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
