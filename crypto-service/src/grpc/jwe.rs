//! `crypto.jwe.v1.JweService`.

use crypto_proto::jwe::v1 as proto;
use jose::algorithm::{Algorithm, KeyManagement};
use jose::jwk::{KeyUse, PublicJwk};
use jose::key::PublicKey;
use jose::limits;
use proto::jwe_service_server::JweService;
use service_kit::layers::Deadline;
use tonic::{Request, Response, Status};

use super::fields::Fields;
use super::{jwe_batch, status};
use crate::usecase::{
    DataPlane, DecryptCommand, DecryptedToken, EncryptCommand, EncryptedToken, JwkRecipient,
    Recipient,
};

/// The longest JWK of a recipient.
const JWK_LEN: usize = 8 * 1024;

/// The service over the use cases.
#[derive(Clone, Debug)]
pub(crate) struct Jwe(pub(crate) DataPlane);

#[tonic::async_trait]
impl JweService for Jwe {
    async fn encrypt(
        &self,
        request: Request<proto::EncryptRequest>,
    ) -> Result<Response<proto::EncryptResponse>, Status> {
        let caller = status::caller(&request)?;
        let deadline = Deadline::of(&request).map(Deadline::instant);
        let mut fields = Fields::default();
        let command = encrypt_request(&mut fields, request.into_inner());
        let encrypted = self
            .0
            .encrypt(&caller, fields.finish(command)?, deadline)
            .await?;
        Ok(Response::new(encrypted_token(encrypted)))
    }

    async fn decrypt(
        &self,
        request: Request<proto::DecryptRequest>,
    ) -> Result<Response<proto::DecryptResponse>, Status> {
        use proto::decrypt_response::Verdict;
        let caller = status::caller(&request)?;
        let deadline = Deadline::of(&request).map(Deadline::instant);
        let mut fields = Fields::default();
        let command = decrypt_request(&mut fields, request.into_inner(), "key_sets");
        let command = fields.finish(Some(command))?;
        let verdict = match self.0.decrypt(&caller, command, deadline).await? {
            Some(token) => Verdict::Decrypted(decrypted_token(token)),
            None => Verdict::Rejected(rejected()),
        };
        Ok(Response::new(proto::DecryptResponse {
            verdict: Some(verdict),
        }))
    }

    async fn encrypt_batch(
        &self,
        request: Request<proto::EncryptBatchRequest>,
    ) -> Result<Response<proto::EncryptBatchResponse>, Status> {
        let caller = status::caller(&request)?;
        jwe_batch::encrypt(&self.0, &caller, request).await
    }

    async fn decrypt_batch(
        &self,
        request: Request<proto::DecryptBatchRequest>,
    ) -> Result<Response<proto::DecryptBatchResponse>, Status> {
        let caller = status::caller(&request)?;
        jwe_batch::decrypt(&self.0, &caller, request).await
    }
}

/// What to encrypt, and for whom.
pub(super) fn encrypt_request(
    fields: &mut Fields,
    request: proto::EncryptRequest,
) -> Option<EncryptCommand> {
    use proto::encrypt_request::Recipient as R;
    let tenant = fields.tenant(request.tenant);
    if request.payload.len() > limits::JWE_PAYLOAD {
        fields.violation("payload", "must be at most 256 KiB");
    }
    let cty = fields.text("cty", request.cty);
    fields.request_id(&request.request_id);
    let recipient = request.recipient.map(|recipient| match recipient {
        R::KeySet(name) => RecipientInput::KeySet(name),
        R::RecipientJwk(jwk) => RecipientInput::Jwk(jwk),
        R::ClientId(_) => RecipientInput::ClientId,
    });
    let command = encrypt_command(fields, tenant, recipient, &request.alg, &request.enc)?;
    Some(EncryptCommand {
        payload: request.payload,
        cty,
        ..command
    })
}

