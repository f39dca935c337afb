//! The flags that every daemon has.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{ConfigErrors, Loader, Mistake, Settings, to_redacted_toml};

/// Flags about configuration; `#[command(flatten)]` them into a daemon's arguments.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    /// The TOML file with the settings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Sets one key, for example --set grpc.listen=127.0.0.1:50051; may be repeated, wins over file and environment.
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,

    /// Reads the configuration, names every mistake, and exits: 0 when it is sound, 64 when it is not.
    #[arg(long)]
    pub check_config: bool,

    /// Prints the settings in force as TOML, without secrets, and exits.
    #[arg(long)]
    pub print_config: bool,

    /// Ends this process when the one that started it dies.
    #[arg(long)]
    pub die_with_parent: bool,
}

/// What to do after the configuration was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start<T> {
    /// Run with these settings.
    Run(T),
    /// Say this on standard output and exit 0.
    Say(String),
}

impl ConfigArgs {
    /// Loads the settings through `loader`, with this file and these flags.
    pub fn load<T: Settings>(&self, loader: Loader) -> Result<Start<T>, ConfigErrors> {
        let settings: T = loader
            .file(self.config.clone())
            .flags(self.set.iter().cloned())
            .load()?;
        if self.print_config {
            let printed = to_redacted_toml(&settings);
            return Ok(Start::Say(
                printed.map_err(|error| Mistake::new("settings", error.to_string()))?,
            ));
        }
        if self.check_config {
            return Ok(Start::Say("the configuration is sound".to_owned()));
        }
        Ok(Start::Run(settings))
    }
}

/// Writes a line to standard output; a reader that has gone away is no error.
pub fn say(text: &str) {
    let _gone = writeln!(io::stdout().lock(), "{}", text.trim_end());
}

fn key_and_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("write SECTION.KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
