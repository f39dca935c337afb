//! What must never happen, written once: for the property tests, a simulation and the running service.

use std::collections::BTreeSet;

use crate::{
    Context, KeySet, MAX_LEEWAY, Purpose, State, Time, Version, invocations, waits::holding_of,
};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// More than one version is Active.
    #[error("more than one version is Active")]
    ManyActive,
    /// More than one version is Prepared.
    #[error("more than one version is Prepared")]
    ManyPrepared,
    /// A kid names two versions.
    #[error("kid `{0}` names two versions")]
    KidTwice(String),
    /// Two versions are the same key.
    #[error("version `{0}` is the same key as another")]
    MaterialTwice(String),
    /// A version became Active before its waits were over, and no force is recorded.
    #[error(
        "version `{0}` is in use without having been published for its waits, and nobody forced it"
    )]
    Unpublished(String),
    /// A public-only key is in use.
    #[error("version `{0}` is public-only and in use")]
    PublicOnlyInUse(String),
    /// A Revoked or Destroyed version is still good for something.
    #[error("version `{0}` is revoked and still good for something")]
    RevokedInUse(String),
    /// A state went back, or skipped one.
    #[error("version `{kid}` went from {from:?} to {to:?}")]
    StateWentBack {
        /// The version.
        kid: String,
        /// Its state before.
        from: State,
        /// Its state after.
        to: State,
    },
    /// A version is gone from the record.
    #[error("version `{0}` vanished")]
    Vanished(String),
    /// A kid names other material, or another algorithm, than before.
    #[error("kid `{0}` names another key than before")]
    OtherKey(String),
    /// A version was destroyed without a date, or before it.
    #[error("version `{0}` was destroyed before its destruction date")]
    DestroyedEarly(String),
    /// More encryptions are granted than the key may make.
    #[error("version `{0}` may make more encryptions than its mode bears")]
    BudgetOverdrawn(String),
    /// The epoch or the revision did not go up.
    #[error("the epoch or the revision did not go up")]
    WentBack,
    /// A live token's key no longer verifies.
    #[error("version `{0}` does not verify, but a live token needs it")]
    LiveTokenLost(String),
}

/// What is wrong with a record by itself; empty where nothing is. Run it on what a store gives back.
#[must_use]
pub fn check(set: &KeySet) -> Vec<Violation> {
    let mut violations = Vec::new();
    if set.in_state(State::Active).count() > 1 {
        violations.push(Violation::ManyActive);
    }
    if set.in_state(State::Prepared).count() > 1 {
        violations.push(Violation::ManyPrepared);
    }
    let (mut kids, mut materials) = (BTreeSet::new(), BTreeSet::new());
    for version in &set.versions {
        if !kids.insert(version.kid.as_str()) {
            violations.push(Violation::KidTwice(version.kid.clone()));
        }
        if !materials.insert(version.material.as_str()) {
            violations.push(Violation::MaterialTwice(version.kid.clone()));
        }
        violations.extend(check_version(set, version));
    }
    violations
}

fn check_version(set: &KeySet, version: &Version) -> Option<Violation> {
    let kid = || version.kid.clone();
    let published = version.forced.is_some()
        || version.activated_at.is_none_or(|active| {
            version
                .published_at
                .is_some_and(|published| published <= active)
        });
    let withdrawn = matches!(version.state, State::Revoked | State::Destroyed);
    if !published {
        Some(Violation::Unpublished(kid()))
    } else if version.public_only && matches!(version.state, State::Prepared | State::Active) {
        Some(Violation::PublicOnlyInUse(kid()))
    } else if withdrawn && good_for_something(set, version) {
        Some(Violation::RevokedInUse(kid()))
    } else if version.state == State::Destroyed && destroyed_early(version) {
        Some(Violation::DestroyedEarly(kid()))
    } else if version.invocations_granted > invocations::BUDGET {
        Some(Violation::BudgetOverdrawn(kid()))
    } else {
        None
    }
}

fn destroyed_early(version: &Version) -> bool {
    let both = version.destroy_at.zip(version.destroyed_at);
    both.is_none_or(|(date, destroyed)| destroyed < date)
}

fn good_for_something(set: &KeySet, version: &Version) -> bool {
    let verifies = [Purpose::Access, Purpose::Hint]
        .iter()
        .any(|p| set.may_verify(version, *p, Time::default()));
    verifies
        || set.may_sign(version)
        || set.may_encrypt(version)
        || set.may_decrypt(version)
        || set.in_trust(version)
}

/// What is wrong with a write: the record after it, and the way there from the record before.
#[must_use]
pub fn check_step(before: &KeySet, after: &KeySet, ctx: &Context<'_>) -> Vec<Violation> {
    let mut violations = check(after);
    if before != after && (after.epoch <= before.epoch || after.revision <= before.revision) {
        violations.push(Violation::WentBack);
    }
    violations.extend(
        before
            .versions
            .iter()
            .filter_map(|old| check_way(old, after)),
    );
    violations.extend(
        after
            .versions
            .iter()
            .filter_map(|new| check_promotion(before, new, ctx)),
    );
    violations
}

fn check_way(old: &Version, after: &KeySet) -> Option<Violation> {
    let Some(new) = after.version(&old.kid) else {
        return Some(Violation::Vanished(old.kid.clone()));
    };
    if (&new.material, &new.algorithm) != (&old.material, &old.algorithm) {
        return Some(Violation::OtherKey(old.kid.clone()));
    }
    let goes = new.state == old.state || old.state.may_become(new.state);
    (!goes).then(|| Violation::StateWentBack {
        kid: old.kid.clone(),
        from: old.state,
        to: new.state,
    })
}

/// A version that becomes Active in this write has waited, or says who forced it.
fn check_promotion(before: &KeySet, new: &Version, ctx: &Context<'_>) -> Option<Violation> {
    let old = before.version(&new.kid);
    let promoted = new.state == State::Active && old.is_none_or(|old| old.state != State::Active);
    let waited = old.is_some_and(|old| holding_of(before, old, ctx).is_empty());
    (promoted && !waited && new.forced.is_none()).then(|| Violation::Unpublished(new.kid.clone()))
}

/// What live tokens need still verifies, unless it was revoked. `tokens` are kid and `exp`.
#[must_use]
pub fn check_live_tokens<'a>(
    set: &KeySet,
    tokens: impl IntoIterator<Item = (&'a str, Time)>,
    now: Time,
) -> Vec<Violation> {
    let live = tokens
        .into_iter()
        .filter(|(_, exp)| now < *exp + MAX_LEEWAY);
    let lost = live.filter(|(kid, _)| match set.version(kid) {
        Some(version) => {
            version.revoked_at.is_none() && !set.may_verify(version, Purpose::Access, now)
        }
        None => true,
    });
    lost.map(|(kid, _)| Violation::LiveTokenLost(kid.to_owned()))
        .collect()
}
