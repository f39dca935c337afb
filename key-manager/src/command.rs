//! What the program does besides serving: `key-manager store ...`, `key-manager kek ...`.

mod kek;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Subcommand;
use service_kit::config::{ConfigErrors, EXIT_BAD_CONFIG, say};

use crate::{
    config::{self, Config, Store},
    seal::KekError,
    store::{self, KeyStore, MigrateError, Migration, OpenError, Progress, StoreError},
};

pub use kek::KekCommand;

/// A task that ends.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Moves a store to another engine, and takes the mark of a move that was given up back.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Makes the key-encryption key in its token, and tries the one that the settings name.
    #[command(subcommand)]
    Kek(KekCommand),
}

/// `key-manager store`
#[derive(Clone, Debug, Subcommand)]
pub enum StoreCommand {
    /// Moves everything in one store to another, empty one, and compares record by record. No key-manager runs meanwhile.
    ///
    /// Exit codes: 64 bad settings, 65 a record differs or the store is damaged, 66 nothing to move, or moved already,
    /// 69 a store cannot be reached, 73 the target is not empty, 74 the target may be whole and the source does not say so.
    Migrate {
        /// The settings of the key-managers so far; only [store] is used.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// Their settings from now on; only [store] is used.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// Writes over what a move that was broken off has left in the target.
        #[arg(long)]
        again: bool,
    },
    /// Takes the mark of a move that was broken off back, so that key-managers open the store again. Only for a store whose
    /// copy was never opened by a key-manager: two stores that are written to cannot be put together.
    Release {
        /// The settings that name the store.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A file with settings has mistakes.
    #[error("{0}: {1}")]
    Config(String, ConfigErrors),
    /// A store cannot be opened.
    #[error("{0}: {1}")]
    Open(String, OpenError),
    /// Both files name the same store.
    #[error("--from and --to name the same store")]
    SameStore,
    /// The move failed.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key-encryption key cannot be used or made.
    #[error(transparent)]
    Kek(#[from] KekError),
}

impl CommandError {
    /// The exit code, of sysexits.h.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(..) | Self::SameStore => EXIT_BAD_CONFIG,
            Self::Open(_, OpenError::Store(StoreError::Refused(_))) => 66,
            Self::Open(_, OpenError::Store(StoreError::Damaged(_)))
            | Self::Store(StoreError::Damaged(_)) => 65,
            Self::Open(_, OpenError::Store(_)) | Self::Store(_) => 69,
            Self::Kek(error) if error.is_unavailable() => 69,
            // EX_CONFIG
            Self::Open(..) | Self::Kek(_) => 78,
            Self::Migrate(error) => error.exit_code(),
        }
    }
}

/// Does it.
///
/// # Errors
/// [`CommandError`].
pub async fn execute(command: Command) -> Result<(), CommandError> {
    let command = match command {
        Command::Kek(command) => return kek::execute(command).await,
        Command::Store(command) => command,
    };
    match command {
        StoreCommand::Migrate { from, to, again } => migrate(&from, &to, again).await,
        StoreCommand::Release { config } => release(&config).await,
    }
}

async fn migrate(from: &Path, to: &Path, again: bool) -> Result<(), CommandError> {
    let (source, target) = (settings(from)?, settings(to)?);
    let place = |store: &Store| {
        (
            store.path.clone(),
            store.endpoints.clone(),
            store.prefix.clone(),
        )
    };
    if place(&source) == place(&target) {
        return Err(CommandError::SameStore);
    }
    let migration = Migration {
        from: open(from, &source, false).await?,
        to: open(to, &target, true).await?,
        destination: shown(&target),
        again,
    };
    report(&format!("from {}", shown(&source)));
    report(&format!("to   {}", shown(&target)));
    let moved = store::migrate(&migration, |step| {
        report(&match step {
            Progress::Counted(count) => format!("{count} entries and the root"),
            Progress::Copied(count) => format!("copied {count}"),
            Progress::Compared(count) => format!("compared {count}"),
        });
    });
    let moved = moved.await?;
    say(&format!(
        "moved {moved} entries to {}; start the key-managers with {}",
        migration.destination,
        to.display()
    ));
    Ok(())
}

async fn release(config: &Path) -> Result<(), CommandError> {
    let settings = settings(config)?;
    let store = open(config, &settings, false).await?;
    say(match store::release(store.as_ref()).await? {
        true => "the mark is taken back: key-managers open this store again",
        false => "the store has no mark of a move",
    });
    Ok(())
}

/// What the file says. The environment is left out: it would be meant for both stores.
fn settings(file: &Path) -> Result<Store, CommandError> {
    let loaded = config::loader()
        .environment([])
        .file(Some(file.to_owned()))
        .load::<Config>();
    loaded
        .map(|config| config.store)
        .map_err(|errors| CommandError::Config(file.display().to_string(), errors))
}

async fn open(
    file: &Path,
    settings: &Store,
    make: bool,
) -> Result<Arc<dyn KeyStore>, CommandError> {
    let opened = store::open(settings, make).await;
    opened.map_err(|error| CommandError::Open(file.display().to_string(), error))
}

fn shown(store: &Store) -> String {
    match store.is_etcd() {
        true => format!("etcd {} below {}", store.endpoints.join(","), store.prefix),
        false => store.path.display().to_string(),
    }
}

/// A line of progress, on standard error; where nobody reads, the exit code says enough.
fn report(line: &str) {
    let _unread = writeln!(std::io::stderr().lock(), "store migrate: {line}");
}
