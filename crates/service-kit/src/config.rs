//! Configuration: default < file < environment < flags.
//!
//! A daemon's settings are one struct that implements [`Settings`]; its `Default` is the documentation of every
//! default, and `#[serde(deny_unknown_fields, default)]` on it and on its sections makes unknown keys fail.
//! Every mistake is named at once, with the place where it was made.
//!
//! The environment is read here and nowhere else. Configuration names secrets and never holds them: a setting
//! says `env = "NAME"`, and [`secret_from_env`] fetches it.

mod args;
mod duration;
mod overrides;
mod print;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Table;
use zeroize::Zeroizing;

pub use args::{ConfigArgs, Start, say};
pub use duration::{DurationError, Span};
use overrides::Override;
pub use print::to_redacted_toml;

/// The exit code for bad configuration: `EX_USAGE` of sysexits.h.
pub const EXIT_BAD_CONFIG: u8 = 64;

/// A daemon's settings: sections of keys. Structs must carry `#[serde(deny_unknown_fields, default)]`.
pub trait Settings: Default + Serialize + DeserializeOwned {
    /// What types cannot say: missing values, values that contradict each other.
    fn mistakes(&self) -> Vec<Mistake> {
        Vec::new()
    }
}

/// One mistake: where it was made, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The key, the variable or the flag.
    pub place: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Mistake {
    /// A mistake at `place`.
    pub fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// Everything that is wrong with a configuration. Displayed as one line per mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Mistake>);

impl ConfigErrors {
    /// The mistakes; never empty.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.0
    }
}

impl From<Mistake> for ConfigErrors {
    fn from(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad configuration:")?;
        self.0
            .iter()
            .try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Gathers the layers and builds settings from them.
#[derive(Clone, Debug)]
pub struct Loader {
    prefix: &'static str,
    file: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    aliases: Vec<Alias>,
    flags: Vec<(String, String)>,
}

/// A variable without the prefix that sets one key.
#[derive(Clone, Copy, Debug)]
struct Alias {
    variable: &'static str,
    key: &'static str,
    convert: fn(&str) -> String,
}

impl Loader {
    /// A loader over this process's environment; `prefix` is for example `CRYPTO_SERVICE`.
    pub fn new(prefix: &'static str) -> Self {
        // Names and values that are not UTF-8 become visibly wrong ones, so that they fail by name below.
        let environment = std::env::vars_os().map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        });
        Self {
            prefix,
            file: None,
            environment: environment.collect(),
            aliases: Vec::new(),
            flags: Vec::new(),
        }
    }

    /// Replaces the environment: for tests.
    pub fn environment<'a>(
        mut self,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        self.environment = variables.into_iter().map(owned).collect();
        self
    }

    /// The TOML file, if one was named.
    pub fn file(mut self, path: Option<PathBuf>) -> Self {
        self.file = path;
        self
    }

    /// Lets `variable` set `key` (as `section.name`). The prefixed variable of the same key wins over it.
    pub fn alias(self, variable: &'static str, key: &'static str) -> Self {
        self.alias_with(variable, key, str::to_owned)
    }

    /// As [`alias`](Self::alias), with the value rewritten: an address into an endpoint, say.
    pub fn alias_with(
        mut self,
        variable: &'static str,
        key: &'static str,
        convert: fn(&str) -> String,
    ) -> Self {
        self.aliases.push(Alias {
            variable,
            key,
            convert,
        });
        self
    }

    /// Adds flags as (`section.name`, value); they win over everything, later ones over earlier ones.
    pub fn flags(mut self, flags: impl IntoIterator<Item = (String, String)>) -> Self {
        self.flags.extend(flags);
        self
    }

    /// Builds the settings, or names every mistake.
    pub fn load<T: Settings>(self) -> Result<T, ConfigErrors> {
        let defaults = Table::try_from(T::default())
            .map_err(|error| Mistake::new("defaults", error.to_string()))?;
        let mut mistakes = Vec::new();
        let overrides = self.overrides(&mut mistakes);
        let settings = combine::<T>(&defaults, overrides, &mut mistakes);
        if let Some(settings) = &settings {
            mistakes.extend(settings.mistakes());
        }
        match settings {
            Some(settings) if mistakes.is_empty() => Ok(settings),
            _ => Err(ConfigErrors(mistakes)),
        }
    }

    /// Every override, weakest first.
    fn overrides(&self, mistakes: &mut Vec<Mistake>) -> Vec<Override> {
        let mut all = Vec::new();
        if let Some(path) = &self.file {
            match overrides::from_file(path) {
                Ok(overrides) => all.extend(overrides),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        for alias in &self.aliases {
            if let Some(value) = self.environment.get(alias.variable) {
                all.push(Override::text(
                    alias.variable,
                    alias.key,
                    &(alias.convert)(value),
                ));
            }
        }
        for (name, value) in &self.environment {
            let rest = name
                .strip_prefix(self.prefix)
                .and_then(|rest| rest.strip_prefix('_'));
            match rest.map(overrides::key_of_variable) {
                None => {}
                Some(Some(key)) => all.push(Override::text(name, &key, value)),
                Some(None) => mistakes.push(self.not_a_key(name)),
            }
        }
        for (key, value) in &self.flags {
            all.push(Override::text(&format!("--set {key}"), key, value));
        }
        all
    }

    fn not_a_key(&self, variable: &str) -> Mistake {
        Mistake::new(
            variable,
            format!(
                "names no setting; the form is {}_<SECTION>_<KEY>",
                self.prefix
            ),
        )
    }
}

/// Lays the overrides over the defaults. An override that does not fit is named and left out, so that the
/// rest is still looked at.
fn combine<T: Settings>(
    defaults: &Table,
    overrides: Vec<Override>,
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    let mut table = defaults.clone();
    for entry in overrides {
        match entry.fit::<T>(&table) {
            Ok(next) => table = next,
            Err(mistake) => mistakes.push(mistake),
        }
    }
    match table.try_into::<T>() {
        Ok(settings) => Some(settings),
        Err(error) => {
            mistakes.push(Mistake::new("settings", overrides::first_line(&error)));
            None
        }
    }
}

/// A secret cannot be fetched from the environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {0} is not set, or is empty")]
pub struct SecretMissing(String);

/// The secret in the environment variable that the configuration names; zeroized on drop.
pub fn secret_from_env(name: &str) -> Result<Zeroizing<Vec<u8>>, SecretMissing> {
    use std::os::unix::ffi::OsStringExt;
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the config module: the environment is read here"
    )]
    let value = std::env::var_os(name)
        .map(OsStringExt::into_vec)
        .map(Zeroizing::new);
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| SecretMissing(name.to_owned()))
}

#[cfg(test)]
mod tests;
