//! One key of a set and its way through the states.

use serde::{Deserialize, Serialize};

use crate::{Algorithm, Forced, Span, Time};

/// The state of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The standby: made and published, not yet in use.
    Prepared,
    /// In use; at most one per set.
    Active,
    /// No longer in use, still verifies or decrypts.
    Retiring,
    /// Out of use; verifies hints at most.
    Retired,
    /// Compromised or withdrawn: nothing, from the next message on.
    Revoked,
    /// The material is gone.
    Destroyed,
}

impl State {
    /// True where a version may go from this state to `next` in one step.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match (self, next) {
            // Prepared -> Active -> Retiring -> Retired -> Destroyed
            (Self::Prepared, Self::Active)
            | (Self::Active, Self::Retiring)
            | (Self::Retiring, Self::Retired)
            | (Self::Retired | Self::Revoked, Self::Destroyed) => true,
            // any of the first four -> Revoked
            (from, Self::Revoked) => !matches!(from, Self::Revoked | Self::Destroyed),
            _ => false,
        }
    }
}

/// Where a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Made by the key-manager; only fed instances ever held it.
    Generated,
    /// Brought in; others may have signed with it.
    Imported,
}

/// A write that instances must have seen: its epoch and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The store's epoch of the write.
    pub epoch: u64,
    /// The time of the write.
    pub at: Time,
}

/// One key of a set. The material itself is kept elsewhere, sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// The key id, unique in the tenant.
    pub kid: String,
    /// The one algorithm of this key, as its tokens write it.
    pub algorithm: Algorithm,
    /// For `dir` keys, the content encryption that the key is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enc: Option<String>,
    /// Equal exactly where the material is equal; see [`crate::NewKey::material`].
    pub material: String,
    /// Where the key comes from.
    pub origin: Origin,
    /// Only the public half is known: it verifies and does nothing else.
    #[serde(default)]
    pub public_only: bool,
    /// The state.
    pub state: State,
    /// The write that made it visible as it is now. It moves when the set is published more widely, so
    /// that the waits begin afresh.
    pub made: Mark,
    /// When the version was made.
    pub created_at: Time,
    /// The first ack of `made` by any instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Time>,
    /// When it was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Time>,
    /// When it was demoted, or imported as Retiring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retiring_at: Option<Time>,
    /// When it was retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Time>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Time>,
    /// The destruction date: when its material is to be erased. It may be called off until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroy_at: Option<Time>,
    /// When its material was destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed_at: Option<Time>,
    /// The epoch of the write that demoted it; absent for keys imported as Retiring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demoted_epoch: Option<u64>,
    /// The largest lifetime (in encryption sets: ciphertext age) permitted since it became Active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_lifetime: Option<Span>,
    /// The long bound of retirement, fixed at demotion; the given end for keys imported as Retiring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire_by: Option<Time>,
    /// Present where it became Active before its waits were over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<Forced>,
    /// How many encryptions instances have been granted with it; see [`crate::invocations`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub invocations_granted: u64,
}

/// Records of keys without a budget stay as they were.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Version {
    /// True where the key is a shared secret.
    #[must_use]
    pub fn is_symmetric(&self) -> bool {
        self.algorithm.is_symmetric()
    }

    /// True while no instance has acked a key that is, or is about to be, in use.
    pub(crate) fn awaits_first_ack(&self) -> bool {
        self.published_at.is_none() && matches!(self.state, State::Prepared | State::Active)
    }
}
