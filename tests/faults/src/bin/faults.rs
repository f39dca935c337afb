//! One command, one report: what is guaranteed, under faults.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use faults::{
    Fault, progress, report,
    rows::{self, GROUPS, Group},
    settings::{Run, Settings, Size},
};

#[tokio::main]
async fn main() -> ExitCode {
    match measure(Settings::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            progress(&fault.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Whether every bar was kept.
async fn measure(settings: Settings) -> Result<bool, Fault> {
    if settings.list {
        service_kit::config::say(&list());
        return Ok(true);
    }
    let groups: Vec<&Group> = match settings.only.as_slice() {
        [] => GROUPS.iter().collect(),
        names => names
            .iter()
            .map(|name| rows::named(name))
            .collect::<Result<_, _>>()?,
    };
    let output = settings.output.or_else(|| {
        let report = || blackbox::repository().join("tests/results/faults.json");
        (settings.size == Size::Full).then(report)
    });
    let (mut ok, seed, commit) = (true, settings.seed, report::commit());
    for group in groups {
        let run = Run::new(settings.size, seed, PathBuf::clone(&settings.scratch));
        let measured = rows::run(group, run).await;
        ok &= measured.iter().all(|row| row.ok());
        // after each group: a run that is ended has what it measured
        if let Some(output) = &output {
            report::write(output, &commit, seed, &measured)?;
        }
    }
    Ok(ok)
}

fn list() -> String {
    let lines = GROUPS.iter().map(|group| {
        let figures = group
            .figures
            .iter()
            .map(|figure| format!("    {} (bar {})", figure.name, figure.bar.value()));
        let figures: Vec<_> = figures.collect();
        format!("{}: {}\n{}", group.name, group.about, figures.join("\n"))
    });
    lines.collect::<Vec<_>>().join("\n")
}
