//! Many jobs of one call.

use super::*;

fn verification(key: &Arc<TestKey>, number: u8) -> VerifyJob {
    let single: Arc<dyn Verify> = Arc::<TestKey>::clone(key);
    VerifyJob {
        key: VerifyingKey::of(single, EC_VERIFY),
        message: Message::head("message and more".to_owned(), 7),
        signature: vec![number; 64],
    }
}

#[tokio::test]
async fn answers_stand_in_the_order_of_the_jobs_whatever_runs_where() {
    let (lanes, fake) = lanes(3);
    let kinds = [
        RSA,
        EC,
        Kind::One(Class::Symmetric),
        Kind::One(Class::Rsa4096),
    ];
    let (bad, late) = (TestKey::with(9, Some(Fault::Fails)), TestKey::new(8));
    let mut jobs: Vec<_> = (0..40)
        .zip(kinds.into_iter().cycle())
        .map(|(number, kind)| (ask(), TestKey::new(number).job(kind)))
        .collect();
    let passed = Ask {
        deadline: Some(Instant::now()),
        ..ask()
    };
    jobs.insert(3, (ask(), bad.job(RSA)));
    jobs.insert(11, (passed.clone(), late.job(RSA)));
    jobs.insert(12, (passed, late.job(EC)));
    let mut answers = lanes.sign_all(jobs).await;
    assert_eq!(answers.remove(12), Err(LaneError::DeadlineExceeded));
    assert_eq!(answers.remove(11), Err(LaneError::DeadlineExceeded));
    assert_eq!(answers.remove(3), Err(LaneError::Failed));
    let expected: Vec<_> = (0..40).map(|number| Ok(token(number))).collect();
    assert_eq!(answers, expected);
    assert_eq!(late.count(), 0);
    // Ten of the curve here, eleven of RSA-2048 on the thread: what is below the fill goes one by one.
    let mut fills = fake.fills();
    fills.sort_unstable();
    assert!(fills.ends_with(&[8, 8]), "{fills:?}");
}

#[tokio::test]
async fn a_thousand_with_one_bad_item_are_999_tokens_and_one_reason() {
    for kind in [RSA, EC, Kind::One(Class::Rsa2048)] {
        // A line with any room takes a batch whole.
        let (lanes, _fake) = lanes_with(3, Duration::from_nanos(2));
        let (good, bad) = (TestKey::new(1), TestKey::with(2, Some(Fault::Fails)));
        let keys = (0..1000).map(|at| if at == 500 { &bad } else { &good });
        let jobs: Vec<_> = keys.map(|key| (ask(), key.job(kind))).collect();
        let answers = lanes.sign_all(jobs).await;
        for (at, answer) in answers.into_iter().enumerate() {
            let expected = if at == 500 {
                Err(LaneError::Failed)
            } else {
                Ok(token(1))
            };
            assert_eq!(answer, expected, "{kind:?} {at}");
        }
    }
}

#[tokio::test]
async fn a_small_group_of_cheap_jobs_stays_here_and_a_large_one_goes_to_threads() {
    let (lanes, fake) = lanes(3);
    let key = TestKey::new(1);
    let jobs = |count| (0..count).map(|_| (ask(), key.job(EC))).collect();
    // All are queued behind the gate, or none.
    let gate = Gate::hold(&lanes, Class::Rsa2048).await;
    assert_eq!(lanes.sign_all(jobs(20)).await.len(), 20);
    assert_eq!(fake.fills(), [8, 8, 4]);
    let large = lanes.sign_all(jobs(1000)).await;
    assert!(large.iter().all(Result::is_ok));
    assert_eq!(fake.fills(), [8; 125]);
    gate.open().await;
}

#[tokio::test]
async fn an_empty_group_has_no_answers() {
    let (lanes, _fake) = lanes(1);
    assert_eq!(lanes.sign_all(Vec::new()).await, []);
}

#[tokio::test]
async fn a_panic_in_a_group_costs_its_own_eight() {
    let (lanes, _fake) = lanes(1);
    let (good, bad) = (TestKey::new(1), TestKey::with(2, Some(Fault::Panics)));
    for kind in [RSA, EC] {
        let keys = (0..24).map(|at| if at == 9 { &bad } else { &good });
        let jobs: Vec<_> = keys.map(|key| (ask(), key.job(kind))).collect();
        let answers = lanes.sign_all(jobs).await;
        let lost: Vec<_> = (0..24)
            .filter(|at| answers[*at] == Err(LaneError::Lost))
            .collect();
        assert_eq!(lost, (8..16).collect::<Vec<_>>(), "{kind:?}");
    }
}

#[tokio::test]
async fn a_bad_signature_is_a_verdict_and_a_bad_lane_is_none() {
    let (lanes, fake) = lanes(3);
    let key = TestKey::new(1);
    fake.fails.store(1, Ordering::SeqCst);
    let jobs: Vec<_> = [1, 1, 2, 1]
        .map(|number| (ask(), verification(&key, number)))
        .into();
    let verdicts = lanes.verify_all(jobs).await;
    assert_eq!(
        verdicts,
        [Ok(Ok(())), Ok(Ok(())), Ok(Err(Failed)), Ok(Ok(()))]
    );
    assert_eq!((fake.fills(), lanes.report().lane_failures), (vec![4], 1));
    for (number, verdict) in [(1, Ok(())), (2, Err(Failed))] {
        let one = lanes.verify(ask(), verification(&key, number)).await;
        assert_eq!(one, Ok(verdict));
    }
}

#[tokio::test]
async fn works_of_a_group_run_where_their_class_says() {
    let (lanes, _fake) = lanes(1);
    let name = || std::thread::current().name().map(str::to_owned);
    let here = name();
    let classes = [Class::Ec, Class::Rsa2048, Class::Rsa4096, Class::Symmetric];
    let works: Vec<_> = classes.map(|class| (ask(), class, name)).into();
    let ran = lanes.run_all(works).await;
    let thread = |name: &str| Some(name.to_owned());
    assert_eq!(
        ran,
        [
            Ok(here.clone()),
            Ok(thread("rsa-2048-0")),
            Ok(thread("rsa-idle-0")),
            Ok(here)
        ]
    );
}
