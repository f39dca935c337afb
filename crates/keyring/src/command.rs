//! What operators ask for. Each command gives back the whole new record, or says why not.

use crate::{
    Algorithm, Cause, Context, Forced, Holding, JwksCap, KeySet, Mark, Origin, Policy, Profile,
    Publish, Refusal, State, Time, Use, Version,
    plan::{begin_write, end_write, mark, promote, version_mut},
    update::problems,
    waits::holding_of,
};

/// A key set to create.
#[derive(Clone, Debug)]
pub struct NewKeySet {
    /// The tenant; 1-64 of `[A-Za-z0-9._-]`.
    pub tenant: String,
    /// The name; 1-128 of `[A-Za-z0-9._/-]`.
    pub name: String,
    /// What the keys are for.
    pub key_use: Use,
    /// The `iss` of the set's tokens.
    pub issuer: Option<String>,
    /// Where the public keys are listed.
    pub publish: Publish,
    /// What tokens look like.
    pub profile: Profile,
    /// How keys come and go.
    pub policy: Policy,
}

/// A key that enters a set. Its material is sealed and stored by the caller, in the same write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// 1-128 printable ASCII characters; unique in the tenant, which the caller checks.
    pub kid: String,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// For `dir`, the content encryption that the key is for.
    pub enc: Option<String>,
    /// Equal exactly where the material is equal: the RFC 7638 thumbprint of an asymmetric key, a digest
    /// keyed with the tenant's data key for a symmetric one. Never a plain hash of a secret.
    pub material: String,
    /// Only the public half is known.
    pub public_only: bool,
}

/// How an imported key enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportAs {
    /// As the standby; the old one is revoked.
    Prepared,
    /// It verifies or decrypts until `end`. Public-only keys always enter so.
    Retiring {
        /// When it is retired.
        end: Time,
    },
    /// In use at once, demoting the present Active; needs `force`.
    Active,
}

/// A key to import.
#[derive(Clone, Debug)]
pub struct Import {
    /// The key.
    pub key: NewKey,
    /// The state that it enters in.
    pub enters: ImportAs,
    /// Skip the waits.
    pub force: bool,
}

/// Creates a key set without versions; the plan then asks for its first key.
///
/// # Errors
/// [`Refusal::Field`] or [`Refusal::Fields`], naming every value that does not fit.
pub fn create(new: NewKeySet, ctx: &Context<'_>) -> Result<KeySet, Refusal> {
    let mut policy = new.policy;
    policy.key = policy.key.with_defaults();
    let set = KeySet {
        tenant: new.tenant,
        name: new.name,
        key_use: new.key_use,
        issuer: new.issuer,
        publish: new.publish,
        profile: new.profile,
        policy,
        revision: 1,
        epoch: ctx.epoch,
        rotation_requested_at: None,
        jwks_cap: JwksCap {
            current: ctx.times.jwks_cap,
            former: Vec::new(),
        },
        versions: Vec::new(),
    };
    Refusal::unless_empty(problems(&set, ctx.times)).map(|()| set)
}

/// Asks for a rotation: the standby is promoted when its waits are over, or with `force` at once.
///
/// `generated` is used only where the set has no standby.
///
/// # Errors
/// [`Refusal::KeyNeeded`] where there is no standby and no key was given, [`Refusal::NoStandby`] where the
/// set generates none, [`Refusal::TooManyUsable`] and [`Refusal::TooManyVersions`] where it has no room for one.
pub fn request_rotation(
    set: &KeySet,
    force: bool,
    generated: Option<NewKey>,
    ctx: &Context<'_>,
) -> Result<KeySet, Refusal> {
    let mut next = begin_write(set, ctx)?;
    let kid = standby_or_new(&mut next, generated, ctx)?.ok_or(Refusal::NoStandby)?;
    if force {
        promote_by_force(&mut next, &kid, Cause::Operator, ctx)?;
    } else {
        next.rotation_requested_at.get_or_insert(ctx.now);
    }
    end_write(set, next, ctx)
}

