//! The order of refusal, and that every field at fault is named.

use crypto_proto::jwe::v1 as jwe;
use crypto_proto::jwt::v1 as jwt;
use jwt::sign_request::ClaimsInput;
use tonic::Code;

use crate::support::{TestKey, TestSet, World, fields, refusal, sign, verify};

async fn world() -> World {
    let encryption = TestSet::encrypt("op/encryption", vec![TestKey::new("ECDH-ES+A256KW")]);
    let narrow = TestSet::sign("op/narrow", vec![TestKey::new("ES256")]);
    World::with(vec![
        TestSet::sign("op/a", vec![TestKey::new("ES256")]),
        encryption,
        narrow,
    ])
    .await
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test]
async fn sign_names_every_malformed_field() {
    let world = world().await;
    let mut token = world.jwt("token");
    let base = || sign("op/a", r#"{"aud":"api"}"#);
    let claims = |text: &str| Some(ClaimsInput::ClaimsJson(text.to_owned()));
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(32), "]".repeat(32));
    let rows: Vec<(&str, jwt::SignRequest, Vec<&str>)> = vec![
        (
            "tenant",
            jwt::SignRequest {
                tenant: "Acme".to_owned(),
                ..base()
            },
            vec!["tenant"],
        ),
        (
            "long tenant",
            jwt::SignRequest {
                tenant: "a".repeat(65),
                ..base()
            },
            vec!["tenant"],
        ),
        (
            "no key set",
            jwt::SignRequest {
                key_set: String::new(),
                ..base()
            },
            vec!["key_set"],
        ),
        (
            "key set",
            jwt::SignRequest {
                key_set: "op/A".to_owned(),
                ..base()
            },
            vec!["key_set"],
        ),
        (
            "no claims",
            jwt::SignRequest {
                claims_input: None,
                ..base()
            },
            vec!["claims_json"],
        ),
        (
            "not json",
            jwt::SignRequest {
                claims_input: claims("{"),
                ..base()
            },
            vec!["claims_json"],
        ),
        (
            "array",
            jwt::SignRequest {
                claims_input: claims("[]"),
                ..base()
            },
            vec!["claims_json"],
        ),
        (
            "twice",
            jwt::SignRequest {
                claims_input: claims(r#"{"a":1,"\u0061":2}"#),
                ..base()
            },
            vec!["claims_json"],
        ),
        (
            "deep",
            jwt::SignRequest {
                claims_input: claims(&deep),
                ..base()
            },
            vec!["claims_json"],
        ),
        (
            "iat, exp",
            jwt::SignRequest {
                claims_input: claims(r#"{"iat":1,"exp":2}"#),
                ..base()
            },
            vec!["claims.iat", "claims.exp"],
        ),
        (
            "aud",
            jwt::SignRequest {
                claims_input: claims(r#"{"aud":1,"sub":2}"#),
                ..base()
            },
            vec!["claims.sub", "claims.aud"],
        ),
        (
            "iss",
            jwt::SignRequest {
                claims_input: claims(r#"{"iss":"https://other"}"#),
                ..base()
            },
            vec!["claims.iss"],
        ),
        (
            "negative",
            jwt::SignRequest {
                lifetime: seconds(-1),
                ..base()
            },
            vec!["lifetime"],
        ),
        (
            "zero",
            jwt::SignRequest {
                lifetime: seconds(0),
                ..base()
            },
            vec!["lifetime"],
        ),
        (
            "too long",
            jwt::SignRequest {
                lifetime: seconds(3601),
                ..base()
            },
            vec!["lifetime"],
        ),
        (
            "fraction",
            jwt::SignRequest {
                lifetime: Some(prost_types::Duration {
                    seconds: 1,
                    nanos: 5,
                }),
                ..base()
            },
            vec!["lifetime"],
        ),
        (
            "typ",
            jwt::SignRequest {
                typ: "a\n".to_owned(),
                ..base()
            },
            vec!["typ"],
        ),
        (
            "request id",
            jwt::SignRequest {
                request_id: "x".repeat(129),
                ..base()
            },
            vec!["request_id"],
        ),
        (
            "all at once",
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
    for (name, request, expected) in rows {
        let status = token.sign(request).await.expect_err(name);
        assert_eq!(fields(&status), expected, "{name}: {status:?}");
    }
}

#[tokio::test]
async fn verify_names_every_malformed_field() {
    let world = world().await;
    let mut management = world.jwt("management");
    let many = vec!["a".to_owned(); 65];
    let rows: Vec<(&str, jwt::VerifyRequest, Vec<&str>)> = vec![
        (
            "no audience",
            jwt::VerifyRequest {
                audiences: vec![],
                ..verify("x")
            },
            vec!["audiences"],
        ),
        (
            "empty audience",
            jwt::VerifyRequest {
                audiences: vec!["a".to_owned(), String::new()],
                ..verify("x")
            },
            vec!["audiences[1]"],
        ),
        (
            "many",
            jwt::VerifyRequest {
                audiences: many,
                ..verify("x")
            },
            vec!["audiences"],
        ),
        (
            "empty type",
            jwt::VerifyRequest {
                types: vec![String::new()],
                ..verify("x")
            },
            vec!["types[0]"],
        ),
        (
            "set",
            jwt::VerifyRequest {
                key_sets: vec!["?".to_owned()],
                ..verify("x")
            },
            vec!["key_sets[0]"],
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
            "purpose",
            jwt::VerifyRequest {
                purpose: 7,
                ..verify("x")
            },
            vec!["purpose"],
        ),
        (
            "other use",
            jwt::VerifyRequest {
                key_sets: vec!["op/encryption".to_owned()],
                ..verify("x")
            },
            vec!["key_sets"],
        ),
        (
            "all at once",
            jwt::VerifyRequest {
                tenant: "?".to_owned(),
                leeway: seconds(-1),
                audiences: vec![],
                purpose: 9,
                ..verify("x")
            },
            vec!["purpose", "tenant", "leeway", "audiences"],
        ),
    ];
    for (name, request, expected) in rows {
        let status = management.verify(request).await.expect_err(name);
        assert_eq!(fields(&status), expected, "{name}: {status:?}");
    }
}

#[tokio::test]
async fn encrypt_and_decrypt_name_every_malformed_field() {
    use jwe::encrypt_request::Recipient;
    let world = world().await;
    let mut token = world.jwe("token");
    let jwk = |text: &str| Some(Recipient::RecipientJwk(text.to_owned()));
    let base = || jwe::EncryptRequest {
        recipient: Some(Recipient::KeySet("op/encryption".to_owned())),
        ..jwe::EncryptRequest::default()
    };
    let own = TestKey::new("ECDH-ES").public_jwk().unwrap();
    let signing = TestKey::new("Ed25519").public_jwk().unwrap();
    let with_alg = own.replacen('{', r#"{"alg":"RSA1_5","#, 1);
    let private = own.replacen('{', r#"{"d":"AAAA","#, 1);
    let rows: Vec<(&str, jwe::EncryptRequest, Vec<&str>)> = vec![
        (
            "no recipient",
            jwe::EncryptRequest {
                recipient: None,
                ..base()
            },
            vec!["recipient"],
        ),
        (
            "client",
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
            "enc",
            jwe::EncryptRequest {
                enc: "A256CBC".to_owned(),
                ..base()
            },
            vec!["enc"],
        ),
        (
            "cty",
            jwe::EncryptRequest {
                cty: "x".repeat(128),
                ..base()
            },
            vec!["cty"],
        ),
        (
            "payload",
            jwe::EncryptRequest {
                payload: vec![0; 256 * 1024 + 1],
                ..base()
            },
            vec!["payload"],
        ),
        (
            "not a jwk",
            jwe::EncryptRequest {
                recipient: jwk("{}"),
                ..base()
            },
            vec!["recipient_jwk"],
        ),
        (
            "long jwk",
            jwe::EncryptRequest {
                recipient: jwk(&"x".repeat(8193)),
                ..base()
            },
            vec!["recipient_jwk"],
        ),
        (
            "private jwk",
            jwe::EncryptRequest {
                recipient: jwk(&private),
                ..base()
            },
            vec!["recipient_jwk"],
        ),
        (
            "its alg",
            jwe::EncryptRequest {
                recipient: jwk(&with_alg),
                ..base()
            },
            vec!["recipient_jwk"],
        ),
        (
            "signing jwk",
            jwe::EncryptRequest {
                recipient: jwk(&signing),
                ..base()
            },
            vec!["alg"],
        ),
        (
            "other type",
            jwe::EncryptRequest {
                recipient: jwk(&own),
                alg: "RSA-OAEP".to_owned(),
                ..base()
            },
            vec!["alg"],
        ),
    ];
    for (name, request, expected) in rows {
        let status = token.encrypt(request).await.expect_err(name);
        assert_eq!(fields(&status), expected, "{name}: {status:?}");
    }
    let request = jwe::DecryptRequest {
        tenant: "?".to_owned(),
        key_sets: vec!["?".to_owned()],
        ..Default::default()
    };
    let status = world.jwe("auth").decrypt(request).await.unwrap_err();
    assert_eq!(fields(&status), ["tenant", "key_sets[0]"]);
}

#[tokio::test]
async fn nested_requests_name_fields_with_their_path() {
    let world = world().await;
    let inner = jwt::SignRequest {
        typ: "\n".to_owned(),
        ..sign("?", r#"{"iat":1}"#)
    };
    let request = jwt::SignThenEncryptRequest {
        sign: Some(inner),
        alg: "none".to_owned(),
        ..Default::default()
    };
    let status = world
        .jwt("token")
        .sign_then_encrypt(request)
        .await
        .unwrap_err();
    assert_eq!(
        fields(&status),
        [
            "sign.key_set",
            "sign.typ",
            "alg",
            "recipient",
            "sign.claims.iat"
        ]
    );
    let inner = jwt::VerifyRequest {
        tenant: "?".to_owned(),
        audiences: vec![],
        ..verify("x")
    };
    let request = jwt::DecryptThenVerifyRequest {
        verify: Some(inner),
        decrypt_key_sets: vec!["?".to_owned()],
    };
    let status = world
        .jwt("auth")
        .decrypt_then_verify(request)
        .await
        .unwrap_err();
    assert_eq!(
        fields(&status),
        ["verify.tenant", "verify.audiences", "decrypt_key_sets[0]"]
    );
}

#[tokio::test]
async fn refusals_come_in_order_fields_grant_existence_work() {
    let world = world().await;
    let (mut token, mut auth, mut narrow) =
        (world.jwt("token"), world.jwt("auth"), world.jwt("narrow"));
    let not_granted = (Code::PermissionDenied, "NOT_GRANTED".to_owned());
    let not_found = (Code::NotFound, "KEY_SET_NOT_FOUND".to_owned());

    // Fields before grant, also those that are only read with the claims.
    let status = auth.sign(sign("op/a", r#"{"exp":1}"#)).await.unwrap_err();
    assert_eq!(fields(&status), ["claims.exp"]);
    let status = auth
        .sign(jwt::SignRequest {
            typ: "\n".to_owned(),
            ..sign("op/a", "{}")
        })
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["typ"]);
    // Fields before existence.
    let status = token
        .sign(sign("op/none", r#"{"exp":1}"#))
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["claims.exp"]);
    // Grant before existence, in the same words.
    let present = narrow.sign(sign("op/a", "{}")).await.unwrap_err();
    let absent = narrow.sign(sign("op/b", "{}")).await.unwrap_err();
    assert_eq!(
        (refusal(&present), refusal(&absent)),
        (not_granted.clone(), not_granted.clone())
    );
    assert_eq!(present.message().replace("op/a", "op/b"), absent.message());
    for (name, status) in [
        (
            "auth signs",
            auth.sign(sign("op/a", "{}")).await.unwrap_err(),
        ),
        (
            "other tenant",
            token
                .sign(jwt::SignRequest {
                    tenant: "acme".to_owned(),
                    ..sign("op/a", "{}")
                })
                .await
                .unwrap_err(),
        ),
        (
            "unchecked audience",
            auth.verify(jwt::VerifyRequest {
                audience_unchecked: true,
                ..verify("x")
            })
            .await
            .unwrap_err(),
        ),
        (
            "other set",
            narrow
                .verify(jwt::VerifyRequest {
                    key_sets: vec!["op/a".to_owned()],
                    ..verify("x")
                })
                .await
                .unwrap_err(),
        ),
        (
            "stranger",
            world.jwt("stranger").verify(verify("x")).await.unwrap_err(),
        ),
    ] {
        assert_eq!(refusal(&status), not_granted, "{name}");
    }
    // Existence for who may.
    assert_eq!(
        refusal(&token.sign(sign("op/none", "{}")).await.unwrap_err()),
        not_found
    );
    let named = jwt::VerifyRequest {
        key_sets: vec!["op/none".to_owned()],
        ..verify("x")
    };
    assert_eq!(refusal(&auth.verify(named).await.unwrap_err()), not_found);
    assert_eq!(
        fields(&token.sign(sign("op/encryption", "{}")).await.unwrap_err()),
        ["key_set"]
    );
}

#[tokio::test]
async fn a_set_that_the_caller_may_not_verify_with_is_an_unknown_key() {
    let world = world().await;
    let signed = world
        .jwt("token")
        .sign(sign("op/a", r#"{"aud":"api"}"#))
        .await
        .unwrap()
        .into_inner()
        .token;
    let seen = crate::support::judged(&mut world.jwt("narrow"), &signed).await;
    assert_eq!(seen, Err(jwt::RejectReason::UnknownKey));
    assert!(
        crate::support::judged(&mut world.jwt("auth"), &signed)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_request_beyond_its_limit_is_refused_before_it_is_read() {
    let world = world().await;
    let status = world
        .jwt("token")
        .sign(sign("op/a", &"x".repeat(1024 * 1024)))
        .await
        .unwrap_err();
    assert_eq!(
        refusal(&status),
        (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned()),
        "{status:?}"
    );
}
