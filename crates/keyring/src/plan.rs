//! What there is to do for a key set, and doing it.

use crate::{
    Context, Forced, FormerCap, KeySet, KeySpec, MAX_LEEWAY, Mark, NewKey, Origin, Refusal, Span,
    State, Subscriber, Time, Version, invariants, invocations,
    waits::{cautious_now, date, expected_at, holding, longest_max_age, published_at},
};

/// One step that the plan asks for. Each is one write of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The deployment's JWKS cap has changed: remember it, and the old one until it has run out.
    NoteCap {
        /// The cap now in force.
        cap: Span,
    },
    /// The set has no standby, and room for one: generate a key of this spec and hand it to [`apply`].
    GenerateStandby {
        /// What to generate.
        spec: KeySpec,
    },
    /// The first ack of a version has come in.
    MarkPublished {
        /// The version.
        kid: String,
        /// The time of the ack.
        at: Time,
    },
    /// The standby becomes Active, and the present Active Retiring.
    Promote {
        /// The standby.
        kid: String,
    },
    /// A Retiring version is needed by no live token any more.
    Retire {
        /// The version.
        kid: String,
    },
    /// The destruction date of a version has come: its material is erased with this write.
    Destroy {
        /// The version.
        kid: String,
    },
}

/// Why a promotion is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing is Active.
    NoActive,
    /// A rotation was asked for.
    Requested,
    /// The Active has reached the end of its cryptoperiod.
    Cryptoperiod,
    /// Half of the encryptions that the Active may make are granted.
    Budget,
}

/// Whether a promotion is due, and why. A promotion that is due still waits; see [`crate::holding`].
#[must_use]
pub fn due(set: &KeySet, ctx: &Context<'_>) -> Option<Due> {
    let Some(active) = set.active() else {
        return Some(Due::NoActive);
    };
    if set.rotation_requested_at.is_some() {
        return Some(Due::Requested);
    }
    if invocations::wants_successor(active) {
        return Some(Due::Budget);
    }
    let end = active.activated_at? + set.policy.cryptoperiod?;
    (end <= cautious_now(ctx)).then_some(Due::Cryptoperiod)
}

/// What there is to do now, in order. Pure and idempotent: empty once everything has been applied.
#[must_use]
pub fn plan(set: &KeySet, ctx: &Context<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    if set.jwks_cap.current != ctx.times.jwks_cap {
        actions.push(Action::NoteCap {
            cap: ctx.times.jwks_cap,
        });
    }
    actions.extend(first_acks(set, ctx));
    actions.extend(promotion(set, ctx));
    actions.extend(retirements(set, ctx));
    actions.extend(destructions(set, ctx));
    // Last, so that a generation that fails holds nothing else up.
    if set.wants_standby() {
        actions.push(Action::GenerateStandby {
            spec: set.policy.key.clone(),
        });
    }
    actions
}

fn first_acks(set: &KeySet, ctx: &Context<'_>) -> impl Iterator<Item = Action> {
    set.versions
        .iter()
        .filter(|version| version.awaits_first_ack())
        .filter_map(|version| {
            Some(Action::MarkPublished {
                kid: version.kid.clone(),
                at: published_at(version, ctx)?,
            })
        })
}

fn promotion(set: &KeySet, ctx: &Context<'_>) -> Option<Action> {
    let standby = set.standby()?;
    due(set, ctx)?;
    holding(set, ctx).is_empty().then(|| Action::Promote {
        kid: standby.kid.clone(),
    })
}

fn retirements(set: &KeySet, ctx: &Context<'_>) -> impl Iterator<Item = Action> {
    let date = date(ctx);
    let over = move |version: &&Version| {
        date.is_some_and(|now| retires_at(set, version, ctx).is_some_and(|end| end <= now))
    };
    set.in_state(State::Retiring)
        .filter(over)
        .map(|version| Action::Retire {
            kid: version.kid.clone(),
        })
}

fn destructions(set: &KeySet, ctx: &Context<'_>) -> impl Iterator<Item = Action> {
    let date = date(ctx);
    let over = move |version: &&Version| {
        version.state.may_become(State::Destroyed)
            && date.is_some_and(|now| version.destroy_at.is_some_and(|due| due <= now))
    };
    set.versions
        .iter()
        .filter(over)
        .map(|version| Action::Destroy {
            kid: version.kid.clone(),
        })
}

/// When a Retiring version is retired, as far as is known now; absent for every other state.
///
/// The long bound is fixed at demotion. In signing sets it may end earlier, by reports; see `early_end`.
#[must_use]
pub fn retires_at(set: &KeySet, version: &Version, ctx: &Context<'_>) -> Option<Time> {
    if version.state != State::Retiring {
        return None;
    }
    let long = version.retire_by?;
    Some(early_end(set, version, ctx).map_or(long, |early| early.min(long)))
}

/// Where every instance that may hold the private half has acked the demotion with no signature in
/// flight: the highest `exp` that was reported, and the largest leeway.
///
/// There is no early end for encryption keys (nobody reports what third parties encrypt), for imported
/// keys (others may have signed with them), or where nobody reported a signature.
fn early_end(set: &KeySet, version: &Version, ctx: &Context<'_>) -> Option<Time> {
    if set.encrypts() || version.origin == Origin::Imported {
        return None;
    }
    let (activated, demoted) = (version.activated_at?, version.demoted_epoch?);
    let held = |s: &&Subscriber| s.first_epoch < demoted && s.lease_end >= activated;
    let done = |s: &Subscriber| {
        s.first_ack_covering(demoted).is_some() && !s.usage_of(&set.tenant, &version.kid).in_flight
    };
    let reports = ctx
        .subscribers
        .iter()
        .map(|s| s.usage_of(&set.tenant, &version.kid).highest_exp);
    let highest = reports.max().flatten()?;
    ctx.subscribers
        .iter()
        .filter(held)
        .all(done)
        .then(|| highest + MAX_LEEWAY)
}

