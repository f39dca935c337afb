//! Malformed requests to the key-manager, and keys that no set may hold.

use client_core::Channel;
use crypto_proto::keys::v1::{self as keys, key_admin_service_client::KeyAdminServiceClient};

use crate::requests::fields;
use crate::support::raw;

pub(crate) async fn malformed_administration(admin: &Channel) {
    let set = |name: &str, algorithm: &str| keys::KeySet {
        name: name.to_owned(),
        r#use: keys::KeyUse::Sign.into(),
        policy: Some(keys::KeyPolicy {
            algorithm: algorithm.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let bad = keys::KeySet {
        tenant: "?".to_owned(),
        issuer: "x".repeat(256),
        publish: 9,
        ..set("?", "ES256")
    };
    for (what, key_set, expected) in [
        ("no set", None, vec!["key_set"]),
        (
            "nothing in it",
            Some(keys::KeySet::default()),
            vec!["key_set.use", "key_set.name", "key_set.policy"],
        ),
        (
            "RSA1_5",
            Some(set("op/x", "RSA1_5")),
            vec!["key_set.policy.algorithm"],
        ),
        (
            "PBES2",
            Some(set("op/x", "PBES2-HS256+A128KW")),
            vec!["key_set.policy.algorithm"],
        ),
        (
            "none",
            Some(set("op/x", "none")),
            vec!["key_set.policy.algorithm"],
        ),
        (
            "not of the use",
            Some(set("op/x", "RSA-OAEP")),
            vec!["key_set.policy.algorithm"],
        ),
        (
            "several",
            Some(bad),
            vec![
                "key_set.tenant",
                "key_set.name",
                "key_set.issuer",
                "key_set.publish",
            ],
        ),
    ] {
        let request = keys::CreateKeySetRequest {
            key_set,
            request_id: String::new(),
        };
        let result = raw!(admin, KeyAdminServiceClient.create_key_set(request));
        assert_eq!(
            fields(what, result.map(drop)),
            expected,
            "CreateKeySet: {what}"
        );
    }
    let (tenant, key_set, request_id) = ("?".to_owned(), "?".to_owned(), "\n".to_owned());
    let get = keys::GetKeySetRequest {
        tenant: tenant.clone(),
        key_set: key_set.clone(),
    };
    let list = keys::ListKeySetsRequest {
        tenant: tenant.clone(),
        page_size: -1,
        page_token: "?".to_owned(),
    };
    let update = keys::UpdateKeySetRequest {
        key_set: Some(set("?", "ES256")),
        request_id: request_id.clone(),
        ..Default::default()
    };
    let rotate = keys::RotateKeySetRequest {
        tenant: tenant.clone(),
        key_set: key_set.clone(),
        request_id: request_id.clone(),
        ..Default::default()
    };
    let import = keys::ImportKeyRequest {
        tenant: tenant.clone(),
        key_set: key_set.clone(),
        request_id: request_id.clone(),
        state: 77,
        ..Default::default()
    };
    let revoke = keys::RevokeKeyRequest {
        tenant,
        key_set,
        request_id,
        ..Default::default()
    };
    let rows = [
        (
            "GetKeySet",
            raw!(admin, KeyAdminServiceClient.get_key_set(get)).map(drop),
            vec!["tenant", "key_set"],
        ),
        (
            "ListKeySets",
            raw!(admin, KeyAdminServiceClient.list_key_sets(list)).map(drop),
            vec!["tenant", "page_size", "page_token"],
        ),
        (
            "UpdateKeySet",
            raw!(admin, KeyAdminServiceClient.update_key_set(update)).map(drop),
            vec!["request_id", "key_set.name", "update_mask"],
        ),
        (
            "RotateKeySet",
            raw!(admin, KeyAdminServiceClient.rotate_key_set(rotate)).map(drop),
            vec!["request_id", "tenant", "key_set"],
        ),
        (
            "ImportKey",
            raw!(admin, KeyAdminServiceClient.import_key(import)).map(drop),
            vec!["request_id", "tenant", "key_set", "jwk", "state"],
        ),
        (
            "RevokeKey",
            raw!(admin, KeyAdminServiceClient.revoke_key(revoke)).map(drop),
            vec!["request_id", "tenant", "key_set", "kid"],
        ),
    ];
    for (what, result, expected) in rows {
        assert_eq!(fields(what, result), expected, "{what}");
    }
    weak_imports(admin).await;
}

/// Keys that no set may hold.
async fn weak_imports(admin: &Channel) {
    let created = keys::KeySet {
        name: "op/imports".to_owned(),
        r#use: keys::KeyUse::Sign.into(),
        policy: Some(keys::KeyPolicy {
            algorithm: "HS256".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let created = keys::CreateKeySetRequest {
        key_set: Some(created),
        request_id: String::new(),
    };
    raw!(admin, KeyAdminServiceClient.create_key_set(created)).unwrap();
    for (what, jwk) in [
        (
            "a short HMAC key",
            r#"{"kty":"oct","alg":"HS256","k":"c2hvcnQ"}"#,
        ),
        ("RSA1_5", r#"{"kty":"oct","alg":"RSA1_5","k":"AAAA"}"#),
        (
            "a point off the curve",
            r#"{"kty":"EC","crv":"P-256","alg":"ES256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"}"#,
        ),
        ("no JSON", "key"),
        ("over 16 KiB", &"x".repeat(16 * 1024 + 1)),
    ] {
        let request = keys::ImportKeyRequest {
            key_set: "op/imports".to_owned(),
            jwk: jwk.to_owned(),
            ..Default::default()
        };
        let result = raw!(admin, KeyAdminServiceClient.import_key(request));
        assert_eq!(fields(what, result.map(drop)), ["jwk"], "{what}");
    }
}
