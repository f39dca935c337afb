//! Latency: of one call at a time, and of many under an open loop.

use client_core::{CryptoClient, Repeat};
use jose::algorithm::JwsAlgorithm;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    Fault,
    keys::Key,
    load::{Call, Offer, Outcome, open_loop},
    loops, micros, number,
    report::table::{Column, Table},
    service::{KeySetSpec, Mode, Operation, Service},
    settings::Settings,
};

/// Parts of saturation, in hundredths.
const PARTS: [u32; 4] = [25, 50, 70, 90];
/// Algorithm, key set, and how it is called.
const LOADS: [(&str, &str, Mode); 4] = [
    ("ES256", "op/bench-es256", Mode::Unary),
    ("ES256", "op/bench-es256", Mode::Coalesced),
    ("RS256", "op/bench-rs256", Mode::Unary),
    ("RS256", "op/bench-rs256", Mode::Coalesced),
];

/// One call in flight: an empty one, and a signature over the same channel.
pub(super) async fn alone(
    settings: &Settings,
    service: &Service<'_>,
    table: &mut Table,
) -> Result<(), Fault> {
    const GROUP: &str = "unary_latency";
    let (algorithm, set, mode) = LOADS[0];
    service
        .key_set(&KeySetSpec::signing(set, algorithm, 0))
        .await?;
    let client = service.client("token", mode)?;
    let subject = service.subject(Operation::Sign, set).await?;
    let sign = service.call_over(&client, &subject);
    let empty = empty_call(&client);
    let mut primitive = loops::aws_lc_signing(&Key::signing(JwsAlgorithm::Es256, 0)?)?;
    // the connection is up before anything counts
    service.alone(&empty).await?;
    for _round in 0..settings.rounds {
        let loops = primitive.run(settings.loop_duration())?;
        let empty = service.alone(&empty).await?;
        let sign = service.alone(&sign).await?;
        let added = (micros(sign.latencies.at(0.5)) - loops) / micros(empty.latencies.at(0.5));
        table.record(GROUP, "primitive", [(Column::Cpu, loops)]);
        table.record(GROUP, "empty", percentiles(&empty));
        table.record(GROUP, "sign", percentiles(&sign));
        table.record(GROUP, "added", [(Column::Times, added)]);
    }
    Ok(())
}

/// A health check: everything that a call costs besides its purpose.
fn empty_call(client: &CryptoClient) -> Call {
    let channel = client.channel().clone();
    Call::new(move || {
        let channel = channel.clone();
        async move {
            let checked = channel.call(Repeat::Harmless, |attempt| {
                let request = attempt.request(HealthCheckRequest::default());
                async move { HealthClient::new(attempt.connection()).check(request).await }
            });
            checked.await.map(|_health| 1)
        }
    })
}

/// Open loops at parts of what saturation gives in the same round.
pub(super) async fn under_load(
    settings: &Settings,
    service: &Service<'_>,
    table: &mut Table,
) -> Result<(), Fault> {
    for (algorithm, set, mode) in LOADS {
        service
            .key_set(&KeySetSpec::signing(set, algorithm, 0))
            .await?;
        let subject = service.subject(Operation::Sign, set).await?;
        let call = service.call(&subject, mode)?;
        let load = format!("{algorithm}-{}", mode.who());
        for _round in 0..settings.rounds {
            let saturation = service.saturate(&call, mode).await?.per_second;
            for part in PARTS {
                let rate = saturation * f64::from(part) / 100.0;
                let outcome = open_loop(Offer::new(rate, settings.duration()), &call).await?;
                let mut figures = percentiles(&outcome).to_vec();
                figures.push((Column::PerSecond, outcome.rate()));
                figures.push((Column::FailedPercent, failed(&outcome)));
                table.record("latency", &format!("{load} {part} %"), figures);
            }
        }
    }
    Ok(())
}

pub(super) fn percentiles(outcome: &Outcome) -> [(Column, f64); 3] {
    [
        (Column::P50, 0.5),
        (Column::P99, 0.99),
        (Column::P999, 0.999),
    ]
    .map(|(column, quantile)| (column, micros(outcome.latencies.at(quantile))))
}

/// Of each hundred calls that were due, those that were refused, failed, or not made.
pub(super) fn failed(outcome: &Outcome) -> f64 {
    let failed = number(outcome.failed + outcome.unsent);
    let due = failed + number(outcome.latencies.count());
    if due > 0.0 { 100.0 * failed / due } else { 0.0 }
}
