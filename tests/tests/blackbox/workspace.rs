//! What may depend on what, read from `cargo metadata` and `cargo tree`.

use std::{collections::BTreeSet, process::Command};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Normal and build edges go from a higher rank to a lower one.
const RANKS: [(u8, &[&str]); 8] = [
    (7, &["faults"]),
    (6, &["benches", "blackbox", "peers", "sim", "cryptoctl"]),
    (5, &["crypto-service", "key-manager"]),
    (
        4,
        &[
            "client-token",
            "client-auth",
            "client-userinfo",
            "client-admin",
            "client-management",
        ],
    ),
    (3, &["client-core", "service-kit", "testkit"]),
    (
        2,
        &[
            "jose-aws-lc",
            "jose-ring",
            "keyring",
            "multibuffer",
            "audit-log",
            "issued-log",
        ],
    ),
    (1, &["jose"]),
    (0, &["crypto-proto"]),
];

/// Crates that do no I/O and have no clock.
const PURE: [&str; 3] = ["jose", "keyring", "audit-log"];

/// What would bring I/O, a clock or a runtime into them.
const IMPURE: [&str; 9] = [
    "tokio",
    "hyper",
    "tonic",
    "mio",
    "socket2",
    "getrandom",
    "aws-lc-rs",
    "ring",
    "rusqlite",
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(blackbox::repository().join("Cargo.toml"))
        .other_options(vec!["--offline".to_owned(), "--locked".to_owned()])
        .exec()
        .expect("cargo metadata")
}

fn rank_of(name: &str) -> u8 {
    RANKS
        .iter()
        .find(|(_, names)| names.contains(&name))
        .unwrap_or_else(|| panic!("{name} has no rank: give it one here and in ARCHITECTURE.md"))
        .0
}

#[test]
fn dependencies_go_down_the_ranks() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let mut edges = 0;
    for package in metadata.workspace_packages() {
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Development
                || !ours.contains(dependency.name.as_str())
            {
                continue;
            }
            edges += 1;
            assert!(
                rank_of(&package.name) > rank_of(&dependency.name),
                "{} must not depend on {}",
                package.name,
                dependency.name
            );
        }
    }
    assert!(edges > 10, "only {edges} edges were read");
}

#[test]
fn the_key_manager_knows_no_crypto_service_and_no_client_knows_a_server() {
    for (package, forbidden) in [
        ("key-manager", "crypto-service"),
        ("crypto-service", "key-manager"),
        ("client-core", "service-kit"),
        ("client-core", "aws-lc-rs"),
        ("client-token", "service-kit"),
        ("client-userinfo", "service-kit"),
        ("client-auth", "service-kit"),
        ("client-admin", "service-kit"),
        ("client-admin", "jose"),
        ("client-management", "service-kit"),
        ("client-management", "jose"),
    ] {
        let tree = tree_of(package);
        assert!(tree.len() > 1, "{package} has no tree");
        assert!(
            !tree.contains(forbidden),
            "{package} must not reach {forbidden}"
        );
    }
}

#[test]
fn pure_crates_reach_no_runtime_no_clock_and_no_engine() {
    for package in PURE {
        let tree = tree_of(package);
        assert!(
            tree.contains("thiserror"),
            "{package}: the tree was not read"
        );
        for impure in IMPURE {
            assert!(!tree.contains(impure), "{package} reaches {impure}");
        }
    }
}

/// Names of everything that a package reaches by normal and build edges, with the features that it asks for itself.
fn tree_of(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--prefix", "none"])
        .args(["--edges", "normal,build", "--format", "{p}"])
        .args(["--package", package])
        .current_dir(blackbox::repository())
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "{}", blackbox::text(&output));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}
