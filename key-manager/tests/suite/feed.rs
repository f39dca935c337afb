//! The feed, against an instance that speaks the protocol by hand.

use std::time::Duration;

use crate::support::{
    Deployment, create, eventually,
    instance::{FakeInstance, hello, open},
    kids, rotate, show,
};
use crypto_proto::keys::v1::{
    self as proto, KeyState, key_admin_service_client::KeyAdminServiceClient,
    watch_request::Message as Up, watch_response::Message as Down,
};
use jose::key::PrivateKey;
use tonic::{Code, transport::Channel};

#[tokio::test(flavor = "multi_thread")]
async fn a_withheld_ack_holds_the_promotion_and_the_ack_and_the_lead_let_it_happen() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/access-token", "ES256").await;
    rotate(&mut admin, "op/access-token", true).await;
    let (mut instance, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    instance.ack().await;
    instance.renew(1).await;
    instance.lease().await;
    // The instance acknowledges the promotion, but not the standby that is made after it.
    let forced = rotate(&mut admin, "op/access-token", true);
    let acks = async {
        instance
            .until("op/access-token", |set| {
                set.versions
                    .iter()
                    .any(|version| version.state() == KeyState::Retiring)
            })
            .await;
        instance.ack().await;
    };
    let (forced, ()) = tokio::join!(forced, acks);
    let active = kids(forced.key_set.as_ref().unwrap(), KeyState::Active);
    instance
        .until("op/access-token", |set| {
            set.versions
                .iter()
                .any(|version| version.state() == KeyState::Prepared)
        })
        .await;

    let scheduled = rotate(&mut admin, "op/access-token", false).await;
    running.clock.advance(Duration::from_secs(30));
    instance.tell(&running);
    let reasons: Vec<_> = scheduled
        .holding
        .iter()
        .map(|holding| (holding.reason(), holding.subscriber.clone()))
        .collect();
    assert!(
        reasons.contains(&(proto::HoldingReason::Ack, instance.subscriber.clone())),
        "{reasons:?}"
    );
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let held = show(&mut admin, "op/access-token").await;
    assert_eq!(
        kids(held.key_set.as_ref().unwrap(), KeyState::Active),
        active,
        "no promotion without the ack"
    );
    assert!(
        held.holding
            .iter()
            .any(|holding| holding.reason() == proto::HoldingReason::Ack),
        "{:?}",
        held.holding
    );

    while !instance.is_quiet().await {}
    let (mut instance, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    instance.ack().await;
    eventually("the lead runs after the ack", async || {
        let shown = show(&mut admin, "op/access-token").await;
        shown
            .holding
            .iter()
            .all(|holding| holding.reason() == proto::HoldingReason::Lead)
            .then_some(())
    })
    .await;
    running.clock.advance(Duration::from_secs(11));
    let promoted = instance
        .until("op/access-token", |set| {
            set.versions
                .iter()
                .any(|v| v.state() == KeyState::Retiring && active.contains(&v.kid))
        })
        .await;
    let active_now: Vec<_> = promoted
        .versions
        .iter()
        .filter(|version| version.state() == KeyState::Active)
        .collect();
    assert!(
        active_now.len() == 1 && !active_now[0].wrapped_key.is_empty(),
        "the message that promotes carries the private half"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_silent_instances_lease_lets_a_promotion_happen() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    let (mut silent, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    silent.ack().await;
    silent.renew(1).await;
    let lease = silent.lease().await;
    assert_eq!(lease.verify_for.unwrap().seconds, 60);
    create(&mut admin, "op/access-token", "ES256").await;
    let (other, _) = FakeInstance::connect(&deployment, &running, 'b').await;
    other.ack().await;
    published(&mut admin, "op/access-token").await;
    running.clock.advance(Duration::from_secs(55));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(
        kids(
            show(&mut admin, "op/access-token")
                .await
                .key_set
                .as_ref()
                .unwrap(),
            KeyState::Active
        )
        .is_empty()
    );
    running.clock.advance(Duration::from_secs(16));
    eventually("the promotion", async || {
        let shown = show(&mut admin, "op/access-token").await;
        kids(shown.key_set.as_ref().unwrap(), KeyState::Active)
            .first()
            .cloned()
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_name_the_present_epoch_and_the_next_waits_for_its_ack() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    let (mut instance, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    instance.renew(1).await;
    assert!(
        instance.is_quiet().await,
        "no lease before the snapshot is acknowledged"
    );
    instance.ack().await;
    assert_eq!(instance.lease().await.id, 1);
    create(&mut admin, "op/a", "ES256").await;
    while instance.epoch < 2 {
        instance.delta().await;
    }
    let renewed_on = instance.epoch;
    instance.renew(2).await;
    let lease = instance.lease().await;
    assert_eq!(
        (lease.id, lease.epoch),
        (2, renewed_on),
        "it names the present epoch, acknowledged or not"
    );
    instance.renew(3).await;
    assert!(instance.is_quiet().await, "the next waits for the ack");
    instance.ack().await;
    assert_eq!(instance.lease().await.id, 3);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_fed_is_what_the_states_permit_and_the_bytes_show_no_key() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "root");
    for (name, algorithm) in [
        ("op/sign", "ES256"),
        ("op/mac", "HS256"),
        ("op/encryption", "ECDH-ES"),
        ("other/sign", "ES256"),
    ] {
        create(&mut admin, name, algorithm).await;
        rotate(&mut admin, name, true).await;
    }
    let (mut instance, sets) = FakeInstance::connect(&deployment, &running, 'a').await;
    let mut names: Vec<_> = sets.iter().map(|set| set.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["op/encryption", "op/mac", "op/sign"],
        "only what is granted"
    );
    let mut secrets = Vec::new();
    for set in &sets {
        for version in &set.versions {
            let whole = version.state() == KeyState::Active || set.name != "op/sign";
            assert_eq!(
                !version.wrapped_key.is_empty(),
                whole,
                "{} {:?}",
                set.name,
                version.state()
            );
            assert_eq!(
                version.public_jwk.is_empty(),
                set.name == "op/mac",
                "{}",
                set.name
            );
            if whole {
                secrets.push((
                    set.name.clone(),
                    instance.open("default", version, instance.epoch),
                ));
            }
        }
    }
    assert_eq!(secrets.len(), 5);
    rotate(&mut admin, "op/sign", true).await;
    let rotated = instance
        .until("op/sign", |set| {
            set.versions
                .iter()
                .any(|version| version.state() == KeyState::Retiring)
        })
        .await;
    for version in &rotated.versions {
        assert_eq!(
            !version.wrapped_key.is_empty(),
            version.state() == KeyState::Active,
            "{:?}",
            version.state()
        );
    }
    let recorded = instance.recorded.clone();
    assert!(recorded.len() > 1_000);
    for (name, secret) in &secrets {
        for form in forms(secret) {
            assert!(!contains(&recorded, &form), "{name}");
        }
    }
    let planted = [recorded, b"..".to_vec(), secrets[0].1.clone()].concat();
    assert!(
        forms(&secrets[0].1)
            .iter()
            .any(|form| contains(&planted, form)),
        "the search finds what is there"
    );
    running.stop().await;
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// The key, and its private part, raw, in both base64 alphabets at every alignment, and in hexadecimal.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let private = match PrivateKey::from_pkcs8(secret) {
        Ok(PrivateKey::Ec(key)) => key.expose_scalar().to_vec(),
        Ok(PrivateKey::Okp(key)) => key.expose_seed().to_vec(),
        Ok(PrivateKey::Rsa(key)) => key.expose_parts().d.to_vec(),
        Err(_) => secret.to_vec(),
    };
    let mut forms = vec![secret.to_vec(), private.clone()];
    for shift in 0..3 {
        let url = jose::base64url::encode(&private[shift..]);
        let inner = &url[..url.len() - 4];
        forms.push(inner.as_bytes().to_vec());
        forms.push(inner.replace('-', "+").replace('_', "/").into_bytes());
    }
    let hex: String = private.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.push(hex.into_bytes());
    forms
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_pushed_counted_and_its_successor_comes_in_the_same_message() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/access-token", "ES256").await;
    let rotated = rotate(&mut admin, "op/access-token", true).await;
    assert!(
        !rotated.may_have_broken.is_empty(),
        "nobody had acknowledged the key"
    );
    let (mut quick, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    let (mut slow, _) = FakeInstance::connect(&deployment, &running, 'b').await;
    for instance in [&mut quick, &mut slow] {
        instance.ack().await;
        instance.renew(1).await;
        instance.lease().await;
    }
    let kid = kids(rotated.key_set.as_ref().unwrap(), KeyState::Active)[0].clone();
    let request = proto::RevokeKeyRequest {
        key_set: "op/access-token".to_owned(),
        kid: kid.clone(),
        ..Default::default()
    };
    let (revoked, fed) = tokio::join!(admin.revoke_key(request), async {
        let fed = quick.until("op/access-token", |_| true).await;
        quick.ack().await;
        fed
    });
    let old = fed
        .versions
        .iter()
        .find(|version| version.kid == kid)
        .unwrap();
    assert_eq!(
        (
            old.state(),
            old.wrapped_key.as_str(),
            old.public_jwk.as_str()
        ),
        (KeyState::Revoked, "", "")
    );
    let next = fed
        .versions
        .iter()
        .find(|version| version.state() == KeyState::Active)
        .unwrap();
    assert!(!next.wrapped_key.is_empty());
    let revoked = revoked.unwrap().into_inner();
    assert_eq!(
        (revoked.acked, revoked.total, revoked.stragglers),
        (1, 2, vec![slow.subscriber.clone()])
    );
    assert!(revoked.elapsed.unwrap().seconds <= 2);
    let forced = revoked.key_set.unwrap().forced;
    assert_eq!(forced.last().unwrap().caller, "spiffe://crypto.dev/admin");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn goodbye_ends_the_lease_and_a_stream_opened_again_continues_the_subscriber() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    let (mut leaving, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    leaving.ack().await;
    leaving.renew(1).await;
    leaving.lease().await;
    leaving.send(Up::Goodbye(proto::Goodbye {})).await;
    assert!(
        leaving.try_next().await.unwrap().is_none(),
        "the stream ends"
    );
    create(&mut admin, "op/access-token", "ES256").await;
    let (staying, _) = FakeInstance::connect(&deployment, &running, 'b').await;
    staying.ack().await;
    published(&mut admin, "op/access-token").await;
    running.clock.advance(Duration::from_secs(11));
    eventually(
        "a promotion that does not wait for the one that left",
        async || {
            let shown = show(&mut admin, "op/access-token").await;
            kids(shown.key_set.as_ref().unwrap(), KeyState::Active)
                .first()
                .cloned()
        },
    )
    .await;
    drop(staying);
    let (again, sets) = FakeInstance::connect(&deployment, &running, 'b').await;
    assert_eq!(
        (sets.len(), again.nonce.as_str()),
        (1, "b".repeat(32).as_str())
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_is_not_the_callers_own_is_refused() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let own = deployment.credentials("crypto-service", &running.clock);
    let other = deployment.credentials("token", &running.clock);
    let nonce = "0".repeat(32);
    let good = hello(&own, &nonce, &[9; 32]);
    let stranger = hello(&other, &nonce, &[9; 32]);
    let rows = [
        (
            "somebody else's",
            &own,
            Up::Hello(stranger.clone()),
            Code::PermissionDenied,
        ),
        (
            "another key in its place",
            &own,
            Up::Hello(proto::Hello {
                public_key: vec![8; 32],
                ..good.clone()
            }),
            Code::PermissionDenied,
        ),
        (
            "a flipped bit",
            &own,
            Up::Hello(proto::Hello {
                signature: flipped(&good.signature),
                ..good.clone()
            }),
            Code::PermissionDenied,
        ),
        (
            "a bad nonce",
            &own,
            Up::Hello(proto::Hello {
                nonce: "A".repeat(32),
                ..good.clone()
            }),
            Code::InvalidArgument,
        ),
        (
            "a short key",
            &own,
            Up::Hello(proto::Hello {
                public_key: vec![9; 31],
                ..good.clone()
            }),
            Code::InvalidArgument,
        ),
        (
            "no certificate",
            &own,
            Up::Hello(proto::Hello {
                certificate_chain: Vec::new(),
                ..good.clone()
            }),
            Code::InvalidArgument,
        ),
        (
            "no hello",
            &own,
            Up::Goodbye(proto::Goodbye {}),
            Code::InvalidArgument,
        ),
        (
            "no grant",
            &other,
            Up::Hello(stranger),
            Code::PermissionDenied,
        ),
        (
            "an older store",
            &own,
            Up::Hello(proto::Hello {
                highest_epoch: 1_000,
                ..good
            }),
            Code::Unavailable,
        ),
    ];
    for (what, credentials, first, code) in rows {
        let refused = open(&running, credentials, first)
            .await
            .map(|(_, _, first)| first);
        assert_eq!(
            refused.as_ref().err().map(tonic::Status::code),
            Some(code),
            "{what}: {refused:?}"
        );
    }
    running.stop().await;
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_of_what_was_not_sent_ends_the_stream() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let (mut instance, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    instance.epoch += 1;
    instance.ack().await;
    assert_eq!(
        instance.try_next().await.unwrap_err().code(),
        Code::InvalidArgument
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_many_sets_comes_in_parts_and_deltas_follow_without_gaps() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    for number in 0..40 {
        create(&mut admin, &format!("op/{number}"), "HS256").await;
    }
    let (mut instance, sets) = FakeInstance::connect(&deployment, &running, 'a').await;
    assert_eq!(sets.len(), 40);
    for number in 40..50 {
        create(&mut admin, &format!("op/{number}"), "HS256").await;
    }
    instance
        .until("op/49", |set| !set.versions.is_empty())
        .await;
    assert!(matches!(
        instance.try_next_within().await,
        None | Some(Down::Delta(_))
    ));
    running.stop().await;
}

impl FakeInstance {
    async fn try_next_within(&mut self) -> Option<Down> {
        tokio::time::timeout(Duration::from_millis(200), self.try_next())
            .await
            .ok()
            .and_then(|message| message.unwrap())
    }
}

/// Waits until the key-manager has stored an ack of the key: from then on its time runs.
async fn published(admin: &mut KeyAdminServiceClient<Channel>, name: &str) {
    eventually("the ack is stored", async || {
        let holding = show(admin, name).await.holding;
        let waits =
            |holding: &proto::Holding| holding.reason() == proto::HoldingReason::NotPublished;
        (!holding.iter().any(waits)).then_some(())
    })
    .await;
}
