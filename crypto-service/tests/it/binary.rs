//! The program itself: arguments, exit codes, and a start without a key-manager.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use testkit::{CertificateAuthority, Leaf, PemFolder};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crypto-service"));
    command.env_clear().stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn bad_configuration_exits_64_and_names_every_mistake() {
    let output = program()
        .args(["--set", "feed.endpoint=nowhere", "--set", "grpc.lisen=x"])
        .env("CRYPTO_SERVICE_CACHE_KEYS", "many")
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    for place in [
        "tls.cert",
        "tls.key",
        "tls.ca",
        "policy.file",
        "feed.endpoint",
        "grpc.lisen",
        "CRYPTO_SERVICE_CACHE_KEYS",
    ] {
        assert!(said.contains(place), "{place} is not named in\n{said}");
    }
    let output = program().arg("--no-such-flag").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn help_shows_examples_and_the_settings_can_be_checked_and_printed() {
    let output = program().arg("--help").output().unwrap();
    assert!(
        output.status.success()
            && text(&output.stdout).contains("Examples:\n  crypto-service --config")
    );
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/crypto-service.example.toml");
    let checked = program()
        .args(["--config", example, "--check-config"])
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let printed = program()
        .args(["--config", example, "--print-config"])
        .output()
        .unwrap();
    assert!(
        text(&printed.stdout).contains("max_sign_staleness = \"5min\""),
        "{}",
        text(&printed.stdout)
    );
}

#[test]
fn it_starts_without_a_key_manager_says_that_it_is_not_ready_and_drains_on_sigterm() {
    let (ca, folder) = (CertificateAuthority::new("test"), PemFolder::new());
    let files = folder.write(
        "crypto-service",
        &ca.issue(&Leaf::server("crypto-service")),
        &ca,
    );
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, "").unwrap();
    let set = |key: &str, value: &std::path::Path| format!("{key}={}", value.display());
    let mut child = program()
        .arg("--die-with-parent")
        .args([
            "--set",
            &set("tls.cert", &files.cert),
            "--set",
            &set("tls.key", &files.key),
            "--set",
            &set("tls.ca", &files.ca),
        ])
        .args([
            "--set",
            &set("policy.file", &policy),
            "--set",
            "feed.endpoint=https://127.0.0.1:9",
        ])
        .env("CRYPTO_GRPC", "127.0.0.1:0")
        .env("CRYPTO_HTTP", "127.0.0.1:0")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let listening = lines
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.contains("listening"))
        .unwrap();
    let http = listening
        .split("http=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let mut stream = TcpStream::connect(http).unwrap();
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
}
