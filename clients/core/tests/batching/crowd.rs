//! Many callers at once, some of which go away at any moment: nobody is left waiting, and nobody gets another's answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::batcher::{Batcher, Refusal, client};
use crate::serve::Pki;
use client_core::request::Sign;
use client_core::{Code, CryptoClient};
use tokio::task::JoinSet;
use tonic::Status;

/// xorshift64*: the same crowd each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

async fn one(client: CryptoClient, set: u64, id: String) -> bool {
    let sign = Sign::json(format!("op/{set}"), "{}").request_id(&id);
    match client.sign(&sign).await {
        Ok(signed) => {
            assert_eq!(signed.jti, id);
            true
        }
        Err(error) => {
            let known = [
                Code::PermissionDenied,
                Code::DeadlineExceeded,
                // Of a batch that is refused as a whole, when the budget for repetitions has ended.
                Code::Unavailable,
            ];
            assert!(known.contains(&error.code()), "{id}: {error}");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_hangs_in_a_crowd_whose_members_come_and_go() {
    const CALLS: usize = 4_000;
    let (pki, fake) = (Pki::new(), Batcher::open(CALLS * 2));
    let served = fake.serve(&pki).await;
    let client = client(pki.options(&served).deadline(Duration::from_secs(60)));
    let mut dice = Dice(0x5EED);
    let (mut calls, done) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    let mut handles = Vec::new();
    for number in 0..CALLS {
        let (id, set) = (number.to_string(), dice.below(3));
        if dice.below(20) == 0 {
            let refusal = Refusal::of(tonic::Code::PermissionDenied, "NOT_GRANTED");
            fake.refuse(&id, refusal);
        }
        if dice.below(400) == 0 {
            fake.refuse_batch(Status::unavailable("for a moment"));
        }
        let mut client = client.clone();
        if dice.below(30) == 0 {
            client = client.within(Duration::from_micros(200 * (1 + dice.below(20))));
        }
        let done = Arc::clone(&done);
        handles.push(calls.spawn(async move {
            if one(client, set, id).await {
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
        if dice.below(3) == 0 {
            let victim = dice.below(handles.len().try_into().unwrap());
            handles[usize::try_from(victim).unwrap()].abort();
        }
        if dice.below(50) == 0 {
            tokio::task::yield_now().await;
        }
    }
    let all = async {
        while let Some(ended) = calls.join_next().await {
            // What was asserted in the call fails here.
            assert!(ended.is_ok() || ended.unwrap_err().is_cancelled());
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(50), all).await;
    assert!(ended.is_ok(), "somebody still waits");
    let (done, rpcs) = (done.load(Ordering::Relaxed), fake.rpcs());
    assert!(done > CALLS / 2, "{done} of {CALLS}");
    assert!(
        rpcs.contains(&"sign_batch"),
        "the crowd was large enough to share rpcs"
    );
    // Every place was given back: four of each class go out at once.
    let before = fake.gate.available_permits();
    fake.gate.forget_permits(before);
    let seen = fake.rpcs().len();
    let mut last = JoinSet::new();
    for number in 0..12_u64 {
        last.spawn(one(client.clone(), number % 3, format!("last {number}")));
    }
    fake.seen(seen + 12).await;
    fake.let_through(12);
    assert!(last.join_all().await.into_iter().all(|done| done));
}
