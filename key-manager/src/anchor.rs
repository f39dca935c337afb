//! The anchor: a file that remembers the highest epoch, on another disk than the store, so that an older store is refused.
//!
//! The file is written after the epoch, once a second at most: what was committed in the last second before a crash may be missing from it. So a
//! store that is older by no more than that is not told from the latest one; nothing older is taken.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use service_kit::shutdown::Shutdown;

use crate::{config::Store, vault::Vault};

/// From one write to the next at least: commits may come by the hundred.
const PACE: Duration = Duration::from_secs(1);

/// Why the anchor does not let the store be used.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The file cannot be read or written.
    #[error("store.anchor: {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "store.anchor: {path}: holds no epoch; where it was damaged, give the copy of another key-manager, or remove it"
    )]
    Unreadable {
        /// The file.
        path: String,
    },
    /// The store is older than the anchor.
    #[error(
        "the store is at epoch {present}, and its anchor {path} has seen {seen}: an older store was put in place. Put the newer one back. Where it is lost, move \
         this one away, start on an empty store, and restore a backup (cryptoctl restore): that sets an epoch above {seen}"
    )]
    Older {
        /// The file.
        path: String,
        /// What it has seen.
        seen: u64,
        /// What the store has.
        present: u64,
    },
}

/// The file.
#[derive(Clone, Debug)]
pub struct Anchor {
    path: PathBuf,
}

impl Anchor {
    /// The anchor in that file, which need not exist yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The anchor that the settings name.
    #[must_use]
    pub fn of(settings: &Store) -> Option<Self> {
        (!settings.anchor.as_os_str().is_empty()).then(|| Self::new(&settings.anchor))
    }

    /// Compares the store with what the anchor has seen. A store that is empty may be opened, and moves no epoch until a backup is restored into it.
    ///
    /// # Errors
    /// [`AnchorError`].
    pub fn check(&self, vault: &Vault) -> Result<(), AnchorError> {
        let (present, seen) = (vault.epoch(), self.read()?);
        if seen <= present {
            return self.write(present);
        }
        if present == 0 && vault.all().1.is_empty() {
            tracing::warn!(
                seen,
                "the store is empty, and its anchor has seen a later epoch: nothing is done but a restore"
            );
            vault.hold_until_restored(seen);
            return Ok(());
        }
        Err(AnchorError::Older {
            path: self.path.display().to_string(),
            seen,
            present,
        })
    }

    /// Writes each epoch of the vault, once a second at most, until shutdown. Spawn it.
    pub async fn follow(self, vault: Arc<Vault>, shutdown: Shutdown) {
        let mut epochs = vault.watch();
        while let Some(Ok(())) = shutdown.guard(epochs.changed()).await {
            let epoch = *epochs.borrow_and_update();
            self.write_or_say(epoch).await;
            if shutdown.guard(tokio::time::sleep(PACE)).await.is_none() {
                break;
            }
        }
        self.write_or_say(vault.epoch()).await;
    }

    async fn write_or_say(&self, epoch: u64) {
        let anchor = self.clone();
        let written = tokio::task::spawn_blocking(move || anchor.raise(epoch)).await;
        if let Ok(Err(error)) = written {
            tracing::error!(%error, epoch, "the anchor does not know the present epoch");
        }
    }

    /// Never lowers it: an empty store that waits for a restore has none to tell.
    fn raise(&self, epoch: u64) -> Result<(), AnchorError> {
        match self.read()? < epoch {
            true => self.write(epoch),
            false => Ok(()),
        }
    }

    /// What the anchor has seen; 0 where there is no file.
    fn read(&self) -> Result<u64, AnchorError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
            Err(source) => return Err(self.failed(source)),
        };
        let epoch = text
            .strip_prefix("epoch ")
            .and_then(|rest| rest.strip_suffix('\n'))
            .and_then(|number| number.parse().ok());
        epoch.ok_or_else(|| AnchorError::Unreadable {
            path: self.path.display().to_string(),
        })
    }

    fn write(&self, epoch: u64) -> Result<(), AnchorError> {
        write_whole(&self.path, format!("epoch {epoch}\n").as_bytes())
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> AnchorError {
        AnchorError::File {
            path: self.path.display().to_string(),
            source,
        }
    }
}

/// The file is the old one or the new one, whenever the machine stops.
fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}
