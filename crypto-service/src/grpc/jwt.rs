//! `crypto.jwt.v1.JwtService`.

use crypto_proto::jwt::v1 as proto;
use jose::jwt::{Claims, Purpose, RejectReason, Verified, VerifyOptions, VerifyRules};
use proto::jwt_service_server::JwtService;
use proto::sign_request::ClaimsInput;
use service_kit::identity::Caller;
use tonic::{Request, Response, Status};

use super::fields::Fields;
use super::jwe::{RecipientInput, encrypt_command};
use super::{status, structure};
use crate::refusal::{Refusal, Violation};
use crate::usecase::{
    DataPlane, DecryptCommand, DecryptThenVerifyCommand, NestedRejection, SignCommand,
    SignThenEncryptCommand, SignedToken, VerifyCommand, claims_violations,
};

/// The service over the use cases.
#[derive(Clone, Debug)]
pub(crate) struct Jwt(pub(crate) DataPlane);

#[tonic::async_trait]
impl JwtService for Jwt {
    async fn sign(
        &self,
        request: Request<proto::SignRequest>,
    ) -> Result<Response<proto::SignResponse>, Status> {
        let caller = Caller::of(&request)
            .map_err(status::unauthenticated)?
            .clone();
        let mut fields = Fields::default();
        let command = sign_command(&mut fields, request.into_inner());
        claims_too(&mut fields, command.as_ref());
        let signed = self.0.sign(&caller, fields.finish(command)?).await?;
        Ok(Response::new(proto::SignResponse {
            kid: signed.kid.to_string(),
            jti: signed.jti.clone().unwrap_or_default(),
            expires_at: expires_at(&signed),
            token: signed.token,
        }))
    }

    async fn verify(
        &self,
        request: Request<proto::VerifyRequest>,
    ) -> Result<Response<proto::VerifyResponse>, Status> {
        let caller = Caller::of(&request)
            .map_err(status::unauthenticated)?
            .clone();
        let mut fields = Fields::default();
        let command = verify_command(&mut fields, request.into_inner(), "");
        let verdict = self.0.verify(&caller, &fields.finish(command)?)?;
        let verdict = match verdict {
            Ok(claims) => proto::verify_response::Verdict::Valid(valid(&claims)),
            Err(reason) => {
                proto::verify_response::Verdict::Rejected(rejected(reject_reason(reason)))
            }
        };
        Ok(Response::new(proto::VerifyResponse {
            verdict: Some(verdict),
        }))
    }

    async fn sign_then_encrypt(
        &self,
        request: Request<proto::SignThenEncryptRequest>,
    ) -> Result<Response<proto::SignThenEncryptResponse>, Status> {
        let caller = Caller::of(&request)
            .map_err(status::unauthenticated)?
            .clone();
        let nested = self
            .0
            .sign_then_encrypt(&caller, sign_then_encrypt_command(request.into_inner())?)
            .await?;
        Ok(Response::new(proto::SignThenEncryptResponse {
            token: nested.outer.token,
            kid: nested.inner.kid.to_string(),
            expires_at: expires_at(&nested.inner),
            jti: nested.inner.jti.unwrap_or_default(),
            encryption_kid: nested.outer.kid.unwrap_or_default(),
        }))
    }

    async fn decrypt_then_verify(
        &self,
        request: Request<proto::DecryptThenVerifyRequest>,
    ) -> Result<Response<proto::DecryptThenVerifyResponse>, Status> {
        let caller = Caller::of(&request)
            .map_err(status::unauthenticated)?
            .clone();
        let command = decrypt_then_verify_command(request.into_inner())?;
        let verdict = match self.0.decrypt_then_verify(&caller, command).await? {
            Ok(claims) => proto::decrypt_then_verify_response::Verdict::Valid(valid(&claims)),
            Err(reason) => proto::decrypt_then_verify_response::Verdict::Rejected(rejected(
                nested_reason(reason),
            )),
        };
        Ok(Response::new(proto::DecryptThenVerifyResponse {
            verdict: Some(verdict),
        }))
    }
}

