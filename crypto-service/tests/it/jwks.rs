use std::time::Duration;

use crypto_proto::jwks::v1 as jwks;
use keyring::{Publish, State, Use};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::{ISSUER, NOW, TestKey, TestSet, World, refusal};

/// Status, head in lower case, body.
async fn ask(world: &World, method: &str, path: &str, header: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(world.http).await.unwrap();
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

async fn get(world: &World, path: &str) -> (u16, String, String) {
    ask(world, "GET", path, "").await
}

fn value<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines()
        .find_map(|line| line.strip_prefix(&format!("{name}: ")))
        .unwrap_or_default()
}

fn kids(json: &str) -> Vec<String> {
    let set: serde_json::Value = serde_json::from_str(json).unwrap();
    let kid = |key: &serde_json::Value| key["kid"].as_str().unwrap().to_owned();
    set["keys"].as_array().unwrap().iter().map(kid).collect()
}

#[tokio::test]
async fn only_public_asymmetric_keys_of_their_states_are_published() {
    let key = |algorithm, state| TestKey::new(algorithm).state(state);
    let states = [
        State::Prepared,
        State::Active,
        State::Retiring,
        State::Retired,
        State::Revoked,
    ];
    let signing: Vec<_> = states.iter().map(|state| key("ES256", *state)).collect();
    let encryption: Vec<_> = states.iter().map(|state| key("ECDH-ES", *state)).collect();
    let expected: Vec<_> = [&signing[..3], &encryption[1..2]]
        .concat()
        .iter()
        .map(|key| key.kid.clone())
        .collect();
    let hidden = |name, publish| TestSet {
        publish,
        ..TestSet::sign(name, vec![TestKey::new("ES256")])
    };
    let of_use = |name, key_use, algorithm| TestSet {
        key_use,
        ..TestSet::sign(name, vec![TestKey::new(algorithm)])
    };
    let world = World::with(vec![
        TestSet::sign("op/a", signing),
        TestSet::encrypt("op/b", encryption),
        hidden("op/c", Publish::Internal),
        hidden("op/d", Publish::None),
        of_use("op/e", Use::RawSign, "ES256"),
        of_use("op/f", Use::Seal, "A256KW"),
        TestSet::sign("op/g", vec![TestKey::new("HS256")]),
    ])
    .await;
    let (status, head, body) = get(&world, "/.well-known/jwks.json").await;
    assert_eq!(
        (status, value(&head, "content-type")),
        (200, "application/jwk-set+json")
    );
    assert_eq!(value(&head, "access-control-allow-origin"), "*");
    assert_eq!(kids(&body), expected);
    assert!(
        !body.contains(r#""d":"#) && !body.contains(r#""k":"#),
        "{body}"
    );
    assert!(
        body.contains(r#""use":"sig","alg":"ES256""#)
            && body.contains(r#""use":"enc","alg":"ECDH-ES""#),
        "{body}"
    );
}

#[tokio::test]
async fn each_issuer_and_each_tenant_has_its_own_document() {
    let set = |tenant: &str, name: &str, issuer: &str| TestSet {
        tenant: tenant.to_owned(),
        issuer: issuer.to_owned(),
        ..TestSet::sign(name, vec![TestKey::new("ES256")])
    };
    let sets = vec![
        set("default", "op/a", ISSUER),
        set("default", "op/b", "https://b"),
        set("acme", "x", "https://c"),
    ];
    let [a, b, c] = [0, 1, 2].map(|index| sets[index].keys[0].kid.clone());
    let world = World::with(sets).await;
    for (path, expected) in [
        ("/.well-known/jwks.json", Some(vec![&a, &b])),
        ("/default/.well-known/jwks.json", Some(vec![&a, &b])),
        (
            "/.well-known/jwks.json?issuer=https%3A%2F%2Fop.example.com",
            Some(vec![&a]),
        ),
        ("/.well-known/jwks.json?issuer=https://b", Some(vec![&b])),
        ("/acme/.well-known/jwks.json", Some(vec![&c])),
        (
            "/acme/.well-known/jwks.json?issuer=https://c",
            Some(vec![&c]),
        ),
        ("/.well-known/jwks.json?issuer=https://c", None),
        ("/nobody/.well-known/jwks.json", None),
        ("/elsewhere", None),
    ] {
        let (status, _, body) = get(&world, path).await;
        match expected {
            Some(expected) => {
                assert_eq!(kids(&body).iter().collect::<Vec<_>>(), expected, "{path}")
            }
            None => assert_eq!(status, 404, "{path}"),
        }
    }
    let ask = |issuer: &str| jwks::GetJwksRequest {
        tenant: String::new(),
        issuer: issuer.to_owned(),
    };
    let answer = world
        .jwks("auth")
        .get_jwks(ask("https://b"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (kids(&answer.jwks_json), answer.max_age.unwrap().seconds),
        (vec![b.clone()], 60)
    );
    let (_, head, _) = get(&world, "/.well-known/jwks.json?issuer=https://b").await;
    assert_eq!(value(&head, "etag"), answer.etag.to_lowercase());
    let unknown = world
        .jwks("auth")
        .get_jwks(ask("https://x"))
        .await
        .unwrap_err();
    assert_eq!(
        refusal(&unknown),
        (Code::NotFound, "KEY_SET_NOT_FOUND".to_owned())
    );
    let stranger = world.jwks("stranger").get_jwks(ask("")).await.unwrap_err();
    assert_eq!(
        refusal(&stranger),
        (Code::PermissionDenied, "NOT_GRANTED".to_owned())
    );
}

#[tokio::test]
async fn the_etag_answers_304_until_the_keys_change() {
    let mut world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let path = "/.well-known/jwks.json";
    let mut stream = TcpStream::connect(world.http).await.unwrap();
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let etag = answer
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .unwrap()
        .to_owned();
    for (sent, expected) in [
        (etag.clone(), 304),
        (format!("\"x\", {etag}"), 304),
        (format!("W/{etag}"), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
    ] {
        let (status, head, body) =
            ask(&world, "GET", path, &format!("if-none-match: {sent}\r\n")).await;
        assert_eq!(status, expected, "{sent}");
        assert_eq!(body.is_empty(), expected == 304, "{sent}");
        assert!(
            value(&head, "cache-control").starts_with("public, max-age="),
            "{head}"
        );
    }
    let (status, head, body) = ask(&world, "HEAD", path, "").await;
    assert_eq!(
        (status, value(&head, "etag"), body.as_str()),
        (200, etag.to_lowercase().as_str(), "")
    );
    world.change(TestSet::sign("op/b", vec![TestKey::new("ES256")]));
    let (status, _, _) = ask(&world, "GET", path, &format!("if-none-match: {etag}\r\n")).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn max_age_ends_with_the_next_change_and_with_the_lease() {
    let set = TestSet {
        next_change: Some(NOW + 25),
        ..TestSet::sign("op/a", vec![TestKey::new("ES256")])
    };
    let world = World::with(vec![set]).await;
    let path = "/.well-known/jwks.json";
    for (pass, expected) in [
        (0, "public, max-age=25"),
        (10, "public, max-age=15"),
        (20, "public, max-age=0"),
    ] {
        world.clock.advance(Duration::from_secs(pass));
        let (_, head, _) = get(&world, path).await;
        assert_eq!(value(&head, "cache-control"), expected);
    }
    world.clock.advance(Duration::from_secs(31));
    let (status, head, _) = get(&world, path).await;
    assert_eq!((status, value(&head, "cache-control")), (503, "no-store"));
    let (status, _, body) = get(&world, "/readyz").await;
    assert!(status == 503 && body.contains("lease"), "{body}");
    assert_eq!(get(&world, "/healthz").await.0, 200);
}

#[tokio::test]
async fn metrics_tell_what_was_done() {
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("RS256")])]).await;
    let signed = world
        .jwt("token")
        .sign(crate::support::sign("op/a", r#"{"aud":"api"}"#))
        .await
        .unwrap()
        .into_inner();
    let mut auth = world.jwt("auth");
    crate::support::judged(&mut auth, &signed.token)
        .await
        .unwrap();
    crate::support::judged(&mut auth, "x").await.unwrap_err();
    assert_eq!(get(&world, "/readyz").await.0, 200);
    let (_, _, text) = get(&world, "/metrics").await;
    for line in [
        r#"crypto_service_rpcs_total{rpc="crypto.jwt.v1.JwtService/Sign",code="Ok"} 1"#,
        r#"crypto_service_signatures_total{algorithm="RS256"} 1"#,
        r#"crypto_service_verdicts_total{verdict="VALID"} 1"#,
        r#"crypto_service_verdicts_total{verdict="MALFORMED"} 1"#,
        "crypto_service_key_epoch 1",
        "crypto_service_key_sets 1",
        "crypto_service_sign_lease_seconds 30",
        "crypto_service_verify_lease_seconds 60",
        "crypto_service_key_cache_misses_total 1",
        r#"crypto_service_lane_queue_depth{class="rsa-2048",operation="sign"} 0"#,
        "crypto_service_feed_connected 0",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}
