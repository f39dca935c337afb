//! The one place that builds a [`Status`].

use std::{collections::HashMap, sync::Arc};

use keyring::Refusal;
use service_kit::{identity::NotAuthenticated, layers::Refusals};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use super::fields::Violation;
use crate::{
    audit::AuditError,
    feed::FeedError,
    issued::IssuedError,
    keys::ImportError,
    lifecycle::LifecycleError,
    store::StoreError,
    vault::{FileError, RestoreError, VaultError},
};

/// `domain` of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "crypto-service";

/// Why a call was refused.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// Fields do not fit.
    Fields(Vec<Violation>),
    /// The caller may not.
    NotGranted(String),
    /// There is no such key set.
    NotFound,
    /// There is no such instance, or the caller may not see it.
    NoSubscriber,
    /// The tenant has no data key.
    NoTenant,
    /// The set is not the one that the caller has seen, or the name is taken.
    Conflict(String),
    /// The caller has used up what it may have.
    Exhausted(String),
    /// It may work later.
    NotReady(String),
    /// It does not work, and the caller cannot help it. The text stays in the log.
    Internal,
}

impl Failure {
    pub(crate) fn field(field: &str, problem: impl Into<String>) -> Self {
        Self::Fields(vec![Violation::new(field, problem)])
    }

    fn code(&self) -> Code {
        match self {
            Self::Fields(_) => Code::InvalidArgument,
            Self::NotGranted(_) => Code::PermissionDenied,
            Self::NotFound | Self::NoSubscriber | Self::NoTenant => Code::NotFound,
            Self::Conflict(_) => Code::Aborted,
            Self::Exhausted(_) => Code::ResourceExhausted,
            Self::NotReady(_) => Code::Unavailable,
            Self::Internal => Code::Internal,
        }
    }

