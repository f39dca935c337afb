//! One command, one report: what the service costs, beside whom it is compared with.

#![expect(
    clippy::print_stderr,
    reason = "progress and failures go to standard error"
)]

use std::process::ExitCode;

use benches::{Fault, rows, settings::Settings};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let settings = Settings::parse().resolved();
    match Box::pin(report(settings)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("report: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was measured.
async fn report(settings: Settings) -> Result<bool, Fault> {
    let output = settings.output.clone();
    // a run that is ended ends the daemons and peers that it started
    let report = tokio::select! {
        report = Box::pin(rows::run(settings, command())) => report?,
        fault = ended() => return Err(fault?.into()),
    };
    report.write(&output)?;
    eprintln!("report: {}", output.join("latest.md").display());
    for (group, why) in &report.faults {
        eprintln!("report: {group} was not measured: {why}");
    }
    Ok(report.faults.is_empty())
}

/// Until a signal asks this program to end; gives what to say then.
async fn ended() -> Result<&'static str, Fault> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok("ended before it was done; nothing was written")
}

/// How this was called, without the folder of the program.
fn command() -> String {
    let arguments = std::env::args().skip(1);
    let words: Vec<String> = std::iter::once("report".to_owned())
        .chain(arguments)
        .collect();
    words.join(" ")
}
