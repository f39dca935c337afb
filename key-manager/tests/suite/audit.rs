//! The audit log, as callers and auditors see it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::support::{Deployment, Running, create, eventually, kids, new_set, rotate, show};
use audit_log::{Statement, Verifier};
use crypto_proto::keys::v1::{
    self as proto, AuditOutcome, KeyState, key_admin_service_client::KeyAdminServiceClient,
    revocation_service_client::RevocationServiceClient,
};
use jose::{algorithm::JwsAlgorithm, jwk::PublicJwk, provider::Provider as _};
use jose_aws_lc::AwsLc;
use tonic::{Code, transport::Channel};

type Admin = KeyAdminServiceClient<Channel>;

async fn query(admin: &mut Admin, request: proto::QueryAuditRequest) -> Vec<proto::AuditEntry> {
    let mut request = request;
    let mut all = Vec::new();
    loop {
        let page = admin
            .query_audit(request.clone())
            .await
            .unwrap()
            .into_inner();
        all.extend(page.entries);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

/// Act, outcome and reason of everything that fits.
async fn trail(
    admin: &mut Admin,
    request: proto::QueryAuditRequest,
) -> Vec<(String, AuditOutcome, String)> {
    let entries = query(admin, request).await;
    entries
        .into_iter()
        .map(|entry| (entry.act.clone(), entry.outcome(), entry.reason))
        .collect()
}

fn by(caller: &str) -> proto::QueryAuditRequest {
    proto::QueryAuditRequest {
        caller: format!("spiffe://crypto.dev/{caller}"),
        ..Default::default()
    }
}

fn segments(deployment: &Deployment) -> BTreeMap<String, PathBuf> {
    let listed = std::fs::read_dir(deployment.path("audit")).unwrap();
    listed
        .map(|file| file.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                path,
            )
        })
        .filter(|(name, _)| name.ends_with(".jsonl"))
        .collect()
}

/// What `cryptoctl audit verify` does.
async fn verify(
    deployment: &Deployment,
    admin: &mut Admin,
) -> Result<audit_log::Report, audit_log::Fault> {
    let page = admin
        .query_audit(proto::QueryAuditRequest::default())
        .await
        .unwrap()
        .into_inner();
    let jwk = PublicJwk::parse(page.public_jwk.as_bytes()).unwrap();
    let key = AwsLc.verifying_key(JwsAlgorithm::EdDsa, &jwk.key).unwrap();
    let known = page.checkpoints.iter();
    let known = known
        .map(|one| Statement::verify(&one.jws, key.as_ref()).unwrap())
        .collect();
    let mut verifier = Verifier::new(&AwsLc, key.as_ref(), known);
    for (name, path) in segments(deployment) {
        verifier.file(&name, &std::fs::read(path).unwrap())?;
    }
    verifier.finish()
}

