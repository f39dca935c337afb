//! Data keys over the admin rpcs: who may rotate which, once for a request, and several key-managers on one etcd.

use crypto_proto::keys::v1::{
    self as proto, KeyState, key_admin_service_client::KeyAdminServiceClient,
};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::support::{Deployment, create, eventually};

type Admin = KeyAdminServiceClient<Channel>;

fn of(tenant: &str, root: bool, request_id: &str) -> proto::RotateDataKeyRequest {
    proto::RotateDataKeyRequest {
        tenant: tenant.to_owned(),
        root,
        request_id: request_id.to_owned(),
    }
}

async fn sealing(admin: &mut Admin) -> proto::GetSealingResponse {
    let request = proto::GetSealingRequest::default();
    admin.get_sealing(request).await.unwrap().into_inner()
}

/// Waits until each data key has one generation.
async fn settled(admin: &mut Admin) -> proto::GetSealingResponse {
    eventually("everything is re-sealed", async || {
        let shown = sealing(admin).await;
        let mut all = shown.tenants.iter().chain(&shown.root);
        all.all(|key| key.generations.len() == 1).then_some(shown)
    })
    .await
}

fn reason(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone());
    (status.code(), reason.unwrap_or_default())
}

#[tokio::test]
async fn a_request_to_rotate_acts_once_and_what_is_wrong_with_it_is_named() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    let early = admin.rotate_data_key(of("", false, "")).await.unwrap_err();
    assert_eq!(
        reason(&early),
        (Code::NotFound, "TENANT_NOT_FOUND".to_owned())
    );
    create(&mut admin, "op/a", "ES256").await;
    for _ in 0..2 {
        let rotated = admin.rotate_data_key(of("", false, "once")).await.unwrap();
        let rotated = rotated.into_inner().sealing.unwrap();
        assert_eq!(
            (rotated.tenant.as_str(), rotated.generation),
            ("default", 2)
        );
        let rotated = admin.rotate_data_key(of("", true, "root")).await.unwrap();
        let rotated = rotated.into_inner().sealing.unwrap();
        assert_eq!((rotated.tenant.as_str(), rotated.generation), ("", 2));
    }
    let reused = admin.rotate_data_key(of("", true, "once")).await;
    assert_eq!(reused.unwrap_err().code(), Code::InvalidArgument);
    let both = admin.rotate_data_key(of("default", true, "")).await;
    assert_eq!(both.unwrap_err().code(), Code::InvalidArgument);
    for (role, request) in [
        ("management", of("", false, "")),
        ("management", of("", true, "")),
        ("admin", of("acme", false, "")),
    ] {
        let mut caller = running.admin(&deployment, role);
        let refused = caller.rotate_data_key(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{role}");
    }
    let mut nobody = running.admin(&deployment, "management");
    let refused = nobody
        .get_sealing(proto::GetSealingRequest::default())
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let shown = settled(&mut admin).await;
    assert_eq!(shown.tenants.len(), 1);
    assert_eq!((shown.tenants[0].left, shown.data_keys_left), (0, 0));
    assert!(shown.tenants[0].ended.is_some() && !shown.previous_removable);
    running.stop().await;
}

#[cfg(feature = "etcd")]
#[tokio::test(flavor = "multi_thread")]
async fn replicas_on_etcd_rotate_write_and_re_seal_side_by_side() {
    use crate::{
        replicas::on,
        support::{kids, rotate, show},
    };

    let cluster = testkit::EtcdCluster::start(1);
    let deployment = on(&cluster);
    let replicas = [
        deployment.start_replica(1).await,
        deployment.start_replica(2).await,
    ];
    let mut one = replicas[0].admin(&deployment, "admin");
    let mut other = replicas[1].admin(&deployment, "admin");
    for number in 0..40 {
        create(&mut one, &format!("op/set-{number}"), "ES256").await;
    }
    for round in 0..3_u32 {
        for root in [false, true] {
            one.rotate_data_key(of("", root, "")).await.unwrap();
            // the other replica has heard nothing of it yet, or is in the middle of it
            let name = format!("op/set-{round}");
            let rotated = rotate(&mut other, &name, true).await.key_set.unwrap();
            let shown = eventually("what the other has written", async || {
                let shown = show(&mut one, &name).await.key_set.unwrap();
                let same = kids(&shown, KeyState::Active) == kids(&rotated, KeyState::Active);
                same.then_some(shown)
            })
            .await;
            assert_eq!(shown.name, name);
        }
    }
    for (admin, records) in [(&mut one, 40), (&mut other, 41)] {
        let shown = settled(admin).await;
        assert_eq!(shown.tenants[0].generation, 4);
        assert_eq!(shown.tenants[0].generations[0].records, records);
        create(admin, &format!("op/after-{records}"), "ES256").await;
    }
    let [first, second] = replicas;
    first.stop().await;
    second.stop().await;
    // who starts now verifies everything
    let fresh = deployment.start_replica(3).await;
    let mut admin = fresh.admin(&deployment, "admin");
    let shown = settled(&mut admin).await;
    assert_eq!(shown.tenants[0].generations[0].records, 42);
    fresh.stop().await;
}
