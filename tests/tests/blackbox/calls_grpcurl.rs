//! Every rpc once through the real grpcurl, which finds everything by reflection; and reflection of version 1.

use std::net::SocketAddr;

use blackbox::{Stack, text};
use serde_json::{Value, json};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{AUDIENCE, ISSUER, channel};

const CRYPTO_SERVICES: [&str; 4] = [
    "crypto.jwe.v1.JweService",
    "crypto.jwks.v1.JwksService",
    "crypto.jwt.v1.JwtService",
    "grpc.health.v1.Health",
];
const KEYS_SERVICES: [&str; 3] = [
    "crypto.keys.v1.KeyAdminService",
    "crypto.keys.v1.KeyFeedService",
    "grpc.health.v1.Health",
];

/// One call with a JSON request; the JSON answer.
fn call(stack: &Stack, role: &str, address: SocketAddr, method: &str, request: &Value) -> Value {
    let request = request.to_string();
    let output = stack.grpcurl(role, address, &["-d", &request], &[method]);
    assert!(
        output.status.success(),
        "{method} {request}: {}",
        text(&output)
    );
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{method}: {}", text(&output)))
}

#[tokio::test]
async fn every_rpc_of_the_crypto_service_answers_grpcurl() {
    let stack = Stack::start();
    stack.create_development_key_sets();
    let at = stack.crypto.grpc;
    let jwt = |method: &str| format!("crypto.jwt.v1.JwtService/{method}");
    let jwe = |method: &str| format!("crypto.jwe.v1.JweService/{method}");

    // `claims` is a structure, as a person writes it
    let claims = json!({"sub": "bob", "aud": AUDIENCE, "n": 42, "list": [true, null, {"a": "b"}]});
    let signed = call(
        &stack,
        "token",
        at,
        &jwt("Sign"),
        &json!({"key_set": "op/access-token", "claims": claims, "lifetime": "60s"}),
    );
    let verify = json!({"token": signed["token"], "audiences": [AUDIENCE]});
    let valid = &call(&stack, "auth", at, &jwt("Verify"), &verify)["valid"];
    assert_eq!(valid["kid"], signed["kid"]);
    let seen: Value = serde_json::from_str(valid["claimsJson"].as_str().unwrap()).unwrap();
    for (name, value) in claims.as_object().unwrap() {
        assert_eq!(&seen[name], value, "{name}");
    }
    assert_eq!(
        seen["exp"].as_u64().unwrap() - seen["iat"].as_u64().unwrap(),
        60
    );
    // the other spelling of claims
    let text_claims = json!({"sub": "bob", "aud": AUDIENCE}).to_string();
    call(
        &stack,
        "token",
        at,
        &jwt("Sign"),
        &json!({"key_set": "op/id-token", "claims_json": text_claims}),
    );

    let inner = json!({"key_set": "op/id-token", "claims": {"aud": AUDIENCE}});
    let nested = call(
        &stack,
        "token",
        at,
        &jwt("SignThenEncrypt"),
        &json!({"sign": inner, "key_set": "op/encryption"}),
    );
    let opened = json!({"verify": {"token": nested["token"], "audiences": [AUDIENCE]}});
    let opened = call(&stack, "auth", at, &jwt("DecryptThenVerify"), &opened);
    assert_eq!(opened["valid"]["kid"], nested["kid"]);

    // "secret" in base64, as JSON carries bytes
    let sealed = call(
        &stack,
        "token",
        at,
        &jwe("Encrypt"),
        &json!({"payload": "c2VjcmV0", "key_set": "op/encryption"}),
    );
    let opened = call(
        &stack,
        "auth",
        at,
        &jwe("Decrypt"),
        &json!({"token": sealed["token"]}),
    );
    assert_eq!(opened["decrypted"]["payload"], "c2VjcmV0");

    let jwks = call(
        &stack,
        "auth",
        at,
        "crypto.jwks.v1.JwksService/GetJwks",
        &json!({"issuer": ISSUER}),
    );
    assert!(
        jwks["jwksJson"].as_str().unwrap().contains("\"keys\""),
        "{jwks}"
    );
    // a stream has no end: it is cut after a second, and what came by then counts
    let watched = stack.grpcurl(
        "auth",
        at,
        &["-max-time", "1"],
        &["crypto.jwks.v1.JwksService/WatchTrust"],
    );
    let watched = String::from_utf8_lossy(&watched.stdout).into_owned();
    for event in ["\"jwks\"", "\"revocations\"", "\"lease\""] {
        assert!(watched.contains(event), "no {event}: {watched}");
    }
    reflected_and_healthy(&stack, "token", at, &CRYPTO_SERVICES).await;
}

