//! The records of issued tokens: which tokens did we sign with this key?
//!
//! Instances of the crypto-service seal what they issue in segment files and ship the frames here. This opens them, checks that the instance may serve the
//! key sets that they speak of, and keeps them in a SQLite database of this replica's own: it is no part of the key store, because it grows with the
//! tokens and not with the keys.
//!
//! A frame is taken once: the database counts for each segment how far it has come, in the transaction that takes the entries. With several replicas each
//! holds what was shipped to it.

mod database;
mod error;
mod forget;
mod keys;
mod metrics;
mod query;
mod take;

#[cfg(test)]
mod tests;

use std::{fmt, path::Path, sync::Arc};

use keyring::{Span, Time};
use service_kit::clock::SharedClock;

use crate::{clocks, vault::Vault};

pub use error::IssuedError;
pub use keys::IssuedKeys;
pub use metrics::IssuedMetrics;
pub use query::{Behind, Counted, Listed, MAX_COUNT, Page, Place, Query};
pub use take::{Frames, Shipment};

use database::Database;

/// An entry without `exp` counts as one that ends so long after it was issued.
pub const WITHOUT_EXP: Span = Span::from_days(366);

/// The records. Cheap to clone.
#[derive(Clone)]
pub struct IssuedLog {
    keys: Arc<IssuedKeys>,
    writer: Arc<Database>,
    reader: Arc<Database>,
    retention: Span,
    clock: SharedClock,
    metrics: IssuedMetrics,
}

impl fmt::Debug for IssuedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedLog")
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

impl IssuedLog {
    /// Opens the database at `path`, or makes one with mode 0600, and the keys that the store holds, or makes them. Entries are kept for `retention` after their tokens
    /// expire.
    ///
    /// # Errors
    /// [`IssuedError`].
    pub async fn open(
        path: &Path,
        vault: &Vault,
        retention: Span,
        clock: SharedClock,
    ) -> Result<Self, IssuedError> {
        let keys = Arc::new(IssuedKeys::load(vault).await?);
        let writer = Database::open(path, database::prepare).await?;
        let reader = Database::open(path, database::prepare_to_read).await?;
        Ok(Self {
            keys,
            writer: Arc::new(writer),
            reader: Arc::new(reader),
            retention,
            clock,
            metrics: IssuedMetrics::default(),
        })
    }

    /// What instances seal and hash with.
    #[must_use]
    pub fn keys(&self) -> &IssuedKeys {
        &self.keys
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &IssuedMetrics {
        &self.metrics
    }

    /// Takes what an instance ships, whole or not at all, and gives the frame that is expected next. It is on the disk when this returns.
    /// `granted` says whether the instance may serve a key set of a tenant.
    ///
    /// # Errors
    /// [`IssuedError`].
    pub async fn take(
        &self,
        shipment: Shipment,
        granted: impl Fn(&str, &str) -> bool + Send + 'static,
    ) -> Result<u32, IssuedError> {
        let (keys, now) = (Arc::clone(&self.keys), self.now());
        let work = move |connection: &mut rusqlite::Connection| {
            take::take(connection, &keys, &shipment, &granted, now)
        };
        let taken = self.writer.run(work).await;
        let taken = taken.inspect_err(|error| self.metrics.refused(error))?;
        self.metrics.taken(taken.entries);
        if taken.torn > 0 {
            self.metrics.torn(taken.torn);
            tracing::warn!(
                segments = taken.torn,
                "segments of issued tokens end without their mark: a process was killed, and what it issued last may be missing"
            );
        }
        Ok(taken.next_frame)
    }

    /// A page of what was issued. `visible` says which key sets of the tenant may be shown.
    ///
    /// # Errors
    /// [`IssuedError`].
    pub async fn list(
        &self,
        query: Query,
        visible: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Page, IssuedError> {
        let (keys, now) = (Arc::clone(&self.keys), self.now());
        self.reader
            .run(move |connection| query::list(connection, &keys, &query, &visible, now))
            .await
    }

    /// Drops entries whose retention is over: at most some thousands in one call.
    ///
    /// # Errors
    /// [`IssuedError`].
    pub async fn forget(&self) -> Result<usize, IssuedError> {
        let until = Time::from_millis(
            self.now()
                .as_millis()
                .saturating_sub(self.retention.as_millis()),
        );
        let dropped = self
            .writer
            .run(move |connection| forget::forget(connection, until))
            .await?;
        self.metrics.forgotten(dropped);
        Ok(dropped)
    }

    fn now(&self) -> Time {
        clocks::wall(&self.clock)
    }
}
