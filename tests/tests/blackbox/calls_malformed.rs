//! Every malformed request is INVALID_ARGUMENT, and names each field at fault.

use blackbox::Stack;
use client_core::Channel;
use crypto_proto::jwe::v1::{self as jwe, jwe_service_client::JweServiceClient};
use crypto_proto::jwks::v1::{self as jwks, jwks_service_client::JwksServiceClient};
use crypto_proto::jwt::v1::{self as jwt, jwt_service_client::JwtServiceClient};
use jwe::encrypt_request::Recipient;

use crate::calls_malformed_keys::malformed_administration;
use crate::requests::{claims, encrypt, fields, seconds, sign, verify};
use crate::support::{one_try as channel, raw};

#[tokio::test]
async fn every_malformed_request_names_each_field_at_fault() {
    let stack = Stack::start();
    stack.create_development_key_sets();
    let at = |role| channel(&stack, stack.crypto.grpc, role);
    let (token, auth) = (at("token"), at("auth"));
    malformed_signing(&token).await;
    malformed_verification(&auth).await;
    malformed_encryption(&token, &auth).await;
    let issuer = "x".repeat(3000);
    let asked = raw!(
        auth,
        JwksServiceClient.get_jwks(jwks::GetJwksRequest {
            tenant: "?".to_owned(),
            issuer: issuer.clone()
        })
    );
    assert_eq!(fields("GetJwks", asked.map(drop)), ["tenant", "issuer"]);
    let asked = raw!(
        auth,
        JwksServiceClient.watch_trust(jwks::WatchTrustRequest {
            tenant: "?".to_owned(),
            key_sets: vec!["?".to_owned()],
            ..jwks::WatchTrustRequest::default()
        })
    );
    assert_eq!(
        fields("WatchTrust", asked.map(drop)),
        ["tenant", "key_sets[0]"]
    );
    malformed_administration(&channel(&stack, stack.keys.grpc, "admin")).await;
}

