//! Crypto threads and the lines in front of them.

use super::*;

fn name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn slow_work_runs_on_threads_of_its_class_and_cheap_work_here() {
    let (lanes, _fake) = lanes(1);
    for (class, thread) in [
        (Class::Rsa2048, Some("rsa-2048-0")),
        (Class::Rsa3072, Some("rsa-idle-0")),
        (Class::Rsa4096, Some("rsa-idle-0")),
        (Class::RsaPublic, None),
        (Class::Ec, None),
        (Class::Ed25519, None),
        (Class::Symmetric, None),
    ] {
        let ran = lanes.run(ask(), class, name).await.unwrap();
        assert_eq!(ran, thread.map_or_else(name, str::to_owned), "{class:?}");
    }
}

#[tokio::test]
async fn a_flood_of_rsa_4096_leaves_all_else_served() {
    let (lanes, _fake) = lanes(1);
    let gate = Gate::hold(&lanes, Class::Rsa4096).await;
    let flood = lanes.clone();
    let works = (0..1000).map(|_| (of("flooder"), Class::Rsa4096, || ()));
    let works: Vec<_> = works.collect();
    let flood = tokio::spawn(async move { flood.run_all(works).await });
    waiting(&lanes, 1000).await;
    for class in [Class::Rsa2048, Class::Ec, Class::Ed25519, Class::Symmetric] {
        assert_eq!(lanes.run(of("flooder"), class, || 1).await, Ok(1));
    }
    let key = TestKey::new(7);
    assert_eq!(lanes.sign(ask(), key.job(RSA)).await, Ok(token(7)));
    assert_eq!(lanes.sign(ask(), key.job(EC)).await, Ok(token(7)));
    gate.open().await;
    assert!(flood.await.unwrap().iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_thread_that_gets_no_processor_costs_its_batch_alone_and_that_comes_later() {
    let (lanes, _fake) = started(1, |options| options.idle_patience = Duration::ZERO);
    let gate = Gate::hold(&lanes, Class::Rsa4096).await;
    for _ in 0..3 {
        let ran = lanes.run(ask(), Class::Rsa4096, name).await.unwrap();
        assert_eq!(ran, "rsa-large-0");
    }
    gate.open().await;
    while lanes.run(ask(), Class::Rsa4096, name).await.unwrap() != "rsa-idle-0" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_shares_threads_takes_turns_by_cost() {
    let (lanes, _fake) = lanes(1);
    let gate = Gate::hold(&lanes, Class::Rsa4096).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut asked = Vec::new();
    for class in [Class::Rsa4096, Class::Rsa3072] {
        let (lanes, order) = (lanes.clone(), Arc::clone(&order));
        let works = (0..6).map(move |_| {
            let order = Arc::clone(&order);
            (ask(), class, move || order.lock().unwrap().push(class))
        });
        let works: Vec<_> = works.collect();
        asked.push(tokio::spawn(async move { lanes.run_all(works).await }));
    }
    waiting(&lanes, 12).await;
    gate.open().await;
    for answers in asked {
        assert!(answers.await.unwrap().iter().all(Result::is_ok));
    }
    // Both are in the first half: neither stands behind the other.
    let order = order.lock().unwrap();
    let first: Vec<_> = order.iter().take(6).collect();
    assert!(
        first.contains(&&Class::Rsa3072) && first.contains(&&Class::Rsa4096),
        "{order:?}"
    );
}

#[tokio::test]
async fn a_tenant_that_floods_its_class_starves_nobody_in_it() {
    let (lanes, _fake) = lanes(1);
    let gate = Gate::hold(&lanes, Class::Rsa4096).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut asked = Vec::new();
    for (tenant, count) in [("flooder", 100), ("modest", 3)] {
        let (task, order) = (lanes.clone(), Arc::clone(&order));
        let works = (0..count).map(move |_| {
            let (order, name) = (Arc::clone(&order), tenant.to_owned());
            let work = move || order.lock().unwrap().push(name);
            (of(tenant), Class::Rsa4096, work)
        });
        let works: Vec<_> = works.collect();
        asked.push(tokio::spawn(async move { task.run_all(works).await }));
        waiting(
            &lanes,
            asked.len().div_ceil(2) * 100 + (asked.len() - 1) * 3,
        )
        .await;
    }
    gate.open().await;
    for answers in asked {
        assert!(answers.await.unwrap().iter().all(Result::is_ok));
    }
    let order = order.lock().unwrap();
    let last = order.iter().rposition(|tenant| tenant == "modest").unwrap();
    assert!(last < 7, "{last}: {order:?}");
}

#[tokio::test]
async fn a_full_line_refuses_at_once_but_not_those_who_have_nothing_in_it() {
    let (lanes, _fake) = lanes_with(1, Duration::from_nanos(2));
    let gate = Gate::hold(&lanes, Class::Rsa2048).await;
    let first = sign(&lanes, ask(), TestKey::new(1).job(RSA));
    waiting(&lanes, 1).await;
    let refused = lanes.sign(ask(), TestKey::new(2).job(RSA)).await;
    let Err(LaneError::Overloaded { retry_in }) = refused else {
        panic!("{refused:?}");
    };
    assert!(retry_in >= Duration::from_millis(1));
    let other = sign(&lanes, of("other"), TestKey::new(3).job(RSA));
    waiting(&lanes, 2).await;
    assert_eq!(lanes.report().overloaded, 1);
    gate.open().await;
    assert_eq!(first.await.unwrap(), Ok(token(1)));
    assert_eq!(other.await.unwrap(), Ok(token(3)));
}

#[tokio::test]
async fn what_is_late_or_would_be_is_refused_before_the_work() {
    let (lanes, _fake) = lanes(1);
    let key = TestKey::new(1);
    let due = |after| Ask {
        deadline: Some(Instant::now() + after),
        ..ask()
    };
    for kind in [RSA, EC] {
        let passed = lanes.sign(due(Duration::ZERO), key.job(kind)).await;
        assert_eq!(passed, Err(LaneError::DeadlineExceeded), "{kind:?}");
    }
    let gate = Gate::hold(&lanes, Class::Rsa2048).await;
    // Enough time when it was asked, and none left when the thread comes to it.
    let late = sign(&lanes, due(Duration::from_millis(50)), key.job(RSA));
    waiting(&lanes, 1).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    // Ten hours of work in front of a deadline in one.
    let flood = lanes.clone();
    let keys: Vec<_> = (0..400_000)
        .map(|_| (ask(), TestKey::new(2).job(RSA)))
        .collect();
    let flood = tokio::spawn(async move { flood.sign_all(keys).await.len() });
    waiting(&lanes, 400_001).await;
    let hopeless = lanes.sign(due(Duration::from_secs(10)), key.job(RSA)).await;
    assert!(
        matches!(hopeless, Err(LaneError::Overloaded { .. })),
        "{hopeless:?}"
    );
    flood.abort();
    gate.open().await;
    assert_eq!(late.await.unwrap(), Err(LaneError::DeadlineExceeded));
    assert_eq!((key.count(), lanes.report().late), (0, 3));
}

#[tokio::test]
async fn what_nobody_waits_for_is_not_computed_and_counts_for_nothing() {
    let (lanes, _fake) = lanes(1);
    let gate = Gate::hold(&lanes, Class::Rsa2048).await;
    let (single, group, wanted) = (TestKey::new(1), TestKey::new(2), TestKey::new(3));
    let one = sign(&lanes, ask(), single.job(RSA));
    let many: Vec<_> = (0..20).map(|_| (ask(), group.job(RSA))).collect();
    let task = lanes.clone();
    let many = tokio::spawn(async move { task.sign_all(many).await });
    waiting(&lanes, 21).await;
    one.abort();
    many.abort();
    waiting(&lanes, 0).await;
    let threads = lanes.shared().compute.stats.book(RSA).load(Lines::Threads);
    assert_eq!(threads.cost(), 0);
    let last = sign(&lanes, ask(), wanted.job(RSA));
    waiting(&lanes, 1).await;
    gate.open().await;
    assert_eq!(last.await.unwrap(), Ok(token(3)));
    assert_eq!((single.count(), group.count()), (0, 0));
}

#[tokio::test]
async fn callers_that_come_and_go_leave_nothing_behind_in_a_line_that_stands() {
    let (lanes, _fake) = lanes(1);
    let gate = Gate::hold(&lanes, Class::Rsa2048).await;
    for _ in 0..100 {
        let many: Vec<_> = (0..10).map(|_| (ask(), TestKey::new(1).job(RSA))).collect();
        let task = lanes.clone();
        let many = tokio::spawn(async move { task.sign_all(many).await });
        waiting(&lanes, 10).await;
        many.abort();
        waiting(&lanes, 0).await;
    }
    assert!(lanes.shared().rsa_2048.len() < 200);
    gate.open().await;
}

#[tokio::test]
async fn batches_form_from_what_waits_and_lanes_are_used_from_where_they_pay() {
    for (jobs, pays_from, fills) in [
        (8, 3, vec![8]),
        (11, 3, vec![8, 3]),
        (10, 3, vec![8]),
        (2, 3, vec![]),
        (17, 1, vec![8, 8, 1]),
    ] {
        let (lanes, fake) = lanes(pays_from);
        let gate = Gate::hold(&lanes, Class::Rsa2048).await;
        let key = TestKey::new(5);
        let signed: Vec<_> = (0..jobs)
            .map(|_| sign(&lanes, ask(), key.job(RSA)))
            .collect();
        waiting(&lanes, jobs).await;
        gate.open().await;
        for token_made in signed {
            assert_eq!(token_made.await.unwrap(), Ok(token(5)));
        }
        assert_eq!(fake.fills(), fills, "{jobs} from {pays_from}");
        // The thread counts a batch after it has answered it.
        let done = || {
            let report = lanes.report();
            let line = report.lines.iter().find(|line| line.operation == "sign");
            line.map(LineReport::operations)
        };
        while done() != u32::try_from(jobs).ok().map(f64::from) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_panic_costs_its_own_batch_and_nobody_else() {
    let (lanes, _fake) = lanes(1);
    let gate = Gate::hold(&lanes, Class::Rsa2048).await;
    let (good, bad) = (TestKey::new(1), TestKey::with(2, Some(Fault::Panics)));
    let lost: Vec<_> = [&good, &bad, &good, &good, &good, &good, &good, &good]
        .map(|key| sign(&lanes, ask(), key.job(RSA)))
        .into();
    waiting(&lanes, LANES).await;
    let next = sign(&lanes, ask(), good.job(RSA));
    waiting(&lanes, LANES + 1).await;
    gate.open().await;
    for answer in lost {
        assert_eq!(answer.await.unwrap(), Err(LaneError::Lost));
    }
    assert_eq!(next.await.unwrap(), Ok(token(1)));
    let panics = || panic!("planted");
    for class in [Class::Rsa2048, Class::Ec] {
        let lost = lanes.run(ask(), class, panics).await;
        assert_eq!(lost, Err::<(), _>(LaneError::Lost));
        assert_eq!(lanes.run(ask(), class, || 1).await, Ok(1));
    }
}

#[tokio::test]
async fn a_lane_that_fails_costs_nobody_the_answer() {
    let (lanes, fake) = lanes(1);
    fake.fails.store(2, Ordering::SeqCst);
    let gate = Gate::hold(&lanes, Class::Rsa2048).await;
    let signed: Vec<_> = (0..4)
        .map(|number| sign(&lanes, ask(), TestKey::new(number).job(RSA)))
        .collect();
    waiting(&lanes, 4).await;
    gate.open().await;
    for (number, token_made) in (0..).zip(signed) {
        assert_eq!(token_made.await.unwrap(), Ok(token(number)));
    }
    assert_eq!((fake.fills(), lanes.report().lane_failures), (vec![4], 1));
}

#[tokio::test]
async fn an_engine_that_fails_in_both_forms_gives_no_token() {
    let (lanes, _fake) = lanes(1);
    let key = TestKey::with(1, Some(Fault::Fails));
    for kind in [RSA, EC, Kind::One(Class::Ec), Kind::One(Class::Rsa4096)] {
        let failed = lanes.sign(ask(), key.job(kind)).await;
        assert_eq!(failed, Err(LaneError::Failed), "{kind:?}");
    }
}

#[tokio::test]
async fn the_threads_end_with_the_last_handle() {
    let (lanes, _fake) = lanes(1);
    let shared = Arc::downgrade(&lanes.0.0);
    let clone = lanes.clone();
    drop(lanes);
    assert_eq!(clone.run(ask(), Class::Rsa2048, || 1).await, Ok(1));
    drop(clone);
    while shared.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
}
