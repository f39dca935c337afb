//! The service without lanes, against the same library in a loop.

use jose::algorithm::JwsAlgorithm;

use crate::{
    Fault,
    keys::Key,
    loops,
    report::table::{Column, Table},
    service::{KeySetSpec, Mode, Operation, Service},
    settings::Settings,
    stack::Start,
};

const SET: &str = "op/bench-rs256";

pub(super) async fn measure(settings: &Settings, table: &mut Table) -> Result<(), Fault> {
    let start = Start::new(settings).variable("CRYPTO_SERVICE_LANES_ENGINE", "aws-lc");
    let stack = start.start()?;
    let service = Service::new(&stack, settings);
    service
        .key_set(&KeySetSpec::signing(SET, "RS256", 2048))
        .await?;
    let subject = service.subject(Operation::Sign, SET).await?;
    let mut primitive = loops::aws_lc_signing(&Key::signing(JwsAlgorithm::Rs256, 2048)?)?;
    let call = service.call(&subject, Mode::Unary)?;
    for _round in 0..settings.rounds {
        let cpu = primitive.run(settings.loop_duration())?;
        table.record("no_lanes", "aws-lc-rs", [(Column::Cpu, cpu)]);
        let figures = service.saturate(&call, Mode::Unary).await?;
        table.record(
            "no_lanes",
            "unary",
            [
                (Column::ServerCpu, figures.server_us),
                (Column::ClientCpu, figures.client_us),
                (Column::PerSecond, figures.per_second),
            ],
        );
    }
    Ok(())
}
