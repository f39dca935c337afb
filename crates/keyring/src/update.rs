//! Changes of a set's profile, policy and publication, and what every set must satisfy.

use crate::{
    Context, KeySet, MAX_USABLE_VERSIONS, Policy, Profile, Publish, Refusal, Span, State, Times,
    Use,
    command::withdraw_standby,
    plan::{begin_write, end_write, mark},
};

/// What to change; absent members stay as they are.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// The issuer; `Some(None)` removes it.
    pub issuer: Option<Option<String>>,
    /// Where the public keys are listed.
    pub publish: Option<Publish>,
    /// What tokens look like.
    pub profile: Option<Profile>,
    /// How keys come and go.
    pub policy: Option<Policy>,
}

/// Changes a key set. A changed key spec revokes the standby, and the next one waits afresh. Wider
/// publication, or another issuer, makes the standby wait afresh, because no verifier has seen it there.
///
/// # Errors
/// [`Refusal::Field`] or [`Refusal::Fields`], naming every value that does not fit.
pub fn update(set: &KeySet, update: Update, ctx: &Context<'_>) -> Result<KeySet, Refusal> {
    let mut next = begin_write(set, ctx)?;
    next.issuer = update.issuer.unwrap_or(next.issuer);
    next.publish = update.publish.unwrap_or(next.publish);
    next.profile = update.profile.unwrap_or(next.profile);
    next.policy = update.policy.unwrap_or(next.policy);
    next.policy.key = next.policy.key.with_defaults();
    Refusal::unless_empty(problems(&next, ctx.times))?;
    if next.policy.key != set.policy.key {
        withdraw_standby(&mut next, ctx.now);
    }
    if next.publish > set.publish || next.issuer != set.issuer {
        restart_waits(&mut next, ctx);
    }
    raise_lifetimes(&mut next);
    end_write(set, next, ctx)
}

fn restart_waits(set: &mut KeySet, ctx: &Context<'_>) {
    for standby in set
        .versions
        .iter_mut()
        .filter(|version| version.state == State::Prepared)
    {
        standby.made = mark(ctx);
        standby.published_at = None;
    }
}

/// The Active outlasts the largest lifetime that was ever permitted while it was Active. A raised
/// ciphertext age also keeps the Retiring keys: the ciphertexts are theirs.
fn raise_lifetimes(set: &mut KeySet) {
    let (lifetime, encrypts) = (set.lifetime(), set.encrypts());
    for version in &mut set.versions {
        let Some(permitted) = version
            .largest_lifetime
            .filter(|permitted| *permitted < lifetime)
        else {
            continue;
        };
        let extend = match version.state {
            State::Active => true,
            State::Retiring => encrypts,
            _ => false,
        };
        if extend {
            version.largest_lifetime = Some(lifetime);
            let more =
                Span::from_millis(lifetime.as_millis().saturating_sub(permitted.as_millis()));
            version.retire_by = version.retire_by.map(|end| end + more);
        }
    }
}

/// Everything that does not fit in a set's own members; versions apart.
pub(crate) fn problems(set: &KeySet, times: &Times) -> Vec<Refusal> {
    let mut problems = naming_problems(set);
    problems.extend(profile_problems(&set.profile));
    problems.extend(recording_problem(set));
    problems.extend(policy_problems(&set.policy, times));
    problems.extend(period_problems(set, times));
    problems.extend(set.policy.key.problems(set.key_use));
    let unlisted =
        set.policy.key.algorithm.is_symmetric() || matches!(set.key_use, Use::RawSign | Use::Seal);
    if unlisted && set.publish != Publish::None {
        problems.push(Refusal::field(
            "publish",
            "symmetric, RAW_SIGN and SEAL keys are never published; use none",
        ));
    }
    problems
}

fn naming_problems(set: &KeySet) -> Vec<Refusal> {
    let fits = |text: &str, longest: usize, extra: &[u8]| {
        (1..=longest).contains(&text.len())
            && text.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || b"._-".contains(&byte) || extra.contains(&byte)
            })
    };
    let mut problems = Vec::new();
    if !fits(&set.tenant, 64, b"") {
        problems.push(Refusal::field("tenant", "use 1 to 64 of A-Z a-z 0-9 . _ -"));
    }
    if !fits(&set.name, 128, b"/") {
        problems.push(Refusal::field(
            "name",
            "use 1 to 128 of A-Z a-z 0-9 . _ - /",
        ));
    }
    if set.issuer.as_deref() == Some("") {
        problems.push(Refusal::field(
            "issuer",
            "is empty; leave it out for a set without an issuer",
        ));
    }
    problems
}

fn profile_problems(profile: &Profile) -> Vec<Refusal> {
    let mut problems = Vec::new();
    if profile.default_lifetime.is_zero() {
        problems.push(Refusal::field(
            "profile.default_lifetime",
            "must be above zero",
        ));
    }
    if profile.max_lifetime < profile.default_lifetime {
        problems.push(Refusal::field(
            "profile.max_lifetime",
            "must not be below the default lifetime",
        ));
    }
    problems
}

/// Only tokens are recorded, and only what names them is of use.
fn recording_problem(set: &KeySet) -> Option<Refusal> {
    if !set.profile.record_issued {
        return None;
    }
    let problem = match (set.key_use, set.profile.jti_optional) {
        (Use::Sign, false) => return None,
        (Use::Sign, true) => "does not go with jti_optional: nothing would name the tokens",
        _ => "is for sets of use SIGN: only tokens are recorded",
    };
    Some(Refusal::field("profile.record_issued", problem))
}

/// What a cryptoperiod asks for that the set cannot give: a standby that is ready in time, and room for every key that is still needed.
fn period_problems(set: &KeySet, times: &Times) -> Vec<Refusal> {
    let Some(period) = set.policy.cryptoperiod.filter(|period| !period.is_zero()) else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    let lead = set
        .policy
        .publication_lead
        .unwrap_or(times.publication_lead);
    let published = !set.encrypts() && !set.policy.key.algorithm.is_symmetric();
    if published && period < lead {
        let problem = format!(
            "{period} is shorter than the publication lead of {lead}: no key is ready in time"
        );
        problems.push(Refusal::field("policy.cryptoperiod", problem));
    }
    // Of those that a set takes, one is Active and one the standby.
    let kept = period * u64::try_from(MAX_USABLE_VERSIONS - 2).unwrap_or(u64::MAX);
    if set.lifetime() > kept {
        let (field, lifetime) = match set.encrypts() {
            true => ("policy.max_ciphertext_age", set.lifetime()),
            false => ("profile.max_lifetime", set.lifetime()),
        };
        let problem = format!(
            "{lifetime} is longer than keys are kept: with a cryptoperiod of {period} the set's {MAX_USABLE_VERSIONS} keys last {kept}"
        );
        problems.push(Refusal::field(field, problem));
    }
    problems
}

fn policy_problems(policy: &Policy, times: &Times) -> Vec<Refusal> {
    let mut problems = Vec::new();
    if policy.cryptoperiod.is_some_and(|period| period.is_zero()) {
        problems.push(Refusal::field(
            "policy.cryptoperiod",
            "must be above zero; leave it out for none",
        ));
    }
    if let Some(lead) = policy
        .publication_lead
        .filter(|lead| *lead < times.jwks_cap)
    {
        let problem = format!("{lead} is shorter than the JWKS cap of {}", times.jwks_cap);
        problems.push(Refusal::field("policy.publication_lead", problem));
    }
    problems
}
