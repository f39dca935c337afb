//! A whole token request: by Node's jose in the caller's process, and as one call.

use client_core::request::{Recipient, Sign, SignBatch, SignItem};
use jose::algorithm::{JwsAlgorithm, KeyManagement};

use crate::{
    Fault,
    keys::Key,
    load::Call,
    peers::node::Node,
    report::table::{Column, Table},
    service::{CLAIMS, KeySetSpec, Mode, Service, batch},
    settings::Settings,
};

const SIGNING: &str = "op/bench-token";
const RECIPIENT: &str = "op/bench-recipient";

pub(super) async fn measure(
    settings: &Settings,
    service: &Service<'_>,
    node: &mut Node,
    table: &mut Table,
) -> Result<(), Fault> {
    service
        .key_set(&KeySetSpec::signing(SIGNING, "RS256", 2048))
        .await?;
    service
        .key_set(&KeySetSpec::encryption(RECIPIENT, "RSA-OAEP-256"))
        .await?;
    let signing = Key::signing(JwsAlgorithm::Rs256, 2048)?;
    node.prepare_token_request(&signing, &Key::encryption(KeyManagement::RsaOaep256)?)?;
    let call = one_call(service)?;
    for _round in 0..settings.rounds {
        let cpu = node.run(settings.duration())?;
        table.record("token_request", "node-jose", [(Column::ClientCpu, cpu)]);
        let figures = service.saturate(&call, Mode::Batch).await?;
        table.record(
            "token_request",
            "one-call",
            [
                (Column::ClientCpu, figures.client_us),
                (Column::ServerCpu, figures.server_us),
                (Column::PerSecond, figures.per_second),
            ],
        );
    }
    Ok(())
}

/// An access token, an ID token with its hash, a refresh token, and the ID token once more, encrypted.
fn one_call(service: &Service<'_>) -> Result<Call, Fault> {
    let sign = || SignItem::new(Sign::json(SIGNING, CLAIMS));
    let mut request = SignBatch::new();
    let access = request.push(sign());
    let id = request.push(sign().at_hash_of(access));
    request.push(sign());
    request.push(SignItem::encrypted(
        id,
        Recipient::KeySet(RECIPIENT.to_owned()),
    ));
    Ok(batch::signs(
        service.client("token", Mode::Batch)?,
        request,
        1,
    ))
}
