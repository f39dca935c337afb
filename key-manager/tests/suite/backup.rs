//! `Backup`, `Restore` and the anchor, as an operator meets them.

use crypto_proto::keys::v1::{
    self as proto, KeyState, backup_response::Part as Down,
    key_admin_service_client::KeyAdminServiceClient, restore_request::Part as Up,
    restore_response::Part as Progress, watch_request::Message as FromInstance,
};
use key_manager::{RunError, anchor::AnchorError};
use testkit::write_private;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

#[cfg(feature = "etcd")]
use crate::replicas::on;
use crate::support::{
    Deployment, Running, create, eventually,
    instance::{FakeInstance, hello, open},
    kids, new_set, rotate, show,
};

type Admin = KeyAdminServiceClient<Channel>;

async fn backup(keeper: &mut Admin) -> Result<(proto::BackupHeader, Vec<u8>), Status> {
    let mut stream = keeper.backup(proto::BackupRequest {}).await?.into_inner();
    let (mut header, mut file) = (None, Vec::new());
    while let Some(message) = stream.message().await? {
        match message.part.unwrap() {
            Down::Header(found) => header = Some(found),
            Down::Chunk(bytes) => {
                assert!(bytes.len() <= 256 * 1024);
                file.extend(bytes);
            }
            Down::End(end) => {
                assert_eq!(end.size, u64::try_from(file.len()).unwrap());
                return Ok((header.unwrap(), file));
            }
        }
    }
    panic!("a backup without an end")
}

/// The result, and the status where there was one after it or instead of it.
async fn restore(
    keeper: &mut Admin,
    options: proto::RestoreOptions,
    file: &[u8],
) -> (Option<proto::RestoreResult>, Result<(), Status>) {
    let (up, requests) = mpsc::channel(1_000);
    let message = |part| proto::RestoreRequest { part: Some(part) };
    up.try_send(message(Up::Options(options))).unwrap();
    for chunk in file.chunks(1_000) {
        up.try_send(message(Up::Chunk(chunk.to_vec()))).unwrap();
    }
    drop(up);
    let opened = keeper.restore(ReceiverStream::new(requests)).await;
    let mut stream = match opened {
        Ok(opened) => opened.into_inner(),
        Err(status) => return (None, Err(status)),
    };
    let mut result = None;
    loop {
        match stream.message().await {
            Ok(None) => return (result, Ok(())),
            Ok(Some(message)) => {
                if let Some(Progress::Result(found)) = message.part {
                    result = Some(found);
                }
            }
            Err(status) => return (result, Err(status)),
        }
    }
}

fn forced() -> proto::RestoreOptions {
    proto::RestoreOptions {
        force: true,
        ..Default::default()
    }
}

fn keeper(running: &Running, deployment: &Deployment) -> Admin {
    running.admin(deployment, "keeper")
}

fn wrong_field(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    details.bad_request().unwrap().field_violations[0]
        .field
        .clone()
}

/// A set as it is once the key-manager serves what was restored.
async fn shown(running: &Running, deployment: &Deployment, name: &str) -> proto::KeySet {
    eventually("the restored key set", async || {
        let request = proto::GetKeySetRequest {
            key_set: name.to_owned(),
            ..Default::default()
        };
        let mut admin = running.admin(deployment, "admin");
        let answer = admin.get_key_set(request).await.ok()?;
        answer.into_inner().key_set
    })
    .await
}

async fn acts(running: &Running, deployment: &Deployment, act: &str) -> Vec<proto::AuditEntry> {
    eventually("the audit log", async || {
        let request = proto::QueryAuditRequest {
            act: act.to_owned(),
            ..Default::default()
        };
        let mut admin = running.admin(deployment, "admin");
        let page = admin.query_audit(request).await.ok()?.into_inner();
        Some(page.entries)
    })
    .await
}

