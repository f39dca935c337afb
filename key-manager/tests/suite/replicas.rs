//! Several key-managers on one etcd: any serves, any executes, none is special.

use std::{path::PathBuf, time::Duration};

use crypto_proto::keys::v1::{self as proto, KeyState};
use testkit::EtcdCluster;
use tonic::Code;

use crate::support::{
    Deployment, NOW, Running, create, eventually, instance::FakeInstance, kids, new_set, rotate,
    show,
};

/// A deployment whose store is the cluster.
pub(crate) fn on(cluster: &EtcdCluster) -> Deployment {
    let mut deployment = Deployment::new();
    deployment.config.store.path = PathBuf::new();
    deployment.config.store.endpoints = cluster.endpoints();
    deployment.config.store.timeout = "20s".parse().unwrap();
    deployment
}

async fn three(deployment: &Deployment) -> [Running; 3] {
    [
        deployment.start_replica(1).await,
        deployment.start_replica(2).await,
        deployment.start_replica(3).await,
    ]
}

async fn stop(replicas: [Running; 3]) {
    for replica in replicas {
        replica.stop().await;
    }
}

async fn revoke(
    replica: &Running,
    deployment: &Deployment,
    name: &str,
    kid: &str,
) -> proto::RevokeKeyResponse {
    let request = proto::RevokeKeyRequest {
        key_set: name.to_owned(),
        kid: kid.to_owned(),
        ..Default::default()
    };
    let mut admin = replica.admin(deployment, "admin");
    admin.revoke_key(request).await.unwrap().into_inner()
}

