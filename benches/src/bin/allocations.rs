//! Allocations of the crypto-service per request: the service runs in this process under a counting allocator, the caller in another.
//!
//! Two runs of different length are compared, so that start-up, connection and caches cancel out.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report goes to standard output, failures to standard error"
)]

use std::{
    alloc::System,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use benches::{
    Fault,
    stack::{self, Stack},
};
use clap::Parser;
use client_core::{
    CryptoClient, Options, TlsFiles,
    request::{Sign, Verify},
};
use crypto_service::{Listeners, config::Arguments as ServiceArguments, run};
use service_kit::{config::Start, shutdown::Shutdown};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::process::Command;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CLAIMS: &str = r#"{"sub":"248289761001","aud":"https://api.example.com","client_id":"s6BhdRkqt3","scope":"openid profile email"}"#;
const AUDIENCE: &str = "https://api.example.com";
/// The shorter run makes one call of so many of the longer.
const SHORTER: u32 = 5;

/// Counts allocations per request.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder with the release programs.
    #[arg(long, default_value = "target/release")]
    programs: PathBuf,
    /// Where a folder for the daemons is made.
    #[arg(long, default_value = "target")]
    scratch: PathBuf,
    /// Calls of the longer run.
    #[arg(long, default_value = "5000")]
    calls: u32,
    /// Be the caller: endpoint, folder of certificates, what to call, how often.
    #[arg(long, num_args = 4, hide = true)]
    caller: Option<Vec<String>>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.caller {
        Some(caller) => Box::pin(call(caller)).await,
        None => Box::pin(count(&arguments)).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("allocations: {fault}");
            ExitCode::FAILURE
        }
    }
}

async fn count(arguments: &Arguments) -> Result<(), Fault> {
    let stack = stack::Start::of(&arguments.programs, &arguments.scratch).start()?;
    std::env::set_current_dir(stack.folder())?;
    let shutdown = Shutdown::new();
    let (address, service) = serve(&stack, shutdown.clone()).await?;

    println!("| crypto-service, per request | allocations | bytes |\n| --- | --- | --- |");
    for what in ["sign", "verify"] {
        let few = arguments.calls / SHORTER;
        let _warm = spent(&stack, address, what, few).await?;
        let short = spent(&stack, address, what, few).await?;
        let long = spent(&stack, address, what, arguments.calls).await?;
        let calls = f64::from(arguments.calls - few);
        println!(
            "| {what} ES256 | {:.1} | {:.0} |",
            (long.0 - short.0) / calls,
            (long.1 - short.1) / calls
        );
    }
    shutdown.trigger();
    service.await??;
    Ok(())
}

type Service = tokio::task::JoinHandle<Result<(), crypto_service::StartError>>;

/// A second instance on the same key-manager, in this process.
async fn serve(stack: &Stack, shutdown: Shutdown) -> Result<(SocketAddr, Service), Fault> {
    let endpoint = format!("feed.endpoint=https://{}", stack.keys_grpc);
    let arguments = ServiceArguments::try_parse_from([
        "crypto-service",
        "--config",
        "var/dev/crypto-service.toml",
        "--set",
        "grpc.listen=127.0.0.1:0",
        "--set",
        "http.listen=127.0.0.1:0",
        "--set",
        &endpoint,
    ])?;
    let Start::Run(config) = arguments.load()? else {
        return Err("the configuration does not run".into());
    };
    let listeners = Listeners::bind(&config).await?;
    let address = listeners.grpc.local_addr()?;
    Ok((
        address,
        tokio::spawn(Box::pin(run(config, listeners, shutdown))),
    ))
}

/// Allocations and bytes of this process while a caller makes `times` calls.
async fn spent(
    stack: &Stack,
    address: SocketAddr,
    what: &str,
    times: u32,
) -> Result<(f64, f64), Fault> {
    let before = ALLOCATOR.stats();
    let status = Command::new(std::env::current_exe()?)
        .arg("--caller")
        .args([
            &format!("https://{address}"),
            &path(&stack.folder().join("var/dev"))?,
            what,
            &times.to_string(),
        ])
        .status()
        .await?;
    if !status.success() {
        return Err(format!("the caller ended with {status}").into());
    }
    let spent = ALLOCATOR.stats() - before;
    let number = |count: usize| Ok::<f64, Fault>(f64::from(u32::try_from(count)?));
    Ok((
        number(spent.allocations + spent.reallocations)?,
        number(spent.bytes_allocated)?,
    ))
}

fn path(path: &Path) -> Result<String, Fault> {
    Ok(path.to_str().ok_or("a path that is not UTF-8")?.to_owned())
}

async fn call(caller: &[String]) -> Result<(), Fault> {
    let [endpoint, certificates, what, times] = caller else {
        return Err("four values for --caller".into());
    };
    let channel = Options::new(endpoint, TlsFiles::in_folder(certificates, "token"))
        .deadline(Duration::from_secs(10))
        .channel()?;
    let client = CryptoClient::new(channel);
    let sign = Sign::json("op/access-token", CLAIMS);
    let verify = Verify::new(client.sign(&sign).await?.token, AUDIENCE);
    for _ in 0..times.parse::<u32>()? {
        if what == "sign" {
            client.sign(&sign).await?;
        } else {
            client.verify(&verify).await?;
        }
    }
    Ok(())
}
