//! The flags of a run.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::dice::Dice;

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Size {
    /// A few of each, as `make test` does: seconds a group. No figure of time is judged by it.
    Small,
    /// What the bars are written for.
    Full,
}

/// Measures what is guaranteed, under faults, and writes one report.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "faults",
    version,
    after_help = "Examples:
  make faults
  make faults FAULTS='--only kills --seed 7'
  make faults FAULTS='--only rotation,revocation --size small'
  make faults FAULTS=--list"
)]
pub struct Settings {
    /// Only these groups, by name; the rows of others stay in the report as they are.
    #[arg(long, value_delimiter = ',', value_name = "GROUP")]
    pub only: Vec<String>,
    /// The seed of every fault. The report has it in each row.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How much is done.
    #[arg(long, value_enum, default_value_t = Size::Full)]
    pub size: Size,
    /// Where the report goes. Default: tests/results/faults.json, and for `--size small` nowhere.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A folder for the files of a run, best in memory.
    #[arg(long, value_name = "FOLDER", default_value = "/dev/shm")]
    pub scratch: PathBuf,
    /// Lists the groups and their figures, and ends.
    #[arg(long)]
    pub list: bool,
}

/// What a group is given.
#[derive(Clone, Debug)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// How much is done.
    pub size: Size,
    scratch: PathBuf,
}

impl Run {
    /// A run of that size and seed.
    #[must_use]
    pub fn new(size: Size, seed: u64, scratch: PathBuf) -> Self {
        Self {
            seed,
            size,
            scratch,
        }
    }

    /// The small size, as tests run it.
    #[must_use]
    pub fn small() -> Self {
        Self::new(Size::Small, 1, PathBuf::from("/dev/shm"))
    }

    /// One number for each size.
    #[must_use]
    pub fn of<T>(&self, small: T, full: T) -> T {
        match self.size {
            Size::Small => small,
            Size::Full => full,
        }
    }

    /// Randomness for one purpose.
    #[must_use]
    pub fn dice(&self, purpose: &str) -> Dice {
        Dice::new(self.seed, purpose)
    }

    /// A new folder, removed when dropped.
    ///
    /// # Errors
    /// Where neither the scratch folder nor the system's own takes one.
    pub fn folder(&self) -> std::io::Result<tempfile::TempDir> {
        tempfile::tempdir_in(&self.scratch).or_else(|_not_there| tempfile::tempdir())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_and_mistakes_named() {
        let parsed =
            Settings::try_parse_from(["faults", "--only", "kills,feed", "--size", "small"]);
        let parsed = parsed.unwrap();
        assert_eq!(parsed.only, ["kills", "feed"]);
        assert_eq!((parsed.size, parsed.seed), (Size::Small, 1));
        let wrong = Settings::try_parse_from(["faults", "--size", "huge"]).unwrap_err();
        assert!(wrong.to_string().contains("small"), "{wrong}");
    }
}
