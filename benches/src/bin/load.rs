//! The first load generator: what one ES256 signature costs over gRPC, with mTLS and policy on, as `make run` has them.
//!
//! It starts both daemons over a folder of its own, and prints a Markdown table with the machine and the versions.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report goes to standard output, progress to standard error"
)]

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
    time::Duration,
};

use benches::{
    Fault, kernel,
    load::{Outcome, closed_loop, open_loop},
    now,
    stack::Stack,
};
use clap::Parser;
use client_admin::{AdminClient, CreateKeySet, KeyUse, RotateKeySet};
use client_core::{Channel, CryptoClient, Repeat, request::Sign};
use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose_aws_lc::{AwsLc, KeySpec};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

const CLAIMS: &str = r#"{"sub":"248289761001","aud":"https://api.example.com","client_id":"s6BhdRkqt3","scope":"openid profile email","auth_time":1790000000,"acr":"urn:example:loa:2","sid":"08a5019c-17e1-4977-8f42-65a12843ea02"}"#;
/// Callers with one call in flight each, at saturation.
const CALLERS: usize = 64;
/// Parts of saturation at which the open loop runs.
const PARTS: [f64; 4] = [0.25, 0.5, 0.7, 0.9];

/// Measures the running service under load.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder with the release programs.
    #[arg(long, default_value = "target/release")]
    programs: PathBuf,
    /// Where a folder for the daemons is made.
    #[arg(long, default_value = "target")]
    scratch: PathBuf,
    /// Seconds for each measurement.
    #[arg(long, default_value = "5")]
    seconds: u64,
    /// Rounds of each measurement; the median is shown with the spread.
    #[arg(long, default_value = "5")]
    rounds: usize,
    /// Key sets for the memory of an idle service.
    #[arg(long, default_value = "1000")]
    key_sets: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("load: {fault}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<(), Fault> {
    let duration = Duration::from_secs(arguments.seconds);
    let primitive = Series::of(arguments.rounds, || sign_loop(duration / 5))?;
    let stack = Stack::start(&arguments.programs, &arguments.scratch)?;
    let channel = stack.channel("token", 1)?;
    let client = CryptoClient::new(channel.clone());

    println!("# One ES256 signature over gRPC\n");
    println!("machine: {}", kernel::machine());
    println!("versions: {}\n", versions()?);
    println!("| figure | median | spread |\n| --- | --- | --- |");
    row("primitive: aws-lc-rs ES256 sign in a loop, us", &primitive);

    eprintln!("one call in flight");
    let empty = rounds(arguments.rounds, || alone(duration, empty_call(&channel))).await?;
    let sign = rounds(arguments.rounds, || alone(duration, sign_call(&client))).await?;
    row("empty call (health check), p50, us", &empty);
    row("Sign ES256, one in flight, p50, us", &sign);
    println!(
        "| Sign p50 / (empty call p50 + primitive) | {:.2} | |",
        sign.median() / (empty.median() + primitive.median())
    );

    eprintln!("saturation");
    let saturation = saturate(arguments, duration, &stack, &client).await?;
    row(
        "signatures per second at saturation, both sides on this machine",
        &saturation.rate,
    );
    row(
        "server CPU per signature at saturation, us",
        &saturation.server,
    );
    println!(
        "| server CPU above the primitive, us | {:.1} | |",
        saturation.server.median() - primitive.median()
    );
    row(
        "client CPU per signature at saturation, us",
        &saturation.client,
    );

    println!(
        "\n| open loop at | per second | p50 us | p99 us | p99.9 us | failed |\n| --- | --- | --- | --- | --- | --- |"
    );
    for part in PARTS {
        eprintln!("open loop at {part} of saturation");
        let rate = saturation.rate.median() * part;
        let outcome = open_loop(rate, duration, sign_call(&client)).await?;
        println!(
            "| {:.0} % | {:.0} | {:.0} | {:.0} | {:.0} | {} |",
            part * 100.0,
            outcome.rate(),
            micros(outcome.latencies.at(0.5)),
            micros(outcome.latencies.at(0.99)),
            micros(outcome.latencies.at(0.999)),
            outcome.failed
        );
    }
    drop(stack);
    memory(arguments).await
}

/// Figures of several rounds.
#[derive(Debug, Default)]
struct Series(Vec<f64>);