/// When what the set lists changes next by date, as far as is known: what bounds a JWKS answer's max-age.
/// Signing keys leave the list when they retire; encryption keys change places at a promotion.
#[must_use]
pub fn next_change(set: &KeySet, ctx: &Context<'_>) -> Option<Time> {
    if set.encrypts() {
        return due(set, ctx).and_then(|_| expected_at(set, ctx));
    }
    set.in_state(State::Retiring)
        .filter_map(|version| retires_at(set, version, ctx))
        .min()
}

/// Does one step of the plan. `generated` is the key that [`Action::GenerateStandby`] asks for. Each step is
/// a write with an epoch of its own: the next one needs a new context.
///
/// # Errors
/// [`Refusal::Outdated`] where the plan no longer says so, [`Refusal::KeyNeeded`] without the key, and what
/// else the write breaks. Nothing has changed then.
pub fn apply(
    set: &KeySet,
    action: &Action,
    generated: Option<NewKey>,
    ctx: &Context<'_>,
) -> Result<KeySet, Refusal> {
    if !plan(set, ctx).contains(action) {
        return Err(Refusal::Outdated);
    }
    let mut next = begin_write(set, ctx)?;
    match action {
        Action::NoteCap { cap } => note_cap(&mut next, *cap, ctx),
        Action::GenerateStandby { spec } => {
            let key = generated.ok_or_else(|| Refusal::KeyNeeded(Box::new(spec.clone())))?;
            key.prepare_generated(&mut next, ctx)?;
        }
        Action::MarkPublished { kid, at } => version_mut(&mut next, kid)?.published_at = Some(*at),
        Action::Promote { kid } => promote(&mut next, kid, None, ctx)?,
        Action::Retire { kid } => {
            let version = version_mut(&mut next, kid)?;
            version.state = State::Retired;
            version.retired_at = Some(ctx.now);
        }
        Action::Destroy { kid } => {
            let version = version_mut(&mut next, kid)?;
            version.state = State::Destroyed;
            version.destroyed_at = Some(ctx.now);
        }
    }
    end_write(set, next, ctx)
}

fn note_cap(set: &mut KeySet, cap: Span, ctx: &Context<'_>) {
    let old = set.jwks_cap.current;
    if cap < old {
        set.jwks_cap.former.push(FormerCap {
            cap: old,
            lowered: mark(ctx),
        });
    }
    set.jwks_cap.current = cap;
    set.jwks_cap.former.retain(|former| former.cap > cap);
}

/// The mark of a write made now.
pub(crate) fn mark(ctx: &Context<'_>) -> Mark {
    Mark {
        epoch: ctx.epoch,
        at: ctx.now,
    }
}

/// A copy of the record with its counters moved on.
pub(crate) fn begin_write(set: &KeySet, ctx: &Context<'_>) -> Result<KeySet, Refusal> {
    if ctx.epoch <= set.epoch {
        return Err(Refusal::EpochBehind {
            given: ctx.epoch,
            record: set.epoch,
        });
    }
    let mut next = set.clone();
    next.revision = next.revision.saturating_add(1);
    next.epoch = ctx.epoch;
    Ok(next)
}

/// The finished record, where it breaks no invariant.
pub(crate) fn end_write(
    before: &KeySet,
    after: KeySet,
    ctx: &Context<'_>,
) -> Result<KeySet, Refusal> {
    match invariants::check_step(before, &after, ctx)
        .into_iter()
        .next()
    {
        None => Ok(after),
        Some(violation) => Err(Refusal::Invariant(violation)),
    }
}

pub(crate) fn version_mut<'a>(set: &'a mut KeySet, kid: &str) -> Result<&'a mut Version, Refusal> {
    set.version_mut(kid)
        .ok_or_else(|| Refusal::UnknownKid(kid.to_owned()))
}

/// Makes the version Active and demotes the one that is, in one write.
pub(crate) fn promote(
    set: &mut KeySet,
    kid: &str,
    forced: Option<Forced>,
    ctx: &Context<'_>,
) -> Result<(), Refusal> {
    demote_active(set, ctx);
    let lifetime = set.lifetime();
    let version = version_mut(set, kid)?;
    version.state = State::Active;
    version.activated_at = Some(ctx.now);
    version.published_at = published_at(version, ctx);
    version.largest_lifetime = Some(lifetime);
    version.forced = forced;
    set.rotation_requested_at = None;
    Ok(())
}

fn demote_active(set: &mut KeySet, ctx: &Context<'_>) {
    let stays = longest_stay(set, ctx);
    let lifetime = set.lifetime();
    if let Some(active) = set
        .versions
        .iter_mut()
        .find(|version| version.state == State::Active)
    {
        active.state = State::Retiring;
        active.retiring_at = Some(ctx.now);
        active.demoted_epoch = Some(ctx.epoch);
        active.retire_by = Some(ctx.now + stays + active.largest_lifetime.unwrap_or(lifetime));
    }
}

/// How long a demoted key stays in use somewhere, besides the lifetime of what was made with it: until the
/// last instance stops signing and the largest leeway has passed; for encryption keys until nobody is
/// given it any more.
fn longest_stay(set: &KeySet, ctx: &Context<'_>) -> Span {
    match set.encrypts() {
        true => {
            ctx.times
                .max_verify_staleness
                .max(longest_max_age(set, ctx))
                + ctx.times.skew
        }
        false => ctx.times.max_sign_staleness + MAX_LEEWAY,
    }
}