/// Revokes a version. Revoking the Active promotes the standby in the same write, ready or not; where there
/// is none, `generated` is promoted. A set without room for it is left without an Active: a key that must go
/// goes. Revoking a Revoked version changes nothing.
///
/// # Errors
/// [`Refusal::KeyNeeded`] where the write must bring a new key, [`Refusal::UnknownKid`], and
/// [`Refusal::WrongState`] for a Destroyed version.
pub fn revoke(
    set: &KeySet,
    kid: &str,
    generated: Option<NewKey>,
    ctx: &Context<'_>,
) -> Result<KeySet, Refusal> {
    let version = set
        .version(kid)
        .ok_or_else(|| Refusal::UnknownKid(kid.to_owned()))?;
    match version.state {
        State::Revoked => return Ok(set.clone()),
        State::Destroyed => {
            return Err(Refusal::WrongState {
                kid: kid.to_owned(),
                state: version.state,
            });
        }
        _ => {}
    }
    let replace = version.state == State::Active;
    let mut next = begin_write(set, ctx)?;
    withdraw(version_mut(&mut next, kid)?, ctx.now);
    if replace {
        match standby_or_new(&mut next, generated, ctx) {
            Ok(Some(successor)) => {
                promote_by_force(&mut next, &successor, Cause::Revocation, ctx)?;
            }
            Ok(None) | Err(Refusal::TooManyUsable | Refusal::TooManyVersions) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    end_write(set, next, ctx)
}

/// Brings a key in.
///
/// # Errors
/// [`Refusal::ForceNeeded`] for an import as Active without `force`, [`Refusal::KidTaken`],
/// [`Refusal::MaterialTaken`], [`Refusal::Field`] for a key or an end that does not fit,
/// [`Refusal::TooManyUsable`] and [`Refusal::TooManyVersions`].
pub fn import(set: &KeySet, import: Import, ctx: &Context<'_>) -> Result<KeySet, Refusal> {
    let enters = import.enters;
    if import.key.public_only {
        check_public_only(set, enters)?;
    }
    let mut next = begin_write(set, ctx)?;
    let kid = import.key.kid.clone();
    match enters {
        ImportAs::Active if !import.force => return Err(Refusal::ForceNeeded),
        ImportAs::Active => {
            import.key.enter(&mut next, Origin::Imported, ctx)?;
            promote_by_force(&mut next, &kid, Cause::Import, ctx)?;
        }
        ImportAs::Prepared => {
            withdraw_standby(&mut next, ctx.now);
            import.key.enter(&mut next, Origin::Imported, ctx)?;
        }
        ImportAs::Retiring { end } if end <= ctx.now => {
            return Err(Refusal::field(
                "end",
                "is in the past; give the end of the last token that needs the key",
            ));
        }
        ImportAs::Retiring { end } => {
            import.key.enter(&mut next, Origin::Imported, ctx)?;
            let version = version_mut(&mut next, &kid)?;
            version.state = State::Retiring;
            version.retiring_at = Some(ctx.now);
            version.retire_by = Some(end);
        }
    }
    end_write(set, next, ctx)
}

fn check_public_only(set: &KeySet, enters: ImportAs) -> Result<(), Refusal> {
    if set.encrypts() {
        return Err(Refusal::field(
            "key",
            "a public key alone decrypts nothing; import the private key",
        ));
    }
    match enters {
        ImportAs::Retiring { .. } => Ok(()),
        _ => Err(Refusal::field(
            "state",
            "a public-only key signs nothing: import it as RETIRING with an end",
        )),
    }
}

/// The kid of the standby. Where there is none, of `generated`, which then is the standby; nothing where
/// the set generates none.
fn standby_or_new(
    set: &mut KeySet,
    generated: Option<NewKey>,
    ctx: &Context<'_>,
) -> Result<Option<String>, Refusal> {
    if let Some(standby) = set.standby() {
        return Ok(Some(standby.kid.clone()));
    }
    if !set.policy.generate {
        return Ok(None);
    }
    set.has_room()?;
    let key = generated.ok_or_else(|| Refusal::KeyNeeded(Box::new(set.policy.key.clone())))?;
    key.prepare_generated(set, ctx).map(Some)
}

/// Promotes at once, and records what that skipped, if anything.
fn promote_by_force(
    set: &mut KeySet,
    kid: &str,
    cause: Cause,
    ctx: &Context<'_>,
) -> Result<(), Refusal> {
    let skipped: Vec<Holding> = set
        .version(kid)
        .map(|v| holding_of(set, v, ctx))
        .unwrap_or_default();
    let forced = (!skipped.is_empty()).then_some(Forced {
        cause,
        at: ctx.now,
        skipped,
    });
    promote(set, kid, forced, ctx)
}

/// Revokes the standby, where there is one.
pub(crate) fn withdraw_standby(set: &mut KeySet, now: Time) {
    set.versions
        .iter_mut()
        .filter(|version| version.state == State::Prepared)
        .for_each(|v| withdraw(v, now));
}

fn withdraw(version: &mut Version, now: Time) {
    version.state = State::Revoked;
    version.revoked_at = Some(now);
}

impl NewKey {
    /// Adds a generated key as the standby and gives back its kid.
    pub(crate) fn prepare_generated(
        self,
        set: &mut KeySet,
        ctx: &Context<'_>,
    ) -> Result<String, Refusal> {
        let spec = &set.policy.key;
        if self.algorithm != spec.algorithm || self.enc != spec.enc || self.public_only {
            return Err(Refusal::KeyNeeded(Box::new(spec.clone())));
        }
        let kid = self.kid.clone();
        self.enter(set, Origin::Generated, ctx).map(|()| kid)
    }

    fn enter(self, set: &mut KeySet, origin: Origin, ctx: &Context<'_>) -> Result<(), Refusal> {
        self.check(set)?;
        set.has_room()?;
        set.versions.push(self.into_version(origin, mark(ctx)));
        Ok(())
    }

    fn check(&self, set: &KeySet) -> Result<(), Refusal> {
        if !(1..=128).contains(&self.kid.len())
            || !self.kid.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        {
            return Err(Refusal::field(
                "kid",
                "use 1 to 128 printable ASCII characters",
            ));
        }
        if !self.algorithm.suits(set.key_use) {
            let problem = format!("{} is not for sets of this use", self.algorithm);
            return Err(Refusal::field("algorithm", problem));
        }
        if (self.algorithm.as_str() == "dir") != self.enc.is_some() {
            return Err(Refusal::field(
                "enc",
                "`dir` keys, and no others, are for one content encryption",
            ));
        }
        if self.public_only && self.algorithm.is_symmetric() {
            return Err(Refusal::field("key", "a symmetric key has no public half"));
        }
        if set.version(&self.kid).is_some() {
            return Err(Refusal::KidTaken(self.kid.clone()));
        }
        match set
            .versions
            .iter()
            .find(|version| version.material == self.material)
        {
            Some(same) => Err(Refusal::MaterialTaken(same.kid.clone())),
            None => Ok(()),
        }
    }

    fn into_version(self, origin: Origin, made: Mark) -> Version {
        Version {
            kid: self.kid,
            algorithm: self.algorithm,
            enc: self.enc,
            material: self.material,
            origin,
            public_only: self.public_only,
            state: State::Prepared,
            made,
            created_at: made.at,
            published_at: None,
            activated_at: None,
            retiring_at: None,
            retired_at: None,
            revoked_at: None,
            destroy_at: None,
            destroyed_at: None,
            demoted_epoch: None,
            largest_lifetime: None,
            retire_by: None,
            forced: None,
            invocations_granted: 0,
        }
    }
}
