//! Concurrent calls share rpcs: who goes out alone, who together, and what each caller is told.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::batcher::{Batcher, begun, client};
use crate::serve::{Pki, Served};
use client_core::request::{Decrypt, Encrypt, Recipient, Sign, Verify};
use client_core::{Coalescing, Code, CryptoClient, Error};
use tokio::task::JoinHandle;

/// Long enough that no test depends on it.
const LONG: Duration = Duration::from_secs(60);

pub(super) type Call = JoinHandle<Result<String, Error>>;

/// The four calls that coalesce.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Sign,
    Verify,
    Encrypt,
    Decrypt,
}

pub(super) const KINDS: [(Kind, &str, &str); 4] = [
    (Kind::Sign, "sign", "sign_batch"),
    (Kind::Verify, "verify", "verify_batch"),
    (Kind::Encrypt, "encrypt", "encrypt_batch"),
    (Kind::Decrypt, "decrypt", "decrypt_batch"),
];

/// A call whose answer is its own request id.
pub(super) async fn ask(
    client: CryptoClient,
    kind: Kind,
    mark: &str,
    id: String,
) -> Result<String, Error> {
    match kind {
        Kind::Sign => {
            let sign = Sign::json(mark, "{}").request_id(id);
            Ok(client.sign(&sign).await?.jti)
        }
        Kind::Verify => {
            let verify = Verify::new(mark, "api").request_id(id);
            Ok(client.verify(&verify).await?.into_result().unwrap().kid)
        }
        Kind::Encrypt => {
            let encrypt = Encrypt::new("payload", Recipient::KeySet(mark.into())).request_id(id);
            Ok(client.encrypt(&encrypt).await?.kid)
        }
        Kind::Decrypt => {
            let decrypt = Decrypt::new(mark).request_id(id);
            Ok(client.decrypt(&decrypt).await?.into_token().unwrap().kid)
        }
    }
}

pub(super) async fn sign(client: &CryptoClient, id: &str) -> Call {
    let (client, id) = (client.clone(), id.to_owned());
    begun(async move { ask(client, Kind::Sign, "op/x", id).await }).await
}

pub(super) async fn world(open: usize) -> (Pki, Served, Arc<Batcher>, CryptoClient) {
    let (pki, fake) = (Pki::new(), Batcher::open(open));
    let served = fake.serve(&pki).await;
    let client = client(pki.options(&served).deadline(LONG));
    (pki, served, fake, client)
}

/// Four calls that are out, and the service holds them.
pub(super) async fn four_out(fake: &Batcher, client: &CryptoClient) -> Vec<Call> {
    let before = fake.rpcs().len();
    let mut out = Vec::new();
    for number in 0..4 {
        out.push(sign(client, &format!("out {number}")).await);
    }
    fake.seen(before + 4).await;
    out
}