#[tokio::test]
async fn every_rpc_of_the_key_manager_answers_grpcurl() {
    let stack = Stack::start();
    let at = stack.keys.grpc;
    let admin = |method: &str, request: Value| {
        call(
            &stack,
            "admin",
            at,
            &format!("crypto.keys.v1.KeyAdminService/{method}"),
            &request,
        )
    };
    let name = "op/by-hand";
    let set = json!({"name": name, "use": "KEY_USE_SIGN", "policy": {"algorithm": "ES256"}});
    let created = admin("CreateKeySet", json!({"key_set": set}));
    assert_eq!(
        created["keySet"]["versions"][0]["state"],
        "KEY_STATE_PREPARED"
    );
    let forced = admin("RotateKeySet", json!({"key_set": name, "force": true}));
    assert_eq!(forced["keySet"]["versions"][0]["state"], "KEY_STATE_ACTIVE");
    let held = admin("RotateKeySet", json!({"key_set": name}));
    assert!(held["holding"][0]["description"].is_string(), "{held}");
    let shown = admin("GetKeySet", json!({"key_set": name}));
    assert!(shown["holding"][0]["reason"].is_string(), "{shown}");
    // this grpcurl writes a field mask as the message that it is
    let mask = json!({"paths": ["issuer"]});
    let changed = json!({"key_set": {"name": name, "issuer": ISSUER}, "update_mask": mask});
    assert_eq!(admin("UpdateKeySet", changed)["keySet"]["issuer"], ISSUER);
    let jwk = stack.ctl(&["keygen", "ES256"]);
    let imported = admin("ImportKey", json!({"key_set": name, "jwk": jwk.trim()}));
    let kid = &imported["kid"];
    let revoked = admin("RevokeKey", json!({"key_set": name, "kid": kid}));
    assert_eq!(revoked["total"], 1, "{revoked}");
    assert_eq!(admin("ListKeySets", json!({}))["keySets"][0]["name"], name);

    // the feed is for instances alone, and for those that prove who they are
    let hello = json!({"hello": {"nonce": "00000000000000000000000000000000"}}).to_string();
    for (role, code) in [
        ("admin", "PermissionDenied"),
        ("crypto-service", "InvalidArgument"),
    ] {
        let refused = stack.grpcurl(
            role,
            at,
            &["-d", &hello],
            &["crypto.keys.v1.KeyFeedService/Watch"],
        );
        assert!(text(&refused).contains(code), "{role}: {}", text(&refused));
    }
    reflected_and_healthy(&stack, "admin", at, &KEYS_SERVICES).await;
}

/// `list` and `describe` by grpcurl, which speaks v1alpha; the same list by v1; health.
async fn reflected_and_healthy(stack: &Stack, role: &str, at: SocketAddr, services: &[&str]) {
    let listed = stack.grpcurl(role, at, &[], &["list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let by_v1 = services_by_v1(stack, role, at).await;
    for service in services {
        assert!(
            listed.lines().any(|line| line == *service),
            "{service}: {listed}"
        );
        assert!(
            by_v1.iter().any(|name| name == service),
            "{service}: {by_v1:?}"
        );
        let described = stack.grpcurl(role, at, &[], &["describe", service]);
        assert!(
            text(&described).contains("is a service"),
            "{}",
            text(&described)
        );
    }
    let health = call(stack, role, at, "grpc.health.v1.Health/Check", &json!({}));
    assert_eq!(health["status"], "SERVING");
}

async fn services_by_v1(stack: &Stack, role: &str, at: SocketAddr) -> Vec<String> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let channel = channel(stack, at, role);
    let answered = channel.call(client_core::Repeat::OnlyIfUndone, |attempt| {
        let requests = futures::stream::iter([request.clone()]);
        async move {
            let mut client = ServerReflectionClient::new(attempt.connection());
            client.server_reflection_info(requests).await
        }
    });
    let answer = answered.await.unwrap().message().await.unwrap().unwrap();
    match answer.message_response {
        Some(MessageResponse::ListServicesResponse(list)) => list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect(),
        other => panic!("{other:?}"),
    }
}
