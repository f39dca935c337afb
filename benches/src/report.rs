//! The report: rows, the ratios of the bar, Markdown, JSON and plots.

pub mod catalogue;
mod json;
mod markdown;
pub mod plot;
mod plots;
pub mod ratios;
pub mod table;
pub mod versions;

use std::{fs, path::Path};

use ratios::{Lanes, Ratio};
use table::Table;
use versions::Versions;

use crate::{Fault, kernel::Machine, settings::Settings};

/// Everything that a run found out.
#[derive(Debug)]
pub struct Report {
    /// The commit that was measured, `-dirty` where the tree has changes, `unknown` without git.
    pub commit: String,
    /// When, in UTC.
    pub date: String,
    /// The command.
    pub command: String,
    /// How hard the service was pressed.
    pub settings: Settings,
    /// Where.
    pub machine: Machine,
    /// Whether the lanes were there.
    pub lanes: Lanes,
    /// With what.
    pub versions: Versions,
    /// The rows.
    pub table: Table,
    /// Groups that could not be measured, and why.
    pub faults: Vec<(String, String)>,
}

impl Report {
    /// The ratios of the bar, from these rows.
    #[must_use]
    pub fn ratios(&self) -> Vec<Ratio> {
        ratios::of(&self.table, &self.lanes, &self.faults)
    }

    /// Writes `latest.md`, `latest.json` and the plots.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), Fault> {
        fs::create_dir_all(folder)?;
        let plots = plots::of(&self.table);
        for plot in &plots {
            fs::write(folder.join(&plot.file), &plot.svg)?;
        }
        fs::write(folder.join("latest.json"), json::of(self)?)?;
        fs::write(folder.join("latest.md"), markdown::of(self, &plots))?;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser as _;

    use super::{table::Column, *};

    /// A report with one row and one fault.
    pub(crate) fn sample() -> Report {
        let mut table = Table::default();
        for (aws_lc, ours) in [(240.0, 100.0), (250.0, 100.0), (480.0, 200.0)] {
            table.record("rs256_sign", "aws-lc-rs", [(Column::Cpu, aws_lc)]);
            table.record(
                "rs256_sign",
                "unary",
                [
                    (Column::ServerCpu, ours),
                    (Column::ClientCpu, 20.0),
                    (Column::PerSecond, 9_000.0),
                ],
            );
        }
        Report {
            commit: "0123abc".to_owned(),
            date: "2026-01-02T03:04:05Z".to_owned(),
            command: "report".to_owned(),
            settings: Settings::parse_from(["report"]),
            machine: Machine {
                cpu: "Test <CPU>".to_owned(),
                cores: 2,
                ifma: true,
                kernel: "6.0".to_owned(),
                memory_mib: 4096,
            },
            lanes: Lanes::There,
            versions: Versions::of_the_build(),
            table,
            faults: vec![("growth".to_owned(), "no disk".to_owned())],
        }
    }

    #[test]
    fn a_report_is_a_page_a_document_and_plots() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        sample().write(&folder).unwrap();
        for file in ["latest.md", "latest.json", "rs256_sign.svg"] {
            assert!(folder.join(file).metadata().unwrap().len() > 100, "{file}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(sample().write(file.path()).is_err());
    }
}
