//! What the verifying rpcs read and answer.

use crypto_proto::jwt::v1 as proto;
use jose::jwt::{Claims, ClaimsParts, Purpose, RejectReason, Verified, VerifyOptions, VerifyRules};

use crate::grpc::fields::Fields;
use crate::refusal::{Refusal, Violation};
use crate::usecase::{
    DecryptCommand, DecryptThenVerifyCommand, Demands, NestedRejection, VerifyCommand,
};

/// What a token has to satisfy. The token itself is not looked at.
pub(in crate::grpc) fn demands(
    fields: &mut Fields,
    request: proto::VerifyRequest,
    prefix: &'static str,
) -> Option<Demands> {
    let purpose = purpose(fields, &request);
    let tenant = fields.tenant(request.tenant);
    let key_sets = fields.key_sets("key_sets", request.key_sets);
    fields.request_id(&request.request_id);
    let options = VerifyOptions {
        issuer: fields.issuer(request.issuer),
        audiences: fields.values("audiences", request.audiences),
        audience_unchecked: request.audience_unchecked,
        types: fields.values("types", request.types),
        key_sets,
        leeway: fields
            .whole_seconds("leeway", request.leeway)
            .unwrap_or_default(),
        purpose,
    };
    let rules = rules(fields, options)?;
    Some(Demands {
        tenant,
        rules,
        prefix,
    })
}

pub(super) fn verify_command(mut request: proto::VerifyRequest) -> Result<VerifyCommand, Refusal> {
    let mut fields = Fields::default();
    let token = std::mem::take(&mut request.token);
    let demands = demands(&mut fields, request, "");
    fields.finish(demands.map(|demands| VerifyCommand { token, demands }))
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

pub(super) fn decrypt_then_verify_command(
    request: proto::DecryptThenVerifyRequest,
) -> Result<DecryptThenVerifyCommand, Refusal> {
    let mut fields = Fields::default();
    let mut verify = request.verify.unwrap_or_default();
    let token = std::mem::take(&mut verify.token);
    let demands = demands(fields.inside("verify."), verify, "verify.");
    let key_sets = fields
        .inside("")
        .key_sets("decrypt_key_sets", request.decrypt_key_sets);
    let command = demands.map(|demands| {
        let decrypt = DecryptCommand {
            tenant: demands.tenant.clone(),
            token,
            key_sets,
            field: "decrypt_key_sets",
        };
        DecryptThenVerifyCommand { decrypt, demands }
    });
    fields.finish(command)
}

pub(in crate::grpc) fn valid(claims: Verified<Claims>) -> proto::ValidToken {
    let ClaimsParts {
        json,
        header_json,
        kid,
        key_set,
    } = claims.into_inner().into_parts();
    proto::ValidToken {
        claims_json: json,
        header_json,
        kid,
        key_set,
    }
}

pub(in crate::grpc) fn rejected(reason: RejectReason) -> proto::RejectedToken {
    proto::RejectedToken {
        reason: reject_reason(reason).into(),
    }
}

pub(super) fn nested_rejected(reason: NestedRejection) -> proto::RejectedToken {
    match reason {
        NestedRejection::Decryption => proto::RejectedToken {
            reason: proto::RejectReason::DecryptionFailed.into(),
        },
        NestedRejection::Inner(reason) => rejected(reason),
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