fn spools(deployment: &Deployment) -> usize {
    let listed = deployment.folder.path().read_dir().unwrap();
    let names = listed.map(|file| file.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().contains(".spool"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_machine_comes_back_on_a_fresh_one() {
    let lost = Deployment::new();
    let running = lost.start().await;
    let mut admin = running.admin(&lost, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let before = rotate(&mut admin, "op/a", true).await.key_set.unwrap();
    create(&mut admin, "op/b", "RSA-OAEP-256").await;
    let (header, file) = backup(&mut keeper(&running, &lost)).await.unwrap();
    assert_eq!((header.format, header.tenants, header.key_sets), (1, 1, 2));
    assert!(header.kek.starts_with("file "), "{header:?}");
    running.stop().await;

    let fresh = Deployment::new();
    let running = fresh.start().await;
    // an instance that lives on and has seen what was after the backup
    let credentials = fresh.credentials("crypto-service", &running.clock);
    let mut greeting = hello(&credentials, &"a".repeat(32), &[7; 32]);
    greeting.highest_epoch = 900;
    let refused = open(&running, &credentials, FromInstance::Hello(greeting)).await;
    assert_eq!(refused.err().unwrap().code(), Code::Unavailable);

    let options = proto::RestoreOptions::default();
    let (result, ended) = restore(&mut keeper(&running, &fresh), options, &file).await;
    ended.unwrap();
    let result = result.unwrap();
    assert!(result.restored && !result.forced, "{result:?}");
    assert_eq!(result.epoch, 901, "above what the instance has seen");
    assert_eq!(result.backup.unwrap(), header);
    let after = shown(&running, &fresh, "op/a").await;
    for state in [KeyState::Active, KeyState::Prepared] {
        assert_eq!(kids(&before, state), kids(&after, state), "{state:?}");
    }
    // the log of this machine goes on with its own key
    let done = acts(&running, &fresh, "Restore").await;
    let outcomes: Vec<_> = done.iter().map(proto::AuditEntry::outcome).collect();
    assert_eq!(
        outcomes,
        [proto::AuditOutcome::Begun, proto::AuditOutcome::Done]
    );
    assert!(done[1].subject.contains("2 key sets") && done[1].of == done[0].seq);
    let mut admin = running.admin(&fresh, "admin");
    rotate(&mut admin, "op/a", true).await;
    running.stop().await;
    let running = fresh.start().await;
    assert!(shown(&running, &fresh, "op/b").await.versions.len() == 1);
    running.stop().await;
    assert_eq!(spools(&fresh), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_undone_is_listed_and_done_only_by_force_and_both_are_recorded() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let rotated = rotate(&mut admin, "op/a", true).await.key_set.unwrap();
    let active = kids(&rotated, KeyState::Active);
    let (_, file) = backup(&mut keeper(&running, &deployment)).await.unwrap();
    let request = proto::RevokeKeyRequest {
        key_set: "op/a".to_owned(),
        kid: active[0].clone(),
        ..Default::default()
    };
    admin.revoke_key(request).await.unwrap();
    create(&mut admin, "op/new", "ES256").await;
    let (mut instance, _) = FakeInstance::connect(&deployment, &running, 'a').await;
    instance.ack().await;

    let dry = proto::RestoreOptions {
        dry_run: true,
        ..Default::default()
    };
    let mut keeper = keeper(&running, &deployment);
    let (looked, ended) = restore(&mut keeper, dry, &file).await;
    ended.unwrap();
    let looked = looked.unwrap();
    assert!(!looked.restored && !looked.forced);
    let (refused, ended) = restore(&mut keeper, Default::default(), &file).await;
    let status = ended.unwrap_err();
    assert_eq!(status.code(), Code::Aborted, "{status:?}");
    let info = status.get_error_details();
    assert_eq!(info.error_info().unwrap().reason, "CONFLICT");
    assert!(
        status
            .message()
            .contains("1 revoked keys are accepted again"),
        "{status:?}"
    );
    let undone = refused.unwrap().undone.unwrap();
    assert_eq!(looked.undone.unwrap(), undone);
    assert_eq!(
        (
            undone.key_sets_vanish,
            undone.revocations_undone,
            undone.key_sets_affected
        ),
        (1, 1, 2),
        "{undone:?}"
    );
    assert!(
        undone
            .key_sets
            .iter()
            .any(|set| set.key_set == "op/new" && set.vanishes)
    );
    assert_eq!(
        kids(
            &show(&mut admin, "op/a").await.key_set.unwrap(),
            KeyState::Revoked
        ),
        active
    );

    let (done, ended) = restore(&mut keeper, forced(), &file).await;
    ended.unwrap();
    let done = done.unwrap();
    assert!(done.restored && done.forced && done.undone.unwrap() == undone);
    // the stream of the instance ends, and the next one begins with a snapshot of the new epoch
    while let Ok(Some(_)) = instance.try_next().await {}
    let back = shown(&running, &deployment, "op/a").await;
    assert_eq!(kids(&back, KeyState::Active), active);
    let (again, sets) = FakeInstance::connect(&deployment, &running, 'a').await;
    assert!(
        again.epoch >= done.epoch && sets.len() == 1,
        "{} {}",
        again.epoch,
        done.epoch
    );
    let recorded = acts(&running, &deployment, "Restore").await;
    let outcomes: Vec<_> = recorded
        .iter()
        .map(|entry| (entry.outcome(), entry.force))
        .collect();
    use proto::AuditOutcome::{Begun, Done, Refused};
    assert_eq!(
        outcomes,
        [
            (Begun, false),
            (Refused, false),
            (Begun, true),
            (Done, true)
        ]
    );
    assert!(
        recorded[3].subject.contains("undid: 1 key sets vanish"),
        "{recorded:?}"
    );
    assert_eq!(
        acts(&running, &deployment, "Restore/dry-run").await.len(),
        1
    );
    assert_eq!(acts(&running, &deployment, "Backup").await.len(), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_and_restore_need_grants_of_their_own_in_every_tenant() {
    let deployment = Deployment::new();
    let policy = r#"
[[grant]]
caller = "spiffe://crypto.dev/keeper"
key_sets = ["*"]
operations = ["backup", "restore"]
[[grant]]
caller = "spiffe://crypto.dev/narrow"
key_sets = ["op/*"]
operations = ["backup", "restore"]
[[grant]]
caller = "spiffe://crypto.dev/root"
key_sets = ["*"]
operations = ["administer", "revoke-tokens", "feed"]
[[grant]]
caller = "spiffe://crypto.dev/root"
tenant = "acme"
key_sets = ["*"]
operations = ["administer"]
[[grant]]
caller = "spiffe://crypto.dev/both"
key_sets = ["*"]
operations = ["backup"]
[[grant]]
caller = "spiffe://crypto.dev/both"
tenant = "acme"
key_sets = ["*"]
operations = ["backup"]
"#;
    std::fs::write(deployment.path("policy.toml"), policy).unwrap();
    let running = deployment.start().await;
    let mut root = running.admin(&deployment, "root");
    create(&mut root, "op/a", "ES256").await;
    let (_, file) = backup(&mut keeper(&running, &deployment)).await.unwrap();
    for role in ["root", "narrow", "stranger"] {
        let mut admin = running.admin(&deployment, role);
        let refused = backup(&mut admin).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{role}");
        let (_, refused) = restore(&mut admin, forced(), &file).await;
        assert_eq!(
            refused.unwrap_err().code(),
            Code::PermissionDenied,
            "{role}"
        );
    }
    let mut set = new_set("op/x", "ES256");
    set.tenant = "acme".to_owned();
    let request = proto::CreateKeySetRequest {
        key_set: Some(set),
        request_id: String::new(),
    };
    root.create_key_set(request).await.unwrap();
    let refused = backup(&mut keeper(&running, &deployment))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("acme"), "{refused:?}");
    let (_, refused) = restore(&mut keeper(&running, &deployment), forced(), &file).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    // a file with a tenant that the store does not have
    let mut both = running.admin(&deployment, "both");
    let (_, file) = backup(&mut both).await.unwrap();
    running.stop().await;
    let fresh = Deployment::new();
    let running = fresh.start().await;
    let (_, refused) = restore(&mut keeper(&running, &fresh), forced(), &file).await;
    let refused = refused.unwrap_err();
    assert!(refused.message().contains("acme"), "{refused:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_restored_are_refused_by_field_and_leave_nothing() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let mut keeper_here = keeper(&running, &deployment);
    let (_, file) = backup(&mut keeper_here).await.unwrap();
    let mut altered = file.clone();
    altered[file.len() / 2] ^= 1;
    let mut newer = file.clone();
    newer[11] = 9;
    for (what, bytes, says) in [
        ("altered", altered, "altered"),
        ("cut off", file[..file.len() - 40].to_vec(), "cut off"),
        ("no backup", b"SQLite format 3".to_vec(), "no backup"),
        ("nothing", Vec::new(), "cut off"),
        ("newer", newer, "format 9"),
    ] {
        let (result, refused) = restore(&mut keeper_here, forced(), &bytes).await;
        let refused = refused.unwrap_err();
        assert!(result.is_none(), "{what}");
        assert_eq!(wrong_field(&refused), "chunk", "{what}");
        assert!(refused.message().contains(says), "{what}: {refused:?}");
    }
    let reused = proto::RestoreOptions {
        request_id: "x".repeat(129),
        ..Default::default()
    };
    let (_, refused) = restore(&mut keeper_here, reused, &file).await;
    assert_eq!(wrong_field(&refused.unwrap_err()), "request_id");
    // without options
    let (up, requests) = mpsc::channel(1);
    let part = Some(Up::Chunk(file.clone()));
    up.try_send(proto::RestoreRequest { part }).unwrap();
    let opened = keeper_here
        .restore(ReceiverStream::new(requests))
        .await
        .unwrap();
    let refused = opened.into_inner().message().await.unwrap_err();
    assert_eq!(wrong_field(&refused), "options");
    show(&mut admin, "op/a").await;
    running.stop().await;
    assert_eq!(spools(&deployment), 0);

    let other = Deployment::new();
    write_private(&other.path("kek"), &"66".repeat(32));
    let running = other.start().await;
    let (_, refused) = restore(&mut keeper(&running, &other), forced(), &file).await;
    let refused = refused.unwrap_err();
    assert_eq!(wrong_field(&refused), "chunk");
    assert!(
        refused.message().contains("another key-encryption key"),
        "{refused:?}"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_and_a_spool_that_cannot_be_written_change_nothing() {
    let mut deployment = Deployment::new();
    deployment.config.store.spool = deployment.path("spool");
    std::fs::write(deployment.path("spool"), "no folder").unwrap();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let mut keeper = keeper(&running, &deployment);
    let (_, file) = backup(&mut keeper).await.unwrap();
    let (_, refused) = restore(&mut keeper, forced(), &file).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.message().contains("spool"), "{refused:?}");

    std::fs::remove_file(deployment.path("spool")).unwrap();
    std::fs::create_dir(deployment.path("spool")).unwrap();
    let files = || deployment.path("spool").read_dir().unwrap().count();
    let (up, requests) = mpsc::channel(2);
    let message = |part| proto::RestoreRequest { part: Some(part) };
    up.try_send(message(Up::Options(forced()))).unwrap();
    up.try_send(message(Up::Chunk(file[..100].to_vec())))
        .unwrap();
    let stream = keeper.restore(ReceiverStream::new(requests)).await.unwrap();
    eventually("the spool", async || (files() > 0).then_some(())).await;
    // one at a time
    let (_, refused) = restore(&mut keeper, forced(), &file).await;
    let refused = refused.unwrap_err();
    assert!(refused.code() == Code::Aborted && refused.message().contains("another restore"));
    drop((stream, up));
    eventually("an empty folder", async || (files() == 0).then_some(())).await;
    let (result, ended) = restore(&mut keeper, forced(), &file).await;
    ended.unwrap();
    assert!(result.unwrap().restored);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_store_than_the_anchor_has_seen_is_refused_until_a_backup_is_restored() {
    let mut deployment = Deployment::new();
    deployment.config.store.anchor = deployment.path("anchor");
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    running.stop().await;
    let anchored = || -> u64 {
        let text = std::fs::read_to_string(deployment.path("anchor")).unwrap();
        let number = text.strip_prefix("epoch ").unwrap();
        number.strip_suffix('\n').unwrap().parse().unwrap()
    };
    let first = anchored();
    let database = deployment.path("keys.db");
    std::fs::copy(&database, deployment.path("yesterday.db")).unwrap();

    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    let rotated = rotate(&mut admin, "op/a", true).await.key_set.unwrap();
    let (header, file) = backup(&mut keeper(&running, &deployment)).await.unwrap();
    running.stop().await;
    let seen = anchored();
    assert!(seen > first && seen >= header.epoch, "{first} {seen}");
    std::fs::copy(deployment.path("yesterday.db"), &database).unwrap();
    let refused = deployment.start().await.failed().await;
    assert!(
        matches!(refused, RunError::Anchor(AnchorError::Older { .. })),
        "{refused}"
    );
    assert_eq!(refused.exit_code(), 65);
    assert!(
        refused.to_string().contains("cryptoctl restore"),
        "{refused}"
    );
    std::fs::write(deployment.path("anchor"), "epoch many\n").unwrap();
    let unreadable = deployment.start().await.failed().await;
    assert_eq!(unreadable.exit_code(), 65, "{unreadable}");
    std::fs::remove_file(deployment.path("anchor")).unwrap();
    std::fs::create_dir(deployment.path("anchor")).unwrap();
    let unwritable = deployment.start().await.failed().await;
    assert_eq!(unwritable.exit_code(), 74, "{unwritable}");
    std::fs::remove_dir(deployment.path("anchor")).unwrap();
    std::fs::write(deployment.path("anchor"), format!("epoch {seen}\n")).unwrap();

    // what the message says: an empty store, and a restore
    std::fs::remove_file(&database).unwrap();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    let request = proto::CreateKeySetRequest {
        key_set: Some(new_set("op/b", "ES256")),
        request_id: String::new(),
    };
    let held = admin.create_key_set(request).await.unwrap_err();
    assert_eq!(held.code(), Code::Unavailable, "{held:?}");
    assert!(held.message().contains("restore a backup"), "{held:?}");
    let options = proto::RestoreOptions::default();
    let (result, ended) = restore(&mut keeper(&running, &deployment), options, &file).await;
    ended.unwrap();
    let result = result.unwrap();
    assert!(result.epoch > header.epoch);
    assert!(result.epoch > seen);
    let after = shown(&running, &deployment, "op/a").await;
    assert_eq!(
        kids(&after, KeyState::Active),
        kids(&rotated, KeyState::Active)
    );
    running.stop().await;
    assert!(anchored() >= result.epoch, "{}", anchored());
}

#[cfg(feature = "etcd")]
#[tokio::test(flavor = "multi_thread")]
async fn of_key_managers_that_share_a_store_all_serve_what_one_has_restored() {
    let cluster = testkit::EtcdCluster::start(1);
    let deployment = on(&cluster);
    let one = deployment.start_replica(1).await;
    let other = deployment.start_replica(2).await;
    let mut admin = one.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let rotated = rotate(&mut admin, "op/a", true).await.key_set.unwrap();
    let active = kids(&rotated, KeyState::Active);
    let (_, file) = backup(&mut keeper(&one, &deployment)).await.unwrap();
    rotate(&mut admin, "op/a", true).await;
    let (mut instance, _) = FakeInstance::connect(&deployment, &other, 'a').await;
    instance.ack().await;
    let (result, ended) = restore(&mut keeper(&one, &deployment), forced(), &file).await;
    ended.unwrap();
    let result = result.unwrap();
    assert!(result.forced);
    while let Ok(Some(_)) = instance.try_next().await {}
    for replica in [&one, &other] {
        eventually("the restored key", async || {
            let set = shown(replica, &deployment, "op/a").await;
            (kids(&set, KeyState::Active) == active).then_some(())
        })
        .await;
    }
    let (again, _) = FakeInstance::connect(&deployment, &other, 'a').await;
    assert!(again.epoch >= result.epoch);
    let mut admin = other.admin(&deployment, "admin");
    rotate(&mut admin, "op/a", true).await;
    one.stop().await;
    other.stop().await;
    // a store that is opened anew has everything
    let third = deployment.start_replica(3).await;
    shown(&third, &deployment, "op/a").await;
    third.stop().await;
}
