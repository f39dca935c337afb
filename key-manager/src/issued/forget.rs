//! What is over.

use keyring::Time;
use rusqlite::{Connection, TransactionBehavior};

use super::IssuedError;

/// Entries in one transaction: others wait for it.
const MOST: i64 = 20_000;

/// Drops entries whose tokens have expired by `until`, and processes that were not heard of since.
pub(super) fn forget(connection: &mut Connection, until: Time) -> Result<usize, IssuedError> {
    let millis = i64::try_from(until.as_millis()).unwrap_or(i64::MAX);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let dropped = transaction
        .prepare_cached(
            "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE ends < ?1 LIMIT ?2)",
        )?
        .execute([millis / 1_000, MOST])?;
    // The row of a segment stays: one for megabytes of entries, and what is sent again long after is still not taken twice.
    transaction.execute("DELETE FROM processes WHERE seen_at < ?1", [millis])?;
    transaction.commit()?;
    Ok(dropped)
}
