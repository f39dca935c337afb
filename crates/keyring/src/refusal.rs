//! Why a command or an action was refused.

use crate::{KeySpec, MAX_USABLE_VERSIONS, MAX_VERSIONS, State, invariants::Violation};

/// Why a command or an action was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A value that does not fit; the caller's mistake.
    #[error("{field}: {problem}")]
    Field {
        /// The field, as the record names it.
        field: &'static str,
        /// What is wrong, or what to write instead.
        problem: String,
    },
    /// Several values that do not fit.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Fields(Vec<Refusal>),
    /// The same write has to bring a new key of this spec: generate one and call again with it.
    #[error("a new {} key is needed in the same write", .0.algorithm)]
    KeyNeeded(Box<KeySpec>),
    /// No version of that kid.
    #[error("kid: the set has no version `{0}`")]
    UnknownKid(String),
    /// There is no Prepared version, and the set generates none.
    #[error("the set has no Prepared version and generates none: import one first")]
    NoStandby,
    /// A key enters as Active only with `force`.
    #[error("force: a key enters as Active only with force, because no verifier has seen it yet")]
    ForceNeeded,
    /// That kid is taken in this set.
    #[error("kid: `{0}` is already a version of this set")]
    KidTaken(String),
    /// The same material is already in this set.
    #[error("the same key is already in this set as `{0}`")]
    MaterialTaken(String),
    /// The set has [`MAX_USABLE_VERSIONS`] that are neither Revoked nor Destroyed.
    #[error(
        "the set has {MAX_USABLE_VERSIONS} versions that are neither Revoked nor Destroyed: revoke Retired ones first"
    )]
    TooManyUsable,
    /// The set has [`MAX_VERSIONS`], whatever their states.
    #[error("the set has {MAX_VERSIONS} versions and takes no more: create another key set")]
    TooManyVersions,
    /// The version's state does not permit this.
    #[error("version `{kid}` is {state:?}, which does not permit this")]
    WrongState {
        /// The version.
        kid: String,
        /// Its state.
        state: State,
    },
    /// Only what is out of use is destroyed.
    #[error(
        "kid: `{kid}` is {state:?}; only Retired and Revoked keys are destroyed: wait for its retirement, or revoke it"
    )]
    InUse {
        /// The version.
        kid: String,
        /// Its state.
        state: State,
    },
    /// All encryptions that a key may make are granted.
    #[error("key `{0}` has no encryptions left to grant; it is rotated")]
    BudgetSpent(String),
    /// The record has moved on since the action was planned: plan again.
    #[error("the action no longer applies: plan again")]
    Outdated,
    /// The write's epoch is not above the record's.
    #[error("epoch {given} is not above the record's epoch {record}: read the record again")]
    EpochBehind {
        /// The epoch of the write.
        given: u64,
        /// The epoch of the record.
        record: u64,
    },
    /// The result would break an invariant: a defect, never the caller's mistake.
    #[error("the result would break an invariant: {0}")]
    Invariant(Violation),
}

impl Refusal {
    pub(crate) fn field(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Field {
            field,
            problem: problem.into(),
        }
    }

    /// Nothing for no problem, the problem itself for one, [`Refusal::Fields`] for more.
    pub(crate) fn unless_empty(mut problems: Vec<Self>) -> Result<(), Self> {
        match (problems.pop(), problems.is_empty()) {
            (None, _) => Ok(()),
            (Some(only), true) => Err(only),
            (Some(last), false) => {
                problems.push(last);
                Err(Self::Fields(problems))
            }
        }
    }
}
