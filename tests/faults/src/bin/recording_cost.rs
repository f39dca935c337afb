//! What recording costs a signature: the CPU of the crypto-service for each ES256 token, with and without records, side by side.
//!
//! Usage: `cargo run --release -p faults --bin recording-cost [tokens a round]`, after `cargo build --release --workspace`.

#![expect(
    clippy::print_stdout,
    reason = "a program that measures shows what it found"
)]

use std::time::Duration;

use blackbox::Stack;
use client_admin::Profile;
use client_core::{CryptoClient, request::SignBatch};
use faults::{
    Fault,
    stack::{Instance, admin, create_active, eventually, sign, signing_set},
};

const PLAIN: &str = "op/plain";
const RECORDED: &str = "op/recorded";
const ROUNDS: usize = 5;
/// Tokens in one call.
const BATCH: usize = 64;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let tokens: usize = match std::env::args().nth(1) {
        Some(tokens) => tokens.parse()?,
        None => 40_000,
    };
    let stack = Stack::start();
    let (admin, instance) = (admin(&stack)?, Instance::at(&stack, stack.crypto, None)?);
    let profile = Profile {
        record_issued: true,
        ..Profile::default()
    };
    for (name, profile) in [(PLAIN, Profile::default()), (RECORDED, profile)] {
        let set = signing_set(name, "ES256").profile(profile);
        create_active(&admin, &instance.token, &set, name).await?;
    }
    let process = stack.crypto_service.as_ref().ok_or("it runs")?.id();
    for name in [PLAIN, RECORDED] {
        load(&instance.token, name, tokens / 4).await?;
    }
    let mut totals = [0.0; 2];
    println!(
        "CPU of the crypto-service for each ES256 token, in batches of {BATCH}, microseconds:"
    );
    for round in 1..=ROUNDS {
        let mut shown = Vec::new();
        for (name, total) in [PLAIN, RECORDED].into_iter().zip(&mut totals) {
            let before = cpu(process)?;
            load(&instance.token, name, tokens).await?;
            // what is written and shipped afterwards is part of the price
            shipped(&instance, name).await;
            let spent = cpu(process)?.saturating_sub(before);
            let each = spent.as_secs_f64() * 1e6 / f64::from(u32::try_from(tokens)?);
            *total += each;
            shown.push(format!("{name} {each:.2}"));
        }
        println!("  round {round}: {}", shown.join("   "));
    }
    let rounds = f64::from(u32::try_from(ROUNDS)?);
    let [plain, recorded] = totals.map(|total| total / rounds);
    println!(
        "mean: without {plain:.2}, with records {recorded:.2}: {:.2} more",
        recorded - plain
    );
    Ok(())
}

async fn load(client: &CryptoClient, name: &str, tokens: usize) -> Result<(), Fault> {
    for _batch in 0..tokens / BATCH {
        let mut batch = SignBatch::new();
        (0..BATCH).for_each(|_| {
            batch.push(sign(name));
        });
        let made = client.sign_batch(&batch).await?;
        for token in made {
            token?;
        }
    }
    Ok(())
}

/// Waits for the same time with both sets, until nothing is left to ship.
async fn shipped(instance: &Instance, _name: &str) {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let empty = async || {
        let page = blackbox::get(instance.addresses.http, "/metrics");
        page.is_some_and(|page| !page.body.contains("issued_recording 0"))
    };
    eventually(blackbox::PATIENCE, empty).await;
}

/// User and system time of a process.
fn cpu(process: u32) -> Result<Duration, Fault> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no stat")?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || -> Result<u64, Fault> { Ok(fields.next().ok_or("no time")?.parse()?) };
    let ticks = ticks()?.saturating_add(ticks()?);
    // USER_HZ is 100 on every Linux that this runs on
    Ok(Duration::from_millis(ticks.saturating_mul(10)))
}
