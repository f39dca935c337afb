//! Destruction in two steps: a date, which may be called off until it comes, and the plan's step after it.
//!
//! ```text
//! Retired, Revoked --schedule--> the same, with a date --plan, once the date has come--> Destroyed
//!                  <--cancel---
//! ```
//!
//! Kid and material of a Destroyed version stay in the record, so that neither enters again.

use crate::{
    Context, KeySet, Refusal, Span, State, Time, Version,
    plan::{begin_write, end_write, version_mut},
};

/// The shortest time from the request to the destruction: long enough to see a mistake.
pub const SHORTEST_DESTRUCTION_WAIT: Span = Span::from_secs(60);

/// The time where the request names none.
pub const DEFAULT_DESTRUCTION_WAIT: Span = Span::from_days(7);

/// The longest time.
pub const LONGEST_DESTRUCTION_WAIT: Span = Span::from_days(366);

/// Schedules the destruction of a Retired or Revoked version; a later request replaces the date. Of a Destroyed version nothing changes.
///
/// # Errors
/// [`Refusal::UnknownKid`], [`Refusal::InUse`], and [`Refusal::Field`] for a wait out of bounds, or one that ends before the hint window.
pub fn schedule_destruction(
    set: &KeySet,
    kid: &str,
    wait: Span,
    ctx: &Context<'_>,
) -> Result<KeySet, Refusal> {
    if !(SHORTEST_DESTRUCTION_WAIT..=LONGEST_DESTRUCTION_WAIT).contains(&wait) {
        let problem = format!(
            "must be {SHORTEST_DESTRUCTION_WAIT} to {LONGEST_DESTRUCTION_WAIT}, not {wait}"
        );
        return Err(Refusal::field("wait", problem));
    }
    let version = out_of_use(set, kid)?;
    let date = ctx.now + wait;
    if version.state == State::Destroyed || version.destroy_at == Some(date) {
        return Ok(set.clone());
    }
    if let Some(end) = hints_end(set, version).filter(|end| date < *end) {
        let problem = format!(
            "ends before the hint window of the key: wait at least {}",
            end.since(ctx.now)
        );
        return Err(Refusal::field("wait", problem));
    }
    let mut next = begin_write(set, ctx)?;
    version_mut(&mut next, kid)?.destroy_at = Some(date);
    end_write(set, next, ctx)
}

/// Calls a scheduled destruction off. Without one nothing changes.
///
/// # Errors
/// [`Refusal::UnknownKid`], [`Refusal::InUse`], and [`Refusal::WrongState`] for a Destroyed version: that is not undone.
pub fn cancel_destruction(set: &KeySet, kid: &str, ctx: &Context<'_>) -> Result<KeySet, Refusal> {
    let version = out_of_use(set, kid)?;
    if version.state == State::Destroyed {
        return Err(Refusal::WrongState {
            kid: kid.to_owned(),
            state: version.state,
        });
    }
    if version.destroy_at.is_none() {
        return Ok(set.clone());
    }
    let mut next = begin_write(set, ctx)?;
    version_mut(&mut next, kid)?.destroy_at = None;
    end_write(set, next, ctx)
}

fn out_of_use<'a>(set: &'a KeySet, kid: &str) -> Result<&'a Version, Refusal> {
    let version = set
        .version(kid)
        .ok_or_else(|| Refusal::UnknownKid(kid.to_owned()))?;
    match version.state {
        State::Retired | State::Revoked | State::Destroyed => Ok(version),
        state => Err(Refusal::InUse {
            kid: kid.to_owned(),
            state,
        }),
    }
}

/// Until when a Retired version still verifies hints.
fn hints_end(set: &KeySet, version: &Version) -> Option<Time> {
    let window = set.profile.hint_window;
    let verifies = version.state == State::Retired && !window.is_zero();
    version
        .retired_at
        .filter(|_| verifies)
        .map(|retired| retired + window)
}