async fn malformed_signing(token: &Channel) {
    let base = || sign("op/access-token");
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(32), "]".repeat(32));
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(12 * 1024));
    let rows = [
        (
            "nothing",
            jwt::SignRequest::default(),
            vec!["key_set", "claims_json"],
        ),
        (
            "not JSON",
            jwt::SignRequest {
                claims_input: claims("{"),
                ..base()
            },
            vec!["claims_json"],
        ),
        (
            "no object",
            jwt::SignRequest {
                claims_input: claims("[]"),
                ..base()
            },
            vec!["claims_json"],
        ),
        (
            "a member twice",
            jwt::SignRequest {
                claims_input: claims(r#"{"a":1,"\u0061":2}"#),
                ..base()
            },
            vec!["claims_json"],
        ),
        (
            "33 levels",
            jwt::SignRequest {
                claims_input: claims(deep),
                ..base()
            },
            vec!["claims_json"],
        ),
        (
            "over 12 KiB",
            jwt::SignRequest {
                claims_input: claims(long),
                ..base()
            },
            vec!["claims_json"],
        ),
        (
            "dates",
            jwt::SignRequest {
                claims_input: claims(r#"{"iat":1,"exp":2}"#),
                ..base()
            },
            vec!["claims.iat", "claims.exp"],
        ),
        (
            "another issuer",
            jwt::SignRequest {
                claims_input: claims(r#"{"iss":"https://other"}"#),
                ..base()
            },
            vec!["claims.iss"],
        ),
        (
            "above the maximum",
            jwt::SignRequest {
                lifetime: seconds(3601),
                ..base()
            },
            vec!["lifetime"],
        ),
        ("an encryption set", sign("op/encryption"), vec!["key_set"]),
        (
            "everything",
            jwt::SignRequest {
                tenant: "?".to_owned(),
                key_set: "?".to_owned(),
                typ: "\u{e9}".to_owned(),
                lifetime: seconds(-1),
                claims_input: claims(r#"{"exp":1}"#),
                request_id: "\t".to_owned(),
            },
            vec![
                "tenant",
                "key_set",
                "lifetime",
                "typ",
                "request_id",
                "claims.exp",
            ],
        ),
    ];
    for (what, request, expected) in rows {
        let result = raw!(token, JwtServiceClient.sign(request));
        assert_eq!(fields(what, result.map(drop)), expected, "{what}");
    }
    let inner = jwt::SignRequest {
        typ: "\n".to_owned(),
        claims_input: claims(r#"{"iat":1}"#),
        ..sign("?")
    };
    let request = jwt::SignThenEncryptRequest {
        sign: Some(inner),
        alg: "none".to_owned(),
        ..Default::default()
    };
    let result = raw!(token, JwtServiceClient.sign_then_encrypt(request));
    let named = fields("SignThenEncrypt", result.map(drop));
    assert_eq!(
        named,
        [
            "sign.key_set",
            "sign.typ",
            "alg",
            "recipient",
            "sign.claims.iat"
        ]
    );
}

async fn malformed_verification(auth: &Channel) {
    let rows = [
        (
            "no audience",
            jwt::VerifyRequest {
                audiences: vec![],
                ..verify("x")
            },
            vec!["audiences"],
        ),
        (
            "an empty audience",
            jwt::VerifyRequest {
                audiences: vec![String::new()],
                ..verify("x")
            },
            vec!["audiences[0]"],
        ),
        (
            "leeway",
            jwt::VerifyRequest {
                leeway: seconds(61),
                ..verify("x")
            },
            vec!["leeway"],
        ),
        (
            "an encryption set",
            jwt::VerifyRequest {
                key_sets: vec!["op/encryption".to_owned()],
                ..verify("x")
            },
            vec!["key_sets"],
        ),
        (
            "everything",
            jwt::VerifyRequest {
                tenant: "?".to_owned(),
                key_sets: vec!["?".to_owned()],
                leeway: seconds(-1),
                audiences: vec![],
                purpose: 9,
                request_id: "\n".to_owned(),
                ..verify("x")
            },
            vec![
                "purpose",
                "tenant",
                "key_sets[0]",
                "request_id",
                "leeway",
                "audiences",
            ],
        ),
    ];
    for (what, request, expected) in rows {
        let result = raw!(auth, JwtServiceClient.verify(request));
        assert_eq!(fields(what, result.map(drop)), expected, "{what}");
    }
    let inner = jwt::VerifyRequest {
        tenant: "?".to_owned(),
        audiences: vec![],
        ..verify("x")
    };
    let request = jwt::DecryptThenVerifyRequest {
        verify: Some(inner),
        decrypt_key_sets: vec!["?".to_owned()],
    };
    let result = raw!(auth, JwtServiceClient.decrypt_then_verify(request));
    let named = fields("DecryptThenVerify", result.map(drop));
    assert_eq!(
        named,
        ["verify.tenant", "verify.audiences", "decrypt_key_sets[0]"]
    );
}

async fn malformed_encryption(token: &Channel, auth: &Channel) {
    let base = || encrypt("op/encryption");
    let jwk = |text: &str| Some(Recipient::RecipientJwk(text.to_owned()));
    let rows = [
        (
            "no recipient",
            jwe::EncryptRequest::default(),
            vec!["recipient"],
        ),
        (
            "a client",
            jwe::EncryptRequest {
                recipient: Some(Recipient::ClientId("c".to_owned())),
                ..base()
            },
            vec!["client_id"],
        ),
        (
            "RSA1_5",
            jwe::EncryptRequest {
                alg: "RSA1_5".to_owned(),
                ..base()
            },
            vec!["alg"],
        ),
        (
            "PBES2",
            jwe::EncryptRequest {
                alg: "PBES2-HS256+A128KW".to_owned(),
                ..base()
            },
            vec!["alg"],
        ),
        (
            "not the set's",
            jwe::EncryptRequest {
                alg: "RSA-OAEP".to_owned(),
                ..base()
            },
            vec!["alg"],
        ),
        (
            "unknown",
            jwe::EncryptRequest {
                enc: "A256CBC".to_owned(),
                ..base()
            },
            vec!["enc"],
        ),
        (
            "over 256 KiB",
            jwe::EncryptRequest {
                payload: vec![0; 256 * 1024 + 1],
                ..base()
            },
            vec!["payload"],
        ),
        (
            "no JWK",
            jwe::EncryptRequest {
                recipient: jwk("{}"),
                ..base()
            },
            vec!["recipient_jwk"],
        ),
        (
            "over 8 KiB",
            jwe::EncryptRequest {
                recipient: jwk(&"x".repeat(8193)),
                ..base()
            },
            vec!["recipient_jwk"],
        ),
        ("a signing set", encrypt("op/access-token"), vec!["key_set"]),
        (
            "everything",
            jwe::EncryptRequest {
                tenant: "?".to_owned(),
                alg: "RSA1_5".to_owned(),
                enc: "zip".to_owned(),
                cty: "x".repeat(128),
                request_id: "\n".to_owned(),
                ..encrypt("?")
            },
            vec!["tenant", "cty", "request_id", "alg", "enc", "key_set"],
        ),
    ];
    for (what, request, expected) in rows {
        let result = raw!(token, JweServiceClient.encrypt(request));
        assert_eq!(fields(what, result.map(drop)), expected, "{what}");
    }
    let request = jwe::DecryptRequest {
        tenant: "?".to_owned(),
        key_sets: vec!["?".to_owned()],
        ..Default::default()
    };
    let result = raw!(auth, JweServiceClient.decrypt(request));
    assert_eq!(
        fields("Decrypt", result.map(drop)),
        ["tenant", "key_sets[0]"]
    );
}