/// What to decrypt; `field` is what `key_sets` is called.
pub(super) fn decrypt_request(
    fields: &mut Fields,
    request: proto::DecryptRequest,
    field: &'static str,
) -> DecryptCommand {
    let tenant = fields.tenant(request.tenant);
    let key_sets = fields.key_sets("key_sets", request.key_sets);
    fields.request_id(&request.request_id);
    DecryptCommand {
        tenant,
        token: request.token,
        key_sets,
        field,
    }
}

pub(super) fn encrypted_token(token: EncryptedToken) -> proto::EncryptResponse {
    proto::EncryptResponse {
        token: token.token,
        kid: token.kid.unwrap_or_default(),
    }
}

pub(super) fn decrypted_token(mut token: DecryptedToken) -> proto::DecryptedToken {
    proto::DecryptedToken {
        payload: std::mem::take(&mut *token.payload),
        header_json: token.header_json,
        kid: token.kid.to_string(),
        key_set: token.key_set.to_string(),
    }
}

/// The one verdict on everything that is wrong with a token.
pub(super) fn rejected() -> proto::RejectedToken {
    proto::RejectedToken {
        reason: proto::RejectReason::DecryptionFailed.into(),
    }
}

/// Who can read it, as both encrypting rpcs name it.
pub(super) enum RecipientInput {
    KeySet(String),
    Jwk(String),
    ClientId,
}

/// The fields that both encrypting rpcs have. Payload and `cty` are the rpc's.
pub(super) fn encrypt_command(
    fields: &mut Fields,
    tenant: String,
    recipient: Option<RecipientInput>,
    alg: &str,
    enc: &str,
) -> Option<EncryptCommand> {
    let alg = fields.key_management(alg);
    let enc = fields.content_encryption(enc);
    let recipient = match recipient {
        Some(RecipientInput::KeySet(name)) => {
            Some(Recipient::KeySet(fields.key_set("key_set", name)))
        }
        Some(RecipientInput::Jwk(jwk)) => jwk_recipient(fields, &jwk, alg).map(Recipient::Jwk),
        Some(RecipientInput::ClientId) => {
            fields.violation(
                "client_id",
                "registered clients are not served: name key_set or recipient_jwk",
            );
            None
        }
        None => {
            fields.violation("recipient", "is required: key_set or recipient_jwk");
            None
        }
    };
    Some(EncryptCommand {
        tenant,
        payload: Vec::new(),
        recipient: recipient?,
        alg,
        enc,
        cty: String::new(),
    })
}

fn jwk_recipient(
    fields: &mut Fields,
    json: &str,
    asked: Option<KeyManagement>,
) -> Option<JwkRecipient> {
    if json.len() > JWK_LEN {
        fields.violation("recipient_jwk", "must be at most 8 KiB");
        return None;
    }
    let parsed = PublicJwk::parse(json.as_bytes());
    let jwk = parsed
        .inspect_err(|error| fields.violation("recipient_jwk", error.to_string()))
        .ok()?;
    if jwk.key_use == Some(KeyUse::Signature) {
        fields.violation(
            "recipient_jwk",
            "is a key for signatures: its use, alg or key_ops say so",
        );
        return None;
    }
    let algorithm = match (jwk.algorithm, asked) {
        (Some(Algorithm::Jwe(own)), Some(asked)) if own != asked => {
            fields.violation("alg", format!("must be empty or {own}, the JWK's"));
            return None;
        }
        (Some(Algorithm::Jwe(own)), _) => own,
        (_, Some(asked)) => asked,
        (_, None) => usual_algorithm(&jwk.key),
    };
    if jwk.key.check_algorithm(Algorithm::Jwe(algorithm)).is_err() {
        fields.violation(
            "alg",
            format!("{algorithm} does not fit the JWK's key type"),
        );
        return None;
    }
    Some(JwkRecipient {
        key: jwk.key,
        kid: jwk.kid.map(|kid| kid.as_str().to_owned()),
        algorithm,
    })
}

fn usual_algorithm(key: &PublicKey) -> KeyManagement {
    match key {
        PublicKey::Rsa(_) => KeyManagement::RsaOaep256,
        PublicKey::Ec(_) | PublicKey::Okp(_) => KeyManagement::EcdhEsA256Kw,
    }
}