    /// The names of the fields that do not fit.
    pub(crate) fn fields(&self) -> Vec<String> {
        match self {
            Self::Fields(violations) => violations.iter().map(|v| v.field.clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the caller's request was at fault, and not the state of the service.
    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(
            self,
            Self::Exhausted(_) | Self::NotReady(_) | Self::Internal
        )
    }

    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Fields(_) => "FIELD_INVALID",
            Self::NotGranted(_) => "NOT_GRANTED",
            Self::NotFound => "KEY_SET_NOT_FOUND",
            Self::NoSubscriber => "SUBSCRIBER_NOT_FOUND",
            Self::NoTenant => "TENANT_NOT_FOUND",
            Self::Conflict(_) => "CONFLICT",
            Self::Exhausted(_) => "OVERLOADED",
            Self::NotReady(_) => "NOT_READY",
            Self::Internal => "INTERNAL",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Fields(violations) => {
                let named: Vec<String> = violations
                    .iter()
                    .map(|v| format!("{}: {}", v.field, v.problem))
                    .collect();
                named.join("; ")
            }
            Self::NotGranted(text)
            | Self::Conflict(text)
            | Self::Exhausted(text)
            | Self::NotReady(text) => text.clone(),
            Self::NotFound => "there is no such key set".to_owned(),
            Self::NoSubscriber => "there is no such instance".to_owned(),
            Self::NoTenant => "the tenant has no data key: it has had no key set".to_owned(),
            Self::Internal => "an error of the key-manager; its log says more".to_owned(),
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let mut details = ErrorDetails::with_error_info(failure.reason(), DOMAIN, HashMap::new());
        if let Failure::Fields(violations) = &failure {
            let field = |v: &Violation| FieldViolation::new(&v.field, &v.problem);
            details.set_bad_request(violations.iter().map(field).collect::<Vec<_>>());
        }
        Self::with_error_details(failure.code(), failure.message(), details)
    }
}

impl From<LifecycleError> for Failure {
    fn from(error: LifecycleError) -> Self {
        let text = error.to_string();
        match error {
            LifecycleError::NotFound => Self::NotFound,
            LifecycleError::RevisionMismatch { .. } => Self::Conflict(text),
            LifecycleError::RequestReused => Self::field(
                "request_id",
                "was used for a different request; use a fresh one",
            ),
            LifecycleError::Refused(refusal) => refused(refusal),
            LifecycleError::Import(error) => match error {
                ImportError::Key(_) | ImportError::Use(_) | ImportError::Pkcs8(_) => {
                    Self::field("jwk", error.to_string())
                }
            },
            LifecycleError::Generation => Self::NotReady(text),
            LifecycleError::Audit(error) => error.into(),
            LifecycleError::Vault(error) => error.into(),
        }
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        match &error {
            VaultError::Conflict | VaultError::NameTaken | VaultError::RequestDone => {
                Self::Conflict(error.to_string())
            }
            VaultError::KidTaken | VaultError::MaterialTaken => {
                Self::field("jwk", error.to_string())
            }
            VaultError::TooManyRevocations { .. } | VaultError::TooManyGenerations { .. } => {
                Self::Exhausted(error.to_string())
            }
            VaultError::NoDataKey => Self::NoTenant,
            VaultError::Store(StoreError::Replaced) => {
                Self::NotReady("the store was just restored from a backup; try again".to_owned())
            }
            VaultError::Store(behind @ StoreError::Behind(_)) => Self::NotReady(behind.to_string()),
            VaultError::Store(store) if store.retry_helps() => {
                Self::NotReady("the store cannot be reached; try again".to_owned())
            }
            VaultError::Kek(_) => {
                tracing::error!(%error, "the key-encryption key cannot be used");
                Self::NotReady(
                    "the key-encryption key cannot be used at present; the key-manager's log says why".to_owned(),
                )
            }
            VaultError::Store(StoreError::Moved) => Self::NotReady(
                "the store was moved; ask the key-managers of the new one".to_owned(),
            ),
            _ => {
                tracing::error!(%error, "a call failed");
                Self::Internal
            }
        }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        let text = error.to_string();
        match error {
            RestoreError::File(FileError::Engine) => {
                tracing::error!(error = text, "a restore failed");
                Self::Internal
            }
            RestoreError::File(FileError::Away(_)) => Self::NotReady(text),
            RestoreError::File(_) | RestoreError::TooLarge | RestoreError::Content(_) => {
                Self::field("chunk", text)
            }
            RestoreError::RequestReused => Self::field("request_id", text),
            RestoreError::WouldUndo(_) => Self::Conflict(text),
            RestoreError::Spool { .. } => {
                tracing::error!(error = text, "a restore cannot be received");
                Self::NotReady(text)
            }
            RestoreError::Vault(VaultError::Conflict) => Self::Conflict(
                "the store was written while the restore was decided; try again".to_owned(),
            ),
            RestoreError::Vault(error) => error.into(),
        }
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Cursor => {
                Self::field("page_token", "must be empty, or that of the answer before")
            }
            AuditError::Vault(error) => error.into(),
            AuditError::Disk { .. }
            | AuditError::InUse(_)
            | AuditError::Signing
            | AuditError::Ended => {
                tracing::error!(%error, "the audit log cannot be written or read");
                Self::NotReady(
                    "the audit log of the key-manager cannot be used, and nothing is done without it; its log says more".to_owned(),
                )
            }
        }
    }
}

fn refused(refusal: Refusal) -> Failure {
    let text = refusal.to_string();
    match refusal {
        Refusal::Field { field, problem } => Failure::field(field, problem),
        Refusal::Fields(all) => Failure::Fields(all.into_iter().flat_map(violations).collect()),
        Refusal::UnknownKid(_) | Refusal::WrongState { .. } | Refusal::InUse { .. } => {
            Failure::field("kid", text)
        }
        Refusal::NoStandby | Refusal::TooManyUsable | Refusal::TooManyVersions => {
            Failure::field("key_set", text)
        }
        Refusal::ForceNeeded => Failure::field("force", text),
        Refusal::KidTaken(_) | Refusal::MaterialTaken(_) => Failure::field("jwk", text),
        Refusal::BudgetSpent(_) => Failure::Exhausted(text),
        Refusal::Outdated | Refusal::EpochBehind { .. } | Refusal::KeyNeeded(_) => {
            Failure::Conflict(text)
        }
        Refusal::Invariant(_) => {
            tracing::error!(error = text, "a write would have broken an invariant");
            Failure::Internal
        }
    }
}

