//! What is still answered in time when ten times as much is asked as can be done.

use std::{thread, time::Duration};

use tokio::{runtime::Builder, sync::oneshot};

use crate::{
    Fault, kernel,
    load::{Call, Offer, Outcome, closed_loop, open_loop},
    number,
    report::table::{Column, Table},
    rows::latency::{failed, percentiles},
    service::{KeySetSpec, Mode, Operation, SLOW, Service},
    settings::Settings,
    stack::Start,
};

const GENERATOR: usize = 0;
const SERVICE: usize = 1;
/// An answer that comes later is worth nothing.
const DEADLINE: Duration = Duration::from_secs(1);
const TIMES: f64 = 10.0;
/// Name, key set, RSA modulus, and how it is called.
const LOADS: [(&str, &str, u32, Mode); 3] = [
    (
        "rsa4096 coalesced",
        "op/bench-rsa4096",
        4096,
        Mode::Coalesced,
    ),
    ("rsa4096 unary", "op/bench-rsa4096", 4096, Mode::Unary),
    ("rs256 coalesced", "op/bench-rs256", 2048, Mode::Coalesced),
];

pub(super) async fn measure(settings: &Settings, table: &mut Table) -> Result<(), Fault> {
    if kernel::cores() <= SERVICE {
        return Err("this machine has one core: generator and service need one each".into());
    }
    let stack = Start::new(settings).on_core(SERVICE).start()?;
    let service = Service::new(&stack, settings).within(DEADLINE);
    for (name, set, bits, mode) in LOADS {
        service
            .key_set(&KeySetSpec::signing(set, "RS256", bits))
            .await?;
        for _round in 0..settings.rounds {
            let subject = service.subject(Operation::Sign, set).await?;
            let options = service.channel_options(Operation::Sign, mode);
            let fewer = if bits > 2048 { 2 * SLOW } else { 1 };
            let (callers, duration) = (settings.callers.div_ceil(fewer), settings.duration());
            kernel::forget_peak(service.pid())?;
            let make = move || Service::call_with(options, &subject);
            let run = on_core(GENERATOR, move || async move {
                ten_times(&make()?, callers, duration).await
            });
            let (peak, flood) = run.await?;
            table.record(
                "goodput",
                &format!("{name} peak"),
                [(Column::PerSecond, peak.rate())],
            );
            let mut figures = percentiles(&flood).to_vec();
            figures.extend([
                (Column::PerSecond, flood.goodput()),
                (Column::Offered, flood.offered()),
                (Column::FailedPercent, failed(&flood)),
                (
                    Column::Memory,
                    number(kernel::peak_resident(service.pid())? / 1024) / 1024.0,
                ),
            ]);
            table.record("goodput", &format!("{name} 10x"), figures);
        }
    }
    Ok(())
}

/// The peak, then ten times as much.
async fn ten_times(
    call: &Call,
    callers: usize,
    duration: Duration,
) -> Result<(Outcome, Outcome), Fault> {
    closed_loop(callers, duration / 4, call).await?.sound()?;
    let peak = closed_loop(callers, duration, call).await?.sound()?;
    let flood = open_loop(Offer::new(peak.rate() * TIMES, duration), call).await?;
    Ok((peak, flood))
}

/// Runs `work` on a runtime of one thread that stays on `core`, with whatever it starts.
async fn on_core<T, F>(core: usize, work: impl FnOnce() -> F + Send + 'static) -> Result<T, Fault>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Fault>>,
{
    let (reply, done) = oneshot::channel();
    thread::Builder::new()
        .name("generator".to_owned())
        .spawn(move || {
            let run = || -> Result<T, Fault> {
                kernel::stay_on(core)?;
                Builder::new_current_thread()
                    .enable_all()
                    .build()?
                    .block_on(work())
            };
            // the other end waits for it
            let _received = reply.send(run());
        })?;
    done.await.map_err(|_gone| "the generator panicked")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_on_a_core_sees_that_core_only_and_its_failure_arrives() {
        let seen = on_core(0, || async {
            let pacing = thread::spawn(|| rustix::thread::sched_getaffinity(None));
            Ok(pacing.join().map_err(|_panic| "panic")??.count())
        });
        assert_eq!(seen.await.unwrap(), 1);
        let failed: Result<(), Fault> = on_core(0, || async { Err("no".into()) }).await;
        assert_eq!(failed.unwrap_err().to_string(), "no");
        let failed: Result<(), Fault> = on_core(100_000, || async { Ok(()) }).await;
        assert!(failed.is_err());
    }
}
