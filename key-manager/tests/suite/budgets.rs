//! Invocation budgets on the feed: a share at the start, another when half is used, and a new one for each start.

use crate::support::{Deployment, create, eventually, instance::FakeInstance, kids, rotate, show};
use crypto_proto::keys::v1::{
    self as proto, KeyState, key_admin_service_client::KeyAdminServiceClient,
    watch_request::Message as Up,
};
use keyring::invocations::SHARE;
use service_kit::clock::Clock as _;
use tonic::transport::Channel;

async fn granted(admin: &mut KeyAdminServiceClient<Channel>, state: KeyState) -> u64 {
    let set = show(admin, "op/sealed").await.key_set.unwrap();
    let versions = set
        .versions
        .iter()
        .filter(|version| version.state() == state);
    versions.map(|version| version.invocations_granted).sum()
}

fn shares(set: &proto::FedKeySet) -> Vec<u64> {
    set.versions
        .iter()
        .map(|version| version.invocations)
        .collect()
}

async fn report(instance: &FakeInstance, running: &crate::support::Running, kid: &str, used: u64) {
    let ack = proto::Ack {
        epoch: instance.epoch,
        clock: Some(prost_types::Timestamp::from(running.clock.wall())),
        invocations: vec![proto::Invocations {
            tenant: "default".to_owned(),
            kid: kid.to_owned(),
            used,
        }],
        ..Default::default()
    };
    instance.send(Up::Ack(ack)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_granted_a_share_at_its_start_and_another_when_half_is_used() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/sealed", "dir").await;
    create(&mut admin, "op/signing", "ES256").await;
    let set = rotate(&mut admin, "op/sealed", true).await.key_set.unwrap();
    let active = kids(&set, KeyState::Active).remove(0);
    assert_eq!(granted(&mut admin, KeyState::Active).await, 0);

    let (mut instance, sets) = FakeInstance::connect(&deployment, &running, 'a').await;
    let sealed = sets.iter().find(|set| set.name == "op/sealed").unwrap();
    assert_eq!(
        shares(sealed),
        [SHARE, SHARE],
        "the standby's share is there before it is needed"
    );
    let signing = sets.iter().find(|set| set.name == "op/signing").unwrap();
    assert_eq!(shares(signing), [0]);
    instance.ack().await;
    assert_eq!(granted(&mut admin, KeyState::Active).await, SHARE);

    report(&instance, &running, &active, SHARE / 2 - 1).await;
    report(&instance, &running, "another", SHARE).await;
    report(&instance, &running, &active, SHARE / 2).await;
    let more = instance.until("op/sealed", |_| true).await;
    let version = more
        .versions
        .iter()
        .find(|version| version.kid == active)
        .unwrap();
    assert_eq!(version.invocations, 2 * SHARE);
    assert_eq!(granted(&mut admin, KeyState::Active).await, 2 * SHARE);

    let (_other, sets) = FakeInstance::connect(&deployment, &running, 'b').await;
    let sealed = sets.iter().find(|set| set.name == "op/sealed").unwrap();
    assert_eq!(
        shares(sealed),
        [SHARE, SHARE],
        "each start has shares of its own"
    );
    assert_eq!(granted(&mut admin, KeyState::Active).await, 3 * SHARE);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_opened_again_takes_no_new_share() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/sealed", "A256GCMKW").await;
    for _ in 0..3 {
        let (_instance, sets) = FakeInstance::connect(&deployment, &running, 'a').await;
        assert_eq!(shares(&sets[0]), [SHARE]);
    }
    eventually("one share", async || {
        (granted(&mut admin, KeyState::Prepared).await == SHARE).then_some(())
    })
    .await;
    running.stop().await;
}
