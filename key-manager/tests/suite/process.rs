//! Starting, stopping, and what must not be touched when starting fails.

use std::{path::Path, time::Duration};

use crate::support::{Deployment, create, kids, rotate, show};
use crypto_proto::keys::v1::KeyState;
use key_manager::{RunError, config::Config, seal::KekError};
use service_kit::config::{Settings, to_redacted_toml};
use testkit::write_private;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The names of the files, and what is in the database.
fn state(deployment: &Deployment) -> (Vec<String>, Vec<u8>) {
    let mut names: Vec<String> = deployment
        .folder
        .path()
        .read_dir()
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| name.starts_with("keys.db"));
    names.sort();
    (names, std::fs::read(deployment.path("keys.db")).unwrap())
}

async fn settled(deployment: &Deployment) {
    for _ in 0..100 {
        if state(deployment).0 == ["keys.db"] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the store is not closed: {:?}", state(deployment).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_missing_kek_stops_the_start_and_leaves_the_database_as_it_is() {
    let mut deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    running.stop().await;
    settled(&deployment).await;
    let before = state(&deployment);
    for (what, content, mode) in [
        ("wrong", "66".repeat(32), 0o600),
        ("too short", "66".repeat(8), 0o600),
        ("open to others", "5a".repeat(32), 0o644),
    ] {
        write_private(&deployment.path("kek"), &content);
        std::fs::set_permissions(
            deployment.path("kek"),
            std::os::unix::fs::PermissionsExt::from_mode(mode),
        )
        .unwrap();
        let error = deployment.start().await.failed().await;
        assert!(matches!(error, RunError::Kek(_)), "{what}: {error}");
        assert_eq!(error.exit_code(), 78, "{what}");
        assert!(
            before == state(&deployment),
            "{what}: {:?}",
            state(&deployment).0
        );
    }
    std::fs::remove_file(deployment.path("kek")).unwrap();
    assert!(matches!(
        deployment.start().await.failed().await,
        RunError::Kek(KekError::File { .. })
    ));
    deployment.config.kek.file = std::path::PathBuf::new();
    deployment.config.kek.env = "A_VARIABLE_THAT_NOBODY_SETS".to_owned();
    let error = deployment.start().await.failed().await.to_string();
    assert!(error.contains("A_VARIABLE_THAT_NOBODY_SETS"), "{error}");
    assert!(before == state(&deployment), "{:?}", state(&deployment).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_survive_a_restart() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    let before = rotate(&mut admin, "op/a", true).await.key_set.unwrap();
    running.stop().await;
    settled(&deployment).await;
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    let after = show(&mut admin, "op/a").await.key_set.unwrap();
    for state in [KeyState::Active, KeyState::Prepared] {
        assert_eq!(kids(&before, state), kids(&after, state), "{state:?}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_served() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut admin = running.admin(&deployment, "admin");
    create(&mut admin, "op/a", "ES256").await;
    rotate(&mut admin, "op/a", true).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    for (path, says) in [
        ("/healthz", "200 OK"),
        ("/readyz", "200 OK"),
        ("/metrics", "key_manager_key_versions{state=\"active\"} 1"),
        (
            "/metrics",
            "key_manager_rotations_total{cause=\"forced\"} 1",
        ),
        ("/metrics", "key_manager_epoch "),
    ] {
        let mut stream = tokio::net::TcpStream::connect(running.http).await.unwrap();
        stream
            .write_all(
                format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
            )
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(says), "{path}: {answer}");
    }
    running.stop().await;
}

#[test]
fn the_shipped_settings_are_the_defaults_and_name_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("key-manager.example.toml");
    let shipped: Config = key_manager::config::loader()
        .environment([])
        .file(Some(path.clone()))
        .load()
        .unwrap();
    let mut expected = Config::default();
    expected.tls.clone_from(&shipped.tls);
    expected.policy.clone_from(&shipped.policy);
    expected.kek.clone_from(&shipped.kek);
    expected.store.clone_from(&shipped.store);
    assert_eq!(shipped, expected);
    let text = std::fs::read_to_string(path).unwrap();
    for line in to_redacted_toml(&Config::default())
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
    {
        let key = line.split_once('=').map_or(line, |(key, _)| key.trim());
        let named = text
            .lines()
            .any(|line| line.trim_start_matches("# ").starts_with(key));
        assert!(named, "{key} is not documented");
    }
}

#[test]
fn every_mistake_is_named() {
    let mut config = Config::default();
    config.times.lead = "1s".parse().unwrap();
    config.times.max_verify_staleness = "1s".parse().unwrap();
    config.issued.retention = "0s".parse().unwrap();
    let places: Vec<String> = config
        .mistakes()
        .into_iter()
        .map(|mistake| mistake.place)
        .collect();
    assert_eq!(
        places,
        [
            "times.lead",
            "times.max_verify_staleness",
            "issued.retention",
            "tls.cert",
            "tls.key",
            "tls.ca",
            "policy.file",
            "store",
            "kek"
        ]
    );
}
