//! Every row of the report, in a size that measures nothing: that it appears, and that something was counted.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up stops")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// The folder with the programs that this build has made.
fn programs() -> PathBuf {
    let report = Path::new(env!("CARGO_BIN_EXE_report"));
    report.parent().unwrap().to_owned()
}

fn report(output: &Path, arguments: &[&str]) -> Output {
    let scratch = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_report"))
        .args(["--quick", "--programs"])
        .arg(programs())
        .arg("--scratch")
        .arg(scratch.path())
        .arg("--growth-scratch")
        .arg(scratch.path())
        .arg("--output")
        .arg(output)
        .args(arguments)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Group and row of everything that a whole run has, besides the lanes' loops.
fn expected() -> Vec<(String, &'static str)> {
    let mut rows = Vec::new();
    for (groups, whos) in [
        (
            &[
                "rs256_sign",
                "ps256_sign",
                "es256_sign",
                "ed25519_sign",
                "rs256_verify",
                "ps256_verify",
                "es256_verify",
                "ed25519_verify",
            ][..],
            &[
                "aws-lc-rs",
                "ring",
                "jsonwebtoken",
                "josekit",
                "node-jose",
                "unary",
                "coalesced",
                "batch",
                "stream",
                "openbao",
                "openbao-batch",
            ][..],
        ),
        (
            &["rsa4096_sign"],
            &["aws-lc-rs", "ring", "unary", "coalesced", "batch", "stream"],
        ),
        (
            &[
                "rsa_oaep_encrypt",
                "rsa_oaep_decrypt",
                "ecdh_es_encrypt",
                "ecdh_es_decrypt",
            ],
            &[
                "codec",
                "josekit",
                "node-jose",
                "unary",
                "coalesced",
                "batch",
            ],
        ),
        (&["token_request"], &["node-jose", "one-call"]),
        (&["unary_latency"], &["primitive", "empty", "sign", "added"]),
        (
            &["latency"],
            &[
                "ES256-unary 25 %",
                "ES256-coalesced 50 %",
                "RS256-unary 70 %",
                "RS256-coalesced 90 %",
            ],
        ),
        (&["flood"], &["alone", "flooded", "flood"]),
        (&["no_lanes"], &["aws-lc-rs", "unary"]),
        (
            &["goodput"],
            &[
                "rsa4096 coalesced peak",
                "rsa4096 coalesced 10x",
                "rsa4096 unary 10x",
                "rs256 coalesced 10x",
            ],
        ),
        (
            &["growth"],
            &[
                "1 key sets",
                "8 key sets",
                "8 created",
                "8 used",
                "8 start to warm",
            ],
        ),
        (&["allocations"], &["sign ES256", "verify ES256"]),
    ] {
        for group in groups {
            rows.extend(whos.iter().map(|who| ((*group).to_owned(), *who)));
        }
    }
    rows
}

#[test]
fn a_quick_report_has_every_row_and_each_has_counted_something() {
    let folder = tempfile::tempdir().unwrap();
    let run = report(folder.path(), &[]);
    assert!(run.status.success(), "{}", said(&run));

    let json = std::fs::read_to_string(folder.path().join("latest.json")).unwrap();
    let document: Value = serde_json::from_str(&json).unwrap();
    let rows = document["rows"].as_array().unwrap();
    for (group, who) in expected() {
        let row = rows
            .iter()
            .find(|row| row["group"] == group.as_str() && row["who"] == who);
        let row = row.unwrap_or_else(|| panic!("no row {who} in {group}"));
        let figures = row["figures"].as_object().unwrap();
        // what can be nought even where something happened
        let may_be_none = ["failed_percent", "bytes_per_key", "times"];
        let counted = figures
            .iter()
            .filter(|(column, _)| !may_be_none.contains(&column.as_str()));
        for (column, figure) in counted {
            let median = figure["median"].as_f64().unwrap();
            assert!(median > 0.0, "{group} {who} {column}: {median}");
        }
    }
    for (key, ratio) in document["ratios"].as_object().unwrap() {
        let reason = &document["reasons"][key];
        assert!(
            ratio.is_number() || reason.is_string(),
            "{key}: {ratio}, {reason}"
        );
    }
    for version in [
        "OpenBao",
        "node",
        "jose (Node)",
        "josekit's OpenSSL",
        "crypto_mb",
    ] {
        assert!(document["versions"][version].is_string(), "{version}");
    }
    let page = std::fs::read_to_string(folder.path().join("latest.md")).unwrap();
    assert!(page.contains("dev mode has no TLS and no audit"));
    for plot in [
        "rs256_sign.svg",
        "es256_verify.svg",
        "latency.svg",
        "growth.svg",
    ] {
        assert!(folder.path().join(plot).is_file(), "{plot}");
        assert!(page.contains(plot), "{plot}");
    }
}

#[test]
fn a_group_that_does_not_exist_fails_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("results");
    let run = report(&output, &["--only", "rs256_sing"]);
    assert!(!run.status.success());
    assert!(said(&run).contains("no such group"), "{}", said(&run));
    assert!(!output.exists());
}
