//! Cheap jobs of callers that are here at the same time. One thread runs all tasks, so their order is known.

use super::*;

/// Somebody else who is in the service: without it a caller is alone and waits for nobody.
async fn crowd(lanes: &Lanes) -> (Gate, JoinHandle<Vec<Result<(), LaneError>>>) {
    let gate = Gate::hold(lanes, Class::Rsa2048).await;
    let task = lanes.clone();
    let works: Vec<_> = vec![(ask(), Class::Rsa2048, || ())];
    let other = tokio::spawn(async move { task.run_all(works).await });
    waiting(lanes, 1).await;
    (gate, other)
}

#[tokio::test]
async fn a_caller_that_is_alone_waits_for_nobody() {
    let (lanes, fake) = lanes(2);
    let key = TestKey::new(1);
    let mut signed = Box::pin(lanes.sign(ask(), key.job(EC)));
    let first =
        std::future::poll_fn(|context| std::task::Poll::Ready(signed.as_mut().poll(context)));
    assert_eq!(first.await, std::task::Poll::Ready(Ok(token(1))));
    assert!(fake.fills().is_empty());
}

#[tokio::test]
async fn callers_that_are_here_at_once_share_a_batch() {
    for (callers, fills) in [(2, vec![2]), (8, vec![8]), (11, vec![8, 3])] {
        let (lanes, fake) = lanes(2);
        let (gate, other) = crowd(&lanes).await;
        let key = TestKey::new(1);
        let signed: Vec<_> = (0..callers)
            .map(|_| sign(&lanes, ask(), key.job(EC)))
            .collect();
        for one in signed {
            assert_eq!(one.await.unwrap(), Ok(token(1)));
        }
        assert_eq!(fake.fills(), fills, "{callers}");
        gate.open().await;
        assert_eq!(other.await.unwrap(), [Ok(())]);
    }
}

#[tokio::test]
async fn a_leader_that_is_dropped_hands_on_the_lead() {
    let (lanes, fake) = lanes(2);
    let (gate, other) = crowd(&lanes).await;
    let (gone, key) = (TestKey::new(9), TestKey::new(1));
    let leader = sign(&lanes, ask(), gone.job(EC));
    let signed: Vec<_> = (0..3).map(|_| sign(&lanes, ask(), key.job(EC))).collect();
    let book = lanes.shared().compute.stats.book(EC);
    // The leader has let the others go first.
    while book.load(Lines::Here).depth() < 4 {
        tokio::task::yield_now().await;
    }
    leader.abort();
    for one in signed {
        assert_eq!(one.await.unwrap(), Ok(token(1)));
    }
    assert!(leader.await.unwrap_err().is_cancelled());
    assert_eq!((gone.count(), fake.fills()), (0, vec![3]));
    assert_eq!(book.load(Lines::Here).depth(), 0);
    gate.open().await;
    other.await.unwrap();
}

#[tokio::test]
async fn a_panic_among_callers_costs_one_batch_and_the_line_goes_on() {
    let (lanes, _fake) = lanes(2);
    let (gate, other) = crowd(&lanes).await;
    let (good, bad) = (TestKey::new(1), TestKey::with(2, Some(Fault::Panics)));
    for (keys, answer) in [
        ([&good, &bad], Err(LaneError::Lost)),
        ([&good, &good], Ok(token(1))),
    ] {
        let signed = keys.map(|key| sign(&lanes, ask(), key.job(EC)));
        for one in signed {
            assert_eq!(one.await.unwrap(), answer);
        }
    }
    gate.open().await;
    other.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_caller_is_answered_whoever_leads_and_whoever_goes() {
    let (lanes, fake) = lanes(2);
    let (gate, other) = crowd(&lanes).await;
    let key = TestKey::new(1);
    let mut signed = Vec::new();
    for number in 0..5000 {
        let one = sign(
            &lanes,
            of(if number % 3 == 0 { "a" } else { "b" }),
            key.job(EC),
        );
        if number % 7 == 0 {
            one.abort();
        } else {
            signed.push(one);
        }
    }
    for one in signed {
        assert_eq!(one.await.unwrap(), Ok(token(1)));
    }
    assert!(fake.fills().iter().all(|fill| (2..=LANES).contains(fill)));
    let here = lanes.shared().compute.stats.book(EC).load(Lines::Here);
    assert_eq!((here.depth(), here.cost()), (0, 0));
    gate.open().await;
    other.await.unwrap();
}
