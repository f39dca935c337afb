//! What an answer of AWS KMS that is no success means.

use std::error::Error;

use aws_sdk_kms::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use super::AwsKmsError;
use crate::{
    config::AwsKmsKey,
    seal::{KekError, SealError},
};

/// As [`of`], where the fault may be that of what was wrapped.
pub(super) fn sealing<E>(error: &SdkError<E, HttpResponse>, settings: &AwsKmsKey) -> SealError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let code = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code);
    match code {
        Some("InvalidCiphertextException" | "IncorrectKeyException") => SealError::Refused,
        _ => KekError::AwsKms(of(error, settings)).into(),
    }
}

/// Neither texts of AWS nor what was sent enter ours: only codes do.
pub(super) fn of<E>(error: &SdkError<E, HttpResponse>, settings: &AwsKmsKey) -> AwsKmsError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let unreachable = |problem| AwsKmsError::Unreachable {
        endpoint: match settings.endpoint.is_empty() {
            true => format!("the endpoint of {}", settings.region),
            false => settings.endpoint.clone(),
        },
        problem,
    };
    match error {
        SdkError::ServiceError(answer) => {
            match (answer.err().code(), answer.raw().status().as_u16()) {
                // some proxies before AWS KMS refuse in a form of their own
                (None, status @ (401 | 403)) => {
                    AwsKmsError::Credentials(format!("status {status}"))
                }
                (code, _) => of_code(code, settings),
            }
        }
        SdkError::TimeoutError(_) => unreachable("no answer in time"),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            unreachable("no answer in time")
        }
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => {
            let problem = credentials(error.source());
            problem.map_or_else(
                || {
                    unreachable(
                        "the connection was refused or broke, or its certificate is not trusted here",
                    )
                },
                AwsKmsError::NoCredentials,
            )
        }
        SdkError::ResponseError(_) => AwsKmsError::Failed("an answer that is none".to_owned()),
        _ => AwsKmsError::Failed("the call could not be made".to_owned()),
    }
}

/// The text is ours: it came from the provider of the credentials.
fn credentials(mut cause: Option<&(dyn Error + 'static)>) -> Option<String> {
    use aws_credential_types::provider::error::CredentialsError;

    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<CredentialsError>() {
            return error.source().map(ToString::to_string);
        }
        cause = error.source();
    }
    None
}

fn of_code(code: Option<&str>, settings: &AwsKmsKey) -> AwsKmsError {
    let key = || settings.key_id.clone();
    let code = code.unwrap_or("no code");
    match code {
        "AccessDeniedException" | "NotAuthorizedException" | "KMSAccessDeniedException" => {
            AwsKmsError::NotAuthorised(key())
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "RequestExpired"
        | "AuthFailure" => AwsKmsError::Credentials(code.to_owned()),
        "NotFoundException" | "InvalidArnException" => AwsKmsError::NoKey {
            key: key(),
            region: settings.region.clone(),
        },
        "DisabledException" => AwsKmsError::Disabled(key()),
        "KMSInvalidStateException" => AwsKmsError::State {
            key: key(),
            state: code.to_owned(),
        },
        "InvalidKeyUsageException" | "UnsupportedOperationException" => AwsKmsError::Unfit {
            key: key(),
            found: code.to_owned(),
        },
        "ThrottlingException"
        | "Throttling"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "LimitExceededException" => AwsKmsError::Throttled(code.to_owned()),
        other => AwsKmsError::Failed(other.to_owned()),
    }
}
