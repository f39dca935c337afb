//! Errors read back from what the services write.

use super::*;
use tonic_types::ErrorDetails;

fn status(code: tonic::Code, reason: &str) -> Status {
    let mut details = ErrorDetails::with_error_info(
        reason,
        "crypto-service",
        std::collections::HashMap::<String, String>::new(),
    );
    details.add_bad_request_violation("lifetime", "at most 3600 s");
    details.set_retry_info(Some(Duration::from_millis(150)));
    Status::with_error_details(code, "refused", details)
}

#[test]
fn every_code_and_reason_comes_back_from_a_status() {
    let rows = [
        (
            tonic::Code::InvalidArgument,
            Code::InvalidArgument,
            "FIELD_INVALID",
            Reason::FieldInvalid,
        ),
        (
            tonic::Code::PermissionDenied,
            Code::PermissionDenied,
            "NOT_GRANTED",
            Reason::NotGranted,
        ),
        (
            tonic::Code::NotFound,
            Code::NotFound,
            "KEY_SET_NOT_FOUND",
            Reason::KeySetNotFound,
        ),
        (
            tonic::Code::ResourceExhausted,
            Code::ResourceExhausted,
            "MESSAGE_TOO_LARGE",
            Reason::MessageTooLarge,
        ),
        (
            tonic::Code::ResourceExhausted,
            Code::ResourceExhausted,
            "OVERLOADED",
            Reason::Overloaded,
        ),
        (
            tonic::Code::Unavailable,
            Code::Unavailable,
            "NOT_READY",
            Reason::NotReady,
        ),
        (
            tonic::Code::Aborted,
            Code::Aborted,
            "CONFLICT",
            Reason::Conflict,
        ),
        (
            tonic::Code::DeadlineExceeded,
            Code::DeadlineExceeded,
            "LATER",
            Reason::Other("LATER".to_owned()),
        ),
        (
            tonic::Code::Unauthenticated,
            Code::Unauthenticated,
            "LATER",
            Reason::Other("LATER".to_owned()),
        ),
        (
            tonic::Code::Unimplemented,
            Code::Unimplemented,
            "LATER",
            Reason::Other("LATER".to_owned()),
        ),
        (
            tonic::Code::Unknown,
            Code::Unknown,
            "LATER",
            Reason::Other("LATER".to_owned()),
        ),
    ];
    for (sent, code, wire, reason) in rows {
        let error = Error::from_status(&status(sent, wire));
        assert_eq!(
            (error.code(), error.reason(), error.message()),
            (code, Some(&reason), "refused"),
            "{sent:?} {wire}"
        );
        assert_eq!(reason.name(), wire);
        assert_eq!(
            error.retry_after(),
            Some(Duration::from_millis(150)),
            "{wire}"
        );
        assert_eq!(
            error.violations(),
            [FieldViolation {
                field: "lifetime".into(),
                description: "at most 3600 s".into()
            }]
        );
        assert_eq!(
            error.to_string(),
            format!(
                "{} ({wire}): refused; lifetime: at most 3600 s",
                code.name()
            )
        );
    }
}

/// What the service writes of an item, from the status that it would have given the call.
fn item(status: &Status) -> proto::ItemError {
    let details = status.get_error_details();
    let retry = details.retry_info().and_then(|info| info.retry_delay);
    let fields = details.bad_request().map(|bad| &bad.field_violations);
    proto::ItemError {
        code: i32::from(status.code()),
        reason: details
            .error_info()
            .map(|info| info.reason.clone())
            .unwrap_or_default(),
        message: status.message().to_owned(),
        field_violations: fields
            .into_iter()
            .flatten()
            .map(|wrong| proto::FieldViolation {
                field: wrong.field.clone(),
                description: wrong.description.clone(),
            })
            .collect(),
        retry_in: retry.map(crate::request::to_wire),
    }
}

#[test]
fn the_error_of_an_item_is_that_of_the_status_it_stands_for() {
    for code in 1..=16 {
        let code = tonic::Code::from_i32(code);
        for reason in ["FIELD_INVALID", "NOT_GRANTED", "OVERLOADED", "LATER"] {
            let status = status(code, reason);
            assert_eq!(
                Error::from_item(item(&status)),
                Error::from_status(&status),
                "{code:?} {reason}"
            );
        }
        let bare = Status::new(code, "refused");
        assert_eq!(Error::from_item(item(&bare)), Error::from_status(&bare));
    }
}

#[test]
fn an_item_that_fails_without_a_code_fails_all_the_same() {
    for code in [0, 17, -1] {
        let wire = proto::ItemError {
            code,
            ..Default::default()
        };
        assert_eq!(Error::from_item(wire).code(), Code::Unknown, "{code}");
    }
}

#[test]
fn the_fields_of_a_coalesced_item_are_named_as_in_its_call() {
    let named = |field: &str| Error::invalid(field, "wrong").without_prefix("sign.");
    for (sent, read) in [
        ("sign.lifetime", "lifetime"),
        ("lifetime", "lifetime"),
        ("timeout", "timeout"),
        ("sign.claims.sign.x", "claims.sign.x"),
    ] {
        let error = named(sent);
        let fields: Vec<_> = error
            .violations()
            .iter()
            .map(|v| v.field.as_str())
            .collect();
        assert_eq!(fields, [read], "{sent}");
    }
}

#[test]
fn a_broken_connection_is_unavailable_whatever_the_transport_calls_it() {
    for code in [
        tonic::Code::Unknown,
        tonic::Code::Cancelled,
        tonic::Code::Internal,
        tonic::Code::Unavailable,
    ] {
        let mut broken = Status::new(code, "transport error");
        broken.set_source(std::sync::Arc::new(std::io::Error::other(
            "connection reset",
        )));
        let error = Error::from_status(&broken);
        assert_eq!(error.code(), Code::Unavailable, "{code:?}");
        assert!(error.is_transport());
        assert_eq!(error.message(), "transport error: connection reset");
        assert!(
            !Error::from_status(&Status::new(code, "said by the service")).is_transport(),
            "{code:?}"
        );
    }
}
