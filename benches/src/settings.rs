//! What a run of the report is told.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

/// Measures the service and what it is compared with, and writes one report.
#[derive(Debug, Clone, Parser)]
#[command(name = "report")]
pub struct Settings {
    /// The folder with the programs under test.
    #[arg(long, default_value = "target/release")]
    pub programs: PathBuf,
    /// Where folders for the daemons are made.
    #[arg(long, default_value = "target")]
    pub scratch: PathBuf,
    /// Where folders for services with many key sets are made: in memory, since writing 100,000 of them to a disk takes
    /// longer than everything else, and what is measured is not the disk. Where there is no such folder, --scratch.
    #[arg(long, default_value = "/dev/shm")]
    pub growth_scratch: PathBuf,
    /// The folder that latest.md, latest.json and the plots go to.
    #[arg(long, default_value = "benches/results")]
    pub output: PathBuf,
    /// Only these groups of rows, apart by commas; their names stand in the report.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Rounds of each measurement; the median is shown with the spread.
    #[arg(long, default_value = "5")]
    pub rounds: usize,
    /// Seconds for each measurement of a service; a loop in this process takes a quarter of it.
    #[arg(long, default_value = "3")]
    pub seconds: f64,
    /// Callers with one call in flight each, at saturation.
    #[arg(long, default_value = "256")]
    pub callers: usize,
    /// Callers with one batch in flight each, at saturation.
    #[arg(long, default_value = "8")]
    pub batch_callers: usize,
    /// Items in a batch.
    #[arg(long, default_value = "64")]
    pub batch: usize,
    /// HTTP/2 connections that the callers share.
    #[arg(long, default_value = "2")]
    pub connections: usize,
    /// Key sets that the service grows to.
    #[arg(long, value_delimiter = ',', default_value = "1,100,10000,100000")]
    pub key_sets: Vec<usize>,
    /// One short round and few key sets: shows that everything runs, measures nothing.
    #[arg(long)]
    pub quick: bool,
}

impl Settings {
    /// With what `--quick` stands for.
    #[must_use]
    pub fn resolved(mut self) -> Self {
        if self.quick {
            self.rounds = 1;
            self.seconds = self.seconds.min(0.06);
            self.callers = self.callers.min(16);
            self.batch_callers = self.batch_callers.min(2);
            self.batch = self.batch.min(8);
            self.key_sets = vec![1, 8];
        }
        self
    }

    /// For one measurement of a service.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::from_secs(1))
    }

    /// For a loop in this process, whose CPU clock counts nanoseconds.
    #[must_use]
    pub fn loop_duration(&self) -> Duration {
        self.duration() / 4
    }

    /// Whether a group of rows is wanted.
    #[must_use]
    pub fn wants(&self, group: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_is_small_and_everything_else_stays() {
        let quick =
            Settings::parse_from(["report", "--quick", "--only", "growth,flood"]).resolved();
        assert_eq!((quick.rounds, quick.key_sets.as_slice()), (1, &[1, 8][..]));
        assert!(quick.duration() < Duration::from_millis(100));
        assert!(quick.wants("flood") && !quick.wants("rs256_sign"));
        let full = Settings::parse_from(["report"]).resolved();
        assert_eq!((full.rounds, full.key_sets.last()), (5, Some(&100_000)));
        assert!(full.wants("rs256_sign"));
        assert_eq!(full.duration(), Duration::from_secs(3));
    }
}