async fn refused_create(admin: &mut Admin, name: &str) -> tonic::Status {
    let request = proto::CreateKeySetRequest {
        key_set: Some(new_set(name, "ES256")),
        ..Default::default()
    };
    admin.create_key_set(request).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn acts_grants_and_refusals_are_recorded_begun_before_they_are_done() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    rotate(&mut admin, "op/a", true).await;
    refused_create(&mut admin, "op/a").await;
    refused_create(&mut admin, "secret/x").await;
    refused_create(&mut admin, "No Name").await;
    show(&mut admin, "op/a").await;
    let mut stranger = running.admin(&deployment, "stranger");
    refused_create(&mut stranger, "op/b").await;

    use AuditOutcome::{Begun, Done, Read, Refused};
    let entry = |act: &str, outcome, reason: &str| (act.to_owned(), outcome, reason.to_owned());
    let mut root = running.admin(&deployment, "root");
    let expected = [
        entry("CreateKeySet", Begun, ""),
        entry("CreateKeySet", Done, ""),
        entry("RotateKeySet", Begun, ""),
        entry("RotateKeySet", Done, ""),
        entry("CreateKeySet", Begun, ""),
        entry("CreateKeySet", Refused, "CONFLICT"),
        entry("CreateKeySet", Refused, "NOT_GRANTED"),
        entry("CreateKeySet", Refused, "FIELD_INVALID"),
        entry("GetKeySet", Read, ""),
    ];
    assert_eq!(trail(&mut root, by("admin")).await, expected);
    assert_eq!(
        trail(&mut root, by("stranger")).await,
        [entry("CreateKeySet", Refused, "NOT_GRANTED")]
    );
    let rotations = proto::QueryAuditRequest {
        act: "RotateKeySet".to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let rotations = query(&mut root, rotations).await;
    assert_eq!(rotations.len(), 2);
    assert!(
        rotations[0].force && rotations[0].key_set == "op/a" && rotations[0].tenant == "default"
    );
    assert_eq!(rotations[1].of, rotations[0].seq);
    let invalid = proto::QueryAuditRequest {
        outcome: i32::from(Refused),
        ..by("admin")
    };
    let invalid = query(&mut root, invalid).await;
    assert_eq!(invalid[2].fields, ["key_set.name"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_administers_a_part_reads_that_part_and_who_administers_nothing_reads_nothing() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let (mut admin, mut root) = (
        running.admin(&deployment, "admin"),
        running.admin(&deployment, "root"),
    );
    create(&mut admin, "op/a", "ES256").await;
    create(&mut root, "internal/x", "ES256").await;
    let all = query(&mut root, proto::QueryAuditRequest::default()).await;
    assert!(all.iter().any(|entry| entry.key_set == "internal/x"));
    let part = query(&mut admin, proto::QueryAuditRequest::default()).await;
    assert!(part.iter().any(|entry| entry.key_set == "op/a"));
    assert!(
        part.iter().all(|entry| entry.key_set != "internal/x"),
        "{part:?}"
    );
    let mut stranger = running.admin(&deployment, "stranger");
    let refused = stranger
        .query_audit(proto::QueryAuditRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    for (what, request) in [
        (
            "size",
            proto::QueryAuditRequest {
                page_size: -1,
                ..Default::default()
            },
        ),
        (
            "token",
            proto::QueryAuditRequest {
                page_token: "nonsense".to_owned(),
                ..Default::default()
            },
        ),
        (
            "file",
            proto::QueryAuditRequest {
                page_token: jose::base64url::encode("../kek|0"),
                ..Default::default()
            },
        ),
        (
            "outcome",
            proto::QueryAuditRequest {
                outcome: 99,
                ..Default::default()
            },
        ),
    ] {
        let refused = admin.query_audit(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{what}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn planned_steps_are_recorded_too_and_survive_a_restart_verified() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let set = rotate(&mut admin, "op/a", true).await.key_set.unwrap();
    let kid = kids(&set, KeyState::Active).remove(0);
    rotate(&mut admin, "op/a", true).await;
    running.clock.advance(Duration::from_secs(2 * 3_600));
    eventually("the plan retires it", async || {
        let set = show(&mut admin, "op/a").await.key_set.unwrap();
        (kids(&set, KeyState::Retired) == [kid.clone()]).then_some(())
    })
    .await;
    let retired = proto::QueryAuditRequest {
        caller: "key-manager".to_owned(),
        act: "Retire".to_owned(),
        ..Default::default()
    };
    let entries = query(&mut admin, retired).await;
    assert_eq!(
        (entries.len(), entries[0].subject.as_str()),
        (2, kid.as_str())
    );
    running.stop().await;

    let running = restarted(&deployment).await;
    let mut admin = running.admin(&deployment, "admin");
    let report = verify(&deployment, &mut admin).await.unwrap();
    assert!(
        report.checkpoints >= 2 && report.chains.len() == 1,
        "{report:?}"
    );
    running.stop().await;
}

/// A key-manager after the one before has let go of its files.
async fn restarted(deployment: &Deployment) -> Running {
    eventually("the store is closed", async || {
        (!deployment.path("keys.db-wal").exists()).then_some(())
    })
    .await;
    deployment.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_edited_is_found_while_its_key_manager_runs() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    assert!(verify(&deployment, &mut admin).await.is_ok());
    let (name, path) = segments(&deployment).pop_first().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let edited = text.replacen("crypto.dev/admin", "crypto.dev/adm1n", 1);
    let line = 1 + text
        .lines()
        .zip(edited.lines())
        .position(|(old, new)| old != new)
        .unwrap();
    std::fs::write(&path, edited).unwrap();
    let fault = verify(&deployment, &mut admin).await.unwrap_err();
    assert_eq!(
        (fault.file, fault.seq),
        (name, u64::try_from(line).unwrap())
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_place_for_the_log_acts_are_refused_reads_go_on_and_nothing_is_half_done() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let before = rotate(&mut admin, "op/a", true).await.key_set.unwrap();
    let (folder, aside) = (deployment.path("audit"), deployment.path("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "a file where the folder was").unwrap();
    let refused = admin
        .rotate_key_set(proto::RotateKeySetRequest {
            key_set: "op/a".to_owned(),
            force: true,
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("audit log"), "{refused}");
    assert_eq!(
        refused_create(&mut admin, "op/b").await.code(),
        Code::Unavailable
    );
    let after = show(&mut admin, "op/a").await.key_set.unwrap();
    assert_eq!(after, before, "nothing was done");
    let gone = proto::GetKeySetRequest {
        key_set: "op/b".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        admin.get_key_set(gone).await.unwrap_err().code(),
        Code::NotFound
    );

    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    let rotated = rotate(&mut admin, "op/a", true).await.key_set.unwrap();
    assert_ne!(
        kids(&rotated, KeyState::Active),
        kids(&before, KeyState::Active)
    );
    let report = verify(&deployment, &mut admin).await.unwrap();
    assert_eq!(report.chains.len(), 1, "the chain goes on");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_that_was_imported_stands_in_the_log() {
    const SECRET: &str = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    for (x, kid) in [
        ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "good"),
        ("AAAA", "bad"),
    ] {
        let request = proto::ImportKeyRequest {
            key_set: "op/a".to_owned(),
            jwk: format!(
                r#"{{"kty":"EC","crv":"P-256","kid":"{kid}","alg":"ES256","x":"{x}","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"{SECRET}"}}"#
            ),
            ..Default::default()
        };
        assert_eq!(admin.import_key(request).await.is_ok(), kid == "good");
    }
    let text: String = segments(&deployment)
        .values()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    assert!(
        text.contains("ImportKey") && text.contains("\"good\""),
        "{text}"
    );
    assert!(
        !text.contains(SECRET) && !text.contains("f83OJ3D2"),
        "{text}"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_revocation_of_tokens_is_recorded_without_a_word_of_whose_they_are() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let mut management = RevocationServiceClient::new(
        running.channel(&deployment.credentials("management", &running.clock)),
    );
    let revoke = |key_set: &str| proto::RevokeTokenRequest {
        key_sets: vec![key_set.to_owned()],
        target: Some(proto::revoke_token_request::Target::Jti(
            "a-secret-jti".to_owned(),
        )),
        ..Default::default()
    };
    management.revoke_token(revoke("op/a")).await.unwrap();
    let refused = management.revoke_token(revoke("other/a")).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let entry = |outcome, reason: &str| ("RevokeToken".to_owned(), outcome, reason.to_owned());
    assert_eq!(
        // who administers some key sets sees nothing of others
        trail(&mut running.admin(&deployment, "root"), by("management")).await,
        [
            entry(AuditOutcome::Begun, ""),
            entry(AuditOutcome::Done, ""),
            entry(AuditOutcome::Refused, "NOT_GRANTED"),
        ]
    );
    running.stop().await;
    for path in segments(&deployment).into_values() {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(!text.contains("a-secret-jti"));
    }
}
