//! Calls over a real channel: repetition by code, deadlines, errors.

mod serve;
mod signer;

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use client_core::request::{Sign, SignedToken, Verdict, Verify};
use client_core::{Claims, Code, Error, Reason, Repeat, RetryPolicy};
use crypto_proto::jwt::v1::jwt_service_client::JwtServiceClient;
use crypto_proto::jwt::v1::{SignRequest, SignResponse};
use serve::Pki;
use signer::{Fake, claims, client, sign};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

fn refusal(code: tonic::Code, reason: &str, retry_after: Option<u64>) -> Status {
    let mut details =
        ErrorDetails::with_error_info(reason, "crypto-service", HashMap::<String, String>::new());
    if let Some(ms) = retry_after {
        details.set_retry_info(Some(Duration::from_millis(ms)));
    }
    if code == tonic::Code::InvalidArgument {
        details.add_bad_request_violation("lifetime", "at most 3600 s");
        details.add_bad_request_violation("typ", "at most 127 characters");
    }
    Status::with_error_details(code, "refused", details)
}

#[tokio::test]
async fn a_request_arrives_as_asked_and_its_answer_in_plain_types() {
    let (pki, fake) = (Pki::new(), Fake::named("a", []));
    let served = fake.serve(&pki).await;
    let client = client(pki.options(&served));
    let request = Sign::new("op/access-token", &claims())
        .tenant("acme")
        .typ("at+jwt")
        .lifetime(Duration::from_secs(60));
    let signed = client.sign(&request.request_id("r1")).await.unwrap();
    assert_eq!(
        (
            signed.token.as_str(),
            signed.kid.as_str(),
            signed.jti.as_str()
        ),
        ("a.b.c", "a", "j")
    );
    assert_eq!(
        signed.expires_at,
        Some(UNIX_EPOCH + Duration::from_secs(1_800_000_000))
    );
    let seen = fake.seen.lock().unwrap().pop().unwrap();
    assert_eq!(
        (
            seen.tenant.as_str(),
            seen.typ.as_str(),
            seen.request_id.as_str()
        ),
        ("acme", "at+jwt", "r1")
    );
    assert_eq!(seen.lifetime.unwrap().seconds, 60);
    let told = fake.told_deadline.lock().unwrap().clone().unwrap();
    let micros: u64 = told.trim_end_matches('u').parse().unwrap();
    assert!(
        micros > 0 && micros <= 2_000_000,
        "the service is told the deadline: {told}"
    );
}

#[tokio::test]
async fn the_code_decides_how_often_the_service_is_asked() {
    use tonic::Code as C;
    let rows = [
        (refusal(C::Unavailable, "NOT_READY", Some(5)), 2, None),
        (
            refusal(C::ResourceExhausted, "OVERLOADED", Some(5)),
            2,
            None,
        ),
        (
            refusal(C::ResourceExhausted, "MESSAGE_TOO_LARGE", None),
            1,
            Some((Code::ResourceExhausted, Reason::MessageTooLarge)),
        ),
        (
            refusal(C::InvalidArgument, "FIELD_INVALID", None),
            1,
            Some((Code::InvalidArgument, Reason::FieldInvalid)),
        ),
        (
            refusal(C::PermissionDenied, "NOT_GRANTED", None),
            1,
            Some((Code::PermissionDenied, Reason::NotGranted)),
        ),
        (
            refusal(C::NotFound, "KEY_SET_NOT_FOUND", None),
            1,
            Some((Code::NotFound, Reason::KeySetNotFound)),
        ),
        (
            refusal(C::Aborted, "CONFLICT", None),
            1,
            Some((Code::Aborted, Reason::Conflict)),
        ),
        (
            refusal(C::DeadlineExceeded, "LATE", Some(5)),
            1,
            Some((Code::DeadlineExceeded, Reason::Other("LATE".into()))),
        ),
        (
            refusal(C::Internal, "OTHER", None),
            1,
            Some((Code::Internal, Reason::Other("OTHER".into()))),
        ),
    ];
    let pki = Pki::new();
    for (status, calls, fails) in rows {
        let fake = Fake::named("a", [status.clone()]);
        let served = fake.serve(&pki).await;
        let result = sign(&client(pki.options(&served))).await;
        assert_eq!(fake.calls(), calls, "{status:?}");
        let found = result
            .as_ref()
            .err()
            .map(|error| (error.code(), error.reason().cloned().unwrap()));
        assert_eq!(found, fails, "{status:?}");
        if let Some(error) = result
            .err()
            .filter(|error| error.code() == Code::InvalidArgument)
        {
            let fields: Vec<_> = error
                .violations()
                .iter()
                .map(|violation| violation.field.as_str())
                .collect();
            assert_eq!(fields, ["lifetime", "typ"]);
        }
    }
}

