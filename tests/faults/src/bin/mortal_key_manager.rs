//! The key-manager, run as its own program runs it, over a store that ends the process at a chosen step.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use faults::{Fault, countdown::Countdown, progress, vfs};
use key_manager::{Listeners, config};
use service_kit::{
    config::{ConfigArgs, Start},
    process,
    shutdown::Shutdown,
    telemetry,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The key-manager of the fault harness.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where the number of steps comes from.
    #[arg(long, value_name = "FILE")]
    arm: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(serve(Arguments::parse())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            progress(&fault.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), Fault> {
    let Start::Run(config) = arguments.config.load::<config::Config>(config::loader())? else {
        return Err("this program only runs".into());
    };
    telemetry::init(&config.log)?;
    process::die_with_parent()?;
    vfs::watch(Arc::new(Countdown::new(arguments.arm)))?;
    let shutdown = Shutdown::new();
    process::drain_on_signals(shutdown.clone())?;
    let listeners = Listeners::bind(&config).await?;
    Ok(key_manager::run(config, listeners, shutdown).await?)
}