pub(super) async fn answered(calls: Vec<Call>) -> Vec<Result<String, Error>> {
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn four_go_out_at_once_and_what_waits_goes_out_as_one_batch() {
    for (kind, unary, batch) in KINDS {
        let (_pki, _served, fake, client) = world(0).await;
        let mut calls = Vec::new();
        for number in 0..14 {
            let call = ask(client.clone(), kind, "a.b.c", number.to_string());
            calls.push(begun(call).await);
        }
        let seen = fake.seen(4).await;
        assert!(
            seen.iter().all(|seen| seen.rpc == unary),
            "{kind:?}: {seen:?}"
        );
        fake.let_through(1);
        let last = fake.seen(5).await.pop().unwrap();
        let waited: Vec<_> = (4..14).map(|number: i32| number.to_string()).collect();
        assert_eq!((last.rpc, last.ids), (batch, waited), "{kind:?}");
        fake.let_through(4);
        for (number, answer) in answered(calls).await.into_iter().enumerate() {
            assert_eq!(answer, Ok(number.to_string()), "{kind:?}");
        }
        assert_eq!(fake.rpcs().len(), 5, "{kind:?}");
    }
}

#[tokio::test]
async fn calls_one_after_the_other_go_out_as_they_are() {
    let (_pki, _served, fake, client) = world(100).await;
    for number in 0..10 {
        let call = sign(&client, &number.to_string()).await;
        assert_eq!(call.await.unwrap(), Ok(number.to_string()));
    }
    assert_eq!(fake.rpcs(), ["sign"; 10]);
}

#[tokio::test]
async fn the_place_of_each_call_that_returns_is_taken() {
    let (_pki, _served, fake, client) = world(0).await;
    let out = four_out(&fake, &client).await;
    fake.let_through(4);
    answered(out).await;
    let again = four_out(&fake, &client).await;
    fake.let_through(4);
    answered(again).await;
    assert_eq!(fake.rpcs(), ["sign"; 8]);
}

#[tokio::test]
async fn without_coalescing_every_call_goes_out_as_it_is() {
    let (pki, fake) = (Pki::new(), Batcher::open(0));
    let served = fake.serve(&pki).await;
    let options = pki.options(&served).deadline(LONG);
    let client = client(options.coalescing(Coalescing::Off));
    let mut calls = Vec::new();
    for number in 0..20 {
        calls.push(sign(&client, &number.to_string()).await);
    }
    let seen = fake.seen(20).await;
    assert!(seen.iter().all(|seen| seen.rpc == "sign"), "{seen:?}");
    fake.let_through(20);
    assert!(answered(calls).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_batch_is_of_one_class() {
    let rows = [
        (Kind::Sign, ["op/rsa", "op/ec"]),
        (Kind::Encrypt, ["op/rsa", "op/ec"]),
        // {"alg":"RS256"} and {"alg":"ES256"}
        (
            Kind::Verify,
            [
                "eyJhbGciOiJSUzI1NiJ9.e30.aaaa",
                "eyJhbGciOiJFUzI1NiJ9.e30.aaaa",
            ],
        ),
        // {"alg":"RSA-OAEP"} and {"alg":"ECDH-ES"}
        (
            Kind::Decrypt,
            [
                "eyJhbGciOiJSU0EtT0FFUCJ9.aa.b.c.d",
                "eyJhbGciOiJFQ0RILUVTIn0.aa.b.c.d",
            ],
        ),
    ];
    for (kind, marks) in rows {
        let (_pki, _served, fake, client) = world(0).await;
        let mut calls = Vec::new();
        for number in 0..14 {
            let mark = marks[number % 2];
            calls.push(begun(ask(client.clone(), kind, mark, number.to_string())).await);
        }
        // Each class has four of its own.
        fake.seen(8).await;
        fake.let_through(100);
        assert!(answered(calls).await.iter().all(Result::is_ok));
        let mut batched = 0;
        for seen in fake.seen(10).await {
            let different: BTreeSet<_> = seen.marks.iter().collect();
            assert_eq!(different.len(), 1, "{kind:?}: {seen:?}");
            batched += usize::from(seen.ids.len() > 1);
        }
        assert_eq!(batched, 2, "{kind:?}");
    }
}

#[tokio::test]
async fn key_sets_that_have_answered_alike_share_a_batch() {
    let (_pki, _served, fake, client) = world(0).await;
    let sign = |set: &'static str, id: &str| {
        let (client, id) = (client.clone(), id.to_owned());
        begun(async move { ask(client, Kind::Sign, set, id).await })
    };
    // Each is asked once, and says by its token what its signatures cost.
    for (number, set) in ["es256~a", "es256~b"].into_iter().enumerate() {
        fake.let_through(1);
        assert_eq!(
            sign(set, "first").await.await.unwrap(),
            Ok("first".to_owned())
        );
        assert_eq!(fake.rpcs().len(), number + 1);
    }
    let mut calls = Vec::new();
    for (set, id) in [("es256~a", "a"), ("es256~b", "b")].repeat(4) {
        calls.push(sign(set, id).await);
    }
    fake.seen(6).await;
    fake.let_through(1);
    let batch = fake.seen(7).await.pop().unwrap();
    assert_eq!(
        (batch.rpc, batch.marks),
        (
            "sign_batch",
            ["es256~a", "es256~b"]
                .repeat(2)
                .iter()
                .map(|mark| (*mark).to_owned())
                .collect()
        )
    );
    fake.let_through(4);
    assert!(answered(calls).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn one_that_waits_alone_goes_out_as_it_is() {
    let (_pki, _served, fake, client) = world(0).await;
    let out = four_out(&fake, &client).await;
    let alone = sign(&client, "alone").await;
    fake.let_through(1);
    let last = fake.seen(5).await.pop().unwrap();
    assert_eq!((last.rpc, last.ids), ("sign", vec!["alone".to_owned()]));
    fake.let_through(4);
    assert_eq!(alone.await.unwrap(), Ok("alone".to_owned()));
    assert!(answered(out).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_batch_has_64_items_and_half_a_mebibyte_at_most() {
    let (_pki, _served, fake, client) = world(0).await;
    let out = four_out(&fake, &client).await;
    let mut waiting = Vec::new();
    for number in 0..70 {
        waiting.push(sign(&client, &number.to_string()).await);
    }
    fake.let_through(2);
    let sizes: Vec<_> = fake
        .seen(6)
        .await
        .iter()
        .map(|seen| seen.ids.len())
        .collect();
    assert_eq!(sizes[4..], [64, 6]);
    fake.let_through(4);
    assert!(answered(waiting).await.iter().all(Result::is_ok));
    answered(out).await;

    let (_pki, _served, fake, client) = world(0).await;
    let large = |id: &str| {
        let payload = vec![0; 200 << 10];
        let encrypt = Encrypt::new(payload, Recipient::KeySet("op/e".into())).request_id(id);
        let client = client.clone();
        async move { client.encrypt(&encrypt).await }
    };
    let mut calls = Vec::new();
    for number in 0..9 {
        calls.push(begun(large(&number.to_string())).await);
    }
    fake.seen(4).await;
    fake.let_through(9);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let mut sizes: Vec<_> = fake
        .seen(7)
        .await
        .iter()
        .map(|seen| seen.ids.len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 1, 1, 1, 2, 2]);
}

#[tokio::test]
async fn each_item_keeps_its_deadline() {
    let (_pki, _served, fake, client) = world(0).await;
    let out = four_out(&fake, &client).await;
    let short = sign(&client.within(Duration::from_secs(10)), "short").await;
    let long = sign(&client.within(Duration::from_secs(30)), "long").await;
    let expired = sign(&client.within(Duration::from_millis(20)), "expired").await;
    let error = expired.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(error.message(), "no answer within 20 ms");
    fake.let_through(5);
    let batch = fake.seen(5).await.pop().unwrap();
    assert_eq!(batch.ids, ["short", "long"]);
    let timeouts: Vec<_> = batch.timeouts.into_iter().flatten().collect();
    assert!(timeouts[0] <= Duration::from_secs(10) && timeouts[0] > Duration::from_secs(1));
    assert!(timeouts[1] <= Duration::from_secs(30) && timeouts[1] > Duration::from_secs(11));
    let told = batch.deadline.unwrap();
    assert!(
        told > timeouts[0] && told <= Duration::from_secs(30),
        "{told:?}"
    );
    answered(out).await;
    assert!(short.await.unwrap().is_ok() && long.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_waiter_whose_time_passes_in_a_batch_leaves_the_others_to_it() {
    let (_pki, _served, fake, client) = world(0).await;
    let out = four_out(&fake, &client).await;
    let patient = sign(&client, "patient").await;
    // Its time may pass before the batch goes out or after it: it is told the same.
    let hasty = sign(&client.within(Duration::from_millis(200)), "hasty").await;
    fake.let_through(1);
    fake.seen(5).await;
    assert_eq!(
        hasty.await.unwrap().unwrap_err().code(),
        Code::DeadlineExceeded
    );
    fake.let_through(4);
    assert_eq!(patient.await.unwrap(), Ok("patient".to_owned()));
    answered(out).await;
}

#[tokio::test]
async fn cancelled_waiters_are_not_sent() {
    let (_pki, _served, fake, client) = world(0).await;
    let out = four_out(&fake, &client).await;
    let mut waiting = Vec::new();
    for number in 0..6 {
        waiting.push(sign(&client, &number.to_string()).await);
    }
    for cancelled in [1, 4] {
        waiting[cancelled].abort();
    }
    for cancelled in [4, 1] {
        assert!(waiting.remove(cancelled).await.unwrap_err().is_cancelled());
    }
    fake.let_through(5);
    assert_eq!(fake.seen(5).await.pop().unwrap().ids, ["0", "2", "3", "5"]);
    assert!(answered(waiting).await.iter().all(Result::is_ok));
    answered(out).await;
}

#[tokio::test]
async fn callers_that_are_dropped_leave_nobody_waiting() {
    let (_pki, _served, fake, client) = world(0).await;
    let out = four_out(&fake, &client).await;
    let mut waiting = Vec::new();
    for number in 0..3 {
        waiting.push(sign(&client, &number.to_string()).await);
    }
    out.iter().for_each(JoinHandle::abort);
    assert_eq!(fake.seen(5).await.pop().unwrap().ids, ["0", "1", "2"]);
    fake.let_through(5);
    assert!(answered(waiting).await.iter().all(Result::is_ok));
    // Nothing is out any more: four go out at once again.
    four_out(&fake, &client).await;
}

#[tokio::test]
async fn a_batch_ends_with_the_last_of_its_callers_and_not_before() {
    let (_pki, _served, fake, client) = world(0).await;
    let out = four_out(&fake, &client).await;
    let mut waiting = Vec::new();
    for number in 0..3 {
        waiting.push(sign(&client, &number.to_string()).await);
    }
    fake.let_through(1);
    fake.seen(5).await;
    let next = [sign(&client, "next").await, sign(&client, "last").await];
    let kept = waiting.pop().unwrap();
    waiting.iter().for_each(JoinHandle::abort);
    for cancelled in waiting {
        assert!(cancelled.await.unwrap_err().is_cancelled());
    }
    assert_eq!(*fake.abandoned.borrow(), 0, "one caller is left");
    kept.abort();
    let mut abandoned = fake.abandoned.subscribe();
    abandoned
        .wait_for(|abandoned| *abandoned == 1)
        .await
        .unwrap();
    // Its place is free for what waits.
    assert_eq!(fake.seen(6).await.pop().unwrap().ids, ["next", "last"]);
    fake.let_through(4);
    assert!(answered(next.into()).await.iter().all(Result::is_ok));
    answered(out).await;
}

#[tokio::test]
async fn the_clients_of_a_channel_share_their_rpcs() {
    let (_pki, _served, fake, client) = world(0).await;
    let out = four_out(&fake, &client).await;
    let other = CryptoClient::new(client.channel().within(LONG));
    let waiting = vec![sign(&client, "a").await, sign(&other, "b").await];
    fake.let_through(5);
    assert_eq!(fake.seen(5).await.pop().unwrap().ids, ["a", "b"]);
    assert!(answered(waiting).await.iter().all(Result::is_ok));
    answered(out).await;
}
