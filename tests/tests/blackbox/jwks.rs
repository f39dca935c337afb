//! The JWK Set over HTTP, and other people's libraries that rely on it alone.

use blackbox::{Answer, PATIENCE, Stack, get, get_with, wait_until};
use client_admin::{CreateKeySet, KeyUse, Publish, RotateKeySet};
use client_core::request::Decrypt;
use jose::base64url;
use serde_json::{Value, json};

use crate::peer::{PEERS, Peer, Refusal, payload, token};
use crate::support::{AUDIENCE, ISSUER, active_kid, admin, crypto, sign, signing_set};

const PATH: &str = "/.well-known/jwks.json";

fn fetch(stack: &Stack, path: &str) -> Answer {
    get(stack.crypto.http, path).unwrap_or_else(|| panic!("{path}: no answer"))
}

fn kids(answer: &Answer) -> Vec<String> {
    let document: Value =
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    let keys = document["keys"].as_array().expect("keys");
    keys.iter()
        .map(|key| key["kid"].as_str().expect("a kid").to_owned())
        .collect()
}

#[tokio::test]
async fn the_jwk_set_says_how_long_it_holds_and_which_issuer_it_is_of() {
    let stack = Stack::start();
    stack.create_development_key_sets();
    let admin = admin(&stack);
    let other = CreateKeySet::new("op/other", KeyUse::Sign, "Ed25519")
        .issuer("https://other.example.com")
        .publish(Publish::Public);
    admin.create(&other).await.unwrap();
    let other = active_kid(
        &admin
            .rotate(&RotateKeySet::new("op/other").force())
            .await
            .unwrap()
            .key_set,
    );
    for (name, algorithm, publish) in [
        ("op/internal", "ES256", Publish::Internal),
        ("op/shared", "HS256", Publish::None),
    ] {
        admin
            .create(&CreateKeySet::new(name, KeyUse::Sign, algorithm).publish(publish))
            .await
            .unwrap();
        admin
            .rotate(&RotateKeySet::new(name).force())
            .await
            .unwrap();
    }
    let all = fetch(&stack, PATH);
    assert_eq!(all.status, 200, "{all:?}");
    assert_eq!(all.header("content-type"), Some("application/jwk-set+json"));
    let etag = all.header("etag").unwrap().to_owned();
    assert!(
        etag.starts_with('"') && etag.ends_with('"'),
        "a strong tag: {etag}"
    );
    let cache = all.header("cache-control").unwrap();
    let age = cache
        .strip_prefix("public, max-age=")
        .and_then(|age| age.parse::<u64>().ok());
    assert!(age.is_some_and(|age| age <= 5), "{cache}");

    let same = get_with(
        stack.crypto.http,
        PATH,
        &format!("if-none-match: {etag}\r\n"),
    )
    .unwrap();
    assert_eq!((same.status, same.body.as_str()), (304, ""), "{same:?}");
    assert_eq!(same.header("etag"), Some(etag.as_str()));
    let older = get_with(stack.crypto.http, PATH, "if-none-match: \"another\"\r\n").unwrap();
    assert_eq!(
        (older.status, older.body.as_str()),
        (200, all.body.as_str())
    );

    // what is published: the Active key and the standby of each public set, and no private half
    let document: Value = serde_json::from_str(&all.body).unwrap();
    for key in document["keys"].as_array().unwrap() {
        for private in ["d", "k", "p", "q", "dp", "dq", "qi"] {
            assert!(key.get(private).is_none(), "{private} of {}", key["kid"]);
        }
    }
    let of_set = |name: &str| stack.ctl(&["--output", "json", "keyset", "show", name]);
    for hidden in ["op/internal", "op/shared"] {
        let shown: Value = serde_json::from_str(&of_set(hidden)).unwrap();
        let kid = shown["versions"][0]["kid"].as_str().unwrap();
        assert!(!all.body.contains(kid), "{hidden} is published");
    }
    assert_eq!(
        kids(&fetch(&stack, "/default/.well-known/jwks.json")),
        kids(&all)
    );
    let own = kids(&fetch(&stack, &format!("{PATH}?issuer={ISSUER}")));
    let others = kids(&fetch(
        &stack,
        &format!("{PATH}?issuer=https://other.example.com"),
    ));
    assert!(
        others.contains(&other) && !own.contains(&other),
        "{own:?} {others:?}"
    );
    assert_eq!(own.len() + others.len(), kids(&all).len());
    for missing in [
        format!("{PATH}?issuer=https://nobody.example.com"),
        "/nobody/.well-known/jwks.json".to_owned(),
    ] {
        assert_eq!(fetch(&stack, &missing).status, 404, "{missing}");
    }

    admin
        .rotate(&RotateKeySet::new("op/other").force())
        .await
        .unwrap();
    // the new standby, which the key-manager makes after the promotion, is published
    let asked = || {
        get_with(
            stack.crypto.http,
            PATH,
            &format!("if-none-match: {etag}\r\n"),
        )
        .unwrap()
    };
    let changed = wait_until(PATIENCE, || asked().status == 200);
    assert!(changed, "a rotation changes the tag: {:?}", asked());
    assert_ne!(asked().header("etag"), Some(etag.as_str()));
}

