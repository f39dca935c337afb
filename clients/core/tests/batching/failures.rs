//! Items and batches that fail while calls share rpcs: what each caller is told, and what is asked again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use client_core::{Code, Reason};
use tonic::Status;

use crate::batcher::{Refusal, begun};
use crate::coalescing::{KINDS, answered, ask, four_out, sign, world};

#[tokio::test]
async fn a_batch_that_fails_as_a_whole_is_repeated_item_by_item() {
    let (_pki, _served, fake, client) = world(0).await;
    let out = four_out(&fake, &client).await;
    let mut waiting = Vec::new();
    for number in 0..5 {
        waiting.push(sign(&client, &number.to_string()).await);
    }
    fake.refuse_batch(Status::unavailable("draining"));
    fake.let_through(100);
    for (number, answer) in answered(waiting).await.into_iter().enumerate() {
        assert_eq!(answer, Ok(number.to_string()));
    }
    answered(out).await;
    let mut asked: Vec<_> = fake.seen(6).await.split_off(5);
    let mut again: Vec<_> = asked.drain(..).flat_map(|seen| seen.ids).collect();
    again.sort();
    assert_eq!(again, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_batch_that_fails_for_good_fails_each_of_its_items() {
    for (status, lost, code) in [
        (Some(Status::internal("broke")), 0, Code::Internal),
        (
            Some(Status::permission_denied("no")),
            0,
            Code::PermissionDenied,
        ),
        (None, 1, Code::Internal),
    ] {
        let (_pki, _served, fake, client) = world(0).await;
        let out = four_out(&fake, &client).await;
        let waiting = vec![sign(&client, "a").await, sign(&client, "b").await];
        fake.lost.store(lost, Ordering::SeqCst);
        status
            .into_iter()
            .for_each(|status| fake.refuse_batch(status));
        fake.let_through(5);
        for answer in answered(waiting).await {
            assert_eq!(answer.unwrap_err().code(), code);
        }
        assert!(answered(out).await.iter().all(Result::is_ok));
        assert_eq!(fake.rpcs().len(), 5, "{code}");
    }
}

#[tokio::test]
async fn a_failure_reaches_its_own_caller_only_and_as_a_call_of_its_own_would_give_it() {
    let refusals = [
        Refusal {
            field: Some("lifetime"),
            ..Refusal::of(tonic::Code::InvalidArgument, "FIELD_INVALID")
        },
        Refusal::of(tonic::Code::PermissionDenied, "NOT_GRANTED"),
        Refusal::of(tonic::Code::NotFound, "KEY_SET_NOT_FOUND"),
        Refusal::of(tonic::Code::DeadlineExceeded, "LATE"),
        Refusal {
            retry_in: Some(Duration::from_secs(3_600)),
            ..Refusal::of(tonic::Code::ResourceExhausted, "OVERLOADED")
        },
    ];
    for (kind, ..) in KINDS {
        let (_pki, _served, fake, client) = world(4).await;
        for (number, refusal) in refusals.iter().enumerate() {
            fake.refuse("alone", refusal.clone());
            fake.refuse(&number.to_string(), refusal.clone());
        }
        let mut alone = Vec::new();
        for _ in &refusals {
            fake.let_through(1);
            alone.push(ask(client.clone(), kind, "a.b.c", "alone".into()).await);
        }
        let before = fake.gate.available_permits();
        fake.gate.forget_permits(before);
        let mut calls = Vec::new();
        for number in 10..14 {
            calls.push(begun(ask(client.clone(), kind, "a.b.c", number.to_string())).await);
        }
        for number in 0..=refusals.len() {
            calls.push(begun(ask(client.clone(), kind, "a.b.c", number.to_string())).await);
        }
        fake.let_through(10);
        let together = answered(calls).await.split_off(4);
        assert_eq!(together[..alone.len()], alone, "{kind:?}");
        assert!(alone.iter().all(Result::is_err), "{kind:?}: {alone:?}");
        assert!(together.last().unwrap().is_ok(), "{kind:?}");
    }
}

#[tokio::test]
async fn an_item_is_repeated_by_itself_where_a_call_would_be() {
    let retry = |code, reason| Refusal {
        retry_in: Some(Duration::from_millis(1)),
        ..Refusal::of(code, reason)
    };
    let (_pki, _served, fake, client) = world(0).await;
    let out = four_out(&fake, &client).await;
    fake.refuse("0", retry(tonic::Code::ResourceExhausted, "OVERLOADED"));
    fake.refuse("2", retry(tonic::Code::Unavailable, "NOT_READY"));
    for _ in 0..3 {
        fake.refuse("3", retry(tonic::Code::Unavailable, "NOT_READY"));
    }
    let mut waiting = Vec::new();
    for number in 0..4 {
        waiting.push(sign(&client, &number.to_string()).await);
    }
    fake.let_through(100);
    let mut answers = answered(waiting).await;
    let last = answers.pop().unwrap().unwrap_err();
    assert_eq!(
        last.reason(),
        Some(&Reason::NotReady),
        "three attempts are all"
    );
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    answered(out).await;
    let asked = |id: &str| {
        let seen = fake.seen.borrow();
        let ids = seen.iter().flat_map(|seen| seen.ids.iter());
        ids.filter(|seen| *seen == id).count()
    };
    assert_eq!(["0", "1", "2", "3"].map(asked), [2, 1, 2, 3]);
}

#[tokio::test]
async fn a_service_without_batches_is_asked_one_by_one() {
    let (_pki, _served, fake, client) = world(0).await;
    let out = four_out(&fake, &client).await;
    let mut waiting = Vec::new();
    for number in 0..6 {
        waiting.push(sign(&client, &number.to_string()).await);
    }
    fake.refuse_batch(Status::unimplemented("no such rpc"));
    fake.let_through(5);
    // The six that were refused together all go out at once.
    fake.seen(4 + 1 + 6).await;
    let more = sign(&client, "more").await;
    fake.seen(4 + 1 + 7).await;
    fake.let_through(100);
    for (number, answer) in answered(waiting).await.into_iter().enumerate() {
        assert_eq!(answer, Ok(number.to_string()));
    }
    assert!(more.await.unwrap().is_ok());
    answered(out).await;
    let batches = fake
        .rpcs()
        .iter()
        .filter(|rpc| **rpc == "sign_batch")
        .count();
    assert_eq!(batches, 1);
}
