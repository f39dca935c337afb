//! Destruction, instances and PKCS#8, as operators use them.

use std::time::Duration;

use crate::support::{Deployment, create, eventually, instance::FakeInstance, kids, rotate, show};
use crypto_proto::keys::v1::{
    self as proto, KeyState, key_admin_service_client::KeyAdminServiceClient,
};
use jose_aws_lc::AwsLc;
use key_manager::store::peek;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

type Admin = KeyAdminServiceClient<Channel>;

/// RFC 8037 appendix A.1, as OpenSSL writes it.
const ED25519: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details
        .bad_request()
        .map(|bad| bad.field_violations.clone());
    violations
        .into_iter()
        .flatten()
        .map(|violation| violation.field)
        .collect()
}

fn destroy(key_set: &str, kid: &str, seconds: i64) -> proto::DestroyKeyRequest {
    proto::DestroyKeyRequest {
        key_set: key_set.to_owned(),
        kid: kid.to_owned(),
        wait: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    }
}

/// A set with an Active key and a Revoked one, whose kid is given.
async fn revoked(admin: &mut Admin, name: &str) -> String {
    create(admin, name, "ES256").await;
    let set = rotate(admin, name, true).await.key_set.unwrap();
    let kid = kids(&set, KeyState::Active).remove(0);
    let request = proto::RevokeKeyRequest {
        key_set: name.to_owned(),
        kid: kid.clone(),
        ..Default::default()
    };
    admin.revoke_key(request).await.unwrap();
    kid
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_key_is_in_no_file_and_its_kid_stays_taken() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let kid = revoked(&mut running.admin(&deployment, "admin"), "op/a").await;
    running.stop().await;
    let place = format!("key/default/{kid}");
    let sealed = eventually("the store is closed", async || {
        if deployment.path("keys.db-wal").exists() {
            return None;
        }
        peek(&deployment.path("keys.db"), &place).ok().flatten()
    })
    .await
    .value;
    let found = || {
        ["keys.db", "keys.db-wal", "keys.db-shm"]
            .iter()
            .any(|name| {
                let bytes = std::fs::read(deployment.path(name)).unwrap_or_default();
                bytes.windows(sealed.len()).any(|window| window == sealed)
            })
    };
    assert!(
        sealed.len() > 100 && found(),
        "the test must be able to see it"
    );

    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    let scheduled = admin.destroy_key(destroy("op/a", &kid, 60)).await.unwrap();
    let scheduled = scheduled.into_inner();
    assert!(scheduled.destroy_at.is_some());
    assert!(
        scheduled
            .remains
            .iter()
            .any(|text| text.contains("backups")),
        "{:?}",
        scheduled.remains
    );
    assert!(found(), "not before its date");
    running.clock.advance(Duration::from_secs(61));
    let set = eventually("the plan destroys it", async || {
        let set = show(&mut admin, "op/a").await.key_set.unwrap();
        (kids(&set, KeyState::Destroyed) == [kid.clone()]).then_some(set)
    })
    .await;
    assert!(!found(), "the sealed key is still in a file");
    let version = set
        .versions
        .iter()
        .find(|version| version.kid == kid)
        .unwrap();
    assert!(version.destroyed_at.is_some());

    let again = admin
        .destroy_key(destroy("op/a", &kid, 60))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.destroy_at, None);
    assert!(!again.remains.is_empty());
    let cancel = proto::DestroyKeyRequest {
        cancel: true,
        wait: None,
        ..destroy("op/a", &kid, 0)
    };
    assert_eq!(
        fields(&admin.destroy_key(cancel).await.unwrap_err()),
        ["kid"]
    );
    create(&mut admin, "op/b", "EdDSA").await;
    let same_kid = proto::ImportKeyRequest {
        kid: kid.clone(),
        ..pkcs8("op/b", ED25519.as_bytes())
    };
    let refused = admin.import_key(same_kid).await.unwrap_err();
    assert_eq!(fields(&refused), ["pkcs8"], "{refused}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destruction_is_refused_for_keys_in_use_and_called_off_until_it_comes() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    let kid = revoked(&mut admin, "op/a").await;
    let set = show(&mut admin, "op/a").await.key_set.unwrap();
    let active = kids(&set, KeyState::Active).remove(0);
    for (what, request, field) in [
        ("an Active key", destroy("op/a", &active, 60), "kid"),
        ("an unknown key", destroy("op/a", "nobody", 60), "kid"),
        ("no key", destroy("op/a", "", 60), "kid"),
        ("too soon", destroy("op/a", &kid, 59), "wait"),
        ("too late", destroy("op/a", &kid, 367 * 86_400), "wait"),
        (
            "both",
            proto::DestroyKeyRequest {
                cancel: true,
                ..destroy("op/a", &kid, 60)
            },
            "wait",
        ),
    ] {
        let refused = admin.destroy_key(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec![field.to_owned()]),
            "{what}: {refused}"
        );
    }
    let mut request = destroy("op/a", &kid, 0);
    request.wait = None;
    let default = admin
        .destroy_key(request.clone())
        .await
        .unwrap()
        .into_inner();
    let now = i64::try_from(crate::support::NOW).unwrap();
    assert_eq!(default.destroy_at.unwrap().seconds - now, 7 * 86_400);
    request.cancel = true;
    let kept = admin.destroy_key(request).await.unwrap().into_inner();
    assert_eq!((kept.destroy_at, kept.remains.len()), (None, 0));
    running.clock.advance(Duration::from_secs(8 * 86_400));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let set = show(&mut admin, "op/a").await.key_set.unwrap();
    assert_eq!(kids(&set, KeyState::Revoked), [kid]);
    running.stop().await;
}

