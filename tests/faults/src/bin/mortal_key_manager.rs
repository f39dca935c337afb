//! The key-manager, run as its own program runs it, over a store that ends the process at a chosen step, or with a clock that is off.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use clap::Parser;
use faults::{Fault, countdown::Countdown, progress, vfs};
use key_manager::{Environment, Listeners, config};
use service_kit::{
    clock::{BootTime, Clock, SystemClock},
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
    /// Where the number of steps comes from, after which the process ends.
    #[arg(long, value_name = "FILE")]
    arm: Option<PathBuf>,
    /// How far its wall clock is from the machine's.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    clock_offset: i64,
}

/// The machine's clocks, with a wall clock that is so many seconds off.
#[derive(Debug)]
struct OffClock(i64);

impl Clock for OffClock {
    fn wall(&self) -> SystemTime {
        let by = Duration::from_secs(self.0.unsigned_abs());
        match self.0 < 0 {
            true => SystemClock.wall() - by,
            false => SystemClock.wall() + by,
        }
    }

    fn boot(&self) -> BootTime {
        SystemClock.boot()
    }
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
    let Start::Run(mut config) = arguments.config.load::<config::Config>(config::loader())? else {
        return Err("this program only runs".into());
    };
    // The steps are those of the key store alone; and the VFS has no memory that two connections share.
    config.issued.path = PathBuf::new();
    telemetry::init(&config.log)?;
    process::die_with_parent()?;
    if let Some(arm) = arguments.arm {
        vfs::watch(Arc::new(Countdown::new(arm)))?;
    }
    let shutdown = Shutdown::new();
    process::drain_on_signals(shutdown.clone())?;
    let listeners = Listeners::bind(&config).await?;
    let environment = Environment {
        clock: Arc::new(OffClock(arguments.clock_offset)),
        ..Environment::default()
    };
    Ok(key_manager::run_in(environment, config, listeners, shutdown).await?)
}