#[tokio::test]
async fn an_unavailable_instance_sends_the_call_elsewhere_at_once() {
    let pki = Pki::new();
    let draining = Fake::named(
        "draining",
        std::iter::repeat_n(
            refusal(tonic::Code::Unavailable, "NOT_READY", Some(60_000)),
            100,
        ),
    );
    let healthy = Fake::named("healthy", []);
    let (a, b) = (draining.serve(&pki).await, healthy.serve(&pki).await);
    let client = client(pki.options(&a).endpoint(&b.endpoint));
    for _ in 0..10 {
        assert_eq!(sign(&client).await.unwrap().kid, "healthy");
    }
    assert!(
        draining.calls() <= 1,
        "an endpoint that refused rests: {} calls",
        draining.calls()
    );
}

#[tokio::test]
async fn calls_go_on_when_one_of_two_instances_dies() {
    let pki = Pki::new();
    let (one, two) = (Fake::named("one", []), Fake::named("two", []));
    let (a, b) = (one.serve(&pki).await, two.serve(&pki).await);
    let client = client(pki.options(&a).endpoint(&b.endpoint));
    for _ in 0..10 {
        sign(&client).await.unwrap();
    }
    assert!(
        one.calls() >= 3 && two.calls() >= 3,
        "both are used: {} {}",
        one.calls(),
        two.calls()
    );
    drop(a);
    for _ in 0..20 {
        assert_eq!(sign(&client).await.unwrap().kid, "two");
    }
}

#[tokio::test]
async fn a_service_that_is_gone_is_unavailable_and_comes_back() {
    let (pki, fake) = (Pki::new(), Fake::named("a", []));
    let served = fake.serve(&pki).await;
    let client = client(pki.options(&served));
    sign(&client).await.unwrap();
    let address = served.endpoint.trim_start_matches("https://").to_owned();
    drop(served);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = sign(&client).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.is_transport(), "{error}");
    let _again = pki.serve(&address, fake.routes()).await;
    sign(&client).await.unwrap();
}

