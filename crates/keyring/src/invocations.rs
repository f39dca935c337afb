//! Invocation budgets: how often a key may encrypt whose mode draws random 96-bit IVs (NIST SP 800-38D section 8.3).
//!
//! Two equal IVs under one key give its authentication key away, so such a key makes at most 2^32 encryptions, all instances together.
//! They never ask each other: the budget is granted in shares. A share counts as used once it is granted, and is granted by a write of the
//! set's record before the instance hears of it, so that racing key-managers and dying instances waste shares and never overdraw.
//!
//! ```text
//! budget 2^32 = 256 shares of 2^24     half granted -> a rotation is due     all granted -> no more; who has used its own up stops
//! ```

use crate::{
    Context, KeySet, Refusal, State, Version,
    plan::{begin_write, end_write, version_mut},
};

/// How many encryptions a key makes at most.
pub const BUDGET: u64 = 1 << 32;

/// How many are granted at once. An instance takes one share at its start, and another when half of what it has is used.
pub const SHARE: u64 = 1 << 24;

/// When so many are granted a rotation is due, so that the other half is left for as long as it is held up.
const SUCCESSOR_AT: u64 = BUDGET / 2;

/// Whether the key has a budget.
#[must_use]
pub fn is_limited(version: &Version) -> bool {
    is_limited_mode(version.algorithm.as_str(), version.enc.as_deref())
}

/// Whether keys of that algorithm (JWA), for `dir` with that content encryption, have a budget.
#[must_use]
pub fn is_limited_mode(algorithm: &str, enc: Option<&str>) -> bool {
    match algorithm {
        "A128GCMKW" | "A256GCMKW" => true,
        "dir" => enc.is_none_or(|enc| enc.ends_with("GCM")),
        _ => false,
    }
}

/// Whether an instance that has been granted `granted` encryptions with the key, and has made `used` of them, is to be given another share:
/// it has none yet, or half of them are used. Only of keys that encrypt, or are next to.
#[must_use]
pub fn wants_share(version: &Version, granted: u64, used: u64) -> bool {
    is_limited(version)
        && matches!(version.state, State::Prepared | State::Active)
        && used >= granted / 2
        && has_share(version)
}

/// Grants a share of the key's budget.
///
/// # Errors
/// [`Refusal::UnknownKid`], [`Refusal::WrongState`] for a key that does not encrypt or has no budget, [`Refusal::BudgetSpent`].
pub fn grant_share(set: &KeySet, kid: &str, ctx: &Context<'_>) -> Result<KeySet, Refusal> {
    let version = set
        .version(kid)
        .ok_or_else(|| Refusal::UnknownKid(kid.to_owned()))?;
    if !is_limited(version) || !matches!(version.state, State::Prepared | State::Active) {
        return Err(Refusal::WrongState {
            kid: kid.to_owned(),
            state: version.state,
        });
    }
    if !has_share(version) {
        return Err(Refusal::BudgetSpent(kid.to_owned()));
    }
    let mut next = begin_write(set, ctx)?;
    let version = version_mut(&mut next, kid)?;
    version.invocations_granted = version.invocations_granted.saturating_add(SHARE);
    end_write(set, next, ctx)
}

fn has_share(version: &Version) -> bool {
    BUDGET.saturating_sub(version.invocations_granted) >= SHARE
}

/// Whether the Active key is to be replaced because of its budget.
pub(crate) fn wants_successor(active: &Version) -> bool {
    is_limited(active) && active.invocations_granted >= SUCCESSOR_AT
}
