use crypto_proto::jwe::v1 as jwe;
use crypto_proto::jwt::v1 as jwt;
use crypto_service::keys::Profile;
use jose::algorithm::{Algorithm, ContentEncryption, KeyManagement};
use jose_aws_lc::{AgreementCurve, AwsLc, KeySpec};
use jwe::encrypt_request::Recipient;
use keyring::State;

use crate::support::{TestKey, TestSet, World, sign, verify};

fn own(key_set: &str, payload: &[u8]) -> jwe::EncryptRequest {
    let recipient = Some(Recipient::KeySet(key_set.to_owned()));
    jwe::EncryptRequest {
        payload: payload.to_vec(),
        recipient,
        ..jwe::EncryptRequest::default()
    }
}

fn decrypt(token: &str) -> jwe::DecryptRequest {
    jwe::DecryptRequest {
        token: token.to_owned(),
        ..jwe::DecryptRequest::default()
    }
}

fn opened(response: jwe::DecryptResponse) -> Option<jwe::DecryptedToken> {
    match response.verdict.expect("a verdict") {
        jwe::decrypt_response::Verdict::Decrypted(token) => Some(token),
        jwe::decrypt_response::Verdict::Rejected(rejected) => {
            assert_eq!(rejected.reason(), jwe::RejectReason::DecryptionFailed);
            None
        }
    }
}

/// Every key that a set may have: each algorithm, ECDH-ES on each curve, `dir` for each content encryption.
fn specs() -> Vec<(String, KeySpec)> {
    let mut specs = Vec::new();
    for algorithm in KeyManagement::ALL {
        let spec = KeySpec::new(Algorithm::Jwe(*algorithm));
        let name = |extra: &str| {
            format!(
                "op/{}{extra}",
                algorithm.name().to_lowercase().replace('+', "-")
            )
        };
        match algorithm {
            KeyManagement::Dir => {
                let each = ContentEncryption::ALL.iter();
                specs.extend(each.map(|enc| {
                    (
                        name(&format!("/{}", enc.name().to_lowercase())),
                        KeySpec { enc: *enc, ..spec },
                    )
                }));
            }
            KeyManagement::EcdhEs | KeyManagement::EcdhEsA128Kw | KeyManagement::EcdhEsA256Kw => {
                use AgreementCurve::{P256, P384, P521, X25519};
                let each = [
                    ("p256", P256),
                    ("p384", P384),
                    ("p521", P521),
                    ("x25519", X25519),
                ];
                specs.extend(each.map(|(curve_name, curve)| {
                    (name(&format!("/{curve_name}")), KeySpec { curve, ..spec })
                }));
            }
            _ => specs.push((name(""), spec)),
        }
    }
    specs
}