#[tokio::test]
async fn what_may_have_been_done_is_not_repeated() {
    let (pki, fake) = (
        Pki::new(),
        Fake::named("a", [refusal(tonic::Code::Unavailable, "", None)]),
    );
    let served = fake.serve(&pki).await;
    let channel = pki.options(&served).channel().unwrap();
    let result: Result<SignResponse, Error> = channel
        .call(Repeat::OnlyIfUndone, |attempt| {
            let request = attempt.request(SignRequest::default());
            async move {
                JwtServiceClient::new(attempt.connection())
                    .sign(request)
                    .await
            }
        })
        .await;
    assert_eq!(
        (result.unwrap_err().code(), fake.calls()),
        (Code::Unavailable, 1)
    );
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_and_is_not_repeated() {
    let (pki, fake) = (Pki::new(), Fake::named("a", []));
    let served = fake.serve(&pki).await;
    let client = client(pki.options(&served));
    sign(&client).await.unwrap();
    *fake.delay.lock().unwrap() = Duration::from_secs(30);
    let begun = tokio::time::Instant::now();
    let error = sign(&client.within(Duration::from_millis(100)))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(fake.calls(), 2);
}

#[tokio::test]
async fn a_service_that_stays_down_costs_three_attempts_and_the_budget_ends() {
    let down = || std::iter::repeat_n(refusal(tonic::Code::Unavailable, "", None), 1000);
    let (pki, fake) = (Pki::new(), Fake::named("a", down()));
    let served = fake.serve(&pki).await;
    let quick = RetryPolicy {
        pause: Duration::from_millis(1),
        ..RetryPolicy::default()
    };
    let client = client(pki.options(&served).retry(quick));
    assert_eq!(sign(&client).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(fake.calls(), 3);
    for _ in 0..50 {
        sign(&client).await.unwrap_err();
    }
    assert_eq!(
        fake.calls(),
        51 + 10,
        "51 calls, and ten repetitions that the budget pays for"
    );
}

#[tokio::test]
async fn an_answer_that_breaks_the_contract_is_an_error_and_an_unknown_reason_a_rejection() {
    use client_core::request::{DecryptThenVerify, Recipient, RejectReason, SignThenEncrypt};
    let (pki, fake) = (Pki::new(), Fake::named("a", []));
    let served = fake.serve(&pki).await;
    let client = client(pki.options(&served));
    let nested = SignThenEncrypt::new(
        Sign::new("op/id-token", &claims()),
        Recipient::KeySet("op/encryption".into()),
    );
    assert_eq!(
        client.sign_then_encrypt(&nested).await.unwrap_err().code(),
        Code::Internal
    );
    let opened = client
        .decrypt_then_verify(&DecryptThenVerify::new(Verify::new("x", "y")))
        .await;
    assert_eq!(opened.unwrap_err().code(), Code::Internal);
    let verdict = client.verify(&Verify::new("x", "y")).await.unwrap();
    assert_eq!(verdict, Verdict::Rejected(RejectReason::Unknown));
}

#[test]
fn debug_of_requests_and_answers_shows_no_secret() {
    use client_core::request::{
        Decrypt, DecryptThenVerify, DecryptedToken, Decryption, Encrypt, EncryptedToken,
        NestedToken, Recipient, SignThenEncrypt, ValidToken,
    };
    const SECRET: &str = "planted";
    let s = || SECRET.to_owned();
    let secret_claims = Claims::new().with("email", SECRET).unwrap();
    let sign = Sign::new("op/x", &secret_claims);
    let to = || Recipient::KeySet("op/e".into());
    let verify = Verify::new(SECRET, "aud");
    let nested = NestedToken {
        token: s(),
        kid: "k".into(),
        jti: "j".into(),
        expires_at: None,
        encryption_kid: "e".into(),
    };
    let valid = ValidToken {
        claims_json: s(),
        header_json: "{}".into(),
        kid: "k".into(),
        key_set: "op/x".into(),
    };
    let decrypted = DecryptedToken {
        payload: s().into_bytes(),
        header_json: "{}".into(),
        kid: "k".into(),
        key_set: "op/e".into(),
    };
    let shown = [
        format!("{secret_claims:?}"),
        format!("{sign:?}"),
        format!("{:?}", SignThenEncrypt::new(sign, to())),
        format!("{verify:?}"),
        format!("{:?}", DecryptThenVerify::new(verify)),
        format!("{:?}", Encrypt::new(SECRET, to())),
        format!("{:?}", Decrypt::new(SECRET)),
        format!(
            "{:?}",
            SignedToken {
                token: s(),
                kid: "k".into(),
                jti: "j".into(),
                expires_at: None
            }
        ),
        format!("{nested:?}"),
        format!("{:?}", Verdict::Valid(valid)),
        format!(
            "{:?}",
            EncryptedToken {
                token: s(),
                kid: "k".into()
            }
        ),
        format!("{:?}", Decryption::Decrypted(decrypted)),
    ];
    let bytes = format!("{:?}", SECRET.as_bytes());
    for text in shown {
        assert!(
            !text.contains(SECRET) && !text.contains(bytes.trim_matches(['[', ']'])),
            "{text}"
        );
    }
}
