//! Whether cheap signatures suffer beside a flood of dear ones.

use std::time::Duration;

use crate::{
    Fault,
    load::{Offer, closed_loop, open_loop},
    report::table::{Column, Table},
    rows::latency::{failed, percentiles},
    service::{KeySetSpec, Mode, Operation, Service},
    settings::Settings,
};

/// ES256 signatures per second.
const RATE: f64 = 1_000.0;
/// RSA-4096 callers with a call in flight each, as a part of the callers at saturation.
const FLOOD: usize = 4;
/// The flood has this part of a measurement to rise, and outlasts it by as much.
const LEAD: u32 = 4;

pub(super) async fn measure(
    settings: &Settings,
    service: &Service<'_>,
    table: &mut Table,
) -> Result<(), Fault> {
    service
        .key_set(&KeySetSpec::signing("op/bench-es256", "ES256", 0))
        .await?;
    service
        .key_set(&KeySetSpec::signing("op/bench-rsa4096", "RS256", 4096))
        .await?;
    // two clients, as two callers have them: what they share is the service
    let cheap = service.subject(Operation::Sign, "op/bench-es256").await?;
    let cheap = service.call(&cheap, Mode::Coalesced)?;
    let dear = service.subject(Operation::Sign, "op/bench-rsa4096").await?;
    let dear = service.call(&dear, Mode::Coalesced)?;
    let offer = Offer::new(RATE, settings.duration());
    for _round in 0..settings.rounds {
        let alone = open_loop(offer, &cheap).await?;
        table.record("flood", "alone", percentiles(&alone));
        table.record("flood", "alone", [(Column::FailedPercent, failed(&alone))]);

        let lead: Duration = settings.duration() / LEAD;
        let (callers, flood) = (settings.callers.div_ceil(FLOOD), dear.clone());
        let lasting = settings.duration() + lead * 2;
        let flood = tokio::spawn(async move { closed_loop(callers, lasting, &flood).await });
        tokio::time::sleep(lead).await;
        let flooded = open_loop(offer, &cheap).await?;
        let flood = flood.await??;
        table.record("flood", "flooded", percentiles(&flooded));
        table.record(
            "flood",
            "flooded",
            [(Column::FailedPercent, failed(&flooded))],
        );
        table.record(
            "flood",
            "flood",
            [
                (Column::PerSecond, flood.rate()),
                (Column::FailedPercent, failed(&flood)),
            ],
        );
    }
    Ok(())
}
