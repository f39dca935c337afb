//! What happens to the keys of a request that waits for a crypto thread.

use std::num::NonZeroUsize;
use std::time::Duration;

use crypto_service::issued::Recorder;
use crypto_service::keys::{KeysWriter, PrivateKeys, Terms, Times, pair};
use crypto_service::lanes::{Ask, Class, Engine, LaneOptions, Lanes};
use crypto_service::policy::Access;
use crypto_service::usecase::{
    DataPlane, DecryptCommand, DecryptItem, EncryptCommand, Parts, Recipient, SignCommand,
};
use crypto_service::{Refusal, ServiceMetrics};
use keyring::State;
use service_kit::clock::{Clock, FakeClock};
use service_kit::grants::{Policy, PolicyHandle};
use service_kit::identity::{Caller, IdentityRules};
use service_kit::telemetry::Metrics;
use testkit::{CertificateAuthority, Leaf};
use tokio::task::JoinHandle;

use crate::support::{NOW, POLICY, TestKey, TestSet};

fn caller(role: &str) -> Caller {
    let issued = CertificateAuthority::new("test").issue(&Leaf::client(role));
    Caller::from_leaf(&issued.der(), IdentityRules::default()).unwrap()
}

/// Occupies the only crypto thread until the sender is dropped.
fn occupied(lanes: &Lanes) -> std::sync::mpsc::Sender<()> {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let lanes = lanes.clone();
    tokio::spawn(async move {
        let ask = Ask {
            tenant: "default".into(),
            deadline: None,
        };
        let work = move || released.recv().is_err();
        lanes.run(ask, Class::Rsa2048, work).await
    });
    release
}

/// A data plane over one crypto thread.
fn single_threaded() -> (DataPlane, KeysWriter, Lanes) {
    single_threaded_behind(LaneOptions::default().queue)
}

