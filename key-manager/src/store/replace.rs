//! Everything at once: a view of one moment, and the replacement of all that is stored.

use std::fmt;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{Entry, Precondition, StoreError};

/// A key and its value.
pub type Pair = (String, Vec<u8>);

/// Everything as it stood at one moment, however long it is read.
#[async_trait]
pub trait Snapshot: fmt::Debug + Send + Sync {
    /// Up to `limit` entries in the order of the bytes of their keys, from the first key behind `after`. An empty page is the end.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Compacted`] where the moment is no longer kept.
    async fn page(&self, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError>;
}

/// What takes the place of everything that is stored.
pub struct Replacement {
    /// What must hold of the entries that are replaced.
    pub checks: Vec<(String, Precondition)>,
    /// What there shall be: each key once, in parts that every engine takes in one transaction. An empty part is the end; a channel that is
    /// closed without one was broken off, and nothing happens.
    pub entries: mpsc::Receiver<Result<Vec<Pair>, StoreError>>,
}

impl Replacement {
    /// Pairs and bytes of one part at most.
    pub const PART: (usize, usize) = (60, 512 * 1024);

    /// The next part from a task; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Pair>>, StoreError> {
        part(self.entries.recv().await)
    }

    /// The next part from a thread; `None` at the end.
    pub(super) fn blocking_next(&mut self) -> Result<Option<Vec<Pair>>, StoreError> {
        part(self.entries.blocking_recv())
    }
}

impl fmt::Debug for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replacement")
            .field("checks", &self.checks)
            .finish_non_exhaustive()
    }
}

fn part(received: Option<Result<Vec<Pair>, StoreError>>) -> Result<Option<Vec<Pair>>, StoreError> {
    let broken_off = || StoreError::Unavailable("what is to be written was broken off".into());
    let part = received.ok_or_else(broken_off)??;
    Ok((!part.is_empty()).then_some(part))
}