fn in_state(set: &proto::FedKeySet, state: KeyState) -> Vec<String> {
    let versions = set.versions.iter();
    versions
        .filter(|version| version.state() == state)
        .map(|version| version.kid.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_one_replica_feeds_sees_what_the_others_do() {
    let cluster = EtcdCluster::start(1);
    let deployment = on(&cluster);
    let replicas = three(&deployment).await;
    let (mut instance, sets) = FakeInstance::connect(&deployment, &replicas[1], 'a').await;
    assert_eq!(sets, []);
    let mut admin = replicas[0].admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    instance.until("op/a", |set| set.versions.len() == 1).await;
    let rotated = rotate(&mut admin, "op/a", true).await.key_set.unwrap();
    let active = kids(&rotated, KeyState::Active);
    let seen = instance
        .until("op/a", |set| in_state(set, KeyState::Active) == active)
        .await;
    let version = seen
        .versions
        .iter()
        .find(|version| active.contains(&version.kid))
        .unwrap();
    assert!(
        !version.wrapped_key.is_empty(),
        "the private half comes with the promotion"
    );
    // a third replica revokes what the first has promoted
    revoke(&replicas[2], &deployment, "op/a", &active[0]).await;
    let seen = instance
        .until("op/a", |set| in_state(set, KeyState::Revoked) == active)
        .await;
    assert_eq!(
        in_state(&seen, KeyState::Active).len(),
        1,
        "the standby signs"
    );
    stop(replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_that_one_replica_stores_counts_at_the_others() {
    let cluster = EtcdCluster::start(1);
    let deployment = on(&cluster);
    let replicas = three(&deployment).await;
    let mut admin = replicas[0].admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let (mut instance, _) = FakeInstance::connect(&deployment, &replicas[1], 'a').await;
    instance.ack().await;
    instance.renew(1).await;
    instance.lease().await;
    let rotated = rotate(&mut admin, "op/a", true).await.key_set.unwrap();
    let active = kids(&rotated, KeyState::Active);
    // not acknowledged: the replica that revokes knows of an instance that it does not feed
    let revoked = revoke(&replicas[0], &deployment, "op/a", &active[0]).await;
    assert_eq!((revoked.acked, revoked.total), (0, 1), "{revoked:?}");
    assert_eq!(revoked.stragglers, [instance.subscriber.clone()]);
    instance
        .until("op/a", |set| in_state(set, KeyState::Revoked) == active)
        .await;
    instance.ack().await;
    eventually("the ack at another replica", async || {
        // what followed the revocation is to be acknowledged too
        instance.catch_up().await;
        instance.ack().await;
        let revoked = revoke(&replicas[2], &deployment, "op/a", &active[0]).await;
        (revoked.acked == 1 && revoked.total == 1).then_some(())
    })
    .await;
    stop(replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_goes_on_at_another_replica_where_it_was() {
    let cluster = EtcdCluster::start(1);
    let deployment = on(&cluster);
    let [one, two, three] = three(&deployment).await;
    let mut admin = one.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let (instance, _) = FakeInstance::connect(&deployment, &one, 'a').await;
    instance.ack().await;
    let (subscriber, epoch) = (instance.subscriber.clone(), instance.epoch);
    one.stop().await;
    drop(instance);
    let (again, sets) = FakeInstance::connect(&deployment, &two, 'a').await;
    assert_eq!(again.subscriber, subscriber);
    assert!(again.epoch >= epoch, "{} {epoch}", again.epoch);
    assert_eq!(sets.len(), 1);
    let mut admin = three.admin(&deployment, "admin");
    create(&mut admin, "op/b", "ES256").await;
    two.stop().await;
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_replicas_write_at_once_and_agree() {
    let cluster = EtcdCluster::start(1);
    let deployment = on(&cluster);
    let replicas = three(&deployment).await;
    let writing = replicas.iter().enumerate().map(|(number, replica)| {
        let mut admin = replica.admin(&deployment, "admin");
        async move {
            for set in 0..4 {
                let name = format!("op/{number}-{set}");
                create(&mut admin, &name, "ES256").await;
                rotate(&mut admin, &name, true).await;
            }
        }
    });
    futures::future::join_all(writing).await;
    for replica in &replicas {
        let mut admin = replica.admin(&deployment, "admin");
        for (number, set) in (0..3).flat_map(|number| (0..4).map(move |set| (number, set))) {
            let name = format!("op/{number}-{set}");
            eventually(&name, async || {
                let request = proto::GetKeySetRequest {
                    key_set: name.clone(),
                    ..Default::default()
                };
                let set = admin
                    .get_key_set(request)
                    .await
                    .ok()?
                    .into_inner()
                    .key_set?;
                let settled = kids(&set, KeyState::Active).len() == 1
                    && kids(&set, KeyState::Prepared).len() == 1;
                settled.then_some(())
            })
            .await;
        }
    }
    stop(replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_id_acts_once_whichever_replica_is_asked() {
    let cluster = EtcdCluster::start(1);
    let deployment = on(&cluster);
    let replicas = three(&deployment).await;
    let created = replicas.iter().map(|replica| {
        let mut admin = replica.admin(&deployment, "admin");
        async move {
            let request = proto::CreateKeySetRequest {
                key_set: Some(new_set("op/a", "ES256")),
                request_id: "create-a".to_owned(),
            };
            admin.create_key_set(request).await.unwrap();
        }
    });
    futures::future::join_all(created).await;
    let mut actives = Vec::new();
    for replica in &replicas {
        let request = proto::RotateKeySetRequest {
            key_set: "op/a".to_owned(),
            force: true,
            request_id: "rotate-a".to_owned(),
            ..Default::default()
        };
        let mut admin = replica.admin(&deployment, "admin");
        let rotated = admin.rotate_key_set(request).await.unwrap().into_inner();
        actives.extend(kids(&rotated.key_set.unwrap(), KeyState::Active));
    }
    assert_eq!(actives.len(), 3);
    assert!(actives.iter().all(|kid| *kid == actives[0]), "{actives:?}");
    stop(replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_cluster_is_unavailable_and_nothing_is_half_done_when_it_is_back() {
    let mut cluster = EtcdCluster::start(3);
    let mut deployment = on(&cluster);
    deployment.config.store.timeout = "2s".parse().unwrap();
    let replica = deployment.start().await;
    let mut admin = replica.admin(&deployment, "admin");
    let request = |name: &str| proto::CreateKeySetRequest {
        key_set: Some(new_set(name, "ES256")),
        request_id: format!("create {name}"),
    };
    eventually("a first set", async || {
        admin.create_key_set(request("op/a")).await.ok()
    })
    .await;
    (0..2).for_each(|member| cluster.kill(member));
    let lost = admin.create_key_set(request("op/b")).await.unwrap_err();
    assert_eq!(lost.code(), Code::Unavailable, "{lost:?}");
    assert!(lost.message().contains("store"), "{lost:?}");
    // what is known is still shown
    show(&mut admin, "op/a").await;
    (0..2).for_each(|member| cluster.restart(member));
    cluster.wait();
    let created = eventually("a write without hands", async || {
        let created = admin.create_key_set(request("op/b")).await.ok()?;
        created.into_inner().key_set
    })
    .await;
    assert_eq!(created.versions.len(), 1, "{created:?}");
    replica.stop().await;
    // everything that is authenticated is checked when the store is opened
    let replica = deployment.start().await;
    let mut admin = replica.admin(&deployment, "admin");
    assert_eq!(
        show(&mut admin, "op/b")
            .await
            .key_set
            .unwrap()
            .versions
            .len(),
        1
    );
    replica.stop().await;
}

/// No instance is connected to anybody, so no ack tells them.
#[tokio::test(flavor = "multi_thread")]
async fn key_managers_whose_clocks_are_apart_do_nothing_by_date_and_say_so() {
    let cluster = EtcdCluster::start(1);
    let deployment = on(&cluster);
    let replicas = three(&deployment).await;
    let mut admin = replicas[0].admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    replicas[2].clock.set_wall(NOW + 3600);
    let held = async |replica: &Running| {
        let mut admin = replica.admin(&deployment, "admin");
        let holding = show(&mut admin, "op/a").await.holding;
        let clock = i32::from(proto::HoldingReason::Clock);
        let by_clocks = holding.into_iter().filter(|held| held.reason == clock);
        by_clocks.collect::<Vec<_>>()
    };
    let pass = async || {
        for replica in &replicas {
            replica.clock.advance(Duration::from_secs(1));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    eventually("the clock of the third, at all three", async || {
        pass().await;
        let mut all = true;
        for replica in &replicas {
            let held = held(replica).await;
            all &= held.iter().any(|held| !held.subscriber.is_empty());
        }
        all.then_some(())
    })
    .await;
    let said = held(&replicas[0]).await;
    assert!(said[0].description.contains("set them right"), "{said:?}");

    replicas[2].clock.set_wall(NOW + 20);
    for replica in &replicas[..2] {
        replica.clock.set_wall(NOW + 20);
    }
    eventually("clocks that agree", async || {
        pass().await;
        let mut none = true;
        for replica in &replicas {
            none &= held(replica).await.is_empty();
        }
        none.then_some(())
    })
    .await;
    stop(replicas).await;
}
