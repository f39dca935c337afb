//! Revoking tokens: grants, fields, idempotency, the feed, restarts, expiry and the bound.

use std::collections::BTreeMap;
use std::time::Duration;

use crypto_proto::keys::v1::{
    self as proto, revocation_service_client::RevocationServiceClient,
    revoke_token_request::Target, watch_request::Message as Up,
};
use jose::revocation::{Entry, Id, Match, decode};
use jose_aws_lc::AwsLc;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use crate::support::{Deployment, NOW, Running, create, eventually, instance::FakeInstance};

const SET: &str = "op/access-token";

fn client(
    running: &Running,
    deployment: &Deployment,
    role: &str,
) -> RevocationServiceClient<Channel> {
    RevocationServiceClient::new(running.channel(&deployment.credentials(role, &running.clock)))
}

fn jti(jti: &str) -> proto::RevokeTokenRequest {
    proto::RevokeTokenRequest {
        key_sets: vec![SET.to_owned()],
        target: Some(Target::Jti(jti.to_owned())),
        ..Default::default()
    }
}

fn subject(sub: &str) -> proto::RevokeTokenRequest {
    let wanted = proto::TokenMatch {
        sub: sub.to_owned(),
        ..Default::default()
    };
    proto::RevokeTokenRequest {
        target: Some(Target::Match(wanted)),
        ..Default::default()
    }
}

fn time(seconds: u64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: seconds.try_into().unwrap(),
        nanos: 0,
    })
}

fn refusal(status: &Status) -> (Code, String, Vec<String>) {
    let details = status.get_error_details();
    let fields = details
        .bad_request()
        .map(|bad| bad.field_violations.clone())
        .unwrap_or_default();
    let fields = fields
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    (
        status.code(),
        details.error_info().unwrap().reason.clone(),
        fields,
    )
}

/// Revocations by key set, of several messages.
fn by_set(
    revocations: impl IntoIterator<Item = proto::FedRevocations>,
) -> BTreeMap<String, Vec<Entry>> {
    let mut all = BTreeMap::<String, Vec<Entry>>::new();
    for one in revocations {
        assert_eq!(one.tenant, "default");
        all.entry(one.key_set)
            .or_default()
            .extend(decode(&one.entries).unwrap());
    }
    all
}

