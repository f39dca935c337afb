//! `EncryptBatch` and `DecryptBatch`.

use crypto_proto::jwe::v1 as proto;
use service_kit::identity::Caller;
use tonic::{Request, Response, Status};

use super::batch::{Arrival, Room, item_error};
use super::fields::Fields;
use super::jwe::{decrypt_request, decrypted_token, encrypt_request, encrypted_token, rejected};
use super::places::Places;
use crate::refusal::{Refusal, Violation};
use crate::usecase::{DataPlane, DecryptItem, EncryptItem};

pub(super) async fn encrypt(
    plane: &DataPlane,
    caller: &Caller,
    call: Request<proto::EncryptBatchRequest>,
) -> Result<Response<proto::EncryptBatchResponse>, Status> {
    use proto::encrypt_batch_result::Result as R;
    let arrival = Arrival::of(&call);
    let proto::EncryptBatchRequest { items, request_id } = call.into_inner();
    let mut room = Room::of_call(items.len(), &request_id)?;
    let (read, places) = Places::read(items.into_iter(), |item| to_encrypt(arrival, item));
    let made = plane.encrypt_batch(caller, read).await;
    let made = made.into_iter().map(|token| token.map_err(inside));
    let results = places.fill(made.collect()).map(|outcome| {
        let fitting = outcome.and_then(|token| {
            let token = encrypted_token(token);
            room.take(token.token.len() + token.kid.len())?;
            Ok(R::Encrypted(token))
        });
        let refused = |refusal| R::Error(room.error(item_error(refusal)));
        proto::EncryptBatchResult {
            result: Some(fitting.unwrap_or_else(refused)),
        }
    });
    Ok(Response::new(proto::EncryptBatchResponse {
        results: results.collect(),
    }))
}

pub(super) async fn decrypt(
    plane: &DataPlane,
    caller: &Caller,
    call: Request<proto::DecryptBatchRequest>,
) -> Result<Response<proto::DecryptBatchResponse>, Status> {
    use proto::decrypt_batch_result::Result as R;
    let arrival = Arrival::of(&call);
    let proto::DecryptBatchRequest { items, request_id } = call.into_inner();
    let mut room = Room::of_call(items.len(), &request_id)?;
    let (read, places) = Places::read(items.into_iter(), |item| to_decrypt(arrival, item));
    let opened = plane.decrypt_batch(caller, read).await;
    let results = places.fill(opened).map(|outcome| {
        let fitting = outcome.and_then(|verdict| {
            let Some(token) = verdict.map(decrypted_token) else {
                return Ok(R::Rejected(rejected()));
            };
            let texts = token.header_json.len() + token.kid.len() + token.key_set.len();
            room.take(token.payload.len() + texts)?;
            Ok(R::Decrypted(token))
        });
        let refused = |refusal| R::Error(room.error(item_error(refusal)));
        proto::DecryptBatchResult {
            result: Some(fitting.unwrap_or_else(refused)),
        }
    });
    Ok(Response::new(proto::DecryptBatchResponse {
        results: results.collect(),
    }))
}

fn to_encrypt(arrival: Arrival, item: proto::EncryptBatchItem) -> Result<EncryptItem, Refusal> {
    let mut fields = Fields::default();
    let due = arrival.due(&mut fields, item.timeout);
    let Some(request) = item.encrypt else {
        fields.violation("encrypt", "is required");
        return fields.finish(None);
    };
    let command = encrypt_request(fields.inside("encrypt."), request);
    fields.finish(command.map(|command| EncryptItem { command, due }))
}

fn to_decrypt(arrival: Arrival, item: proto::DecryptBatchItem) -> Result<DecryptItem, Refusal> {
    let mut fields = Fields::default();
    let due = arrival.due(&mut fields, item.timeout);
    let Some(request) = item.decrypt else {
        fields.violation("decrypt", "is required");
        return fields.finish(None);
    };
    let command = decrypt_request(fields.inside("decrypt."), request, "decrypt.key_sets");
    fields.finish(Some(DecryptItem { command, due }))
}

/// The use case names fields of the request; here it stands inside an item.
fn inside(refusal: Refusal) -> Refusal {
    let Refusal::Fields(violations) = refusal else {
        return refusal;
    };
    let rename = |violation: Violation| Violation {
        field: format!("encrypt.{}", violation.field),
        ..violation
    };
    Refusal::Fields(violations.into_iter().map(rename).collect())
}
