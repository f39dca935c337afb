//! Records of issued tokens, over the wire: shipped by an instance, listed for operators.

use crypto_proto::keys::v1 as proto;
use issued_log::{EntryRef, FrameBuilder, Recipient, Sealer, SubjectKey};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{Deployment, NOW, Running, create, instance::FakeInstance, new_set, show};

fn seconds(at: u64) -> i64 {
    at.try_into().unwrap()
}

struct Segment {
    nonce: String,
    sealer: Sealer,
    subjects: SubjectKey,
}

impl Segment {
    fn of(instance: &FakeInstance) -> Self {
        let keys = instance.issued.clone().unwrap();
        let recipient = Recipient::new(keys.public_key.try_into().unwrap());
        let process = [0xaa; 16];
        assert_eq!(instance.nonce, "a".repeat(32));
        Self {
            nonce: instance.nonce.clone(),
            sealer: Sealer::begin(&recipient, process).unwrap(),
            subjects: SubjectKey::new(&instance.subject_key()),
        }
    }

    /// A shipment of one frame with a token of each key set.
    fn ship(&mut self, key_sets: &[&str]) -> proto::ShipIssuedRequest {
        let mut builder = FrameBuilder::default();
        let first_frame = self.sealer.next_frame();
        for key_set in key_sets {
            builder.push(&EntryRef {
                at: NOW * 1_000,
                tenant: "default",
                key_set,
                kid: "k1",
                caller: "spiffe://crypto.dev/token",
                jti: &format!("{key_set}-{first_frame}"),
                subject: Some(self.subjects.digest("default", "alice")),
                expires_at: Some(NOW + 300),
            });
        }
        let frame = self.sealer.seal(builder.take(), false).unwrap();
        proto::ShipIssuedRequest {
            nonce: self.nonce.clone(),
            frames: Some(proto::IssuedFrames {
                header: self.sealer.header().bytes(),
                first_frame,
                frames: vec![frame],
            }),
            complete_until: Some(prost_types::Timestamp {
                seconds: seconds(NOW),
                nanos: 0,
            }),
            ..Default::default()
        }
    }
}

async fn ship(
    running: &Running,
    instance: &FakeInstance,
    request: proto::ShipIssuedRequest,
) -> Result<u32, Status> {
    let mut feed = running.feed(&instance.credentials);
    let answer = feed.ship_issued(request).await?;
    Ok(answer.into_inner().next_frame)
}

fn reason(status: &Status) -> (Code, String) {
    let info = status.get_details_error_info().expect("an ErrorInfo");
    (status.code(), info.reason)
}

