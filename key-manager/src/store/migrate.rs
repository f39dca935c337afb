//! Moves a whole store to another engine.
//!
//! ```text
//! check the target is empty --> mark the source as being moved --> copy all but the root --> compare record by record
//!     --> write the root of the target --> mark the source as moved
//! ```
//!
//! - Records are copied as they are, sealed and authenticated; the key-encryption key is not needed.
//! - A key-manager opens no store without its root, and the root is written last: a part is never taken for the whole.
//! - The mark stays in the source. Nobody opens it any more, so that two key-managers never write to two copies. In a store that is
//!   shared, the mark also stops those that run.
//! - A move that fails takes its mark back, as far as the source can be written; what it wrote to the target stays, and the next one
//!   goes on over it only where it is told so ([`Migration::again`]). Where only the write of the root fails, whether it happened is
//!   not known, and the mark stays.

use std::sync::Arc;

use super::{Batch, Entry, KeyStore, MOVED, PAGE, Precondition, StoreError};

/// The entry that a key-manager opens a store by; written last.
const ROOT: &str = crate::vault::ROOT;

/// The entry in a target that says that a move into it has begun.
const ARRIVING: &str = "arriving";

/// Operations and bytes in one transaction at most, so that every engine takes it.
const CHUNK: (usize, usize) = (60, 512 * 1024);

/// Why a move did not come to its end. The target has no root then, but for [`MigrateError::Unmarked`], and perhaps
/// [`MigrateError::Arrival`].
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// There is nothing to move.
    #[error("the source has no root: it is empty, or a move into it did not come to its end")]
    NoSource,
    /// The source was moved before.
    #[error(
        "the source was moved already, or a move of it was broken off: `key-manager store release` takes its mark back"
    )]
    SourceMoved,
    /// The target holds entries that are not ours to overwrite.
    #[error("the target is not empty (it has `{0}`): give an empty one")]
    TargetNotEmpty(String),
    /// A part of an earlier move is in the target.
    #[error("the target holds a part of a move that was broken off: --again writes over it")]
    TargetPartial,
    /// A record of the target is not that of the source.
    #[error("the entry `{0}` of the target is not that of the source")]
    Differs(String),
    /// The source could not be read or marked.
    #[error("the source: {0}")]
    Source(#[source] StoreError),
    /// The target could not be read or written.
    #[error("the target: {0}")]
    Target(#[source] StoreError),
    /// The target may be whole.
    #[error(
        "whether the target is whole is not known ({0}), and the source stays marked: where `--again` finds the target not empty, it is whole"
    )]
    Arrival(#[source] StoreError),
    /// The target is whole, and the source does not say so.
    #[error(
        "the target is whole, but the source could not be marked as moved ({0}): never start a key-manager on it again"
    )]
    Unmarked(#[source] StoreError),
}

impl MigrateError {
    /// The exit code, of sysexits.h.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // EX_DATAERR
            Self::Differs(_)
            | Self::Source(StoreError::Damaged(_))
            | Self::Target(StoreError::Damaged(_)) => 65,
            // EX_NOINPUT
            Self::NoSource | Self::SourceMoved => 66,
            // EX_UNAVAILABLE
            Self::Source(_) | Self::Target(_) => 69,
            // EX_CANTCREAT
            Self::TargetNotEmpty(_) | Self::TargetPartial => 73,
            // EX_IOERR
            Self::Arrival(_) | Self::Unmarked(_) => 74,
        }
    }
}

/// How far a move has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Entries counted in the source.
    Counted(usize),
    /// Entries copied so far.
    Copied(usize),
    /// Entries compared so far.
    Compared(usize),
}

/// A move of everything in one store to another.
#[derive(Clone, Debug)]
pub struct Migration {
    /// Where everything is. No key-manager runs on it.
    pub from: Arc<dyn KeyStore>,
    /// Where everything shall be: empty.
    pub to: Arc<dyn KeyStore>,
    /// What the source says about where it went: shown to people, never read.
    pub destination: String,
    /// Writes over what an earlier move that was broken off has left in the target.
    pub again: bool,
}

