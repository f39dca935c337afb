//! The crypto-service. What it does is in the library; this is the list of steps to get there.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use crypto_service::config::{Arguments, Config};
use crypto_service::{Listeners, run};
use service_kit::config::{EXIT_BAD_CONFIG, Start, say};
use service_kit::shutdown::Shutdown;
use service_kit::{process, telemetry};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    match arguments.load() {
        Ok(Start::Run(config)) => start(&arguments, config),
        Ok(Start::Say(text)) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(errors) => complain(&errors, EXIT_BAD_CONFIG),
    }
}

fn start(arguments: &Arguments, config: Config) -> ExitCode {
    if let Err(error) = prepare(arguments) {
        return complain(&error, 1);
    }
    if let Err(error) = telemetry::init(&config.log) {
        return complain(&error, EXIT_BAD_CONFIG);
    }
    serve(config).map_or_else(|error| complain(&*error, 1), |()| ExitCode::SUCCESS)
}

/// Before anything secret is read.
fn prepare(arguments: &Arguments) -> io::Result<()> {
    process::harden()?;
    if arguments.die_with_parent() {
        process::die_with_parent()
    } else {
        Ok(())
    }
}

fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        process::drain_on_signals(shutdown.clone())?;
        let listeners = Listeners::bind(&config).await?;
        Ok(run(config, listeners, shutdown).await?)
    })
}

/// Help and version go to standard output and are no mistake.
fn usage(error: &clap::Error) -> ExitCode {
    // A reader that has gone away is no error.
    let _gone = error.print();
    if error.use_stderr() {
        ExitCode::from(EXIT_BAD_CONFIG)
    } else {
        ExitCode::SUCCESS
    }
}

fn complain(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let _gone = writeln!(io::stderr().lock(), "crypto-service: {error}");
    ExitCode::from(code)
}
