//! A new instance is fed a hundred thousand key sets.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use blackbox::{Addresses, Stack, get};
use client_admin::{AdminClient, RotateKeySet};
use futures::FutureExt as _;
use tokio::task::JoinSet;

use super::Group;
use crate::{
    Fault, count,
    figure::{Figure, Measured},
    now, progress,
    settings::Run,
    stack::{self, Instance, admin, sign, signing_set, verdict},
};

const SECONDS: Figure = Figure::at_most("feed_100k_s", 20.0);
const MEMORY: Figure = Figure::at_most("memory_100k_mb", 1_500.0);

pub(super) const GROUP: Group = Group {
    name: "feed",
    about: "a snapshot of 100,000 ES256 key sets, each with an Active key and a standby, to a new instance; its resident memory",
    figures: &[SECONDS, MEMORY],
    run: |run| measure(run).boxed_local(),
};

/// Creations at once: while the key-manager writes one set, it makes the keys of others.
const AT_ONCE: usize = 32;
const TOLD: usize = 5_000;
const PATIENCE: Duration = Duration::from_secs(180);

async fn measure(run: Run) -> Result<Vec<Measured>, Fault> {
    let sets = run.of(200, 100_000);
    let folder = run.folder()?;
    let mut stack = Stack::init();
    let store = folder.path().join("keys.db").display().to_string();
    stack.set_environment(&[
        ("KEY_MANAGER_STORE_PATH", store.as_str()),
        ("KEY_MANAGER_LOG_FILTER", "warn"),
    ]);
    stack.key_manager = Some(stack.spawn("key-manager", &[]));
    stack.ready(stack.keys.http);
    create_all(&admin(&stack)?, sets).await?;

    let addresses = Addresses::free();
    let start = now();
    let process = stack.spawn(
        "crypto-service",
        &[
            ("CRYPTO_GRPC", addresses.grpc.to_string()),
            ("CRYPTO_HTTP", addresses.http.to_string()),
        ],
    );
    let is_ready = || get(addresses.http, "/readyz").is_some_and(|answer| answer.status == 200);
    while !is_ready() {
        if start.elapsed() > PATIENCE {
            return Err(format!("the instance does not become ready: {}", process.log()).into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let resident = resident_mb(process.id())?;
    let instance = Instance::at(&stack, addresses, Some(process))?;
    holds_all(&instance, sets, &run).await?;
    Ok(vec![
        SECONDS.measured(seconds, count(sets)),
        MEMORY.measured(resident, count(sets)),
    ])
}

async fn create_all(admin: &AdminClient, sets: usize) -> Result<(), Fault> {
    let (next, start) = (Arc::new(AtomicUsize::new(0)), now());
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE.min(sets) {
        let (admin, next) = (admin.clone(), Arc::clone(&next));
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if number >= sets {
                    return Ok::<(), Fault>(());
                }
                let name = name(number);
                admin.create(&signing_set(&name, "ES256")).await?;
                admin.rotate(&RotateKeySet::new(name).force()).await?;
                if (number + 1) % TOLD == 0 {
                    let line = format!(
                        "feed: {} of {sets} sets in {:.0?}",
                        number + 1,
                        start.elapsed()
                    );
                    progress(&line);
                }
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("op/set-{number}")
}

/// Ready means that every set signs: some are asked, the last one among them.
async fn holds_all(instance: &Instance, sets: usize, run: &Run) -> Result<(), Fault> {
    let mut dice = run.dice("sets that sign");
    for number in (0..20).map(|_| dice.index(sets)).chain([sets - 1]) {
        let signed = instance.token.sign(&sign(&name(number))).await?;
        if !matches!(verdict(&instance.auth, &signed.token).await, Ok(Ok(()))) {
            return Err(format!("{} does not verify", stack::ISSUER).into());
        }
    }
    Ok(())
}

/// Resident memory in millions of bytes.
fn resident_mb(pid: u32) -> Result<f64, Fault> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: u32 = line
        .and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok())
        .ok_or("the kernel does not say how much memory the instance has")?;
    Ok(f64::from(kibibytes) * 1024.0 / 1e6)
}
