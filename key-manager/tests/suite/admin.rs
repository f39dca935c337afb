//! Administration over real mutual TLS.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::support::{Deployment, create, eventually, kids, new_set, rotate, show};
use crypto_proto::keys::v1::{self as proto, KeyState};
use jose::provider::Failed;
use jose_aws_lc::{AwsLc, GeneratedKey};
use key_manager::keys::KeySource;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const PRIVATE_EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"imported","alg":"ES256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
const PUBLIC_EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"old","alg":"ES256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

fn reason(status: &Status) -> (Code, String) {
    (
        status.code(),
        status
            .get_error_details()
            .error_info()
            .map(|info| info.reason.clone())
            .unwrap_or_default(),
    )
}

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details
        .bad_request()
        .map(|bad| {
            bad.field_violations
                .iter()
                .map(|violation| violation.field.clone())
                .collect()
        })
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_created_with_its_standby_shown_listed_changed_and_rotated() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    for (name, algorithm) in [
        ("op/access-token", "ES256"),
        ("op/encryption", "RSA-OAEP-256"),
        ("op/id-token", "RS256"),
    ] {
        let made = create(&mut admin, name, algorithm).await;
        assert_eq!(
            (
                made.tenant.as_str(),
                made.versions.len(),
                made.versions[0].state()
            ),
            ("default", 1, KeyState::Prepared),
            "{name}"
        );
        assert!(made.versions[0].public_jwk.contains("kty"), "{name}");
    }
    let rotated = rotate(&mut admin, "op/access-token", true).await;
    let set = rotated.key_set.unwrap();
    assert_eq!(
        (
            kids(&set, KeyState::Active).len(),
            kids(&set, KeyState::Prepared).len()
        ),
        (1, 1)
    );
    assert_eq!(
        (set.forced.len(), set.forced[0].caller.as_str()),
        (1, "spiffe://crypto.dev/admin")
    );
    assert!(!rotated.may_have_broken.is_empty() && rotated.stragglers.is_empty());

    let mut page = proto::ListKeySetsRequest {
        page_size: 2,
        ..Default::default()
    };
    let mut names = Vec::new();
    loop {
        let listed = admin
            .list_key_sets(page.clone())
            .await
            .unwrap()
            .into_inner();
        assert!(listed.key_sets.len() <= 2);
        names.extend(listed.key_sets.into_iter().map(|set| set.name));
        if listed.next_page_token.is_empty() {
            break;
        }
        page.page_token = listed.next_page_token;
    }
    assert_eq!(names, ["op/access-token", "op/encryption", "op/id-token"]);

    let change = proto::KeySet {
        name: "op/access-token".to_owned(),
        issuer: "https://op.example.com".to_owned(),
        profile: Some(proto::Profile {
            max_lifetime: Some(prost_types::Duration {
                seconds: 600,
                nanos: 0,
            }),
            typ: "ignored".to_owned(),
            ..Default::default()
        }),
        policy: Some(proto::KeyPolicy {
            algorithm: "ES384".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mask = prost_types::FieldMask {
        paths: vec![
            "issuer".to_owned(),
            "profile.max_lifetime".to_owned(),
            "policy.algorithm".to_owned(),
        ],
    };
    let request = proto::UpdateKeySetRequest {
        key_set: Some(change),
        update_mask: Some(mask),
        ..Default::default()
    };
    let changed = admin
        .update_key_set(request)
        .await
        .unwrap()
        .into_inner()
        .key_set
        .unwrap();
    let profile = changed.profile.as_ref().unwrap();
    assert_eq!(
        (
            changed.issuer.as_str(),
            profile.max_lifetime.unwrap().seconds,
            profile.typ.as_str()
        ),
        ("https://op.example.com", 600, "")
    );
    assert_eq!(
        kids(&changed, KeyState::Revoked).len(),
        1,
        "a changed algorithm revokes the standby"
    );
    let standby = changed
        .versions
        .iter()
        .find(|version| version.state() == KeyState::Prepared)
        .unwrap();
    assert_eq!(standby.algorithm, "ES384");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_come_in_order_and_name_every_field() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let (mut admin, mut root) = (
        running.admin(&deployment, "admin"),
        running.admin(&deployment, "root"),
    );
    let mut nobody = running.admin(&deployment, "token");
    create(&mut root, "other/set", "ES256").await;
    let bad = proto::KeySet {
        tenant: "Not A Tenant".to_owned(),
        name: "UPPER".to_owned(),
        policy: Some(proto::KeyPolicy {
            algorithm: "RSA1_5".to_owned(),
            rsa_bits: 1,
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = proto::CreateKeySetRequest {
        key_set: Some(bad),
        request_id: "\n".to_owned(),
    };
    let refused = nobody.create_key_set(request).await.unwrap_err();
    assert_eq!(
        reason(&refused),
        (Code::InvalidArgument, "FIELD_INVALID".to_owned()),
        "fields come before the grant"
    );
    let mut named = fields(&refused);
    named.sort();
    assert_eq!(
        named,
        [
            "key_set.name",
            "key_set.policy.algorithm",
            "key_set.policy.rsa_bits",
            "key_set.tenant",
            "key_set.use",
            "request_id"
        ]
    );
    assert!(
        refused.message().contains("RSA1_5"),
        "{}",
        refused.message()
    );

    for (what, name) in [("exists", "other/set"), ("does not exist", "other/none")] {
        let request = proto::GetKeySetRequest {
            key_set: name.to_owned(),
            ..Default::default()
        };
        let refused = admin.get_key_set(request).await.unwrap_err();
        assert_eq!(
            reason(&refused),
            (Code::PermissionDenied, "NOT_GRANTED".to_owned()),
            "{what}"
        );
    }
    let missing = proto::GetKeySetRequest {
        key_set: "op/none".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        reason(&admin.get_key_set(missing).await.unwrap_err()),
        (Code::NotFound, "KEY_SET_NOT_FOUND".to_owned())
    );
    let listed = nobody
        .list_key_sets(proto::ListKeySetsRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        reason(&listed),
        (Code::PermissionDenied, "NOT_GRANTED".to_owned())
    );

    create(&mut admin, "op/a", "ES256").await;
    let again = proto::CreateKeySetRequest {
        key_set: Some(new_set("op/a", "ES256")),
        request_id: String::new(),
    };
    assert_eq!(
        reason(&admin.create_key_set(again).await.unwrap_err()),
        (Code::Aborted, "CONFLICT".to_owned())
    );
    let stale = proto::RotateKeySetRequest {
        key_set: "op/a".to_owned(),
        expected_revision: 99,
        ..Default::default()
    };
    assert_eq!(
        reason(&admin.rotate_key_set(stale).await.unwrap_err()),
        (Code::Aborted, "CONFLICT".to_owned())
    );
    for (what, mut set) in [
        ("PBES2", new_set("op/b", "PBES2-HS256+A128KW")),
        ("A256KW", new_set("op/b", "A256KW")),
        ("ES256", new_set("op/b", "ES256")),
    ] {
        if what == "ES256" {
            set.policy.as_mut().unwrap().publication_lead = Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            });
        }
        let refused = admin
            .create_key_set(proto::CreateKeySetRequest {
                key_set: Some(set),
                request_id: String::new(),
            })
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{what}");
        assert!(
            refused.message().contains("key_set.policy"),
            "{what}: {}",
            refused.message()
        );
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_again_does_not_act_twice() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    let make = proto::CreateKeySetRequest {
        key_set: Some(new_set("op/a", "ES256")),
        request_id: "make".to_owned(),
    };
    let first = admin
        .create_key_set(make.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        admin.create_key_set(make).await.unwrap().into_inner(),
        first
    );
    let request = proto::RotateKeySetRequest {
        key_set: "op/a".to_owned(),
        force: true,
        request_id: "turn".to_owned(),
        ..Default::default()
    };
    let once = admin
        .rotate_key_set(request.clone())
        .await
        .unwrap()
        .into_inner()
        .key_set
        .unwrap();
    let twice = admin
        .rotate_key_set(request.clone())
        .await
        .unwrap()
        .into_inner()
        .key_set
        .unwrap();
    assert_eq!(
        (once.revision, kids(&once, KeyState::Active)),
        (twice.revision, kids(&twice, KeyState::Active))
    );
    let other = proto::RotateKeySetRequest {
        force: false,
        ..request
    };
    assert_eq!(
        fields(&admin.rotate_key_set(other).await.unwrap_err()),
        ["request_id"]
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_rotations_of_one_revision_one_wins() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    let revision = create(&mut admin, "op/a", "ES256").await.revision;
    let calls = (0..8).map(|_| {
        let mut admin = admin.clone();
        let request = proto::RotateKeySetRequest {
            key_set: "op/a".to_owned(),
            force: true,
            expected_revision: revision,
            ..Default::default()
        };
        async move { admin.rotate_key_set(request).await }
    });
    let outcomes = futures::future::join_all(calls).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!(refused.code(), Code::Aborted);
    }
    let shown = show(&mut admin, "op/a").await.key_set.unwrap();
    assert_eq!(kids(&shown, KeyState::Active).len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_imported_with_their_kid_once_per_tenant_and_refused_by_name() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    for name in ["op/a", "op/b"] {
        create(&mut admin, name, "ES256").await;
    }
    let import = |set: &str, jwk: &str| proto::ImportKeyRequest {
        key_set: set.to_owned(),
        jwk: jwk.to_owned(),
        ..Default::default()
    };
    let imported = admin
        .import_key(import("op/a", PRIVATE_EC))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(imported.kid, "imported");
    assert_eq!(
        kids(imported.key_set.as_ref().unwrap(), KeyState::Prepared),
        ["imported"]
    );
    let public = imported
        .key_set
        .unwrap()
        .versions
        .into_iter()
        .find(|version| version.kid == "imported")
        .unwrap()
        .public_jwk;
    assert!(!public.contains("\"d\""), "{public}");

    let retire_at = Some(prost_types::Timestamp {
        seconds: i64::try_from(crate::support::NOW).unwrap() + 3_600,
        nanos: 0,
    });
    let mut other_kid = import("op/b", &PRIVATE_EC.replace("imported", "again"));
    let rows = [
        (
            "the same kid elsewhere in the tenant",
            import("op/b", PRIVATE_EC),
            "jwk",
        ),
        (
            "the same material under another kid",
            std::mem::take(&mut other_kid),
            "jwk",
        ),
        (
            "the public half of it",
            proto::ImportKeyRequest {
                retire_at,
                ..import("op/b", PUBLIC_EC)
            },
            "jwk",
        ),
        (
            "a public key as Prepared",
            import("op/b", PUBLIC_EC),
            "state",
        ),
        (
            "Active without force",
            proto::ImportKeyRequest {
                state: i32::from(KeyState::Active),
                ..import("op/b", PRIVATE_EC)
            },
            "force",
        ),
        (
            "Retiring without an end",
            proto::ImportKeyRequest {
                state: i32::from(KeyState::Retiring),
                ..import("op/b", PRIVATE_EC)
            },
            "retire_at",
        ),
        (
            "Revoked",
            proto::ImportKeyRequest {
                state: i32::from(KeyState::Revoked),
                ..import("op/b", PRIVATE_EC)
            },
            "state",
        ),
        (
            "RSA1_5",
            import("op/b", &PRIVATE_EC.replace("ES256", "RSA1_5")),
            "jwk",
        ),
        (
            "halves that disagree",
            import("op/b", &PRIVATE_EC.replace("jpsQ", "jpsR")),
            "jwk",
        ),
        ("not JSON", import("op/b", "{"), "jwk"),
        ("nothing", import("op/b", ""), "jwk"),
    ];
    for (what, request, field) in rows {
        let refused = admin.import_key(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec![field.to_owned()]),
            "{what}: {}",
            refused.message()
        );
        assert!(
            !refused.message().contains("jpsQ"),
            "{what}: a key in an error"
        );
    }
    running.stop().await;
}

#[derive(Debug)]
struct Moody(AtomicBool);

impl KeySource for Moody {
    fn generate(&self, spec: &keyring::KeySpec) -> Result<GeneratedKey, Failed> {
        match self.0.load(Ordering::SeqCst) {
            true => KeySource::generate(&AwsLc, spec),
            false => Err(Failed),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_generation_keeps_the_current_key() {
    let deployment = Deployment::new();
    let source = Arc::new(Moody(AtomicBool::new(true)));
    let running = deployment.start_with(source.clone()).await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    source.0.store(false, Ordering::SeqCst);
    let rotated = rotate(&mut admin, "op/a", true).await.key_set.unwrap();
    let active = kids(&rotated, KeyState::Active);
    assert_eq!(
        (active.len(), kids(&rotated, KeyState::Prepared).len()),
        (1, 0),
        "the standby took over, the next one is missing"
    );
    let request = proto::RotateKeySetRequest {
        key_set: "op/a".to_owned(),
        force: true,
        ..Default::default()
    };
    assert_eq!(
        reason(&admin.rotate_key_set(request).await.unwrap_err()),
        (Code::Unavailable, "NOT_READY".to_owned())
    );
    let kept = show(&mut admin, "op/a").await.key_set.unwrap();
    assert_eq!(kids(&kept, KeyState::Active), active);
    let made = admin
        .create_key_set(proto::CreateKeySetRequest {
            key_set: Some(new_set("op/b", "ES256")),
            request_id: String::new(),
        })
        .await;
    assert!(
        made.unwrap()
            .into_inner()
            .key_set
            .unwrap()
            .versions
            .is_empty(),
        "the set exists, its key comes later"
    );
    source.0.store(true, Ordering::SeqCst);
    for name in ["op/a", "op/b"] {
        eventually("a standby from the rotator", async || {
            kids(
                show(&mut admin, name).await.key_set.as_ref().unwrap(),
                KeyState::Prepared,
            )
            .first()
            .cloned()
        })
        .await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_the_active_key_promotes_the_standby_in_the_same_write() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let set = rotate(&mut admin, "op/a", true).await.key_set.unwrap();
    let (active, standby) = (kids(&set, KeyState::Active), kids(&set, KeyState::Prepared));
    let request = proto::RevokeKeyRequest {
        key_set: "op/a".to_owned(),
        kid: active[0].clone(),
        ..Default::default()
    };
    let revoked = admin.revoke_key(request).await.unwrap().into_inner();
    let set = revoked.key_set.unwrap();
    assert_eq!(
        (kids(&set, KeyState::Revoked), kids(&set, KeyState::Active)),
        (active, standby)
    );
    assert_eq!((revoked.acked, revoked.total), (0, 0));
    let unknown = proto::RevokeKeyRequest {
        key_set: "op/a".to_owned(),
        kid: "none".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        fields(&admin.revoke_key(unknown).await.unwrap_err()),
        ["kid"]
    );
    running.stop().await;
}
