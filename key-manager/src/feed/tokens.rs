//! Revocations of tokens for one instance.

use jose::revocation::Entry;

use crate::vault::{Scope, SetName};

/// Revocations of tokens of one key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FedTokens {
    /// The key set.
    pub name: SetName,
    /// The revocations.
    pub entries: Vec<Entry>,
}

impl FedTokens {
    /// What of these belongs to the scope.
    pub(super) fn within(
        scope: &Scope,
        entries: impl IntoIterator<Item = (SetName, Vec<Entry>)>,
    ) -> Vec<Self> {
        let covered = entries.into_iter().filter(|(name, _)| scope.covers(name));
        covered
            .map(|(name, entries)| Self { name, entries })
            .collect()
    }
}
