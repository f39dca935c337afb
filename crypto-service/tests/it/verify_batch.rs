use crypto_proto::batch::v1::ItemError;
use crypto_proto::jwt::v1 as jwt;
use crypto_service::keys::Profile;
use jose::algorithm::JwsAlgorithm;
use jose_aws_lc::AwsLc;
use jwt::verify_batch_result::Result as R;
use jwt::{RejectReason, ValidToken};
use keyring::State;
use std::time::Duration;
use tonic::Code;

use crate::support::{ISSUER, NOW, TestKey, TestSet, World, fields, sign, verify};

fn item(token: &str) -> jwt::VerifyBatchItem {
    demanding(verify(token))
}

fn demanding(request: jwt::VerifyRequest) -> jwt::VerifyBatchItem {
    jwt::VerifyBatchItem {
        verify: Some(request),
        timeout: None,
    }
}

fn batch(items: Vec<jwt::VerifyBatchItem>) -> jwt::VerifyBatchRequest {
    jwt::VerifyBatchRequest {
        items,
        ..jwt::VerifyBatchRequest::default()
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Valid(ValidToken),
    Rejected(RejectReason),
    Failed(ItemError),
}

impl Outcome {
    fn claims(&self) -> &str {
        match self {
            Self::Valid(token) => &token.claims_json,
            other => panic!("{other:?}"),
        }
    }

    /// Code and reason.
    fn error(&self) -> (Code, &str) {
        match self {
            Self::Failed(error) => (Code::from(error.code), &error.reason),
            other => panic!("{other:?}"),
        }
    }

    fn fields(&self) -> Vec<&str> {
        match self {
            Self::Failed(error) => error
                .field_violations
                .iter()
                .map(|violation| violation.field.as_str())
                .collect(),
            other => panic!("{other:?}"),
        }
    }
}

async fn judged(world: &World, role: &str, items: Vec<jwt::VerifyBatchItem>) -> Vec<Outcome> {
    let response = world.jwt(role).verify_batch(batch(items)).await.unwrap();
    let results = response.into_inner().results.into_iter();
    let outcome = |result: jwt::VerifyBatchResult| match result.result.expect("a result") {
        R::Valid(token) => Outcome::Valid(token),
        R::Rejected(rejected) => Outcome::Rejected(rejected.reason()),
        R::Error(error) => Outcome::Failed(error),
    };
    results.map(outcome).collect()
}

/// A token of that key, as if its set had signed it.
fn token(key: &TestKey, claims: &str) -> String {
    let algorithm = JwsAlgorithm::parse(key.algorithm.name()).unwrap();
    let signer = AwsLc.signing_key(algorithm, &key.material).unwrap();
    let header = jose::jws::EncodedHeader::new(algorithm, Some(&key.kid), Some("JWT"), None);
    jose::jws::sign(&header, claims.as_bytes(), &*signer).unwrap()
}

fn claims(sub: &str) -> String {
    let exp = NOW + 300;
    format!(r#"{{"iss":"{ISSUER}","aud":"api","sub":"{sub}","exp":{exp},"iat":{NOW}}}"#)
}

fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    format!("{signed}.{flipped}{}", &signature[1..])
}

#[tokio::test]
async fn a_thousand_tokens_with_a_bad_one_have_999_valid_verdicts_and_one_rejection() {
    let key = TestKey::new("ES256");
    let world = World::with(vec![TestSet::sign("op/a", vec![key.clone()])]).await;
    let tokens = (0..1000).map(|sub| token(&key, &claims(&sub.to_string())));
    let mut items: Vec<_> = tokens.map(|token| item(&token)).collect();
    let bad = items[617].verify.as_mut().unwrap();
    bad.token = forged(&bad.token);
    let outcomes = judged(&world, "auth", items).await;
    assert_eq!(outcomes.len(), 1000);
    for (sub, outcome) in outcomes.iter().enumerate() {
        if sub == 617 {
            let rejected = Outcome::Rejected(RejectReason::Signature);
            assert_eq!(*outcome, rejected, "{sub}");
        } else {
            assert_eq!(outcome.claims(), claims(&sub.to_string()), "{sub}");
        }
    }
}

#[tokio::test]
async fn one_batch_mixes_algorithms_demands_and_verdicts() {
    let names = ["RS256", "PS256", "ES256", "ES384", "Ed25519", "HS256"];
    let keys = names.map(TestKey::new);
    let set = |(name, key): (&str, &TestKey)| {
        TestSet::sign(&format!("op/{}", name.to_lowercase()), vec![key.clone()])
    };
    let world = World::with(names.into_iter().zip(&keys).map(set).collect()).await;
    let mut items = Vec::new();
    for round in 0..3 {
        for key in &keys {
            let good = token(key, &claims(&format!("{}-{round}", key.kid)));
            items.push(item(&good));
            items.push(item(&forged(&good)));
            items.push(demanding(jwt::VerifyRequest {
                audiences: vec!["another".to_owned()],
                ..verify(&good)
            }));
        }
    }
    let outcomes = judged(&world, "auth", items).await;
    for (at, three) in outcomes.chunks(3).enumerate() {
        let (key, name) = (&keys[at % keys.len()], names[at % keys.len()]);
        let sub = format!("{}-{}", key.kid, at / keys.len());
        let Outcome::Valid(valid) = &three[0] else {
            panic!("{name}: {three:?}");
        };
        assert_eq!(valid.claims_json, claims(&sub), "{name}");
        assert_eq!(valid.kid, key.kid, "{name}");
        assert_eq!(valid.key_set, format!("op/{}", name.to_lowercase()));
        let algorithm = format!(r#""alg":"{name}""#);
        assert!(valid.header_json.contains(&algorithm), "{name}");
        let rejected = [RejectReason::Signature, RejectReason::Audience].map(Outcome::Rejected);
        assert_eq!(three[1..], rejected, "{name}");
    }
}

#[tokio::test]
async fn an_item_that_cannot_be_worked_on_fails_alone() {
    let key = TestKey::new("ES256");
    let sets = ["op/a", "op/b"].map(|name| TestSet::sign(name, vec![TestKey::new("ES256")]));
    let own = TestSet::sign("op/narrow", vec![key.clone()]);
    let encryption = TestSet::encrypt("op/e", vec![TestKey::new("ECDH-ES")]);
    let world = World::with(sets.into_iter().chain([own, encryption]).collect()).await;
    let good = token(&key, &claims("u"));
    let naming = |key_set: &str| {
        demanding(jwt::VerifyRequest {
            key_sets: vec![key_set.to_owned()],
            ..verify(&good)
        })
    };
    let without_audience = demanding(jwt::VerifyRequest {
        audiences: Vec::new(),
        tenant: "Capital".to_owned(),
        request_id: "\n".to_owned(),
        ..verify(&good)
    });
    let not_waiting = jwt::VerifyBatchItem {
        timeout: Some(prost_types::Duration::default()),
        ..item(&good)
    };
    let items = vec![
        item(&good),
        without_audience,
        naming("op/narrow"),
        naming("op/a"),
        naming("op/nowhere"),
        jwt::VerifyBatchItem::default(),
        not_waiting,
        item("no token"),
        item(&good),
    ];
    let outcomes = judged(&world, "narrow", items.clone()).await;
    for at in [0, 2, 8] {
        assert_eq!(outcomes[at].claims(), claims("u"), "{at}");
    }
    let of_item_1 = ["verify.tenant", "verify.audiences", "verify.request_id"];
    let mut found = outcomes[1].fields();
    found.sort_unstable();
    assert_eq!(found, {
        let mut expected = of_item_1;
        expected.sort_unstable();
        expected
    });
    for at in [3, 4] {
        let not_granted = (Code::PermissionDenied, "NOT_GRANTED");
        assert_eq!(outcomes[at].error(), not_granted, "{at}");
    }
    assert_eq!(outcomes[5].fields(), ["verify"]);
    assert_eq!(outcomes[6].fields(), ["timeout"]);
    assert_eq!(outcomes[7], Outcome::Rejected(RejectReason::Malformed));

    let outcomes = judged(&world, "auth", vec![naming("op/nowhere"), naming("op/e")]).await;
    let not_found = (Code::NotFound, "KEY_SET_NOT_FOUND");
    assert_eq!(outcomes[0].error(), not_found);
    assert_eq!(outcomes[1].fields(), ["verify.key_sets"]);
}

#[tokio::test]
async fn an_item_whose_time_has_passed_is_not_worked_on() {
    let key = TestKey::new("RS256");
    let world = World::with(vec![TestSet::sign("op/a", vec![key.clone()])]).await;
    let good = token(&key, &claims("u"));
    let within = |seconds, nanos| jwt::VerifyBatchItem {
        timeout: Some(prost_types::Duration { seconds, nanos }),
        ..item(&good)
    };
    let items = vec![within(0, 1), item(&good), within(60, 0), within(0, 1)];
    let outcomes = judged(&world, "auth", items).await;
    for at in [0, 3] {
        let late = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        assert_eq!(outcomes[at].error(), late, "{at}");
    }
    for at in [1, 2] {
        assert_eq!(outcomes[at].claims(), claims("u"), "{at}");
    }
}

#[tokio::test]
async fn a_call_is_refused_as_a_whole_for_its_number_of_items_alone() {
    let world = World::with(vec![]).await;
    for count in [0, 1001] {
        let call = batch(vec![item("x"); count]);
        let status = world.jwt("auth").verify_batch(call).await.unwrap_err();
        assert_eq!(fields(&status), ["items"], "{count}");
    }
    let call = jwt::VerifyBatchRequest {
        request_id: "\u{7f}".to_owned(),
        ..batch(vec![item("x")])
    };
    let status = world.jwt("auth").verify_batch(call).await.unwrap_err();
    assert_eq!(fields(&status), ["request_id"]);
    // the only other refusals are those of each item
    let outcomes = judged(&world, "stranger", vec![item("x"); 2]).await;
    for outcome in outcomes {
        assert_eq!(outcome.error(), (Code::PermissionDenied, "NOT_GRANTED"));
    }
}

#[tokio::test]
async fn hints_and_access_stand_in_one_batch() {
    let (active, retired, revoked) = (
        TestKey::new("ES256"),
        TestKey::new("ES256").state(State::Retired),
        TestKey::new("ES256").state(State::Revoked),
    );
    let keys = vec![active.clone(), retired.clone(), revoked.clone()];
    let set = TestSet {
        profile: Profile {
            hint_window: 3600,
            ..Profile::default()
        },
        ..TestSet::sign("op/a", keys)
    };
    let world = World::with(vec![set]).await;
    let expired = claims("u").replace(&(NOW + 300).to_string(), &(NOW - 10).to_string());
    let mut items = Vec::new();
    for (key, claims) in [
        (&active, claims("u")),
        (&active, expired.clone()),
        (&retired, expired),
        (&revoked, claims("u")),
    ] {
        for purpose in [jwt::Purpose::Unspecified, jwt::Purpose::Hint] {
            items.push(demanding(jwt::VerifyRequest {
                purpose: purpose.into(),
                ..verify(&token(key, &claims))
            }));
        }
    }
    let outcomes = judged(&world, "auth", items).await;
    let reasons = outcomes.iter().map(|outcome| match outcome {
        Outcome::Rejected(reason) => Some(*reason),
        other => {
            other.claims();
            None
        }
    });
    use RejectReason::{Expired, KeyRevoked, UnknownKey};
    assert_eq!(
        reasons.collect::<Vec<_>>(),
        [
            None,
            None,
            Some(Expired),
            None,
            Some(UnknownKey),
            None,
            Some(KeyRevoked),
            Some(KeyRevoked)
        ]
    );
}

#[tokio::test]
async fn a_batch_and_single_calls_give_the_same_verdicts() {
    let key = TestKey::new("ES256");
    let world = World::with(vec![TestSet::sign("op/a", vec![key.clone()])]).await;
    let signed = world
        .jwt("token")
        .sign(sign("op/a", r#"{"aud":"api"}"#))
        .await
        .unwrap()
        .into_inner();
    let requests = [
        verify(&signed.token),
        verify(""),
        verify("a.b.c"),
        verify(&"x".repeat(21 * 1024)),
        jwt::VerifyRequest {
            types: vec!["at+jwt".to_owned()],
            ..verify(&signed.token)
        },
        jwt::VerifyRequest {
            issuer: "https://other".to_owned(),
            ..verify(&signed.token)
        },
        verify(&token(&TestKey::new("ES256"), &claims("u"))),
        verify(&token(&key, "{}")),
    ];
    let items = requests.iter().cloned().map(demanding).collect();
    let outcomes = judged(&world, "auth", items).await;
    for (request, outcome) in requests.into_iter().zip(outcomes) {
        let shown = format!("{request:?}");
        let response = world.jwt("auth").verify(request).await.unwrap();
        let single = match crate::support::verdict(response.into_inner()) {
            Ok(valid) => Outcome::Valid(valid),
            Err(reason) => Outcome::Rejected(reason),
        };
        assert_eq!(outcome, single, "{shown}");
    }
}

#[tokio::test]
async fn a_lease_that_ran_out_refuses_every_item_and_not_the_call() {
    let key = TestKey::new("ES256");
    let world = World::with(vec![TestSet::sign("op/a", vec![key.clone()])]).await;
    world.clock.advance(Duration::from_secs(61));
    let items = vec![item(&token(&key, &claims("u"))); 3];
    for outcome in judged(&world, "auth", items).await {
        assert_eq!(outcome.error(), (Code::Unavailable, "NOT_READY"));
    }
}

#[tokio::test]
async fn errors_that_do_not_fit_the_answer_keep_code_and_reason() {
    let world = World::with(vec![]).await;
    let bad = demanding(jwt::VerifyRequest {
        key_sets: vec!["A".to_owned(); 64],
        ..verify("x")
    });
    let outcomes = judged(&world, "auth", vec![bad; 1000]).await;
    assert_eq!(outcomes.len(), 1000);
    let whole = outcomes.iter().filter(|one| one.fields().len() == 64);
    let cut = outcomes.iter().filter(|one| one.fields().is_empty());
    let (whole, cut) = (whole.count(), cut.count());
    assert!(
        whole > 100 && cut > 100 && whole + cut == 1000,
        "{whole} {cut}"
    );
    for outcome in &outcomes {
        assert_eq!(outcome.error(), (Code::InvalidArgument, "FIELD_INVALID"));
    }
}