/// The same, behind a line of so much work.
fn single_threaded_behind(queue: Duration) -> (DataPlane, KeysWriter, Lanes) {
    let clock = FakeClock::at(NOW);
    let (mut writer, keys) = pair(clock.shared(), Terms::default());
    let lanes = Lanes::start(LaneOptions {
        threads: NonZeroUsize::MIN,
        queue,
        ..LaneOptions::default()
    })
    .unwrap();
    let plane = DataPlane::new(Parts {
        issued: Recorder::off(keys.clone(), clock.shared()),
        keys,
        access: Access::new(PolicyHandle::fixed(
            "policy",
            Policy::parse(POLICY).unwrap(),
        )),
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
    (plane, writer, lanes)
}

/// Waits until something stands behind the occupied thread.
async fn waits<T>(task: &JoinHandle<T>, lanes: &Lanes) {
    while lanes.depth() == 0 {
        assert!(!task.is_finished(), "it did not wait");
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!task.is_finished(), "it did not wait");
}

#[tokio::test]
async fn a_key_that_is_revoked_while_a_token_waits_opens_nothing() {
    let (plane, mut writer, lanes) = single_threaded();
    let key = TestKey::new("RSA-OAEP-256");
    let set = |state| TestSet::encrypt("op/e", vec![key.clone().state(state)]).spec(1);
    for (state, opens) in [
        (State::Retiring, true),
        (State::Retired, false),
        (State::Revoked, false),
    ] {
        writer
            .replace(1, Times::default(), vec![set(State::Active)])
            .unwrap();
        let encrypt = EncryptCommand {
            tenant: "default".to_owned(),
            payload: b"secret".to_vec(),
            recipient: Recipient::KeySet("op/e".to_owned()),
            alg: None,
            enc: None,
            cty: String::new(),
        };
        let command = DecryptCommand {
            tenant: "default".to_owned(),
            token: plane
                .encrypt(&caller("token"), encrypt, None)
                .await
                .unwrap()
                .token,
            key_sets: Vec::new(),
            field: "key_sets",
        };
        let (release, plane) = (occupied(&lanes), plane.clone());
        let waiting =
            tokio::spawn(async move { plane.decrypt(&caller("auth"), command, None).await });
        waits(&waiting, &lanes).await;
        writer
            .replace(1, Times::default(), vec![set(state)])
            .unwrap();
        drop(release);
        let opened = waiting.await.unwrap().unwrap();
        assert_eq!(opened.is_some(), opens, "{state:?}");
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_while_a_batch_waits_opens_nothing_of_it() {
    let (plane, mut writer, lanes) = single_threaded();
    let (key, other) = (TestKey::new("RSA-OAEP-256"), TestKey::new("RSA-OAEP-256"));
    let sets = |state| {
        vec![
            TestSet::encrypt("op/e", vec![key.clone().state(state)]).spec(1),
            TestSet::encrypt("op/other", vec![other.clone()]).spec(1),
        ]
    };
    writer
        .replace(1, Times::default(), sets(State::Active))
        .unwrap();
    let mut items = Vec::new();
    for key_set in ["op/e", "op/other", "op/e"] {
        let encrypt = EncryptCommand {
            tenant: "default".to_owned(),
            payload: b"secret".to_vec(),
            recipient: Recipient::KeySet(key_set.to_owned()),
            alg: None,
            enc: None,
            cty: String::new(),
        };
        let made = plane.encrypt(&caller("token"), encrypt, None).await;
        let command = DecryptCommand {
            tenant: "default".to_owned(),
            token: made.unwrap().token,
            key_sets: Vec::new(),
            field: "key_sets",
        };
        items.push(DecryptItem { command, due: None });
    }
    let release = occupied(&lanes);
    let waiting = tokio::spawn(async move { plane.decrypt_batch(&caller("auth"), items).await });
    waits(&waiting, &lanes).await;
    writer
        .replace(1, Times::default(), sets(State::Revoked))
        .unwrap();
    drop(release);
    let opened = waiting.await.unwrap().into_iter();
    let opened: Vec<_> = opened.map(|one| one.unwrap().is_some()).collect();
    assert_eq!(opened, [false, true, false]);
}

#[tokio::test]
async fn a_key_that_is_revoked_while_a_signature_waits_signs_nothing() {
    let (plane, mut writer, lanes) = single_threaded();
    let key = TestKey::new("RS256");
    let set = |state| TestSet::sign("op/s", vec![key.clone().state(state)]).spec(1);
    for (state, signs) in [(State::Retiring, true), (State::Revoked, false)] {
        writer
            .replace(1, Times::default(), vec![set(State::Active)])
            .unwrap();
        let command = SignCommand {
            tenant: "default".to_owned(),
            key_set: "op/s".to_owned(),
            claims: "{}".to_owned(),
            lifetime: None,
            typ: String::new(),
        };
        let (release, plane) = (occupied(&lanes), plane.clone());
        let waiting =
            tokio::spawn(async move { plane.sign(&caller("token"), command, None).await });
        waits(&waiting, &lanes).await;
        writer
            .replace(1, Times::default(), vec![set(state)])
            .unwrap();
        drop(release);
        let signed = waiting.await.unwrap();
        assert_eq!(signed.is_ok(), signs, "{state:?}");
        if let Err(refusal) = signed {
            assert!(matches!(refusal, Refusal::NotReady { .. }), "{refusal:?}");
        }
    }
}

#[tokio::test]
async fn a_full_line_refuses_at_once_with_the_time_to_try_again() {
    let (plane, mut writer, lanes) = single_threaded_behind(Duration::from_millis(2));
    let set = TestSet::sign("op/s", vec![TestKey::new("RS256").state(State::Active)]).spec(1);
    writer.replace(1, Times::default(), vec![set]).unwrap();
    let release = occupied(&lanes);
    let mut signing = Vec::new();
    for _ in 0..64 {
        let command = SignCommand {
            tenant: "default".to_owned(),
            key_set: "op/s".to_owned(),
            claims: "{}".to_owned(),
            lifetime: None,
            typ: String::new(),
        };
        let plane = plane.clone();
        signing.push(tokio::spawn(async move {
            plane.sign(&caller("token"), command, None).await
        }));
    }
    // Those that were refused have their answer while the thread is still occupied.
    while !signing.iter().any(JoinHandle::is_finished) {
        tokio::task::yield_now().await;
    }
    drop(release);
    let (mut signed, mut refused) = (0, 0);
    for one in signing {
        match one.await.unwrap() {
            Ok(_token) => signed += 1,
            Err(Refusal::Overloaded {
                retry_in: Some(after),
            }) if !after.is_zero() => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(signed + refused, 64);
    assert!(
        signed > 0 && refused > 0,
        "{signed} signed, {refused} refused"
    );
}
