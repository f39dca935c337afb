use crypto_proto::batch::v1::ItemError;
use crypto_proto::jwe::v1 as jwe;
use jose::algorithm::Algorithm;
use jose_aws_lc::{AgreementCurve, KeySpec};
use jwe::encrypt_request::Recipient;
use keyring::State;
use std::time::Duration;
use tonic::Code;

use crate::support::{TestKey, TestSet, World, fields};

type Encrypted = Result<jwe::EncryptResponse, ItemError>;
type Decrypted = Result<Option<jwe::DecryptedToken>, ItemError>;

fn to(recipient: Recipient, payload: &[u8]) -> jwe::EncryptBatchItem {
    jwe::EncryptBatchItem {
        encrypt: Some(jwe::EncryptRequest {
            payload: payload.to_vec(),
            recipient: Some(recipient),
            ..jwe::EncryptRequest::default()
        }),
        timeout: None,
    }
}

fn to_set(key_set: &str, payload: &[u8]) -> jwe::EncryptBatchItem {
    to(Recipient::KeySet(key_set.to_owned()), payload)
}

fn token(token: impl Into<String>) -> jwe::DecryptBatchItem {
    jwe::DecryptBatchItem {
        decrypt: Some(jwe::DecryptRequest {
            token: token.into(),
            ..jwe::DecryptRequest::default()
        }),
        timeout: None,
    }
}

async fn encrypted(world: &World, role: &str, items: Vec<jwe::EncryptBatchItem>) -> Vec<Encrypted> {
    use jwe::encrypt_batch_result::Result as R;
    let request = jwe::EncryptBatchRequest {
        items,
        ..jwe::EncryptBatchRequest::default()
    };
    let response = world.jwe(role).encrypt_batch(request).await.unwrap();
    let results = response.into_inner().results.into_iter();
    let outcome = |result: jwe::EncryptBatchResult| match result.result.expect("a result") {
        R::Encrypted(token) => Ok(token),
        R::Error(error) => Err(error),
    };
    results.map(outcome).collect()
}

async fn decrypted(world: &World, role: &str, items: Vec<jwe::DecryptBatchItem>) -> Vec<Decrypted> {
    use jwe::decrypt_batch_result::Result as R;
    let request = jwe::DecryptBatchRequest {
        items,
        ..jwe::DecryptBatchRequest::default()
    };
    let response = world.jwe(role).decrypt_batch(request).await.unwrap();
    let results = response.into_inner().results.into_iter();
    let outcome = |result: jwe::DecryptBatchResult| match result.result.expect("a result") {
        R::Decrypted(token) => Ok(Some(token)),
        R::Rejected(rejected) => {
            assert_eq!(rejected.reason(), jwe::RejectReason::DecryptionFailed);
            Ok(None)
        }
        R::Error(error) => Err(error),
    };
    results.map(outcome).collect()
}

fn error<T: std::fmt::Debug>(outcome: &Result<T, ItemError>) -> (Code, &str) {
    let error = outcome.as_ref().unwrap_err();
    (Code::from(error.code), &error.reason)
}

fn violations<T: std::fmt::Debug>(outcome: &Result<T, ItemError>) -> Vec<&str> {
    let error = outcome.as_ref().unwrap_err();
    let violations = error.field_violations.iter();
    violations
        .map(|violation| violation.field.as_str())
        .collect()
}

/// Sets of several algorithms and key lengths, each with its key.
fn sets() -> Vec<(String, TestKey)> {
    let spec = |name: &str| KeySpec::new(Algorithm::parse(name).unwrap());
    let x25519 = KeySpec {
        curve: AgreementCurve::X25519,
        ..spec("ECDH-ES+A256KW")
    };
    let specs = [
        ("op/rsa", spec("RSA-OAEP-256")),
        ("op/rsa-sha1", spec("RSA-OAEP")),
        ("op/p256", spec("ECDH-ES+A256KW")),
        ("op/direct", spec("ECDH-ES")),
        ("op/x25519", x25519),
        ("op/shared", spec("A256KW")),
        ("op/dir", spec("dir")),
    ];
    let keys = specs.map(|(name, spec)| (name.to_owned(), TestKey::of(spec)));
    keys.into()
}

async fn world(sets: &[(String, TestKey)]) -> World {
    let sets = sets.iter();
    World::with(
        sets.map(|(name, key)| TestSet::encrypt(name, vec![key.clone()]))
            .collect(),
    )
    .await
}

