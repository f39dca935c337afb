//! What key sets cost: throughput, memory, and the time to be warm.

mod create;
mod each;
mod warm;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use client_core::{CryptoClient, request::Sign};

use self::each::each;
use crate::{
    Fault, kernel,
    load::Call,
    number, progress,
    report::table::{Column, Table},
    service::{CLAIMS, Mode, Service},
    settings::Settings,
    stack::{Stack, Start},
};

const GROUP: &str = "growth";
/// An Active key and a standby.
const KEYS_IN_A_SET: f64 = 2.0;
/// Calls in flight while each set is used for the first time.
const FIRST_USES_AT_ONCE: usize = 64;

/// A service that holds a number of key sets.
struct Grown {
    sets: usize,
    stack: Stack,
}

pub(super) async fn measure(settings: &Settings, table: &mut Table) -> Result<(), Fault> {
    let mut grown = Vec::new();
    for sets in &settings.key_sets {
        grown.push(grow(settings, *sets, table).await?);
    }
    memory(settings, &grown, table).await?;
    let mut warmed = Vec::new();
    for Grown { sets, stack } in &grown {
        let client = Service::new(stack, settings).client("token", Mode::Coalesced)?;
        use_each(&client, *sets).await?;
        warmed.push((*sets, stack, any_set(client, *sets)?));
    }
    for _round in 0..settings.rounds {
        for (sets, stack, call) in &warmed {
            let service = Service::new(stack, settings);
            let figures = service.saturate(call, Mode::Coalesced).await?;
            table.record(
                GROUP,
                &named(*sets),
                [
                    (Column::ServerCpu, figures.server_us),
                    (Column::ClientCpu, figures.client_us),
                    (Column::PerSecond, figures.per_second),
                ],
            );
        }
    }
    for Grown { sets, stack } in &grown {
        let used = [(Column::Memory, mebibytes(stack)?)];
        table.record(GROUP, &format!("{sets} used"), used);
        for _round in 0..settings.rounds {
            let seconds = warm::seconds(stack).await?;
            table.record(
                GROUP,
                &format!("{sets} start to warm"),
                [(Column::Seconds, seconds)],
            );
        }
    }
    Ok(())
}

fn named(sets: usize) -> String {
    format!("{sets} key sets")
}

async fn grow(settings: &Settings, sets: usize, table: &mut Table) -> Result<Grown, Fault> {
    progress(&format!("growth: {sets} key sets"));
    let scratch = [&settings.growth_scratch, &settings.scratch]
        .into_iter()
        .find(|folder| folder.is_dir())
        .ok_or("--scratch: no such folder")?;
    let stack = Start::of(&settings.programs, scratch).start()?;
    let start = crate::now();
    create::all(&stack, sets, &name).await?;
    let seconds = start.elapsed().as_secs_f64();
    let row = format!("{sets} created");
    table.record(GROUP, &row, [(Column::Seconds, seconds)]);
    Ok(Grown { sets, stack })
}

fn name(number: usize) -> String {
    format!("op/grow-{number}")
}

/// Resident memory, and what each key adds to that of the first.
async fn memory(settings: &Settings, grown: &[Grown], table: &mut Table) -> Result<(), Fault> {
    // the last deltas are applied, and the allocator has given back what it gives back
    let settle = if settings.quick {
        Duration::from_millis(100)
    } else {
        Duration::from_secs(10)
    };
    tokio::time::sleep(settle).await;
    let Some(least) = grown.first() else {
        return Ok(());
    };
    let base = kernel::resident(least.stack.crypto_service)?;
    for Grown { sets, stack } in grown {
        let resident = kernel::resident(stack.crypto_service)?;
        let row = named(*sets);
        table.record(GROUP, &row, [(Column::Memory, mebibytes(stack)?)]);
        let more = number(u64::try_from(sets.saturating_sub(least.sets))?) * KEYS_IN_A_SET;
        if more > 0.0 {
            let each = number(resident.saturating_sub(base)) / more;
            table.record(GROUP, &row, [(Column::KeyBytes, each)]);
        }
    }
    Ok(())
}

fn mebibytes(stack: &Stack) -> Result<f64, Fault> {
    Ok(number(kernel::resident(stack.crypto_service)? / 1024) / 1024.0)
}

/// Signs once with each set, so that the rounds measure what a set costs in use: its key is parsed then, and the client
/// knows which sets are alike.
async fn use_each(client: &CryptoClient, sets: usize) -> Result<(), Fault> {
    progress(&format!("growth: first use of {sets} key sets"));
    let sign = {
        let client = client.clone();
        move |number| {
            let client = client.clone();
            async move {
                let sign = Sign::json(name(number), CLAIMS);
                client.sign(&sign).await.map(|_token| ())
            }
        }
    };
    each(sets, FIRST_USES_AT_ONCE, sign).await
}

/// Signs with a set picked at random over all of them.
fn any_set(client: CryptoClient, sets: usize) -> Result<Call, Fault> {
    let sets = u64::try_from(sets)?.max(1);
    let shared = Arc::new((client, AtomicU64::new(0)));
    Ok(Call::new(move || {
        let shared = Arc::clone(&shared);
        async move {
            let (client, turn) = &*shared;
            let picked = scattered(turn.fetch_add(1, Ordering::Relaxed)) % sets;
            let set = usize::try_from(picked).unwrap_or_default();
            client
                .sign(&Sign::json(name(set), CLAIMS))
                .await
                .map(|_token| 1)
        }
    }))
}

/// A permutation of the numbers without visible order (the finalizer of MurmurHash3).
fn scattered(number: u64) -> u64 {
    let mut bits = number;
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        bits = (bits ^ (bits >> 33)).wrapping_mul(factor);
    }
    bits ^ (bits >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_picked_from_all_over() {
        let mut hits = [0_u32; 8];
        for turn in 0..8_000 {
            hits[usize::try_from(scattered(turn) % 8).unwrap()] += 1;
        }
        assert!(
            hits.iter().all(|hits| (800..1_200).contains(hits)),
            "{hits:?}"
        );
    }
}