fn violations(refusal: Refusal) -> Vec<Violation> {
    match refused(refusal) {
        Failure::Fields(violations) => violations,
        _ => Vec::new(),
    }
}

impl From<FeedError> for Failure {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::NotGranted | FeedError::Signature(_) => Self::NotGranted(error.to_string()),
            FeedError::Protocol { field, problem } => Self::field(field, problem),
            FeedError::Vault(error) => error.into(),
            FeedError::Agreement => Self::Internal,
            FeedError::Issued(error) => error.into(),
            FeedError::TooManyRecords => Self::Exhausted(error.to_string()),
            FeedError::RolledBack { .. }
            | FeedError::Evicted
            | FeedError::Slow
            | FeedError::Regranted
            | FeedError::Draining
            | FeedError::NoRecords
            | FeedError::Broken => Self::NotReady(error.to_string()),
        }
    }
}

impl From<IssuedError> for Failure {
    fn from(error: IssuedError) -> Self {
        match error {
            IssuedError::Unopened(error) => Self::field("frames", error.to_string()),
            IssuedError::Form { field, problem } => Self::field(field, problem),
            IssuedError::NotGranted { .. } | IssuedError::NotYours => {
                Self::NotGranted(error.to_string())
            }
            IssuedError::Vault(error) => error.into(),
            IssuedError::Database(_) => {
                tracing::error!(%error, "a call failed");
                Self::NotReady("the records of issued tokens cannot be used; the log of the key-manager says more".to_owned())
            }
            IssuedError::Damaged(_) | IssuedError::Key => {
                tracing::error!(%error, "a call failed");
                Self::Internal
            }
        }
    }
}

impl From<NotAuthenticated> for Failure {
    fn from(error: NotAuthenticated) -> Self {
        Self::NotGranted(error.to_string())
    }
}

/// How the layers around the services word their refusals.
#[must_use]
pub fn refusals() -> Refusals {
    let detailed = |code: Code, reason: &str, text: String| {
        Status::with_error_details(
            code,
            text,
            ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()),
        )
    };
    Refusals {
        unauthenticated: Arc::new(move |error| {
            detailed(Code::Unauthenticated, "NOT_GRANTED", error.to_string())
        }),
        overloaded: Arc::new(move || {
            detailed(
                Code::ResourceExhausted,
                "OVERLOADED",
                "too many calls in flight; try again later".to_owned(),
            )
        }),
        too_late: Arc::new(move || {
            detailed(
                Code::DeadlineExceeded,
                "OVERLOADED",
                "the deadline has passed".to_owned(),
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_code_its_reason_and_all_its_fields() {
        for (failure, code, reason, fields) in [
            (
                Failure::Fields(vec![Violation::new("a", "x"), Violation::new("b", "y")]),
                Code::InvalidArgument,
                "FIELD_INVALID",
                2,
            ),
            (
                Failure::NotGranted("no".to_owned()),
                Code::PermissionDenied,
                "NOT_GRANTED",
                0,
            ),
            (Failure::NotFound, Code::NotFound, "KEY_SET_NOT_FOUND", 0),
            (
                Failure::NoSubscriber,
                Code::NotFound,
                "SUBSCRIBER_NOT_FOUND",
                0,
            ),
            (Failure::NoTenant, Code::NotFound, "TENANT_NOT_FOUND", 0),
            (
                Failure::Conflict("old".to_owned()),
                Code::Aborted,
                "CONFLICT",
                0,
            ),
            (
                FeedError::TooManyRecords.into(),
                Code::ResourceExhausted,
                "OVERLOADED",
                0,
            ),
            (
                Failure::NotReady("later".to_owned()),
                Code::Unavailable,
                "NOT_READY",
                0,
            ),
            (Failure::Internal, Code::Internal, "INTERNAL", 0),
        ] {
            let status = Status::from(failure.clone());
            let details = status.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!(
                (status.code(), info.reason.as_str(), info.domain.as_str()),
                (code, reason, DOMAIN),
                "{failure:?}"
            );
            assert_eq!(
                details
                    .bad_request()
                    .map_or(0, |bad| bad.field_violations.len()),
                fields,
                "{failure:?}"
            );
        }
    }
}
