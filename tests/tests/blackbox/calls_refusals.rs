//! What is refused besides malformed requests, and in which order.

use blackbox::{PATIENCE, Stack};
use client_core::{Code, Reason};
use crypto_proto::jwe::v1::{self as jwe, jwe_service_client::JweServiceClient};
use crypto_proto::jwks::v1::{self as jwks, jwks_service_client::JwksServiceClient};
use crypto_proto::jwt::v1::{self as jwt, jwt_service_client::JwtServiceClient};
use crypto_proto::keys::v1::{self as keys, key_admin_service_client::KeyAdminServiceClient};

use crate::requests::{claims, encrypt, fields, refused, sign, verify};
use crate::support::{AUDIENCE, eventually, one_try as channel, raw};

#[tokio::test]
async fn refusals_come_in_order_fields_grant_existence() {
    let stack = Stack::start();
    stack.create_development_key_sets();
    let at = |role| channel(&stack, stack.crypto.grpc, role);
    let (token, auth, admin) = (at("token"), at("auth"), at("admin"));
    let operator = |role| channel(&stack, stack.keys.grpc, role);

    // fields before the grant
    let bad = jwt::SignRequest {
        claims_input: claims(r#"{"exp":1}"#),
        ..sign("op/access-token")
    };
    assert_eq!(
        fields(
            "fields first",
            raw!(auth, JwtServiceClient.sign(bad)).map(drop)
        ),
        ["claims.exp"]
    );
    // the grant before existence, in the same words
    let mut words = Vec::new();
    for key_set in ["op/access-token", "op/none"] {
        let result = raw!(auth, JwtServiceClient.sign(sign(key_set))).map(drop);
        words.push(
            refused(key_set, result, Code::PermissionDenied, &Reason::NotGranted)
                .replace(key_set, "SET"),
        );
        let get = keys::GetKeySetRequest {
            key_set: key_set.to_owned(),
            ..Default::default()
        };
        let result = raw!(operator("token"), KeyAdminServiceClient.get_key_set(get)).map(drop);
        refused(key_set, result, Code::PermissionDenied, &Reason::NotGranted);
    }
    assert_eq!(words[0], words[1]);
    let unchecked = jwt::VerifyRequest {
        audiences: vec![],
        audience_unchecked: true,
        ..verify("x")
    };
    let other_tenant = jwt::SignRequest {
        tenant: "acme".to_owned(),
        ..sign("op/access-token")
    };
    let rows = [
        (
            "auth decides on any audience",
            raw!(auth, JwtServiceClient.verify(unchecked)).map(drop),
        ),
        (
            "another tenant",
            raw!(token, JwtServiceClient.sign(other_tenant)).map(drop),
        ),
        (
            "another name space",
            raw!(token, JwtServiceClient.sign(sign("other/access-token"))).map(drop),
        ),
        (
            "admin verifies",
            raw!(admin, JwtServiceClient.verify(verify("x"))).map(drop),
        ),
        (
            "admin encrypts",
            raw!(admin, JweServiceClient.encrypt(encrypt("op/encryption"))).map(drop),
        ),
        (
            "token decrypts",
            raw!(
                token,
                JweServiceClient.decrypt(jwe::DecryptRequest::default())
            )
            .map(drop),
        ),
        (
            "admin watches",
            raw!(
                admin,
                JwksServiceClient.watch_trust(jwks::WatchTrustRequest::default())
            )
            .map(drop),
        ),
        (
            "token lists",
            raw!(
                operator("token"),
                KeyAdminServiceClient.list_key_sets(keys::ListKeySetsRequest::default())
            )
            .map(drop),
        ),
    ];
    for (what, result) in rows {
        refused(what, result, Code::PermissionDenied, &Reason::NotGranted);
    }
    // existence for who may ask
    let result = raw!(token, JwtServiceClient.sign(sign("op/none"))).map(drop);
    refused("sign", result, Code::NotFound, &Reason::KeySetNotFound);
    let result = raw!(token, JweServiceClient.encrypt(encrypt("op/none"))).map(drop);
    refused("encrypt", result, Code::NotFound, &Reason::KeySetNotFound);
    // no key that signs yet
    stack.ctl(&["keyset", "create", "op/fresh", "--alg", "ES256"]);
    let fresh = async || raw!(token, JwtServiceClient.sign(sign("op/fresh"))).map(drop);
    let fed = async || !matches!(fresh().await, Err(error) if error.code() == Code::NotFound);
    assert!(
        eventually(PATIENCE, fed).await,
        "the new set does not reach the instance"
    );
    refused(
        "no Active key",
        fresh().await,
        Code::Unavailable,
        &Reason::NotReady,
    );
    // a request larger than any may be
    let huge = jwt::SignRequest {
        claims_input: claims("x".repeat(1024 * 1024)),
        ..sign("op/access-token")
    };
    let result = raw!(token, JwtServiceClient.sign(huge)).map(drop);
    refused(
        "over 1 MiB",
        result,
        Code::ResourceExhausted,
        &Reason::MessageTooLarge,
    );
    // and the largest that are taken
    let claims_json = format!(r#"{{"aud":"{AUDIENCE}","a":"{}"}}"#, "x".repeat(11 * 1024));
    let large = jwt::SignRequest {
        claims_input: claims(claims_json),
        ..sign("op/access-token")
    };
    let signed = raw!(token, JwtServiceClient.sign(large)).unwrap();
    assert!(signed.token.len() < 20 * 1024);
    let large = jwe::EncryptRequest {
        payload: vec![7; 256 * 1024],
        ..encrypt("op/encryption")
    };
    let sealed = raw!(token, JweServiceClient.encrypt(large)).unwrap();
    let opened = raw!(
        auth,
        JweServiceClient.decrypt(jwe::DecryptRequest {
            token: sealed.token,
            ..Default::default()
        })
    )
    .unwrap();
    assert!(
        matches!(opened.verdict, Some(jwe::decrypt_response::Verdict::Decrypted(token)) if token.payload.len() == 256 * 1024)
    );
}