fn asked(key_set: &str) -> proto::ListIssuedRequest {
    proto::ListIssuedRequest {
        key_set: key_set.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_instance_ships_what_it_issued_and_whoever_administers_the_set_lists_it() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    let mut root = running.admin(&deployment, "root");
    for name in ["op/a", "op/b"] {
        let mut set = new_set(name, "ES256");
        set.profile = Some(proto::Profile {
            record_issued: true,
            ..Default::default()
        });
        let request = proto::CreateKeySetRequest {
            key_set: Some(set),
            request_id: String::new(),
        };
        let made = admin.create_key_set(request).await.unwrap().into_inner();
        assert!(made.key_set.unwrap().profile.unwrap().record_issued);
    }
    let (instance, fed) = FakeInstance::connect(&deployment, &running, 'a').await;
    assert!(
        fed.iter()
            .all(|set| set.profile.as_ref().unwrap().record_issued)
    );
    let mut segment = Segment::of(&instance);
    let first = segment.ship(&["op/a", "op/b"]);
    assert_eq!(ship(&running, &instance, first.clone()).await.unwrap(), 1);
    assert_eq!(ship(&running, &instance, first).await.unwrap(), 1, "again");
    let second = segment.ship(&["op/a"]);
    assert_eq!(ship(&running, &instance, second).await.unwrap(), 2);

    let listed = admin.list_issued(asked("")).await.unwrap().into_inner();
    assert_eq!((listed.entries.len(), listed.total_count), (3, 3));
    assert_eq!(listed.complete_until.unwrap().seconds, seconds(NOW));
    let entry = &listed.entries[0];
    assert_eq!(entry.jti, "op/a-0");
    assert_eq!(entry.caller, "spiffe://crypto.dev/token");
    assert_eq!(entry.expires_at.unwrap().seconds, seconds(NOW) + 300);
    let of_b = admin.list_issued(asked("op/b")).await.unwrap().into_inner();
    assert_eq!(of_b.entries.len(), 1);
    let by_sub = proto::ListIssuedRequest {
        sub: "alice".to_owned(),
        count_only: true,
        ..Default::default()
    };
    let counted = root.list_issued(by_sub).await.unwrap().into_inner();
    assert_eq!((counted.entries.len(), counted.total_count), (0, 3));
    let other = proto::ListIssuedRequest {
        sub: "bob".to_owned(),
        ..Default::default()
    };
    let none = root.list_issued(other).await.unwrap().into_inner();
    assert_eq!(none.total_count, 0);

    // A read of what is nobody else's business is recorded.
    let read = proto::QueryAuditRequest {
        act: "ListIssued".to_owned(),
        ..Default::default()
    };
    let acts = root.query_audit(read).await.unwrap().into_inner().entries;
    assert_eq!(acts.len(), 4);
    assert!(
        acts.iter()
            .all(|act| act.outcome() == proto::AuditOutcome::Read)
    );
    running.stop().await;
}

#[tokio::test]
async fn grants_stand_before_shipping_and_listing() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let (instance, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    let mut segment = Segment::of(&instance);

    // The instance is fed `op/*`.
    let refused = ship(&running, &instance, segment.ship(&["op/a", "other/a"])).await;
    let denied = (Code::PermissionDenied, "NOT_GRANTED".to_owned());
    assert_eq!(reason(&refused.unwrap_err()), denied);
    let listed = admin.list_issued(asked("op/a")).await.unwrap().into_inner();
    assert_eq!(listed.total_count, 0, "nothing of it is taken");

    let stranger = deployment.credentials("admin", &running.clock);
    let mut feed = running.feed(&stranger);
    let refused = feed.ship_issued(proto::ShipIssuedRequest::default()).await;
    assert_eq!(
        refused.unwrap_err().code(),
        Code::InvalidArgument,
        "fields first"
    );
    let request = proto::ShipIssuedRequest {
        nonce: "b".repeat(32),
        ..Default::default()
    };
    let refused = feed.ship_issued(request).await;
    assert_eq!(reason(&refused.unwrap_err()), denied);

    let mut management = running.admin(&deployment, "management");
    for key_set in ["op/a", "", "op/none"] {
        let refused = management.list_issued(asked(key_set)).await;
        assert_eq!(reason(&refused.unwrap_err()), denied, "{key_set}");
    }
    let refused = admin.list_issued(asked("other/a")).await;
    assert_eq!(reason(&refused.unwrap_err()), denied);
    let refused = admin.list_issued(asked("op/none")).await.unwrap_err();
    assert_eq!(
        reason(&refused),
        (Code::NotFound, "KEY_SET_NOT_FOUND".to_owned())
    );
    running.stop().await;
}

#[tokio::test]
async fn every_field_that_does_not_fit_is_named() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    let wrong = proto::ListIssuedRequest {
        tenant: "A".to_owned(),
        key_set: "A B".to_owned(),
        kid: "\u{e9}".to_owned(),
        caller: "x".repeat(2_049),
        sub: "x".repeat(4_097),
        issued_after: Some(prost_types::Timestamp {
            seconds: -1,
            nanos: 0,
        }),
        issued_before: Some(prost_types::Timestamp {
            seconds: -1,
            nanos: 0,
        }),
        page_size: 1_001,
        page_token: "!".to_owned(),
        count_only: false,
    };
    let refused = admin.list_issued(wrong).await.unwrap_err();
    let named: Vec<_> = refused
        .get_details_bad_request()
        .unwrap()
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    let all = [
        "page_size",
        "page_token",
        "tenant",
        "key_set",
        "kid",
        "caller",
        "sub",
        "issued_after",
        "issued_before",
    ];
    assert_eq!(named, all);
    let (instance, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    let mut segment = Segment::of(&instance);
    let mut damaged = segment.ship(&["op/a"]);
    damaged.frames.as_mut().unwrap().frames[0][3] ^= 1;
    let refused = ship(&running, &instance, damaged).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    running.stop().await;
}

#[tokio::test]
async fn recording_is_turned_on_and_off_by_an_update_and_only_where_it_can_be_kept() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    create(&mut admin, "op/e", "RSA-OAEP-256").await;
    let update = |name: &str, record_issued: bool, jti_optional: bool| {
        let profile = proto::Profile {
            record_issued,
            jti_optional,
            ..Default::default()
        };
        let paths = ["profile.record_issued", "profile.jti_optional"];
        proto::UpdateKeySetRequest {
            key_set: Some(proto::KeySet {
                name: name.to_owned(),
                profile: Some(profile),
                ..Default::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.map(str::to_owned).to_vec(),
            }),
            ..Default::default()
        }
    };
    for (name, jti_optional) in [("op/e", false), ("op/a", true)] {
        let refused = admin.update_key_set(update(name, true, jti_optional)).await;
        let fields = refused.unwrap_err().get_details_bad_request().unwrap();
        let named = &fields.field_violations[0].field;
        assert_eq!(named, "key_set.profile.record_issued", "{name}");
    }
    admin
        .update_key_set(update("op/a", true, false))
        .await
        .unwrap();
    let shown = show(&mut admin, "op/a").await.key_set.unwrap();
    assert!(shown.profile.unwrap().record_issued);
    admin
        .update_key_set(update("op/a", false, false))
        .await
        .unwrap();
    let shown = show(&mut admin, "op/a").await.key_set.unwrap();
    assert!(!shown.profile.unwrap().record_issued);
    running.stop().await;

    let mut without = Deployment::new();
    without.config.issued.path = std::path::PathBuf::new();
    let running = without.start().await;
    let mut admin = running.admin(&without, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let refused = admin.update_key_set(update("op/a", true, false)).await;
    let fields = refused.unwrap_err().get_details_bad_request().unwrap();
    assert_eq!(
        fields.field_violations[0].field,
        "key_set.profile.record_issued"
    );
    let refused = admin.list_issued(asked("op/a")).await.unwrap_err();
    assert_eq!(
        reason(&refused),
        (Code::Unavailable, "NOT_READY".to_owned())
    );
    let (instance, _) = FakeInstance::connect(&without, &running, 'a').await;
    assert!(
        instance.issued.is_none(),
        "there is nothing to seal records with"
    );
    let report = proto::ShipIssuedRequest {
        nonce: "a".repeat(32),
        ..Default::default()
    };
    let refused = ship(&running, &instance, report).await.unwrap_err();
    assert_eq!(
        reason(&refused),
        (Code::Unavailable, "NOT_READY".to_owned())
    );
    running.stop().await;
}
