//! `key-manager store`, as an operator runs it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crypto_proto::keys::v1::KeyState;
use key_manager::{RunError, config::Config};
use service_kit::config::to_redacted_toml;
use testkit::EtcdCluster;

use crate::{
    replicas::on,
    support::{Deployment, create, kids, rotate, show},
};

fn key_manager(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_key-manager"))
        .args(arguments)
        .output()
        .unwrap()
}

fn migrate(from: &Path, to: &Path) -> Output {
    key_manager(&[
        "store",
        "migrate",
        "--from",
        from.to_str().unwrap(),
        "--to",
        to.to_str().unwrap(),
    ])
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// The file of these settings.
fn file(deployment: &Deployment, name: &str, config: &Config) -> PathBuf {
    let path = deployment.path(name);
    std::fs::write(&path, to_redacted_toml(config).unwrap()).unwrap();
    path
}

fn with_path(config: &Config, path: PathBuf) -> Config {
    let mut config = config.clone();
    config.store.path = path;
    config.store.endpoints.clear();
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_moves_to_etcd_and_back_with_every_key_and_the_old_one_is_closed() {
    let cluster = EtcdCluster::start(1);
    let mut deployment = on(&cluster);
    let in_etcd = deployment.config.clone();
    let in_file = with_path(&in_etcd, deployment.path("keys.db"));
    let back = with_path(&in_etcd, deployment.path("back.db"));
    let (sqlite, etcd, returned) = (
        file(&deployment, "sqlite.toml", &in_file),
        file(&deployment, "etcd.toml", &in_etcd),
        file(&deployment, "back.toml", &back),
    );

    deployment.config = in_file;
    let replica = deployment.start().await;
    let mut admin = replica.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    rotate(&mut admin, "op/a", true).await;
    let before = show(&mut admin, "op/a").await.key_set.unwrap();
    let busy = migrate(&sqlite, &etcd);
    assert_eq!(busy.status.code(), Some(69), "{}", said(&busy));
    assert!(said(&busy).contains("in use"), "{}", said(&busy));
    replica.stop().await;

    let moved = migrate(&sqlite, &etcd);
    assert!(moved.status.success(), "{}", said(&moved));
    for says in ["copied", "compared", "moved "] {
        assert!(said(&moved).contains(says), "{says}: {}", said(&moved));
    }
    let closed = deployment.start().await.failed().await;
    assert!(matches!(closed, RunError::Vault(_)), "{closed}");
    assert!(closed.to_string().contains("was moved"), "{closed}");

    deployment.config = in_etcd;
    let (one, other) = (
        deployment.start_replica(1).await,
        deployment.start_replica(2).await,
    );
    for replica in [&one, &other] {
        let mut admin = replica.admin(&deployment, "admin");
        let after = show(&mut admin, "op/a").await.key_set.unwrap();
        for state in [KeyState::Active, KeyState::Prepared] {
            assert_eq!(kids(&before, state), kids(&after, state), "{state:?}");
        }
    }
    let mut admin = one.admin(&deployment, "admin");
    rotate(&mut admin, "op/a", true).await;
    one.stop().await;
    other.stop().await;

    let moved = migrate(&etcd, &returned);
    assert!(moved.status.success(), "{}", said(&moved));
    deployment.config = back;
    let replica = deployment.start().await;
    let mut admin = replica.admin(&deployment, "admin");
    let after = show(&mut admin, "op/a").await.key_set.unwrap();
    assert_eq!(
        kids(&after, KeyState::Retiring),
        kids(&before, KeyState::Active)
    );
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_manager_that_runs_on_a_store_that_is_moved_away_writes_nothing_more() {
    let cluster = EtcdCluster::start(1);
    let deployment = on(&cluster);
    let replica = deployment.start().await;
    let mut admin = replica.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let to = with_path(&deployment.config, deployment.path("keys.db"));
    let from = file(&deployment, "from.toml", &deployment.config);
    let to = file(&deployment, "to.toml", &to);
    let moved = migrate(&from, &to);
    assert!(moved.status.success(), "{}", said(&moved));
    let request = crypto_proto::keys::v1::RotateKeySetRequest {
        key_set: "op/a".to_owned(),
        force: true,
        ..Default::default()
    };
    let refused = admin.rotate_key_set(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    assert!(refused.message().contains("moved"), "{refused:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_moved_is_named_with_its_exit_code() {
    let cluster = EtcdCluster::start(1);
    let deployment = on(&cluster);
    let etcd = file(&deployment, "etcd.toml", &deployment.config);
    let missing = with_path(&deployment.config, deployment.path("missing.db"));
    let missing = file(&deployment, "missing.toml", &missing);
    let bad = with_path(&deployment.config, PathBuf::new());
    let bad = file(&deployment, "bad.toml", &bad);
    for (from, to, code, says) in [
        (&bad, &etcd, 64, "give either store.path"),
        (&etcd, &etcd, 64, "the same store"),
        (&missing, &etcd, 66, "there is no such file"),
        (&etcd, &missing, 66, "the source has no root"),
    ] {
        let output = migrate(from, to);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{says}: {}",
            said(&output)
        );
        assert!(said(&output).contains(says), "{says}: {}", said(&output));
    }
    // a target that is in use
    let replica = deployment.start().await;
    let mut admin = replica.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let source = with_path(&deployment.config, deployment.path("keys.db"));
    let mut other = Deployment::new();
    other.config.store.path = source.store.path.clone();
    other.start().await.stop().await;
    let output = migrate(&file(&deployment, "sqlite.toml", &source), &etcd);
    assert_eq!(output.status.code(), Some(73), "{}", said(&output));
    show(&mut admin, "op/a").await;
    replica.stop().await;
    let output = key_manager(&["store", "release", "--config", etcd.to_str().unwrap()]);
    assert!(
        output.status.success() && said(&output).contains("no mark"),
        "{}",
        said(&output)
    );
}