impl Series {
    fn of(rounds: usize, mut figure: impl FnMut() -> Result<f64, Fault>) -> Result<Self, Fault> {
        (0..rounds)
            .map(|_| figure())
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn spread(&self) -> (f64, f64) {
        let low = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    }
}

fn row(figure: &str, series: &Series) {
    let (low, high) = series.spread();
    println!(
        "| {figure} | {:.1} | {low:.1} to {high:.1} |",
        series.median()
    );
}

async fn rounds<F: Future<Output = Result<f64, Fault>>>(
    rounds: usize,
    figure: impl Fn() -> F,
) -> Result<Series, Fault> {
    let mut series = Series::default();
    for _ in 0..rounds {
        series.0.push(figure().await?);
    }
    Ok(series)
}

/// Microseconds per signature of the bare engine on one core.
fn sign_loop(duration: Duration) -> Result<f64, Fault> {
    let spec = KeySpec::new(Algorithm::Jws(JwsAlgorithm::Es256));
    let key = AwsLc.generate(&spec)?;
    let signer = AwsLc.signing_key(JwsAlgorithm::Es256, &key.material)?;
    let message = [b'm'; 400];
    let mut signature = vec![0; signer.signature_len()];
    let start = now();
    let mut made = 0_u32;
    while start.elapsed() < duration {
        signer.sign(&message, &mut signature)?;
        made += 1;
    }
    Ok(micros(start.elapsed()) / f64::from(made))
}

fn empty_call(
    channel: &Channel,
) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = Result<(), client_core::Error>> + Send>>
+ Clone
+ Send
+ 'static {
    let channel = channel.clone();
    move || {
        let channel = channel.clone();
        Box::pin(async move {
            channel
                .call(Repeat::Harmless, |attempt| {
                    let request = attempt.request(HealthCheckRequest::default());
                    async move { HealthClient::new(attempt.connection()).check(request).await }
                })
                .await
                .map(drop)
        })
    }
}

fn sign_call(
    client: &CryptoClient,
) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = Result<(), client_core::Error>> + Send>>
+ Clone
+ Send
+ 'static {
    let client = client.clone();
    let request = Sign::json("op/access-token", CLAIMS);
    move || {
        let (client, request) = (client.clone(), request.clone());
        Box::pin(async move { client.sign(&request).await.map(drop) })
    }
}

/// p50 in microseconds with one call in flight.
async fn alone<F>(
    duration: Duration,
    call: impl Fn() -> F + Clone + Send + 'static,
) -> Result<f64, Fault>
where
    F: Future<Output = Result<(), client_core::Error>> + Send + 'static,
{
    let outcome = closed_loop(1, duration, call).await?;
    sound(&outcome)?;
    Ok(micros(outcome.latencies.at(0.5)))
}

struct Saturation {
    rate: Series,
    server: Series,
    client: Series,
}

async fn saturate(
    arguments: &Arguments,
    duration: Duration,
    stack: &Stack,
    client: &CryptoClient,
) -> Result<Saturation, Fault> {
    let mut saturation = Saturation {
        rate: Series::default(),
        server: Series::default(),
        client: Series::default(),
    };
    for _ in 0..arguments.rounds {
        let before = (
            kernel::cpu_time(stack.crypto_service)?,
            kernel::cpu_time(std::process::id())?,
        );
        let outcome = closed_loop(CALLERS, duration, sign_call(client)).await?;
        sound(&outcome)?;
        let after = (
            kernel::cpu_time(stack.crypto_service)?,
            kernel::cpu_time(std::process::id())?,
        );
        let calls = f64::from(u32::try_from(outcome.latencies.count())?);
        saturation.rate.0.push(outcome.rate());
        saturation.server.0.push(micros(after.0 - before.0) / calls);
        saturation.client.0.push(micros(after.1 - before.1) / calls);
    }
    Ok(saturation)
}

/// Resident memory of an idle crypto-service, and what the key sets add.
async fn memory(arguments: &Arguments) -> Result<(), Fault> {
    eprintln!("{} key sets", arguments.key_sets);
    let stack = Stack::start(&arguments.programs, &arguments.scratch)?;
    let empty = kernel::resident(stack.crypto_service)?;
    let admin = AdminClient::new(stack.admin_channel()?);
    for number in 0..arguments.key_sets {
        let name = format!("op/bench-{number}");
        admin
            .create(&CreateKeySet::new(&name, KeyUse::Sign, "ES256"))
            .await?;
        admin.rotate(&RotateKeySet::new(&name).force()).await?;
    }
    // the last deltas are applied, and the allocator has given back what it gives back
    tokio::time::sleep(Duration::from_secs(5)).await;
    let full = kernel::resident(stack.crypto_service)?;
    println!("\n| memory of an idle crypto-service | MB |\n| --- | --- |");
    println!(
        "| with the three development key sets | {:.1} |",
        megabytes(empty)
    );
    println!(
        "| with {} ES256 key sets more, each Active and standby | {:.1} |",
        arguments.key_sets,
        megabytes(full)
    );
    Ok(())
}

/// A run in which calls fail measures something else.
fn sound(outcome: &Outcome) -> Result<(), Fault> {
    if outcome.failed > 0 || outcome.latencies.count() == 0 {
        return Err(format!(
            "{} calls failed, {} were answered",
            outcome.failed,
            outcome.latencies.count()
        )
        .into());
    }
    Ok(())
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) / 1024.0
}

fn versions() -> Result<String, Fault> {
    let output = Command::new("rustc").arg("--version").output()?;
    let rustc = String::from_utf8(output.stdout)?;
    let lock = include_str!("../../../Cargo.lock");
    let of = |name: &str| {
        let entry = lock
            .split("[[package]]")
            .find(|entry| entry.contains(&format!("name = \"{name}\"\n")));
        let version = entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
        format!("{name} {}", version.unwrap_or("unknown"))
    };
    Ok(format!(
        "{}, {}, {}, {}",
        rustc.trim(),
        of("tonic"),
        of("aws-lc-rs"),
        of("rustls")
    ))
}
