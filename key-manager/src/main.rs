//! The key-manager: arguments, settings, logs, then [`key_manager::run`].

use std::process::ExitCode;

use clap::Parser;
use key_manager::{
    Listeners, RunError,
    command::{self, Command},
    config,
};
use service_kit::{
    config::{ConfigArgs, EXIT_BAD_CONFIG, Start, say},
    process,
    shutdown::Shutdown,
    telemetry,
};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The control plane of the crypto-service: key lifecycle, sealing, store and feed.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "Examples:
  key-manager --config var/dev/key-manager.toml
  key-manager --config key-manager.toml --check-config
  KEY_MANAGER_STORE_PATH=/var/lib/keys.db key-manager --config key-manager.toml --print-config
  key-manager --config key-manager.toml --set grpc.listen=127.0.0.1:50062
  key-manager store migrate --from sqlite.toml --to etcd.toml
  key-manager kek create --config key-manager.toml
  key-manager kek check --config key-manager.toml";

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    if let Some(command) = arguments.command {
        return execute(command);
    }
    let config: config::Config = match arguments.config.load(config::loader()) {
        Ok(Start::Run(config)) => config,
        Ok(Start::Say(text)) => {
            say(&text);
            return ExitCode::SUCCESS;
        }
        Err(errors) => return end(EXIT_BAD_CONFIG, &errors),
    };
    if let Err(error) = telemetry::init(&config.log) {
        return end(EXIT_BAD_CONFIG, &error);
    }
    let hardened = process::harden();
    let bound = if arguments.config.die_with_parent {
        process::die_with_parent()
    } else {
        Ok(())
    };
    match hardened
        .and(bound)
        .and_then(|()| runtime())
        .map(|runtime| runtime.block_on(serve(config)))
    {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => end(error.exit_code(), &error),
        Err(error) => end(71, &error),
    }
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

fn execute(command: Command) -> ExitCode {
    match process::harden().and_then(|()| runtime()) {
        Ok(runtime) => match runtime.block_on(command::execute(command)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => end(error.exit_code(), &error),
        },
        Err(error) => end(71, &error),
    }
}

async fn serve(config: config::Config) -> Result<(), RunError> {
    let shutdown = Shutdown::new();
    if let Err(error) = process::drain_on_signals(shutdown.clone()) {
        tracing::error!(%error, "signals do not drain");
    }
    let listeners = Listeners::bind(&config).await?;
    // it holds the settings and everything that is started with them
    Box::pin(key_manager::run(config, listeners, shutdown)).await
}

/// Help and version go to standard output and are no mistake.
fn usage(error: &clap::Error) -> ExitCode {
    // Where nobody reads, the code says enough.
    let _unread = error.print();
    if error.use_stderr() {
        ExitCode::from(EXIT_BAD_CONFIG)
    } else {
        ExitCode::SUCCESS
    }
}

/// Standard error, because logging may not have begun.
fn end(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    use std::io::Write;
    // Where nobody reads standard error the code says enough.
    let _unread = writeln!(std::io::stderr().lock(), "key-manager: {error}");
    ExitCode::from(code)
}