fn sign_command(fields: &mut Fields, request: proto::SignRequest) -> Option<SignCommand> {
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
fn claims_too(fields: &mut Fields, command: Option<&SignCommand>) {
    if let Some(command) = command.filter(|_| !fields.is_sound()) {
        fields.extend(claims_violations(&command.claims, command.lifetime));
    }
}

fn claims_text(fields: &mut Fields, input: Option<ClaimsInput>) -> Option<String> {
    match input {
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

fn verify_command(
    fields: &mut Fields,
    request: proto::VerifyRequest,
    prefix: &'static str,
) -> Option<VerifyCommand> {
    let purpose = purpose(fields, &request);
    let tenant = fields.tenant(request.tenant);
    let key_sets = fields.key_sets("key_sets", request.key_sets);
    fields.request_id(&request.request_id);
    let options = VerifyOptions {
        issuer: fields.issuer(request.issuer),
        audiences: fields.values("audiences", request.audiences),
        audience_unchecked: request.audience_unchecked,
        types: fields.values("types", request.types),
        key_sets: key_sets.clone(),
        leeway: fields
            .whole_seconds("leeway", request.leeway)
            .unwrap_or_default(),
        purpose,
    };
    let rules = rules(fields, options)?;
    let audience_unchecked = request.audience_unchecked;
    Some(VerifyCommand {
        tenant,
        token: request.token,
        key_sets,
        audience_unchecked,
        rules,
        prefix,
    })
}

fn rules(fields: &mut Fields, options: VerifyOptions) -> Option<VerifyRules> {
    let say = |violations: Vec<jose::jwt::Violation>| {
        // Empty entries have been named already, one by one.
        let whole = violations
            .into_iter()
            .filter(|violation| violation.fix != "must not hold an empty value");
        fields.extend(whole.map(|violation| Violation::new(violation.field, violation.fix)));
    };
    VerifyRules::try_from(options).map_err(say).ok()
}

fn purpose(fields: &mut Fields, request: &proto::VerifyRequest) -> Purpose {
    match proto::Purpose::try_from(request.purpose) {
        Ok(proto::Purpose::Unspecified) => Purpose::Access,
        Ok(proto::Purpose::Hint) => Purpose::Hint,
        Err(_unknown) => {
            fields.violation("purpose", "must be PURPOSE_UNSPECIFIED or PURPOSE_HINT");
            Purpose::Access
        }
    }
}

fn sign_then_encrypt_command(
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
    let encrypt = encrypt_command(
        fields.inside(""),
        tenant,
        recipient,
        &request.alg,
        &request.enc,
    );
    claims_too(fields.inside("sign."), sign.as_ref());
    let both = sign
        .zip(encrypt)
        .map(|(sign, encrypt)| SignThenEncryptCommand { sign, encrypt });
    fields.finish(both)
}

fn decrypt_then_verify_command(
    request: proto::DecryptThenVerifyRequest,
) -> Result<DecryptThenVerifyCommand, Refusal> {
    let mut fields = Fields::default();
    let mut verify = request.verify.unwrap_or_default();
    let token = std::mem::take(&mut verify.token);
    let verify = verify_command(fields.inside("verify."), verify, "verify.");
    let key_sets = fields
        .inside("")
        .key_sets("decrypt_key_sets", request.decrypt_key_sets);
    let command = verify.map(|verify| {
        let decrypt = DecryptCommand {
            tenant: verify.tenant.clone(),
            token,
            key_sets,
            field: "decrypt_key_sets",
        };
        DecryptThenVerifyCommand { decrypt, verify }
    });
    fields.finish(command)
}

fn expires_at(signed: &SignedToken) -> Option<prost_types::Timestamp> {
    let seconds = i64::try_from(signed.expires_at?).ok()?;
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn valid(claims: &Verified<Claims>) -> proto::ValidToken {
    proto::ValidToken {
        claims_json: claims.json().to_owned(),
        header_json: claims.header_json().to_owned(),
        kid: claims.kid().to_owned(),
        key_set: claims.key_set().to_owned(),
    }
}

fn rejected(reason: proto::RejectReason) -> proto::RejectedToken {
    proto::RejectedToken {
        reason: reason.into(),
    }
}

fn nested_reason(reason: NestedRejection) -> proto::RejectReason {
    match reason {
        NestedRejection::Decryption => proto::RejectReason::DecryptionFailed,
        NestedRejection::Inner(reason) => reject_reason(reason),
    }
}

fn reject_reason(reason: RejectReason) -> proto::RejectReason {
    match reason {
        RejectReason::Malformed => proto::RejectReason::Malformed,
        RejectReason::TooLarge => proto::RejectReason::TooLarge,
        RejectReason::Algorithm => proto::RejectReason::Algorithm,
        RejectReason::UnknownKey => proto::RejectReason::UnknownKey,
        RejectReason::KeyRevoked => proto::RejectReason::KeyRevoked,
        RejectReason::Signature => proto::RejectReason::Signature,
        RejectReason::CriticalHeader => proto::RejectReason::CriticalHeader,
        RejectReason::Type => proto::RejectReason::Type,
        RejectReason::ClaimInvalid => proto::RejectReason::ClaimInvalid,
        RejectReason::Expired => proto::RejectReason::Expired,
        RejectReason::NotYetValid => proto::RejectReason::NotYetValid,
        RejectReason::Issuer => proto::RejectReason::Issuer,
        RejectReason::Audience => proto::RejectReason::Audience,
        RejectReason::Revoked => proto::RejectReason::Revoked,
    }
}
