//! The verifier's side: when a token is believed.
//!
//! The order is fixed, and the first check that fails names the reason:
//!
//! 1. form: length, dots, base64url, header (TOO_LARGE, MALFORMED, CRITICAL_HEADER), a known `alg` (ALGORITHM)
//! 2. key: `kid` (UNKNOWN_KEY, KEY_REVOKED), its set among those named, its state (UNKNOWN_KEY), its algorithm
//!    equal to the header's (ALGORITHM)
//! 3. signature (SIGNATURE)
//! 4. `typ` (TYPE)
//! 5. claims: a strict JSON object (MALFORMED); registered claims of their types, `exp` present (CLAIM_INVALID)
//! 6. `iss` (ISSUER), `aud` (AUDIENCE)
//! 7. `exp` (EXPIRED), `nbf` and `iat` (NOT_YET_VALID)
//! 8. revocation of the token (REVOKED)

use std::time::Duration;

use super::claims::{Claims, audiences, mistyped};
use super::date::numeric_date;
use super::issue::Violation;
use super::reason::RejectReason;
use super::trust::{KeyState, Lookup, Profile, Trust, TrustedKey, Verifier};
use crate::header::{Header, same_media_type};
use crate::json::Object;
use crate::jws::UnverifiedJws;
use crate::limits;

/// Largest leeway, in seconds.
pub const MAX_LEEWAY: u64 = 60;

/// How far ahead `iat` may lie besides the leeway: clocks differ.
const IAT_SKEW: Duration = Duration::from_secs(5);

/// What a token is verified for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// It is relied on now.
    #[default]
    Access,
    /// It only hints at who it was about (`id_token_hint`): expired tokens and Retired keys are accepted within
    /// the set's hint window, revoked ones never.
    Hint,
}

/// What a caller demands of a token. [`VerifyRules`] is made from it.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// The issuer; empty leaves it to the key set.
    pub issuer: String,
    /// The audiences of which the token must name one.
    pub audiences: Vec<String>,
    /// Whether the audience may go unchecked; needed where `audiences` is empty.
    pub audience_unchecked: bool,
    /// The values of `typ` that are accepted; empty leaves it to the key set's profile.
    pub types: Vec<String>,
    /// The key sets whose keys are accepted; empty is all of them.
    pub key_sets: Vec<String>,
    /// Seconds of tolerance for clocks, at most 60.
    pub leeway: u64,
    /// What the token is verified for.
    pub purpose: Purpose,
}

/// Checked demands on a token.
#[derive(Debug, Clone)]
pub struct VerifyRules(VerifyOptions);

impl TryFrom<VerifyOptions> for VerifyRules {
    type Error = Vec<Violation>;

    fn try_from(options: VerifyOptions) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        if options.leeway > MAX_LEEWAY {
            violations.push(Violation {
                field: "leeway",
                fix: "must be at most 60 seconds",
            });
        }
        if options.audiences.is_empty() && !options.audience_unchecked {
            violations.push(Violation {
                field: "audiences",
                fix: "name an audience, or set audience_unchecked",
            });
        }
        for (field, list) in [
            ("audiences", &options.audiences),
            ("types", &options.types),
            ("key_sets", &options.key_sets),
        ] {
            if list.iter().any(String::is_empty) {
                violations.push(Violation {
                    field,
                    fix: "must not hold an empty value",
                });
            }
        }
        if violations.is_empty() {
            Ok(Self(options))
        } else {
            Err(violations)
        }
    }
}

/// Why there are no claims to believe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotVerified {
    /// The token is rejected: a verdict.
    Rejected(RejectReason),
    /// This view cannot tell; the service can. Never a verdict.
    AskService,
}

impl From<RejectReason> for NotVerified {
    fn from(reason: RejectReason) -> Self {
        Self::Rejected(reason)
    }
}

/// Proof that a value comes out of a token that was verified. Nothing but [`verify()`] makes one.
#[derive(Debug, Clone)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// The one place where something becomes verified.
    fn by_signature_and_rules(value: T) -> Self {
        Self(value)
    }

    /// What was verified.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> std::ops::Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Judges `token` at `now` (seconds since 1970).
///
/// # Errors
/// [`NotVerified`], by the first check that fails in the order of this module.
pub fn verify(
    token: &str,
    trust: &dyn Trust,
    rules: &VerifyRules,
    now: u64,
) -> Result<Verified<Claims>, NotVerified> {
    let rules = &rules.0;
    let jws = UnverifiedJws::parse(token, limits::CLAIMS.bytes)?;
    let key = find_key(&jws, trust, rules)?;
    check_signature(&jws, &key)?;
    check_type(&jws.header, key.profile, rules)?;
    let object = Object::from_vec(jws.payload, limits::CLAIMS)
        .map_err(|_not_strict| RejectReason::Malformed)?;
    check_claims(&object, &key, rules, Duration::from_secs(now))?;
    let header_json = jws.header.into_json();
    let claims = Claims {
        object,
        header_json,
        kid: key.kid.to_owned(),
        key_set: key.key_set.to_owned(),
    };
    if trust.is_revoked(&claims) {
        return Err(RejectReason::Revoked.into());
    }
    Ok(Verified::by_signature_and_rules(claims))
}

