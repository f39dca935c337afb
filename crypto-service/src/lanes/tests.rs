use std::sync::mpsc;
use std::time::Duration;

use super::*;

#[tokio::test]
async fn queued_work_runs_on_a_crypto_thread_and_inline_work_here() {
    let lanes = Lanes::with(1, 4).unwrap();
    let name = || thread::current().name().map(str::to_owned);
    assert_eq!(
        lanes.run(Cost::Queued, name).await.unwrap().as_deref(),
        Some("crypto-0")
    );
    let here = thread::current().id();
    assert_eq!(
        lanes.run(Cost::Inline, || thread::current().id()).await,
        Ok(here)
    );
}

#[tokio::test]
async fn a_full_queue_is_said_at_once() {
    let lanes = Lanes::with(1, 1).unwrap();
    let (release, held) = mpsc::channel::<()>();
    let (begun, begins) = mpsc::channel::<()>();
    let busy = lanes.clone();
    let first = tokio::spawn(async move {
        busy.run(Cost::Queued, move || {
            begun.send(()).unwrap();
            held.recv().unwrap();
        })
        .await
    });
    tokio::task::spawn_blocking(move || begins.recv().unwrap())
        .await
        .unwrap();
    let waits = lanes.clone();
    let second = tokio::spawn(async move { waits.run(Cost::Queued, || 2).await });
    while lanes.depth() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(
        lanes.run(Cost::Queued, || 3).await,
        Err(LaneError::Overloaded)
    );
    release.send(()).unwrap();
    assert_eq!(
        (first.await.unwrap(), second.await.unwrap()),
        (Ok(()), Ok(2))
    );
}

#[tokio::test]
async fn a_panic_costs_its_own_caller_and_nobody_else() {
    let lanes = Lanes::with(1, 4).unwrap();
    let fails = lanes.run(Cost::Queued, || panic!("planted")).await;
    assert_eq!(fails, Err::<(), _>(LaneError::Lost));
    assert_eq!(lanes.run(Cost::Queued, || 1).await, Ok(1));
}