#[tokio::test]
async fn every_algorithm_and_content_encryption_round_trips() {
    let sets = specs().into_iter().map(|(name, spec)| {
        let enc = (spec.algorithm == Algorithm::Jwe(KeyManagement::Dir)).then_some(spec.enc);
        TestSet {
            enc,
            ..TestSet::encrypt(&name, vec![TestKey::of(spec)])
        }
    });
    let world = World::with(sets.collect()).await;
    let (mut token, mut auth) = (world.jwe("token"), world.jwe("auth"));
    let mut cells = 0;
    for (name, spec) in specs() {
        let is_dir = spec.algorithm == Algorithm::Jwe(KeyManagement::Dir);
        for enc in ContentEncryption::ALL
            .iter()
            .filter(|enc| !is_dir || **enc == spec.enc)
        {
            let request = jwe::EncryptRequest {
                enc: enc.name().to_owned(),
                cty: "text".to_owned(),
                ..own(&name, b"secret")
            };
            let made = token
                .encrypt(request)
                .await
                .unwrap_or_else(|error| panic!("{name} {enc}: {error}"))
                .into_inner();
            let found = opened(
                auth.decrypt(decrypt(&made.token))
                    .await
                    .unwrap()
                    .into_inner(),
            );
            let found = found.unwrap_or_else(|| panic!("{name} {enc}"));
            assert_eq!(
                (found.payload.as_slice(), &found.kid, &found.key_set),
                (&b"secret"[..], &made.kid, &name),
                "{enc}"
            );
            assert!(
                found.header_json.contains(&format!(r#""enc":"{enc}""#)),
                "{}",
                found.header_json
            );
            cells += 1;
        }
    }
    assert_eq!(cells, 6 * (2 + 12 + 4) + 6);
}

#[tokio::test]
async fn whatever_is_wrong_with_a_token_the_verdict_is_one() {
    let set = |name: &str, key: &TestKey| TestSet::encrypt(name, vec![key.clone()]);
    let (key, other) = (TestKey::new("ECDH-ES+A256KW"), TestKey::new("A256KW"));
    let mut world = World::with(vec![set("op/a", &key), set("op/b", &other)]).await;
    let made = world
        .jwe("token")
        .encrypt(own("op/a", b"x"))
        .await
        .unwrap()
        .into_inner()
        .token;
    let mut auth = world.jwe("auth");
    let parts: Vec<&str> = made.split('.').collect();
    let swapped = [
        parts[0],
        parts[1],
        parts[2],
        parts[3],
        "AAAAAAAAAAAAAAAAAAAAAA",
    ]
    .join(".");
    let header = |json: &str| format!("{}.{}", jose::base64url::encode(json), parts[1..].join("."));
    for (name, token) in [
        ("empty", String::new()),
        ("not compact", "a.b.c".to_owned()),
        ("tag", swapped),
        ("too long", "x".repeat(400 * 1024)),
        (
            "unknown kid",
            header(r#"{"alg":"ECDH-ES+A256KW","enc":"A256GCM","kid":"none"}"#),
        ),
        (
            "RSA1_5",
            header(&format!(
                r#"{{"alg":"RSA1_5","enc":"A256GCM","kid":"{}"}}"#,
                key.kid
            )),
        ),
        (
            "zip",
            header(&format!(
                r#"{{"alg":"ECDH-ES+A256KW","enc":"A256GCM","zip":"DEF","kid":"{}"}}"#,
                key.kid
            )),
        ),
        (
            "other set's key",
            header(&format!(
                r#"{{"alg":"A256KW","enc":"A256GCM","kid":"{}"}}"#,
                other.kid
            )),
        ),
    ] {
        assert!(
            opened(auth.decrypt(decrypt(&token)).await.unwrap().into_inner()).is_none(),
            "{name}"
        );
    }
    let elsewhere = jwe::DecryptRequest {
        key_sets: vec!["op/b".to_owned()],
        ..decrypt(&made)
    };
    assert!(opened(auth.decrypt(elsewhere).await.unwrap().into_inner()).is_none());
    assert!(opened(auth.decrypt(decrypt(&made)).await.unwrap().into_inner()).is_some());
    for (state, opens) in [
        (State::Retiring, true),
        (State::Retired, false),
        (State::Revoked, false),
    ] {
        world.change(set("op/a", &key.clone().state(state)));
        assert_eq!(
            opened(auth.decrypt(decrypt(&made)).await.unwrap().into_inner()).is_some(),
            opens,
            "{state:?}"
        );
    }
}

#[tokio::test]
async fn a_token_without_kid_needs_exactly_one_set() {
    let key = TestKey::new("RSA-OAEP-256");
    let world = World::with(vec![TestSet::encrypt(
        "op/a",
        vec![key.clone(), TestKey::new("A256KW").state(State::Retiring)],
    )])
    .await;
    let recipient = Some(Recipient::RecipientJwk(key.public_jwk().unwrap()));
    let request = jwe::EncryptRequest {
        payload: b"x".to_vec(),
        recipient,
        ..jwe::EncryptRequest::default()
    };
    let made = world
        .jwe("token")
        .encrypt(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(made.kid, "");
    let mut auth = world.jwe("auth");
    assert!(
        opened(
            auth.decrypt(decrypt(&made.token))
                .await
                .unwrap()
                .into_inner()
        )
        .is_none()
    );
    let named = jwe::DecryptRequest {
        key_sets: vec!["op/a".to_owned()],
        ..decrypt(&made.token)
    };
    assert_eq!(
        opened(auth.decrypt(named).await.unwrap().into_inner())
            .unwrap()
            .kid,
        key.kid
    );
}

#[tokio::test]
async fn a_brought_key_is_used_with_its_own_algorithm_or_the_usual_one() {
    let world = World::with(vec![]).await;
    let mut token = world.jwe("token");
    for (key, asked, written) in [
        ("RSA-OAEP", "", "RSA-OAEP-256"),
        ("RSA-OAEP", "RSA-OAEP", "RSA-OAEP"),
        ("ECDH-ES", "", "ECDH-ES+A256KW"),
        ("ECDH-ES", "ECDH-ES", "ECDH-ES"),
    ] {
        let key = TestKey::new(key);
        let jwk = key
            .public_jwk()
            .unwrap()
            .replacen('{', r#"{"kid":"theirs","#, 1);
        let recipient = Some(Recipient::RecipientJwk(jwk));
        let request = jwe::EncryptRequest {
            payload: b"x".to_vec(),
            recipient,
            alg: asked.to_owned(),
            ..Default::default()
        };
        let made = token.encrypt(request).await.unwrap().into_inner();
        assert_eq!(made.kid, "theirs");
        let algorithm = KeyManagement::parse(written).unwrap();
        let decrypter = AwsLc.decrypter(algorithm, None, &key.material).unwrap();
        assert_eq!(
            *jose::jwe::decrypt(&made.token, &*decrypter)
                .unwrap()
                .payload,
            b"x",
            "{asked} {written}"
        );
    }
}

#[tokio::test]
async fn nested_tokens_are_signed_then_encrypted_and_back() {
    let encryption = TestSet::encrypt("op/encryption", vec![TestKey::new("RSA-OAEP-256")]);
    let world = World::with(vec![
        TestSet::sign("op/id-token", vec![TestKey::new("RS256")]),
        encryption,
    ])
    .await;
    let request = jwt::SignThenEncryptRequest {
        sign: Some(sign("op/id-token", r#"{"aud":"api","n":1.0}"#)),
        recipient: Some(jwt::sign_then_encrypt_request::Recipient::KeySet(
            "op/encryption".to_owned(),
        )),
        ..jwt::SignThenEncryptRequest::default()
    };
    let made = world
        .jwt("token")
        .sign_then_encrypt(request)
        .await
        .unwrap()
        .into_inner();
    let found = opened(
        world
            .jwe("auth")
            .decrypt(decrypt(&made.token))
            .await
            .unwrap()
            .into_inner(),
    )
    .unwrap();
    assert!(
        found.header_json.contains(r#""cty":"JWT""#) && found.kid == made.encryption_kid,
        "{}",
        found.header_json
    );

    let mut auth = world.jwt("auth");
    let ask = |token: &str, audience: &str| {
        let verify = jwt::VerifyRequest {
            audiences: vec![audience.to_owned()],
            ..verify(token)
        };
        jwt::DecryptThenVerifyRequest {
            verify: Some(verify),
            decrypt_key_sets: vec![],
        }
    };
    let mut verdict = async |token: &str, audience: &str| {
        let response = auth
            .decrypt_then_verify(ask(token, audience))
            .await
            .unwrap()
            .into_inner();
        match response.verdict.unwrap() {
            jwt::decrypt_then_verify_response::Verdict::Valid(valid) => Ok(valid),
            jwt::decrypt_then_verify_response::Verdict::Rejected(rejected) => {
                Err(rejected.reason())
            }
        }
    };
    let valid = verdict(&made.token, "api").await.unwrap();
    assert!(
        valid.claims_json.starts_with(r#"{"aud":"api","n":1.0,"#) && valid.kid == made.kid,
        "{}",
        valid.claims_json
    );
    assert_eq!(
        verdict(&made.token, "other").await,
        Err(jwt::RejectReason::Audience)
    );
    assert_eq!(
        verdict("a.b.c.d.e", "api").await,
        Err(jwt::RejectReason::DecryptionFailed)
    );
}

#[tokio::test]
async fn a_dir_set_is_fixed_to_its_content_encryption() {
    let key = TestKey::of(KeySpec {
        enc: ContentEncryption::A128Gcm,
        ..KeySpec::new(Algorithm::Jwe(KeyManagement::Dir))
    });
    let profile = Profile::default();
    let set = TestSet {
        enc: Some(ContentEncryption::A128Gcm),
        profile,
        ..TestSet::encrypt("op/dir", vec![key])
    };
    let world = World::with(vec![set]).await;
    let mut token = world.jwe("token");
    assert!(token.encrypt(own("op/dir", b"x")).await.is_ok());
    let other = jwe::EncryptRequest {
        enc: "A256GCM".to_owned(),
        ..own("op/dir", b"x")
    };
    assert_eq!(
        crate::support::fields(&token.encrypt(other).await.unwrap_err()),
        ["enc"]
    );
}
