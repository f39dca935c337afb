//! The checks that follow the signature: `typ`, claims, times.

use std::time::Duration;

use super::claims::Registered;
use super::demands::{Purpose, VerifyOptions};
use super::reason::RejectReason;
use super::trust::{KeyState, Profile};
use super::verify::Bounds;
use crate::header::{Header, same_media_type};
use crate::json::{Object, Value};

/// How far ahead `iat` may lie besides the leeway, in seconds: clocks differ.
pub const IAT_SKEW: u64 = 5;

pub(super) fn check_type(
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

pub(super) fn check_claims(
    claims: &Object<'_>,
    bounds: &Bounds<'_>,
    rules: &VerifyOptions,
    now: Duration,
) -> Result<(), RejectReason> {
    let claims = Registered::read(claims).ok_or(RejectReason::ClaimInvalid)?;
    if claims.exp.is_none() && !bounds.profile.expiry_optional {
        return Err(RejectReason::ClaimInvalid);
    }
    check_issuer(claims.iss.as_ref(), bounds.issuer, &rules.issuer)?;
    check_audience(claims.aud.as_ref(), &rules.audiences)?;
    check_expiry(&claims, bounds, rules, now)?;
    check_start(&claims, rules, now)
}

/// The set's issuer binds always, the caller's on top of it.
fn check_issuer(
    iss: Option<&Value<'_>>,
    of_set: Option<&str>,
    demanded: &str,
) -> Result<(), RejectReason> {
    let iss = iss.and_then(Value::as_str);
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

fn check_audience(aud: Option<&Value<'_>>, accepted: &[String]) -> Result<(), RejectReason> {
    let accepts = |name: &Value<'_>| {
        let name = name.as_str();
        name.is_some_and(|name| accepted.iter().any(|one| *one == name))
    };
    let hit = accepted.is_empty()
        || aud.is_some_and(|aud| {
            accepts(aud)
                || aud
                    .elements()
                    .is_some_and(|mut names| names.any(|name| accepts(&name)))
        });
    if hit {
        Ok(())
    } else {
        Err(RejectReason::Audience)
    }
}

fn check_expiry(
    claims: &Registered<'_>,
    bounds: &Bounds<'_>,
    rules: &VerifyOptions,
    now: Duration,
) -> Result<(), RejectReason> {
    let window = if rules.purpose == Purpose::Hint {
        bounds.profile.hint_window
    } else {
        0
    };
    let end = match (claims.exp, bounds.state) {
        (Some(exp), _) => exp,
        // a key that retired outlives only tokens whose end can be told
        (None, KeyState::Retired) => {
            let iat = claims.iat.ok_or(RejectReason::Expired)?;
            iat.saturating_add(Duration::from_secs(bounds.profile.max_lifetime))
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

fn check_start(
    claims: &Registered<'_>,
    rules: &VerifyOptions,
    now: Duration,
) -> Result<(), RejectReason> {
    let latest = now.saturating_add(Duration::from_secs(rules.leeway));
    let ahead = claims.nbf.is_some_and(|nbf| nbf > latest)
        || claims
            .iat
            .is_some_and(|iat| iat > latest.saturating_add(Duration::from_secs(IAT_SKEW)));
    if ahead {
        Err(RejectReason::NotYetValid)
    } else {
        Ok(())
    }
}