/// Moves everything, and gives the number of entries.
///
/// # Errors
/// [`MigrateError`]; the source is as it was then, but for its mark where it could not be taken back.
pub async fn migrate(
    migration: &Migration,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<usize, MigrateError> {
    let Migration { from, to, .. } = migration;
    from.settle().await.map_err(MigrateError::Source)?;
    let root = from.get(ROOT).await.map_err(MigrateError::Source)?;
    let root = root.ok_or(MigrateError::NoSource)?;
    if from
        .get(MOVED)
        .await
        .map_err(MigrateError::Source)?
        .is_some()
    {
        return Err(MigrateError::SourceMoved);
    }
    prepare_target(to.as_ref(), migration.again).await?;
    let mark = mark(from.as_ref(), &migration.destination).await?;
    match copy(from.as_ref(), to.as_ref(), &mut progress).await {
        Ok(copied) => {
            arrive(to.as_ref(), root).await?;
            let moved = format!("moved to {}", migration.destination);
            let batch = Batch::new()
                .check(MOVED, Precondition::Revision(mark))
                .put(MOVED, moved);
            from.commit(batch).await.map_err(MigrateError::Unmarked)?;
            Ok(copied + 1)
        }
        Err(error) => {
            let unmark = Batch::new()
                .check(MOVED, Precondition::Revision(mark))
                .delete(MOVED);
            if let Err(stays) = from.commit(unmark).await {
                tracing::warn!(error = %stays, "the source stays marked as being moved: key-manager store release");
            }
            Err(error)
        }
    }
}

/// Takes the mark of a move that was given up back, so that key-managers open the store again. False where there is none.
///
/// # Errors
/// [`StoreError`].
pub async fn release(store: &dyn KeyStore) -> Result<bool, StoreError> {
    let Some(mark) = store.get(MOVED).await? else {
        return Ok(false);
    };
    let batch = Batch::new()
        .check(MOVED, Precondition::Revision(mark.revision))
        .delete(MOVED);
    store.commit(batch).await.map(|_commit| true)
}

/// Leaves nothing in the target but the sign that a move into it has begun.
async fn prepare_target(to: &dyn KeyStore, again: bool) -> Result<(), MigrateError> {
    let target = MigrateError::Target;
    let arriving = to.get(ARRIVING).await.map_err(target)?;
    let first = to.scan("", None, 1).await.map_err(target)?;
    let whole = to.get(ROOT).await.map_err(target)?.is_some();
    match (first.into_iter().next(), arriving.is_some() && !whole) {
        (None, _) => {
            let begin = Batch::new()
                .check(ARRIVING, Precondition::Absent)
                .check(ROOT, Precondition::Absent)
                .put(ARRIVING, "a move into this store has begun");
            to.commit(begin).await.map_err(target)?;
            Ok(())
        }
        (Some(_), true) if again => clear(to).await,
        (Some(_), true) => Err(MigrateError::TargetPartial),
        (Some(entry), false) => Err(MigrateError::TargetNotEmpty(entry.key)),
    }
}

/// Deletes everything but the sign.
async fn clear(to: &dyn KeyStore) -> Result<(), MigrateError> {
    let mut after: Option<String> = None;
    loop {
        let page = to
            .scan("", after.as_deref(), CHUNK.0)
            .await
            .map_err(MigrateError::Target)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.key.clone());
        let gone = page.iter().filter(|entry| entry.key != ARRIVING);
        let batch = gone.fold(Batch::new(), |batch, entry| {
            batch.delete(entry.key.as_str())
        });
        to.commit(batch.check(ROOT, Precondition::Absent))
            .await
            .map_err(MigrateError::Target)?;
    }
}

async fn mark(from: &dyn KeyStore, destination: &str) -> Result<u64, MigrateError> {
    let batch = Batch::new()
        .check(MOVED, Precondition::Absent)
        .put(MOVED, format!("being moved to {destination}"));
    from.commit(batch).await.map_err(MigrateError::Source)
}