async fn subscribers(admin: &mut Admin, page_size: i32) -> Vec<proto::Subscriber> {
    let mut request = proto::ListSubscribersRequest {
        page_size,
        ..Default::default()
    };
    let mut all = Vec::new();
    loop {
        let page = admin
            .list_subscribers(request.clone())
            .await
            .unwrap()
            .into_inner();
        all.extend(page.subscribers);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_listed_in_pages_to_who_administers_their_tenants() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let mut instances = Vec::new();
    for nonce in ['a', 'b', 'c'] {
        let (mut instance, _) = FakeInstance::connect(&deployment, &running, nonce).await;
        instance.ack().await;
        if nonce != 'c' {
            instance.renew(1).await;
            instance.lease().await;
        }
        instances.push(instance);
    }
    let listed = subscribers(&mut admin, 2).await;
    let names: Vec<_> = listed.iter().map(|one| one.name.clone()).collect();
    let expected: Vec<_> = instances.iter().map(|one| one.subscriber.clone()).collect();
    assert_eq!(names, expected);
    assert!(
        listed
            .iter()
            .all(|one| one.connected && one.scope == ["default/op/*"])
    );
    assert_eq!(
        listed.iter().map(|one| one.live).collect::<Vec<_>>(),
        [true, true, false]
    );
    assert_eq!(subscribers(&mut admin, 0).await.len(), 3);
    let live = proto::ListSubscribersRequest {
        live_only: true,
        ..Default::default()
    };
    let live = admin.list_subscribers(live).await.unwrap().into_inner();
    assert_eq!(live.subscribers.len(), 2);

    for (page_size, page_token, field) in [
        (-1, "", "page_size"),
        (1_001, "", "page_size"),
        (0, "?", "page_token"),
    ] {
        let request = proto::ListSubscribersRequest {
            page_size,
            page_token: page_token.to_owned(),
            ..Default::default()
        };
        let refused = admin.list_subscribers(request).await.unwrap_err();
        assert_eq!(fields(&refused), [field]);
    }
    let mut stranger = running.admin(&deployment, "stranger");
    let refused = stranger
        .list_subscribers(proto::ListSubscribersRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    running.stop().await;
}

fn evict(instance: &FakeInstance, force: bool) -> proto::EvictSubscriberRequest {
    proto::EvictSubscriberRequest {
        subscriber: instance.subscriber.clone(),
        force,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_instance_gets_no_further_lease_and_by_force_none_at_all() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let (mut instance, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    instance.ack().await;
    instance.renew(1).await;
    instance.lease().await;
    let before = subscribers(&mut admin, 0).await.remove(0);

    let evicted = admin
        .evict_subscriber(evict(&instance, false))
        .await
        .unwrap()
        .into_inner();
    let shown = evicted.subscriber.unwrap();
    assert!(shown.live && shown.evicted_at.is_some() && !shown.evicted_by_force);
    assert_eq!(
        shown.lease_end, before.lease_end,
        "the lease runs out by itself"
    );
    assert!(evicted.may_have_broken.is_empty());
    instance.renew(2).await;
    let ended = instance.try_next().await;
    assert!(ended.is_err(), "{ended:?}");

    let forced = admin
        .evict_subscriber(evict(&instance, true))
        .await
        .unwrap()
        .into_inner();
    let shown = forced.subscriber.unwrap();
    assert!(!shown.live && shown.evicted_by_force, "{shown:?}");
    assert_eq!(forced.may_have_broken.len(), 1);
    let again = admin
        .evict_subscriber(evict(&instance, false))
        .await
        .unwrap()
        .into_inner();
    let again = again.subscriber.unwrap();
    assert_eq!(
        (again.evicted_at, again.evicted_by_force),
        (shown.evicted_at, true)
    );

    for (what, mut request, code) in [
        ("nobody", evict(&instance, true), Code::NotFound),
        ("no name", evict(&instance, true), Code::InvalidArgument),
    ] {
        request.subscriber = if what == "nobody" {
            "nobody#1".to_owned()
        } else {
            String::new()
        };
        let refused = admin.evict_subscriber(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{what}");
    }
    let mut stranger = running.admin(&deployment, "stranger");
    let refused = stranger
        .evict_subscriber(evict(&instance, true))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_waits_no_more_for_an_instance_that_was_evicted_by_force() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "HS256").await;
    let (mut silent, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    silent.ack().await;
    silent.renew(1).await;
    silent.lease().await;
    eventually("the first key is Active", async || {
        let set = show(&mut admin, "op/a").await.key_set.unwrap();
        (kids(&set, KeyState::Active).len() == 1).then_some(())
    })
    .await;
    let (other, _) = FakeInstance::connect(&deployment, &running, 'b').await;
    other.ack().await;
    rotate(&mut admin, "op/a", false).await;
    eventually("the silent instance holds it", async || {
        let holding = show(&mut admin, "op/a").await.holding;
        holding
            .iter()
            .any(|one| one.subscriber == silent.subscriber)
            .then_some(())
    })
    .await;
    admin.evict_subscriber(evict(&silent, true)).await.unwrap();
    eventually("the promotion happens", async || {
        let set = show(&mut admin, "op/a").await.key_set.unwrap();
        (kids(&set, KeyState::Retiring).len() == 1).then_some(())
    })
    .await;
    running.stop().await;
}

fn pkcs8(key_set: &str, bytes: &[u8]) -> proto::ImportKeyRequest {
    proto::ImportKeyRequest {
        key_set: key_set.to_owned(),
        pkcs8: bytes.to_vec(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pkcs8_enters_as_a_jwk_does_and_weak_or_mismatched_keys_do_not() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    for (name, algorithm) in [("op/ed", "EdDSA"), ("op/rs", "RS256"), ("op/es", "ES256")] {
        create(&mut admin, name, algorithm).await;
    }
    let pem = admin
        .import_key(pkcs8("op/ed", ED25519.as_bytes()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(pem.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let twice = admin
        .import_key(pkcs8("op/ed", ED25519.as_bytes()))
        .await
        .unwrap_err();
    assert_eq!(fields(&twice), ["pkcs8"], "{twice}");

    let made = |algorithm: &str| {
        let algorithm = jose::algorithm::Algorithm::parse(algorithm).unwrap();
        let made = AwsLc
            .generate(&jose_aws_lc::KeySpec::new(algorithm))
            .unwrap();
        made.material.to_bytes().to_vec()
    };
    let named = proto::ImportKeyRequest {
        kid: "from before".to_owned(),
        algorithm: "PS256".to_owned(),
        ..pkcs8("op/rs", &made("RS256"))
    };
    let named = admin.import_key(named).await.unwrap().into_inner();
    let set = named.key_set.unwrap();
    let version = set
        .versions
        .iter()
        .find(|version| version.kid == "from before");
    assert_eq!(
        (named.kid.as_str(), version.unwrap().algorithm.as_str()),
        ("from before", "PS256")
    );

    let (one, other) = (made("ES256"), made("ES256"));
    // The public point is at the end of SEC1's key inside PKCS#8.
    let mixed = [&one[..one.len() - 65], &other[other.len() - 65..]].concat();
    let both = proto::ImportKeyRequest {
        jwk: "{}".to_owned(),
        ..pkcs8("op/es", &one)
    };
    let kid_on_a_jwk = proto::ImportKeyRequest {
        jwk: r#"{"kty":"EC"}"#.to_owned(),
        kid: "x".to_owned(),
        ..pkcs8("op/es", &[])
    };
    for (what, request, field) in [
        ("halves of two keys", pkcs8("op/es", &mixed), "pkcs8"),
        (
            "a key of another kind",
            pkcs8("op/es", &made("EdDSA")),
            "pkcs8",
        ),
        ("no key", pkcs8("op/es", b"0\x03\x02\x01\x00"), "pkcs8"),
        ("text", pkcs8("op/es", b"hello"), "pkcs8"),
        ("too much", pkcs8("op/es", &[0x30; 17_000]), "pkcs8"),
        ("two keys", both, "pkcs8"),
        ("a kid besides a JWK", kid_on_a_jwk, "kid"),
    ] {
        let refused = admin.import_key(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec![field.to_owned()]),
            "{what}: {refused}"
        );
    }
    running.stop().await;
}