#[tokio::test]
async fn batches_of_all_kinds_of_keys_round_trip_in_order() {
    let sets = sets();
    let world = world(&sets).await;
    let payload = |at: usize| format!("payload {at}").into_bytes();
    let items = (0..70).map(|at| to_set(&sets[at % sets.len()].0, &payload(at)));
    let tokens = encrypted(&world, "token", items.collect()).await;
    let tokens: Vec<_> = tokens.into_iter().map(Result::unwrap).collect();
    let items = tokens.iter().map(|made| token(&*made.token)).collect();
    let opened = decrypted(&world, "auth", items).await;
    assert_eq!(opened.len(), 70);
    for (at, (made, opened)) in tokens.into_iter().zip(opened).enumerate() {
        let (name, key) = &sets[at % sets.len()];
        let opened = opened.unwrap().unwrap_or_else(|| panic!("{at}: {name}"));
        assert_eq!(opened.payload, payload(at), "{at}: {name}");
        assert_eq!((&opened.key_set, &opened.kid), (name, &key.kid), "{at}");
        assert_eq!(made.kid, key.kid, "{at}: {name}");
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_a_token_of_a_batch_has_one_verdict() {
    let sets = sets();
    let world = world(&sets).await;
    let made = encrypted(
        &world,
        "token",
        vec![to_set("op/rsa", b"x"), to_set("op/p256", b"x")],
    );
    let made: Vec<_> = made
        .await
        .into_iter()
        .map(|made| made.unwrap().token)
        .collect();
    let changed = |token: &str, segment: usize| {
        let mut segments: Vec<_> = token.split('.').map(str::to_owned).collect();
        let first = if segments[segment].starts_with('A') {
            "B"
        } else {
            "A"
        };
        segments[segment].replace_range(..1, first);
        segments.join(".")
    };
    let of_header = |header: String| {
        let rest = made[0].split_once('.').unwrap().1;
        format!("{}.{rest}", jose::base64url::encode(header))
    };
    let kid = &sets[0].1.kid;
    let bad = [
        String::new(),
        "a.b.c.d.e".to_owned(),
        made[0].replace('.', ""),
        changed(&made[0], 1),
        changed(&made[0], 2),
        changed(&made[0], 3),
        changed(&made[0], 4),
        changed(&made[1], 1),
        changed(&made[1], 4),
        of_header(format!(
            r#"{{"alg":"RSA1_5","enc":"A256GCM","kid":"{kid}"}}"#
        )),
        of_header(format!(
            r#"{{"alg":"RSA-OAEP","enc":"A256GCM","kid":"{kid}"}}"#
        )),
        of_header(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","kid":"nobody"}"#.to_owned()),
        of_header(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#.to_owned()),
    ];
    let mut items: Vec<_> = bad.iter().cloned().map(token).collect();
    items.extend(made.iter().cloned().map(token));
    let opened = decrypted(&world, "auth", items).await;
    let (rejected, good) = opened.split_at(bad.len());
    for (token, verdict) in bad.iter().zip(rejected) {
        assert_eq!(*verdict, Ok(None), "{token}");
    }
    for verdict in good {
        assert_eq!(verdict.as_ref().unwrap().as_ref().unwrap().payload, b"x");
    }
}

#[tokio::test]
async fn an_item_that_cannot_be_worked_on_fails_alone() {
    let sets = sets();
    let mut world = world(&sets).await;
    world.change(TestSet::sign("op/signing", vec![TestKey::new("ES256")]));
    world.change(TestSet::encrypt("other/set", vec![TestKey::new("A256KW")]));
    let good = || to_set("op/rsa", b"good");
    let jwk = sets[2].1.public_jwk().unwrap();
    let unfit = jwe::EncryptBatchItem {
        encrypt: Some(jwe::EncryptRequest {
            alg: "A256KW".to_owned(),
            tenant: "Capital".to_owned(),
            ..to_set("op/rsa", b"x").encrypt.unwrap()
        }),
        ..good()
    };
    let disagreeing = jwe::EncryptBatchItem {
        encrypt: Some(jwe::EncryptRequest {
            alg: "A256KW".to_owned(),
            ..to_set("op/rsa", b"x").encrypt.unwrap()
        }),
        ..good()
    };
    let late = jwe::EncryptBatchItem {
        timeout: Some(prost_types::Duration {
            seconds: 0,
            nanos: 1,
        }),
        ..good()
    };
    let items = vec![
        good(),
        to(Recipient::RecipientJwk(jwk), b"brought"),
        to(Recipient::RecipientJwk("{}".to_owned()), b"x"),
        to(Recipient::ClientId("c".to_owned()), b"x"),
        jwe::EncryptBatchItem::default(),
        unfit,
        disagreeing,
        to_set("other/set", b"x"),
        to_set("op/nowhere", b"x"),
        to_set("op/signing", b"x"),
        late,
        good(),
    ];
    let made = encrypted(&world, "token", items).await;
    for at in [0, 1, 11] {
        made[at].as_ref().unwrap();
    }
    assert_eq!(violations(&made[2]), ["encrypt.recipient_jwk"]);
    assert_eq!(violations(&made[3]), ["encrypt.client_id"]);
    assert_eq!(violations(&made[4]), ["encrypt"]);
    assert_eq!(violations(&made[5]), ["encrypt.tenant"]);
    assert_eq!(violations(&made[6]), ["encrypt.alg"]);
    let expected = [
        (7, Code::PermissionDenied, "NOT_GRANTED"),
        (8, Code::NotFound, "KEY_SET_NOT_FOUND"),
        (10, Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    ];
    for (at, code, reason) in expected {
        assert_eq!(error(&made[at]), (code, reason), "{at}");
    }
    assert_eq!(violations(&made[9]), ["encrypt.key_set"]);

    let good = || token(&*made[0].as_ref().unwrap().token);
    let naming = |key_set: &str| {
        let mut item = good();
        item.decrypt.as_mut().unwrap().key_sets = vec![key_set.to_owned()];
        item
    };
    let late = jwe::DecryptBatchItem {
        timeout: Some(prost_types::Duration {
            seconds: 0,
            nanos: 1,
        }),
        ..good()
    };
    let items = vec![
        good(),
        naming("A"),
        jwe::DecryptBatchItem::default(),
        naming("other/set"),
        naming("op/nowhere"),
        naming("op/signing"),
        naming("op/p256"),
        late,
        naming("op/rsa"),
    ];
    let opened = decrypted(&world, "auth", items).await;
    for at in [0, 8] {
        assert_eq!(
            opened[at].as_ref().unwrap().as_ref().unwrap().payload,
            b"good"
        );
    }
    assert_eq!(violations(&opened[1]), ["decrypt.key_sets[0]"]);
    assert_eq!(violations(&opened[2]), ["decrypt"]);
    assert_eq!(error(&opened[3]), (Code::PermissionDenied, "NOT_GRANTED"));
    assert_eq!(error(&opened[4]), (Code::NotFound, "KEY_SET_NOT_FOUND"));
    assert_eq!(violations(&opened[5]), ["decrypt.key_sets"]);
    assert_eq!(opened[6], Ok(None));
    assert_eq!(
        error(&opened[7]),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
}

#[tokio::test]
async fn a_call_is_refused_as_a_whole_for_its_number_of_items_alone() {
    let world = World::with(vec![]).await;
    for count in [0, 1001] {
        let encrypt = jwe::EncryptBatchRequest {
            items: vec![to_set("op/rsa", b"x"); count],
            ..jwe::EncryptBatchRequest::default()
        };
        let status = world.jwe("token").encrypt_batch(encrypt).await.unwrap_err();
        assert_eq!(fields(&status), ["items"], "{count}");
        let decrypt = jwe::DecryptBatchRequest {
            items: vec![token("x"); count],
            ..jwe::DecryptBatchRequest::default()
        };
        let status = world.jwe("auth").decrypt_batch(decrypt).await.unwrap_err();
        assert_eq!(fields(&status), ["items"], "{count}");
    }
    for outcome in encrypted(&world, "stranger", vec![to_set("op/rsa", b"x"); 2]).await {
        assert_eq!(error(&outcome), (Code::PermissionDenied, "NOT_GRANTED"));
    }
    for outcome in decrypted(&world, "stranger", vec![token("x"); 2]).await {
        assert_eq!(error(&outcome), (Code::PermissionDenied, "NOT_GRANTED"));
    }
}

#[tokio::test]
async fn the_largest_batch_fits_one_answer() {
    let world = world(&sets()).await;
    let payload = vec![b'p'; 900];
    let made = encrypted(&world, "token", vec![to_set("op/p256", &payload); 1000]).await;
    assert_eq!(made.len(), 1000);
    assert!(made.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_key_that_is_revoked_opens_nothing_of_the_next_batch_and_an_expired_lease_nothing_at_all()
{
    let key = TestKey::new("ECDH-ES+A256KW");
    let set = |state| TestSet::encrypt("op/e", vec![key.clone().state(state)]);
    let mut world = World::with(vec![set(State::Active)]).await;
    let made = encrypted(&world, "token", vec![to_set("op/e", b"x")]).await;
    let items = vec![token(made[0].clone().unwrap().token); 2];
    for verdict in decrypted(&world, "auth", items.clone()).await {
        assert_eq!(verdict.unwrap().unwrap().payload, b"x");
    }
    world.replace(vec![set(State::Revoked)]);
    let verdicts = decrypted(&world, "auth", items.clone()).await;
    assert_eq!(verdicts, [Ok(None), Ok(None)]);
    world.clock.advance(Duration::from_secs(61));
    for verdict in decrypted(&world, "auth", items).await {
        assert_eq!(error(&verdict), (Code::Unavailable, "NOT_READY"));
    }
    for made in encrypted(&world, "token", vec![to_set("op/e", b"x")]).await {
        assert_eq!(error(&made), (Code::Unavailable, "NOT_READY"));
    }
}
