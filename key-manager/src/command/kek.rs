//! `key-manager kek ...`: the key-encryption key that the settings name.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use service_kit::config::say;

use super::CommandError;
use crate::{
    config::{self, Config, KekSource},
    seal::{KekError, Pkcs11Kek, SealError, open_kek},
};

/// `key-manager kek`
#[derive(Clone, Debug, Subcommand)]
pub enum KekCommand {
    /// Makes the key that [kek.pkcs11] names, in its token: AES-256, sensitive, never extractable. A key that has the label
    /// already is left alone.
    ///
    /// Exit codes: 64 bad settings, 69 the token is not there or fails, 78 it refuses.
    Create {
        /// The settings of the key-manager; only [kek] is used.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Wraps and unwraps a fresh key with the key that [kek] names, wherever it is. Touches no store.
    ///
    /// Exit codes: 64 bad settings, 69 the key is out of reach, 78 it is missing or refused.
    Check {
        /// The settings of the key-manager; only [kek] is used.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

pub(super) async fn execute(command: KekCommand) -> Result<(), CommandError> {
    match command {
        KekCommand::Create { config } => create(&config).await,
        KekCommand::Check { config } => check(&config).await,
    }
}

async fn create(file: &Path) -> Result<(), CommandError> {
    let KekSource::Pkcs11(key) = source(file)? else {
        return Err(CommandError::Kek(KekError::Settings(
            "kek: only a key in a PKCS#11 token is made here: name it in [kek.pkcs11]".to_owned(),
        )));
    };
    Pkcs11Kek::create(&key).await.map_err(KekError::from)?;
    say(&format!(
        "made the key {:?} in the token {:?}",
        key.key_label, key.token_label
    ));
    Ok(())
}

async fn check(file: &Path) -> Result<(), CommandError> {
    let kek = open_kek(&source(file)?).await?;
    let key = crate::seal::fresh_key().map_err(KekError::from)?;
    let wrapped = kek.wrap("", &key).await.map_err(KekError::from)?;
    let opened = kek.unwrap("", &wrapped).await.map_err(KekError::from)?;
    if opened != key {
        return Err(CommandError::Kek(SealError::Refused.into()));
    }
    say(&format!("the key-encryption key works: {kek:?}"));
    Ok(())
}

/// As the key-manager itself reads its settings, the environment included.
fn source(file: &Path) -> Result<KekSource, CommandError> {
    let shown = || file.display().to_string();
    let loaded = config::loader()
        .file(Some(file.to_owned()))
        .load::<Config>();
    let config = loaded.map_err(|errors| CommandError::Config(shown(), errors))?;
    config.kek.source("kek").map_err(|mistakes| {
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        CommandError::Kek(KekError::Settings(mistakes.join("; ")))
    })
}
