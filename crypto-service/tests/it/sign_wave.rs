//! What happens to tokens of a batch that wait for a crypto thread.

use std::num::NonZeroUsize;
use std::time::Duration;

use crypto_service::issued::Recorder;
use crypto_service::keys::{KeysWriter, PrivateKeys, Terms, Times, pair};
use crypto_service::lanes::{Ask, Class, Engine, LaneOptions, Lanes};
use crypto_service::policy::Access;
use crypto_service::usecase::{BatchItem, BatchSource, DataPlane, Parts, SignCommand};
use crypto_service::{Refusal, ServiceMetrics};
use keyring::State;
use service_kit::clock::{Clock, FakeClock};
use service_kit::grants::{Policy, PolicyHandle};
use service_kit::identity::{Caller, IdentityRules};
use service_kit::telemetry::Metrics;
use testkit::{CertificateAuthority, Leaf};
use tokio::time::Instant;

use crate::support::{NOW, POLICY, TestKey, TestSet};

struct Rig {
    plane: DataPlane,
    writer: KeysWriter,
    lanes: Lanes,
    clock: FakeClock,
}

/// A data plane with one crypto thread for RSA-2048.
fn rig() -> Rig {
    let clock = FakeClock::at(NOW);
    let (mut writer, keys) = pair(clock.shared(), Terms::default());
    let lanes = Lanes::start(LaneOptions {
        threads: NonZeroUsize::MIN,
        ..LaneOptions::default()
    })
    .unwrap();
    let policy = PolicyHandle::fixed("policy", Policy::parse(POLICY).unwrap());
    let plane = DataPlane::new(Parts {
        issued: Recorder::off(keys.clone(), clock.shared()),
        keys,
        access: Access::new(policy),
        lanes: lanes.clone(),
        private: PrivateKeys::new(16, Engine::single()),
        clock: clock.shared(),
        metrics: ServiceMetrics::new(&Metrics::new("test", "0")),
    });
    let terms = Terms {
        sign_for: Duration::from_secs(30),
        verify_for: Duration::from_secs(60),
    };
    writer.replace(0, Times::default(), Vec::new()).unwrap();
    writer.grant(clock.boot(), terms);
    Rig {
        plane,
        writer,
        lanes,
        clock,
    }
}

fn item(key_set: &str, due: Option<Instant>) -> Result<BatchItem, Refusal> {
    Ok(BatchItem {
        source: BatchSource::Sign(SignCommand {
            tenant: "default".to_owned(),
            key_set: key_set.to_owned(),
            claims: "{}".to_owned(),
            lifetime: None,
            typ: String::new(),
        }),
        at_hash_of: None,
        code: None,
        encrypt: None,
        due,
    })
}

impl Rig {
    /// Signs a batch while the crypto thread is busy, and lets it go on after `meanwhile`.
    async fn signed(
        &mut self,
        items: Vec<Result<BatchItem, Refusal>>,
        meanwhile: impl FnOnce(&mut Self),
    ) -> Vec<Result<(), Refusal>> {
        let leaf = CertificateAuthority::new("test").issue(&Leaf::client("token"));
        let caller = Caller::from_leaf(&leaf.der(), IdentityRules::default()).unwrap();
        // The keys are parsed before the thread is occupied.
        let known = items
            .iter()
            .map(|item| match &item.as_ref().unwrap().source {
                BatchSource::Sign(sign) => self::item(&sign.key_set, None),
                BatchSource::Token(_) => unreachable!(),
            });
        let known = known.collect();
        self.plane.sign_batch(&caller, known, |_| Ok(())).await;
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (began, begins) = tokio::sync::oneshot::channel();
        let lanes = self.lanes.clone();
        let busy = tokio::spawn(async move {
            let ask = Ask {
                tenant: "default".into(),
                deadline: None,
            };
            let work = move || {
                let _waited = began.send(());
                released.recv().is_err()
            };
            lanes.run(ask, Class::Rsa2048, work).await
        });
        begins.await.unwrap();
        let plane = self.plane.clone();
        let batch = tokio::spawn(async move {
            let made = plane.sign_batch(&caller, items, |_| Ok(())).await;
            let outcome = made.into_iter().map(|one| one.map(drop));
            outcome
                .map(|one| one.map_err(|refused| refused.refusal))
                .collect()
        });
        while self.lanes.depth() == 0 && !batch.is_finished() {
            tokio::task::yield_now().await;
        }
        meanwhile(self);
        drop(release);
        busy.await.unwrap().unwrap();
        batch.await.unwrap()
    }
}

fn is_not_ready(outcome: &Result<(), Refusal>) -> bool {
    matches!(outcome, Err(Refusal::NotReady { .. }))
}

#[tokio::test]
async fn a_key_that_is_revoked_while_its_tokens_wait_gives_none_and_the_others_stand() {
    let mut rig = rig();
    let (rsa, ec) = (TestKey::new("RS256"), TestKey::new("ES256"));
    let sets = |state| {
        let rsa = rsa.clone().state(state);
        let sets = [
            TestSet::sign("op/rsa", vec![rsa]),
            TestSet::sign("op/ec", vec![ec.clone()]),
        ];
        sets.into_iter().map(|set| set.spec(1)).collect()
    };
    rig.writer
        .replace(1, Times::default(), sets(State::Active))
        .unwrap();
    let items = vec![
        item("op/rsa", None),
        item("op/ec", None),
        item("op/rsa", None),
    ];
    let revoked = sets(State::Revoked);
    let revoke = |rig: &mut Rig| rig.writer.replace(2, Times::default(), revoked).unwrap();
    let outcomes = rig.signed(items, revoke).await;
    assert!(
        is_not_ready(&outcomes[0]) && is_not_ready(&outcomes[2]),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[1], Ok(()));
}

#[tokio::test]
async fn a_lease_that_runs_out_while_tokens_wait_keeps_them_back() {
    let mut rig = rig();
    let set = TestSet::sign("op/rsa", vec![TestKey::new("RS256")]).spec(1);
    rig.writer.replace(1, Times::default(), vec![set]).unwrap();
    let wait = |rig: &mut Rig| rig.clock.advance(Duration::from_secs(31));
    let outcomes = rig.signed(vec![item("op/rsa", None)], wait).await;
    assert!(is_not_ready(&outcomes[0]), "{outcomes:?}");
}

#[tokio::test]
async fn a_token_whose_time_passes_while_it_waits_is_not_made() {
    let mut rig = rig();
    let set = TestSet::sign("op/rsa", vec![TestKey::new("RS256")]).spec(1);
    rig.writer.replace(1, Times::default(), vec![set]).unwrap();
    let due = Instant::now() + Duration::from_millis(200);
    let wait = |_: &mut Rig| std::thread::sleep(Duration::from_millis(250));
    let outcomes = rig
        .signed(vec![item("op/rsa", Some(due)), item("op/rsa", None)], wait)
        .await;
    assert_eq!(outcomes, [Err(Refusal::DeadlineExceeded), Ok(())]);
}