async fn metric(running: &Running, name: &str) -> Option<u64> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(running.http).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_fed_acknowledged_and_in_the_next_snapshot() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, SET, "ES256").await;
    create(&mut admin, "op/id-token", "ES256").await;
    create(&mut admin, "op/encryption", "RSA-OAEP-256").await;
    let (mut instance, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    assert!(by_set(instance.revoked.drain(..)).is_empty());
    instance.ack().await;
    instance.renew(1).await;
    instance.lease().await;

    let mut management = client(&running, &deployment, "management");
    let acks = async {
        let delta = instance.delta_of_tokens().await;
        instance.ack().await;
        by_set(delta.revocations)
    };
    let (answer, fed) = tokio::join!(management.revoke_token(subject("alice")), acks);
    let answer = answer.unwrap().into_inner();
    assert_eq!(
        (answer.acked, answer.total, answer.stragglers.len()),
        (1, 1, 0)
    );
    assert_eq!(
        answer.key_sets,
        [SET, "op/id-token"],
        "sets that sign, and are granted"
    );
    assert_eq!(answer.issued_before, time(NOW));
    // an hour is the longest lifetime, then the largest leeway and the skew
    assert_eq!(answer.forgotten_at, time(NOW + 3600 + 65));
    let wanted = Match {
        sub: Some("alice"),
        ..Match::default()
    };
    let entry = Entry {
        id: Id::of_match(&wanted, &AwsLc).unwrap(),
        issued_before: NOW.try_into().unwrap(),
        forget_at: (NOW + 3665).try_into().unwrap(),
    };
    let expected = BTreeMap::from([
        (SET.to_owned(), vec![entry]),
        ("op/id-token".to_owned(), vec![entry]),
    ]);
    assert_eq!(fed, expected);

    let (mut again, _) = FakeInstance::connect(&deployment, &running, 'b').await;
    assert_eq!(
        by_set(again.revoked.drain(..)),
        expected,
        "a new instance hears of it in its snapshot"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_does_not_acknowledge_is_named() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    create(&mut running.admin(&deployment, "admin"), SET, "ES256").await;
    let (instance, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    instance.ack().await;
    let mut management = client(&running, &deployment, "management");
    let answer = management
        .revoke_token(jti("j"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((answer.acked, answer.total), (0, 1));
    assert_eq!(
        answer.stragglers,
        std::slice::from_ref(&instance.subscriber)
    );
    assert_eq!(answer.issued_before, None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_that_is_furthest_ahead_says_what_was_issued_so_far() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    create(&mut running.admin(&deployment, "admin"), SET, "ES256").await;
    let (mut instance, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    let mut management = client(&running, &deployment, "management");
    for (ahead, issued_before) in [(2, NOW + 2), (60, NOW + 5)] {
        instance.wall.seconds = (NOW + ahead).try_into().unwrap();
        instance.ack().await;
        instance.renew(ahead).await;
        instance.lease().await;
        let revoked = async {
            instance.delta_of_tokens().await;
            instance.ack().await;
        };
        let sub = format!("user {ahead}");
        let (answer, ()) = tokio::join!(management.revoke_token(subject(&sub)), revoked);
        assert_eq!(
            answer.unwrap().into_inner().issued_before,
            time(issued_before),
            "{ahead} s ahead"
        );
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_come_in_order_and_name_every_field() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/encryption", "RSA-OAEP-256").await;
    let mut management = client(&running, &deployment, "management");
    let mut admin = client(&running, &deployment, "admin");
    let wrong = proto::RevokeTokenRequest {
        tenant: "Not A Tenant".to_owned(),
        key_sets: vec!["UPPER".to_owned()],
        target: Some(Target::Match(proto::TokenMatch {
            issued_before: Some(prost_types::Timestamp {
                seconds: -1,
                nanos: 0,
            }),
            ..Default::default()
        })),
        expires_at: time(NOW),
        request_id: "\n".to_owned(),
    };
    let many = proto::RevokeTokenRequest {
        key_sets: (0..17).map(|n| format!("op/{n}")).collect(),
        ..jti("j")
    };
    let named = |name: &str| proto::RevokeTokenRequest {
        key_sets: vec![name.to_owned()],
        ..jti("j")
    };
    let ahead = |seconds| {
        let wanted = proto::TokenMatch {
            sub: "a".to_owned(),
            issued_before: time(NOW + seconds),
            ..Default::default()
        };
        proto::RevokeTokenRequest {
            target: Some(Target::Match(wanted)),
            ..named(SET)
        }
    };
    let all_fields = [
        "request_id",
        "tenant",
        "key_sets",
        "expires_at",
        "match",
        "match.issued_before",
    ];
    for (what, asked, code, reason, fields) in [
        (
            "everything",
            wrong,
            Code::InvalidArgument,
            "FIELD_INVALID",
            &all_fields[..],
        ),
        (
            "no target",
            proto::RevokeTokenRequest::default(),
            Code::InvalidArgument,
            "FIELD_INVALID",
            &["target"],
        ),
        (
            "a long jti",
            jti(&"j".repeat(1025)),
            Code::InvalidArgument,
            "FIELD_INVALID",
            &["jti"],
        ),
        (
            "too many sets",
            many,
            Code::InvalidArgument,
            "FIELD_INVALID",
            &["key_sets"],
        ),
        (
            "a set of others",
            named("other/set"),
            Code::PermissionDenied,
            "NOT_GRANTED",
            &[],
        ),
        (
            "no set at all",
            subject("alice"),
            Code::NotFound,
            "KEY_SET_NOT_FOUND",
            &[],
        ),
        (
            "a set that is not there",
            named("op/nothing"),
            Code::NotFound,
            "KEY_SET_NOT_FOUND",
            &[],
        ),
        (
            "a set that signs nothing",
            named("op/encryption"),
            Code::InvalidArgument,
            "FIELD_INVALID",
            &["key_sets"],
        ),
        (
            "a moment ahead",
            ahead(6),
            Code::InvalidArgument,
            "FIELD_INVALID",
            &["match.issued_before"],
        ),
        (
            "a token that is over",
            proto::RevokeTokenRequest {
                expires_at: time(NOW),
                ..jti("j")
            },
            Code::InvalidArgument,
            "FIELD_INVALID",
            &["expires_at"],
        ),
    ] {
        let refused = management.revoke_token(asked).await.unwrap_err();
        let (is_code, is_reason, mut is_fields) = refusal(&refused);
        let mut fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
        fields.sort_unstable();
        is_fields.sort_unstable();
        assert_eq!(
            (is_code, is_reason.as_str(), is_fields),
            (code, reason, fields),
            "{what}: {refused:?}"
        );
    }
    let refused = admin.revoke_token(subject("alice")).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::PermissionDenied,
        "who administers keys revokes no tokens: {refused:?}"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_again_does_not_act_twice_and_one_that_is_used_for_another_is_refused() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    create(&mut running.admin(&deployment, "admin"), SET, "ES256").await;
    let mut management = client(&running, &deployment, "management");
    let asked = proto::RevokeTokenRequest {
        request_id: "r1".to_owned(),
        ..subject("alice")
    };
    let first = management
        .revoke_token(asked.clone())
        .await
        .unwrap()
        .into_inner();
    running.clock.advance(Duration::from_secs(10));
    management.revoke_token(asked.clone()).await.unwrap();
    let (mut instance, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    let held = by_set(instance.revoked.drain(..));
    let kept = u64::from(held[SET][0].issued_before);
    assert_eq!(
        time(kept),
        first.issued_before,
        "a login in between stays as it is"
    );
    let other = proto::RevokeTokenRequest {
        request_id: "r1".to_owned(),
        ..subject("bob")
    };
    let refused = management.revoke_token(other).await.unwrap_err();
    assert_eq!(refusal(&refused).2, ["request_id"]);

    // another request of the same moves the moment on, and never back
    instance.ack().await;
    let again = async {
        let delta = instance.delta_of_tokens().await;
        instance.ack().await;
        by_set(delta.revocations)
    };
    let (_, moved) = tokio::join!(management.revoke_token(subject("alice")), again);
    assert_eq!(u64::from(moved[SET][0].issued_before), NOW + 10);
    let earlier = proto::TokenMatch {
        sub: "alice".to_owned(),
        issued_before: time(NOW - 100),
        ..Default::default()
    };
    let earlier = proto::RevokeTokenRequest {
        target: Some(Target::Match(earlier)),
        ..Default::default()
    };
    let answer = management.revoke_token(earlier).await.unwrap().into_inner();
    assert_eq!(
        (answer.acked, answer.total),
        (1, 1),
        "nothing was to do, and everybody knows"
    );
    assert!(instance.is_quiet().await);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_survive_a_restart_and_are_forgotten_when_their_tokens_have_expired() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    create(&mut running.admin(&deployment, "admin"), SET, "ES256").await;
    let mut management = client(&running, &deployment, "management");
    for number in 0..60 {
        let asked = proto::RevokeTokenRequest {
            expires_at: time(NOW + 10),
            ..jti(&format!("short {number}"))
        };
        management.revoke_token(asked).await.unwrap();
    }
    management.revoke_token(jti("long")).await.unwrap();
    running.stop().await;

    let running = deployment.start().await;
    let (mut instance, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    assert_eq!(by_set(instance.revoked.drain(..))[SET].len(), 61);
    // the leeway, the skew on both ends, and the second itself
    running
        .clock
        .advance(Duration::from_secs(10 + 60 + 5 + 5 + 1));
    let until = tokio::time::timeout(Duration::from_secs(90), instance.forgotten())
        .await
        .unwrap();
    assert!(until >= NOW + 10 + 65, "{until}");
    eventually("the count falls", async || {
        (metric(&running, "key_manager_token_revocations").await == Some(1)).then_some(())
    })
    .await;
    running.stop().await;
    // whether or not their records were cleared away by then
    let running = deployment.start().await;
    let (mut again, _) = FakeInstance::connect(&deployment, &running, 'b').await;
    let held = by_set(again.revoked.drain(..));
    assert_eq!(
        held[SET].iter().map(|entry| entry.id).collect::<Vec<_>>(),
        [Id::of_jti("long", &AwsLc)]
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_of_revocations_refuses_more_and_says_what_to_do() {
    let mut deployment = Deployment::new();
    deployment.config.tokens.max_revocations = 2;
    let running = deployment.start().await;
    create(&mut running.admin(&deployment, "admin"), SET, "ES256").await;
    let mut management = client(&running, &deployment, "management");
    management.revoke_token(jti("a")).await.unwrap();
    management.revoke_token(jti("b")).await.unwrap();
    let full = management.revoke_token(jti("c")).await.unwrap_err();
    assert_eq!(refusal(&full).0, Code::ResourceExhausted);
    assert!(
        full.message().contains("max_revocations"),
        "{}",
        full.message()
    );
    management
        .revoke_token(jti("b"))
        .await
        .expect("what is revoked already takes no room");
    assert_eq!(
        metric(&running, "key_manager_token_revocations").await,
        Some(2)
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_may_lack_exp_stay_revoked() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    let profile = proto::Profile {
        expiry_optional: true,
        ..Default::default()
    };
    let set = proto::KeySet {
        profile: Some(profile),
        ..crate::support::new_set(SET, "ES256")
    };
    let request = proto::CreateKeySetRequest {
        key_set: Some(set),
        request_id: String::new(),
    };
    admin.create_key_set(request).await.unwrap();
    let mut management = client(&running, &deployment, "management");
    let answer = management
        .revoke_token(subject("alice"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.forgotten_at, None);
    let until = proto::RevokeTokenRequest {
        expires_at: time(NOW + 10),
        ..jti("j")
    };
    let answer = management.revoke_token(until).await.unwrap().into_inner();
    assert_eq!(answer.forgotten_at, time(NOW + 75), "this one has an exp");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_hears_of_the_sets_that_it_is_fed_alone() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    create(&mut running.admin(&deployment, "admin"), SET, "ES256").await;
    create(
        &mut running.admin(&deployment, "root"),
        "other/set",
        "ES256",
    )
    .await;
    let (mut instance, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    instance.ack().await;
    let mut root = client(&running, &deployment, "root");
    let other = proto::RevokeTokenRequest {
        key_sets: vec!["other/set".to_owned()],
        ..jti("j")
    };
    let answer = root.revoke_token(other).await.unwrap().into_inner();
    assert_eq!(
        (answer.acked, answer.total),
        (0, 0),
        "nobody is fed that set"
    );
    instance.ack().await;
    // its delta moves the epoch and holds nothing
    let delta = instance.delta().await;
    assert!(delta.revocations.is_empty() && delta.changed.is_empty());
    instance.send(Up::Goodbye(proto::Goodbye {})).await;
    running.stop().await;
}
