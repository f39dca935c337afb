//! Revocations of tokens as an instance holds them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use jose::revocation::{Entry, Filter, Table};

/// What the feed says of the revocations of one key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokensSpec {
    /// The tenant.
    pub tenant: String,
    /// The key set.
    pub key_set: String,
    /// The revocations.
    pub entries: Vec<Entry>,
}

/// The revocations of one key set's tokens. Immutable: a change is a new value, which shares most of the old one.
#[derive(Default)]
pub(crate) struct RevokedTokens {
    table: Table,
    filter: OnceLock<Arc<Filter>>,
}

impl RevokedTokens {
    /// The table.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// What stands for the table towards clients that do not take it whole. Whoever asks first after a change makes it.
    pub(crate) fn filter(&self) -> &Arc<Filter> {
        self.filter
            .get_or_init(|| Arc::new(Filter::of(&self.table)))
    }

    pub(super) fn with(&self, entries: &[Entry]) -> Self {
        let mut table = self.table.clone();
        table.extend(entries.iter().copied());
        Self::from(table)
    }

    /// `None` where nothing is to be forgotten.
    pub(super) fn without(&self, until: u32) -> Option<Self> {
        if self.table.next_end() > until {
            return None;
        }
        let mut table = self.table.clone();
        table.forget(until);
        Some(Self::from(table))
    }
}

impl From<Table> for RevokedTokens {
    fn from(table: Table) -> Self {
        Self {
            table,
            filter: OnceLock::new(),
        }
    }
}

impl fmt::Debug for RevokedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RevokedTokens").field(&self.table).finish()
    }
}
