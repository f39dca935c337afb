//! The key set: one record, its profile, its policy and what the plan remembers over time.

use serde::{Deserialize, Serialize};

use crate::{KeySpec, Mark, Refusal, Span, State, Time, Use, Version};

/// The versions of a set that are neither Revoked nor Destroyed, at most: instances hold them all.
pub const MAX_USABLE_VERSIONS: usize = 300;

/// The versions of a set in any state, at most: every write and every feed carries the whole record.
pub const MAX_VERSIONS: usize = 1_000;

/// Where a set's public keys are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Publish {
    /// Nowhere: only the service verifies.
    #[default]
    None,
    /// In the trust that the service's own clients receive, in no JWKS.
    Internal,
    /// In the issuer's JWKS as well.
    Public,
}

/// What the set's tokens look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The `typ` header; absent = `JWT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// The lifetime where a call names none.
    pub default_lifetime: Span,
    /// The longest lifetime that a call may ask for.
    pub max_lifetime: Span,
    /// A token without `exp` is permitted; it counts as `iat` + `max_lifetime`.
    #[serde(default)]
    pub expiry_optional: bool,
    /// A token without `jti` is permitted (ID tokens).
    #[serde(default)]
    pub jti_optional: bool,
    /// How long an expired token is accepted as an `id_token_hint`; zero = not at all.
    #[serde(default)]
    pub hint_window: Span,
    /// What is issued is recorded; what cannot be recorded is not signed.
    #[serde(default, skip_serializing_if = "is_off")]
    pub record_issued: bool,
}

/// A record of a set without it stays as it was before there was such a thing.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
fn is_off(flag: &bool) -> bool {
    !*flag
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            typ: None,
            default_lifetime: Span::from_secs(300),
            max_lifetime: Span::from_minutes(60),
            expiry_optional: false,
            jti_optional: false,
            hint_window: Span::ZERO,
            record_issued: false,
        }
    }
}

/// How the set's keys come and go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What the next version is.
    pub key: KeySpec,
    /// How long a version stays Active; absent = until a rotation is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cryptoperiod: Option<Span>,
    /// How long a key is published before it signs; absent = [`crate::Times::publication_lead`].
    /// Never below the JWKS cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication_lead: Option<Span>,
    /// How old a ciphertext may be that is still decrypted (encryption sets).
    pub max_ciphertext_age: Span,
    /// False for sets of public-only keys, which generate nothing.
    pub generate: bool,
}

impl Policy {
    /// The default policy for keys of that spec: 90 days, ciphertexts up to a day old.
    #[must_use]
    pub fn new(key: KeySpec) -> Self {
        Self {
            key,
            cryptoperiod: Some(Span::from_days(90)),
            publication_lead: None,
            max_ciphertext_age: Span::from_days(1),
            generate: true,
        }
    }
}

/// A JWKS cap that has been lowered: responses with it may still be in caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormerCap {
    /// The longest max-age given out before the change.
    pub cap: Span,
    /// The write that lowered it. The cap counts until every instance acked that write, or its lease
    /// ended, and the cap itself has passed.
    pub lowered: Mark,
}

/// The longest max-age that this set's keys are served with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwksCap {
    /// The cap in force.
    pub current: Span,
    /// Higher caps that came before it, highest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<FormerCap>,
}

/// A key set: one record, written by compare-and-swap on its revision.
///
/// The members are public so that a daemon can show them; changes go through the commands and
/// [`crate::apply`], and a record that was read from a store goes through [`crate::invariants::check`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySet {
    /// The tenant.
    pub tenant: String,
    /// The name within the tenant, such as `op/access-token`.
    pub name: String,
    /// What the keys are for.
    pub key_use: Use,
    /// The `iss` of the set's tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Where the public keys are listed.
    pub publish: Publish,
    /// What tokens look like.
    pub profile: Profile,
    /// How keys come and go.
    pub policy: Policy,
    /// Counts the writes of this record, from 1.
    pub revision: u64,
    /// The store's epoch of the last write of this record.
    pub epoch: u64,
    /// When a rotation was asked for that has not happened yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_requested_at: Option<Time>,
    /// The JWKS cap that the set's instances serve with, and those before it that still count.
    pub jwks_cap: JwksCap,
    /// All versions, oldest first.
    pub versions: Vec<Version>,
}

impl KeySet {
    /// The version of that kid.
    #[must_use]
    pub fn version(&self, kid: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.kid == kid)
    }

    /// The Active version.
    #[must_use]
    pub fn active(&self) -> Option<&Version> {
        self.in_state(State::Active).next()
    }

    /// The standby: the Prepared version.
    #[must_use]
    pub fn standby(&self) -> Option<&Version> {
        self.in_state(State::Prepared).next()
    }

    /// The versions in that state, oldest first.
    pub fn in_state(&self, state: State) -> impl Iterator<Item = &Version> {
        self.versions
            .iter()
            .filter(move |version| version.state == state)
    }

    /// Whether another version may enter.
    ///
    /// # Errors
    /// [`Refusal::TooManyVersions`] and [`Refusal::TooManyUsable`].
    pub fn has_room(&self) -> Result<(), Refusal> {
        let usable =
            |version: &&Version| !matches!(version.state, State::Revoked | State::Destroyed);
        if self.versions.len() >= MAX_VERSIONS {
            Err(Refusal::TooManyVersions)
        } else if self.versions.iter().filter(usable).count() >= MAX_USABLE_VERSIONS {
            Err(Refusal::TooManyUsable)
        } else {
            Ok(())
        }
    }

    /// True where the set lacks the standby that it should have, and may take one in.
    pub(crate) fn wants_standby(&self) -> bool {
        self.policy.generate && self.standby().is_none() && self.has_room().is_ok()
    }

    /// True for sets that follow the rules of encryption sets.
    #[must_use]
    pub fn encrypts(&self) -> bool {
        self.key_use == Use::Encrypt
    }

    /// The epochs of this record that acks still matter for; see [`crate::Subscriber::compact`].
    pub fn watched_epochs(&self) -> impl Iterator<Item = u64> {
        let made = self
            .versions
            .iter()
            .filter(|version| version.state == State::Prepared || version.awaits_first_ack())
            .map(|version| version.made.epoch);
        let demoted = self
            .in_state(State::Retiring)
            .filter_map(|version| version.demoted_epoch);
        let lowered = self
            .jwks_cap
            .former
            .iter()
            .map(|former| former.lowered.epoch);
        made.chain(demoted).chain(lowered)
    }

    /// The longest that a token or ciphertext of this set lives; for [`crate::Subscriber::forget_at`].
    #[must_use]
    pub fn largest_lifetime(&self) -> Span {
        let permitted = self
            .versions
            .iter()
            .filter_map(|version| version.largest_lifetime);
        permitted.fold(self.lifetime(), Span::max)
    }

    /// The lifetime that a version made Active now has to outlast.
    pub(crate) fn lifetime(&self) -> Span {
        match self.encrypts() {
            true => self.policy.max_ciphertext_age,
            false => self.profile.max_lifetime,
        }
    }

    pub(crate) fn version_mut(&mut self, kid: &str) -> Option<&mut Version> {
        self.versions.iter_mut().find(|version| version.kid == kid)
    }
}
