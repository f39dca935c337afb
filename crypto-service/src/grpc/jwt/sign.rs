//! What the signing rpcs read and answer.

use crypto_proto::jwt::v1 as proto;
use jose::jwt::TokenHashes;
use jose::limits;
use proto::sign_request::ClaimsInput;

use crate::grpc::fields::Fields;
use crate::grpc::jwe::{RecipientInput, encrypt_command};
use crate::grpc::structure;
use crate::refusal::Refusal;
use crate::usecase::{
    EncryptCommand, SignCommand, SignThenEncryptCommand, SignedToken, claims_violations,
};

/// The command of a call of its own.
pub(super) fn sign_request(request: proto::SignRequest) -> Result<SignCommand, Refusal> {
    let mut fields = Fields::default();
    let command = sign_command(&mut fields, request);
    claims_too(&mut fields, command.as_ref(), TokenHashes::default());
    fields.finish(command)
}

pub(super) fn sign_command(
    fields: &mut Fields,
    request: proto::SignRequest,
) -> Option<SignCommand> {
    let tenant = fields.tenant(request.tenant);
    let key_set = fields.key_set("key_set", request.key_set);
    let claims = claims_text(fields, request.claims_input);
    let lifetime = fields.whole_seconds("lifetime", request.lifetime);
    let typ = fields.text("typ", request.typ);
    fields.request_id(&request.request_id);
    Some(SignCommand {
        tenant,
        key_set,
        claims: claims?,
        lifetime,
        typ,
    })
}

/// Claims are read once, later, with the rules of their key set; where the request is refused for other fields, now.
pub(super) fn claims_too(
    fields: &mut Fields,
    command: Option<&SignCommand>,
    hashes: TokenHashes<'_>,
) {
    if let Some(command) = command.filter(|_| !fields.is_sound()) {
        fields.extend(claims_violations(command, hashes));
    }
}

fn claims_text(fields: &mut Fields, input: Option<ClaimsInput>) -> Option<String> {
    match input {
        // Here already: what waits in a batch or a stream is bounded by number.
        Some(ClaimsInput::ClaimsJson(text)) if text.len() > limits::CLAIMS.bytes => {
            fields.violation("claims_json", "must be at most 12 KiB");
            None
        }
        Some(ClaimsInput::ClaimsJson(text)) => Some(text),
        Some(ClaimsInput::Claims(structure)) => structure::to_json(&structure)
            .inspect_err(|error| fields.violation("claims", error.to_string()))
            .ok(),
        None => {
            fields.violation("claims_json", "is required: a JSON object, or use claims");
            None
        }
    }
}

pub(super) fn sign_then_encrypt_command(
    request: proto::SignThenEncryptRequest,
) -> Result<SignThenEncryptCommand, Refusal> {
    use proto::sign_then_encrypt_request::Recipient as R;
    let mut fields = Fields::default();
    let sign = request.sign.unwrap_or_default();
    let tenant = sign.tenant.clone();
    let sign = sign_command(fields.inside("sign."), sign);
    let recipient = request.recipient.map(|recipient| match recipient {
        R::KeySet(name) => RecipientInput::KeySet(name),
        R::RecipientJwk(jwk) => RecipientInput::Jwk(jwk),
        R::ClientId(_) => RecipientInput::ClientId,
    });
    let tenant = if tenant.is_empty() {
        "default".to_owned()
    } else {
        tenant
    };
    let (alg, enc) = (&request.alg, &request.enc);
    let encrypt = encrypt_command(fields.inside(""), tenant, recipient, alg, enc);
    let no_hashes = TokenHashes::default();
    claims_too(fields.inside("sign."), sign.as_ref(), no_hashes);
    let both = sign
        .zip(encrypt)
        .map(|(sign, encrypt)| SignThenEncryptCommand { sign, encrypt });
    fields.finish(both)
}

/// The recipient of a token of a batch.
pub(super) fn encrypt_to(
    fields: &mut Fields,
    tenant: String,
    to: proto::EncryptTo,
) -> Option<Box<EncryptCommand>> {
    use proto::encrypt_to::Recipient as R;
    let recipient = to.recipient.map(|recipient| match recipient {
        R::KeySet(name) => RecipientInput::KeySet(name),
        R::RecipientJwk(jwk) => RecipientInput::Jwk(jwk),
        R::ClientId(_) => RecipientInput::ClientId,
    });
    encrypt_command(fields, tenant, recipient, &to.alg, &to.enc).map(Box::new)
}

pub(super) fn sign_response(signed: SignedToken) -> proto::SignResponse {
    proto::SignResponse {
        kid: signed.kid.to_string(),
        expires_at: expires_at(&signed),
        jti: signed.jti.unwrap_or_default(),
        token: signed.token,
    }
}

pub(super) fn expires_at(signed: &SignedToken) -> Option<prost_types::Timestamp> {
    let seconds = i64::try_from(signed.expires_at?).ok()?;
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}