/// Copies all but the root and the marks, and compares it.
async fn copy(
    from: &dyn KeyStore,
    to: &dyn KeyStore,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<usize, MigrateError> {
    let mut source = Entries::of(from);
    let mut count = 0;
    while source.next().await.map_err(MigrateError::Source)?.is_some() {
        count += 1;
    }
    progress(Progress::Counted(count));
    let mut source = Entries::of(from);
    let (mut copied, mut batch, mut size) = (0, Batch::new(), (0, 0));
    while let Some(entry) = source.next().await.map_err(MigrateError::Source)? {
        let bytes = entry.key.len() + entry.value.len();
        if size.0 >= CHUNK.0 || size.0 > 0 && size.1 + bytes > CHUNK.1 {
            write(to, std::mem::take(&mut batch)).await?;
            progress(Progress::Copied(copied));
            size = (0, 0);
        }
        batch = batch.put(entry.key, entry.value);
        size = (size.0 + 1, size.1 + bytes);
        copied += 1;
    }
    write(to, batch).await?;
    progress(Progress::Copied(copied));
    compare(from, to, progress).await?;
    Ok(copied)
}

async fn write(to: &dyn KeyStore, batch: Batch) -> Result<(), MigrateError> {
    // Whoever makes a root of its own in the target has not seen that it is being filled.
    let batch = batch.check(ROOT, Precondition::Absent);
    let written = to.commit(batch).await;
    written.map(|_commit| ()).map_err(MigrateError::Target)
}

/// Both stores, entry by entry, to the end of both.
async fn compare(
    from: &dyn KeyStore,
    to: &dyn KeyStore,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<(), MigrateError> {
    let (mut source, mut target) = (Entries::of(from), Entries::of(to));
    let mut compared = 0;
    loop {
        let expected = source.next().await.map_err(MigrateError::Source)?;
        let found = target.next().await.map_err(MigrateError::Target)?;
        match (expected, found) {
            (None, None) => {
                progress(Progress::Compared(compared));
                return Ok(());
            }
            (Some(expected), Some(found))
                if (&expected.key, &expected.value) == (&found.key, &found.value) =>
            {
                compared += 1;
                if compared % PAGE == 0 {
                    progress(Progress::Compared(compared));
                }
            }
            (Some(one), _) | (None, Some(one)) => return Err(MigrateError::Differs(one.key)),
        }
    }
}

/// The root, and with it the end of the move, in one step.
async fn arrive(to: &dyn KeyStore, root: Entry) -> Result<(), MigrateError> {
    let batch = Batch::new()
        .check(ROOT, Precondition::Absent)
        .delete(ARRIVING)
        .put(ROOT, root.value.clone());
    to.commit(batch).await.map_err(MigrateError::Arrival)?;
    let written = to.get(ROOT).await.map_err(MigrateError::Arrival)?;
    match written.is_some_and(|written| written.value == root.value) {
        true => Ok(()),
        false => Err(MigrateError::Differs(ROOT.to_owned())),
    }
}

/// All entries in order, but for the root and the marks.
struct Entries<'a> {
    store: &'a dyn KeyStore,
    page: std::vec::IntoIter<Entry>,
    after: Option<String>,
}

impl<'a> Entries<'a> {
    fn of(store: &'a dyn KeyStore) -> Self {
        Self {
            store,
            page: Vec::new().into_iter(),
            after: None,
        }
    }

    async fn next(&mut self) -> Result<Option<Entry>, StoreError> {
        loop {
            for entry in self.page.by_ref() {
                if ![ROOT, MOVED, ARRIVING].contains(&entry.key.as_str()) {
                    return Ok(Some(entry));
                }
            }
            let page = self.store.scan("", self.after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            self.after = Some(last.key.clone());
            self.page = page.into_iter();
        }
    }
}

#[cfg(test)]
mod tests;
