//! The smallest requests that are sound but for their key set, and what refusals say.

use client_core::{Code, Error, Reason};
use crypto_proto::jwe::v1 as jwe;
use crypto_proto::jwt::v1 as jwt;
use jwe::encrypt_request::Recipient;
use jwt::sign_request::ClaimsInput;

use crate::support::AUDIENCE;

/// The fields that an INVALID_ARGUMENT names.
pub(crate) fn fields(what: &str, result: Result<(), Error>) -> Vec<String> {
    let error = result.expect_err(what);
    assert_eq!(error.code(), Code::InvalidArgument, "{what}: {error}");
    assert_eq!(
        error.reason(),
        Some(&Reason::FieldInvalid),
        "{what}: {error}"
    );
    let violations = error.violations();
    assert!(
        violations.iter().all(|one| !one.description.is_empty()),
        "{what}: {error}"
    );
    violations.iter().map(|one| one.field.clone()).collect()
}

pub(crate) fn refused(
    what: &str,
    result: Result<(), Error>,
    code: Code,
    reason: &Reason,
) -> String {
    let error = result.expect_err(what);
    assert_eq!(
        (error.code(), error.reason()),
        (code, Some(reason)),
        "{what}: {error}"
    );
    error.message().to_owned()
}

pub(crate) fn claims(json: impl Into<String>) -> Option<ClaimsInput> {
    Some(ClaimsInput::ClaimsJson(json.into()))
}

pub(crate) fn sign(key_set: &str) -> jwt::SignRequest {
    jwt::SignRequest {
        key_set: key_set.to_owned(),
        claims_input: claims("{}"),
        ..Default::default()
    }
}

pub(crate) fn verify(token: &str) -> jwt::VerifyRequest {
    jwt::VerifyRequest {
        token: token.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        ..Default::default()
    }
}

pub(crate) fn encrypt(key_set: &str) -> jwe::EncryptRequest {
    jwe::EncryptRequest {
        recipient: Some(Recipient::KeySet(key_set.to_owned())),
        ..Default::default()
    }
}

pub(crate) fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}
