//! The audit log: what operators did and what was refused, written before it takes effect.
//!
//! The form and the verifier are the crate `audit-log`; here stands who writes it. The log is a folder of segment files on this machine's
//! own disk, one line an entry, each act flushed to the disk before it begins. Every replica keeps a log of its own: a chain has one writer, so
//! nothing has to be agreed on, and a replica that cannot reach the store still says what it refused.
//!
//! Checkpoints are signed with an Ed25519 key of the key-manager's own, made once and sealed in the store. The key of the TLS certificate would
//! not do: it changes with the certificate, and a log outlives many. The newest checkpoint of each chain is kept in the store too, so
//! that a log which was cut off is seen at the next start, and by whoever asks for it.
//!
//! Where an entry cannot be written the act is refused, and what was written of it is taken back. The next act tries again.

mod anchor;
mod error;
mod query;
mod recover;
mod signer;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use audit_log::{Act, Body, Outcome};
use service_kit::{clock::SharedClock, shutdown::Shutdown};

use crate::{clocks, vault::Vault};

pub use anchor::Anchor;
pub use error::AuditError;
pub use query::{Cursor, Page, Query};
pub use signer::Signer;

use writer::Writer;

/// How long an entry waits for a checkpoint at most.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

/// After so many entries a checkpoint follows at once.
const CHECKPOINT_EVERY: u64 = 256;

/// A segment is ended when it has grown to this, in bytes.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// The log. Clones share it.
#[derive(Clone)]
pub struct AuditLog {
    folder: PathBuf,
    writer: Arc<Mutex<Writer>>,
    signer: Arc<Signer>,
    vault: Arc<Vault>,
    clock: SharedClock,
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditLog({})", self.folder.display())
    }
}

impl AuditLog {
    /// Opens the log in `folder`, or in a sub-folder where another process has that, or begins one, and checks its last segment. What a power cut left unfinished is cut off; a log that was
    /// changed or cut off is left as it is, and a new chain begins beside it that says so.
    ///
    /// # Errors
    /// [`AuditError`] where the folder cannot be written, or the store does not answer.
    pub async fn open(
        folder: &Path,
        vault: Arc<Vault>,
        clock: SharedClock,
    ) -> Result<Self, AuditError> {
        Self::open_with(folder, vault, clock, SEGMENT_BYTES).await
    }

    pub(crate) async fn open_with(
        folder: &Path,
        vault: Arc<Vault>,
        clock: SharedClock,
        segment_bytes: u64,
    ) -> Result<Self, AuditError> {
        let signer = Arc::new(Signer::load(&vault).await?);
        let anchors = vault.anchors().await?;
        let (place, at) = (folder.to_owned(), now(&clock));
        let with = Arc::clone(&signer);
        let writer =
            blocking(move || Writer::open(&place, with, &anchors, at, segment_bytes)).await?;
        let log = Self {
            folder: writer.folder().to_owned(),
            writer: Arc::new(Mutex::new(writer)),
            signer,
            vault,
            clock,
        };
        log.checkpoint().await?;
        Ok(log)
    }

    /// The same log over another vault: that of the store as it was restored, which keeps the key and the checkpoints.
    #[must_use]
    pub fn over(&self, vault: Arc<Vault>) -> Self {
        Self {
            vault,
            ..self.clone()
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The public JWK that verifies the checkpoints.
    #[must_use]
    pub fn public_jwk(&self) -> &str {
        self.signer.public_jwk()
    }

    /// Writes an entry and gives its number. What begins an act is on the disk when this returns; what came of it follows with the next one.
    ///
    /// # Errors
    /// [`AuditError`]; nothing of the entry was written then, and the act must not be done.
    pub async fn append(&self, act: Act) -> Result<u64, AuditError> {
        let durable = matches!(act.outcome, Outcome::Begun);
        let body = Body::Act(Box::new(act));
        let at = now(&self.clock);
        let (seq, due) = self
            .write(move |writer| {
                let seq = writer.append(at, body, durable)?;
                Ok((seq, writer.unsigned() >= CHECKPOINT_EVERY))
            })
            .await?;
        if due {
            self.checkpoint_or_say().await;
        }
        Ok(seq)
    }

    /// Signs what was written since the last checkpoint, and keeps the checkpoint in the store. Without new entries nothing happens.
    ///
    /// # Errors
    /// [`AuditError`]. The entries stay as they are; the next checkpoint covers them.
    pub async fn checkpoint(&self) -> Result<(), AuditError> {
        let at = now(&self.clock);
        let made = self.write(move |writer| writer.checkpoint(at)).await?;
        if let Some(anchor) = made {
            self.vault.anchor(&anchor).await?;
        }
        Ok(())
    }

    /// Reads a page of the log.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn query(
        &self,
        query: Query,
        visible: impl Fn(&Act) -> bool + Send + 'static,
    ) -> Result<Page, AuditError> {
        let folder = self.folder.clone();
        blocking(move || query::read(&folder, &query, &visible)).await
    }

    /// The newest checkpoints of all chains that the store knows.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn checkpoints(&self) -> Result<Vec<Anchor>, AuditError> {
        Ok(self.vault.anchors().await?)
    }

    /// Makes checkpoints until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(CHECKPOINT_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while shutdown.guard(ticks.tick()).await.is_some() {
            self.checkpoint_or_say().await;
        }
    }

    /// A checkpoint, or a line in the log of the process.
    pub async fn checkpoint_or_say(&self) {
        if let Err(error) = self.checkpoint().await {
            tracing::error!(%error, "the audit log has no checkpoint");
        }
    }

    /// Writing blocks, so it is done on a thread for that. A caller that stops waiting stops nothing.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, AuditError> + Send + 'static,
    ) -> Result<T, AuditError> {
        let writer = Arc::clone(&self.writer);
        blocking(move || work(&mut writer.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AuditError> + Send + 'static,
) -> Result<T, AuditError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_ended| AuditError::Ended)?
}

fn now(clock: &SharedClock) -> u64 {
    clocks::wall(clock).as_millis()
}