fn find_key<'t>(
    jws: &UnverifiedJws<'_>,
    trust: &'t dyn Trust,
    rules: &VerifyOptions,
) -> Result<TrustedKey<'t>, NotVerified> {
    let lookup = match (jws.header.kid(), rules.key_sets.as_slice()) {
        (Some(kid), _) => trust.key(&kid),
        (None, [only]) => trust.only_key(only, jws.algorithm),
        (None, _) => Lookup::Unknown,
    };
    let named =
        |key_set| rules.key_sets.is_empty() || rules.key_sets.iter().any(|set| set == key_set);
    let key = match lookup {
        Lookup::Unknown => return Err(RejectReason::UnknownKey.into()),
        Lookup::AskService => return Err(NotVerified::AskService),
        Lookup::Revoked { key_set } if named(key_set) => {
            return Err(RejectReason::KeyRevoked.into());
        }
        Lookup::Revoked { .. } => return Err(RejectReason::UnknownKey.into()),
        Lookup::Found(key) => key,
    };
    let verifies = key.state != KeyState::Retired || rules.purpose == Purpose::Hint;
    if !named(key.key_set) || !verifies {
        return Err(RejectReason::UnknownKey.into());
    }
    if !key.algorithm.is_same_as(jws.algorithm) {
        return Err(RejectReason::Algorithm.into());
    }
    Ok(key)
}

fn check_signature(jws: &UnverifiedJws<'_>, key: &TrustedKey<'_>) -> Result<(), NotVerified> {
    let verifier = match &key.verifier {
        Verifier::Held(verifier) => *verifier,
        Verifier::Shared(verifier) => verifier.as_ref(),
        Verifier::AskService => return Err(NotVerified::AskService),
    };
    // a view that mixes up its keys must not make one algorithm's key verify another's signature
    if !verifier.algorithm().is_same_as(jws.algorithm) {
        return Err(RejectReason::Algorithm.into());
    }
    verifier
        .verify(jws.signing_input, &jws.signature)
        .map_err(|_failed| RejectReason::Signature.into())
}

fn check_type(
    header: &Header<'_>,
    profile: &Profile,
    rules: &VerifyOptions,
) -> Result<(), RejectReason> {
    let accepted = if rules.types.is_empty() {
        &profile.types
    } else {
        &rules.types
    };
    let typ = header.typ().ok_or(RejectReason::Type)?;
    if accepted.iter().any(|one| same_media_type(one, &typ)) {
        Ok(())
    } else {
        Err(RejectReason::Type)
    }
}

fn check_claims(
    claims: &Object<'_>,
    key: &TrustedKey<'_>,
    rules: &VerifyOptions,
    now: Duration,
) -> Result<(), RejectReason> {
    if mistyped(claims).next().is_some() {
        return Err(RejectReason::ClaimInvalid);
    }
    let times = Times::of(claims);
    if times.exp.is_none() && !key.profile.expiry_optional {
        return Err(RejectReason::ClaimInvalid);
    }
    check_issuer(claims, key.issuer, &rules.issuer)?;
    check_audience(claims, &rules.audiences)?;
    times.check_expiry(key, rules, now)?;
    times.check_start(rules, now)
}

/// The set's issuer binds always, the caller's on top of it.
fn check_issuer(
    claims: &Object<'_>,
    of_set: Option<&str>,
    demanded: &str,
) -> Result<(), RejectReason> {
    let iss = claims.get("iss").and_then(|iss| iss.as_str());
    let demanded = Some(demanded).filter(|issuer| !issuer.is_empty());
    let mismatch = [of_set, demanded]
        .into_iter()
        .flatten()
        .any(|issuer| iss.as_deref() != Some(issuer));
    if mismatch {
        Err(RejectReason::Issuer)
    } else {
        Ok(())
    }
}

fn check_audience(claims: &Object<'_>, accepted: &[String]) -> Result<(), RejectReason> {
    if accepted.is_empty() {
        return Ok(());
    }
    let named = claims
        .get("aud")
        .and_then(|aud| audiences(&aud))
        .unwrap_or_default();
    let hit = named
        .iter()
        .any(|name| accepted.iter().any(|one| one == name));
    if hit {
        Ok(())
    } else {
        Err(RejectReason::Audience)
    }
}

struct Times {
    exp: Option<Duration>,
    nbf: Option<Duration>,
    iat: Option<Duration>,
}

impl Times {
    fn of(claims: &Object<'_>) -> Self {
        let date = |name| claims.get(name).and_then(|value| numeric_date(&value));
        Self {
            exp: date("exp"),
            nbf: date("nbf"),
            iat: date("iat"),
        }
    }

    fn check_expiry(
        &self,
        key: &TrustedKey<'_>,
        rules: &VerifyOptions,
        now: Duration,
    ) -> Result<(), RejectReason> {
        let window = if rules.purpose == Purpose::Hint {
            key.profile.hint_window
        } else {
            0
        };
        let end = match (self.exp, key.state) {
            (Some(exp), _) => exp,
            // a key that retired outlives only tokens whose end can be told
            (None, KeyState::Retired) => {
                let iat = self.iat.ok_or(RejectReason::Expired)?;
                iat.saturating_add(Duration::from_secs(key.profile.max_lifetime))
            }
            (None, _) => return Ok(()),
        };
        let tolerance = Duration::from_secs(rules.leeway.saturating_add(window));
        if now >= end.saturating_add(tolerance) {
            Err(RejectReason::Expired)
        } else {
            Ok(())
        }
    }

    fn check_start(&self, rules: &VerifyOptions, now: Duration) -> Result<(), RejectReason> {
        let latest = now.saturating_add(Duration::from_secs(rules.leeway));
        let ahead = self.nbf.is_some_and(|nbf| nbf > latest)
            || self
                .iat
                .is_some_and(|iat| iat > latest.saturating_add(IAT_SKEW));
        if ahead {
            Err(RejectReason::NotYetValid)
        } else {
            Ok(())
        }
    }
}