#[tokio::test]
async fn peers_verify_and_encrypt_from_the_jwk_set_alone() {
    let stack = Stack::start();
    stack.create_development_key_sets();
    let admin = admin(&stack);
    let mut signing = vec![("op/access-token", "ES256"), ("op/id-token", "RS256")];
    for (name, algorithm) in [("op/ed", "Ed25519"), ("op/ps", "PS384"), ("op/es", "ES512")] {
        signing_set(&stack, name, algorithm).await;
        signing.push((name, algorithm));
    }
    let ecdh = CreateKeySet::new("op/ecdh", KeyUse::Encrypt, "ECDH-ES+A256KW")
        .issuer(ISSUER)
        .publish(Publish::Public);
    admin.create(&ecdh).await.unwrap();
    admin
        .rotate(&RotateKeySet::new("op/ecdh").force())
        .await
        .unwrap();

    let url = format!("http://{}{PATH}", stack.crypto.http);
    let document: Value = serde_json::from_str(&fetch(&stack, PATH).body).unwrap();
    let mut tokens = Vec::new();
    for (name, algorithm) in signing {
        let signed = sign(&crypto(&stack, "token"), name).await.unwrap();
        tokens.push((algorithm, signed.token));
    }
    let mut by_address = 0;
    for name in PEERS {
        let mut peer = Peer::start(name);
        for (algorithm, signed) in &tokens {
            let request = json!({"op": "verify_jwks_url", "url": url, "token": signed, "issuer": ISSUER, "audience": AUDIENCE, "algs": [algorithm]});
            match peer.ask(&request) {
                Ok(answer) => {
                    assert_eq!(
                        answer["claims"]["sub"], "alice",
                        "{name} {algorithm}: {answer}"
                    );
                    by_address += 1;
                }
                Err(Refusal::Lacks(reason)) => {
                    println!("{name} {algorithm} by address: not run, {reason}")
                }
                Err(Refusal::Failed(detail)) => {
                    panic!("{} refuses {algorithm}: {detail}", peer.name())
                }
            }
            let request =
                json!({"op": "verify", "jwks": document, "token": signed, "algs": [algorithm]});
            let answer = peer
                .ask(&request)
                .unwrap_or_else(|refusal| panic!("{name} {algorithm}: {refusal:?}"));
            assert!(String::from_utf8_lossy(&payload(&answer)).contains("alice"));
        }
        encrypts_to_us(&stack, &mut peer, &document).await;
        peer.finish();
    }
    assert!(
        by_address >= 2 * tokens.len(),
        "only {by_address} tokens were verified from the address alone"
    );
}

async fn encrypts_to_us(stack: &Stack, peer: &mut Peer, document: &Value) {
    let auth = crypto(stack, "auth");
    let keys = document["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["use"] == "enc");
    let keys: Vec<&Value> = keys.collect();
    assert_eq!(keys.len(), 2, "the Active keys alone: {document}");
    for key in keys {
        let (alg, kid) = (key["alg"].as_str().unwrap(), key["kid"].as_str().unwrap());
        for enc in ["A256GCM", "A128CBC-HS256"] {
            let plaintext = format!("{} {alg} {enc}", peer.name());
            let request = json!({"op": "encrypt", "alg": alg, "enc": enc, "jwk": key, "kid": kid, "payload": base64url::encode(&plaintext)});
            let sealed = peer
                .ask(&request)
                .unwrap_or_else(|refusal| panic!("{plaintext}: {refusal:?}"));
            let opened = auth
                .decrypt(&Decrypt::new(token(&sealed)))
                .await
                .unwrap()
                .into_token();
            let opened = opened.unwrap_or_else(|| panic!("{plaintext}: not decrypted"));
            assert_eq!(
                (opened.payload, opened.kid.as_str()),
                (plaintext.into_bytes(), kid)
            );
        }
    }
}
