//! `cryptoctl`, as a person and as a script use it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use blackbox::{Stack, program, read, text};
use serde_json::Value;

use crate::support::{AUDIENCE, ISSUER};

fn json(output: &str) -> Value {
    serde_json::from_str(output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// Runs it; it has to end with `code` and to say `says`.
fn ends(stack: &Stack, arguments: &[&str], code: i32, says: &[&str]) -> Output {
    let output = stack.cryptoctl(arguments);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {}",
        text(&output)
    );
    for part in says {
        assert!(
            text(&output).contains(part),
            "{arguments:?} does not say {part}: {}",
            text(&output)
        );
    }
    output
}

#[test]
fn every_command_does_what_it_says() {
    let stack = Stack::start();
    stack.create_development_key_sets();
    let shown = json(&stack.ctl(&["--output", "json", "keyset", "show", "op/access-token"]));
    assert_eq!(
        (&shown["use"], &shown["publish"]),
        (&"SIGN".into(), &"PUBLIC".into()),
        "{shown}"
    );
    let listed = json(&stack.ctl(&["keyset", "list", "--output", "json"]));
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed}");

    let claims = format!(r#"{{"sub":"alice","aud":"{AUDIENCE}"}}"#);
    let signed = json(&stack.ctl(&[
        "--output",
        "json",
        "sign",
        "op/access-token",
        &claims,
        "--lifetime",
        "60",
    ]));
    let token = signed["token"].as_str().unwrap();
    let plain = stack.ctl(&["sign", "op/id-token", &claims]);
    assert_eq!(
        plain.trim().split('.').count(),
        3,
        "a token alone, so that it can be piped: {plain}"
    );
    let verified = stack.ctl(&["--output", "json", "verify", token, "--audience", AUDIENCE]);
    assert!(verified.contains("alice"), "{verified}");
    stack.ctl(&[
        "verify",
        token,
        "--audience-unchecked",
        "--as",
        "management",
    ]);
    ends(
        &stack,
        &["verify", token, "--audience", "https://other"],
        1,
        &["AUDIENCE"],
    );
    ends(
        &stack,
        &["verify", "x", "--audience", AUDIENCE],
        1,
        &["MALFORMED"],
    );

    let sealed = stack.ctl(&["encrypt", "a secret", "--key-set", "op/encryption"]);
    assert_eq!(
        stack.ctl(&["decrypt", sealed.trim()]).trim_end(),
        "a secret"
    );
    ends(&stack, &["decrypt", "x"], 1, &[]);
    let jwks = json(&stack.ctl(&["jwks", "--issuer", ISSUER]));
    assert!(
        jwks["keys"].as_array().is_some_and(|keys| keys.len() >= 5),
        "{jwks}"
    );

    let rotated = json(&stack.ctl(&[
        "--output",
        "json",
        "keyset",
        "rotate",
        "op/access-token",
        "--force",
    ]));
    let versions = rotated["key_set"]["versions"].as_array().unwrap().clone();
    let old = versions
        .iter()
        .find(|version| version["state"] == "RETIRING")
        .unwrap()["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    stack.ctl(&["verify", token, "--audience", AUDIENCE]);
    let revoked = json(&stack.ctl(&[
        "--output",
        "json",
        "keyset",
        "revoke",
        "op/access-token",
        &old,
    ]));
    assert_eq!(revoked["total"], 1, "{revoked}");
    ends(
        &stack,
        &["verify", token, "--audience", AUDIENCE],
        1,
        &["KEY_REVOKED"],
    );

    let jwk = stack.root().join("key.jwk");
    let file = jwk.to_str().unwrap();
    stack.ctl(&["keygen", "ES256", "--out", file]);
    let kid = json(&String::from_utf8(read(&jwk)).unwrap())["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    let imported = json(&stack.ctl(&[
        "--output",
        "json",
        "keyset",
        "import",
        "op/access-token",
        file,
    ]));
    assert_eq!(imported["kid"], kid.as_str());
    ends(
        &stack,
        &[
            "keyset",
            "import",
            "op/access-token",
            file,
            "--state",
            "active",
        ],
        64,
        &["--force"],
    );
    let public = stack.root().join("public.jwk");
    let key = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["use"] == "enc")
        .unwrap();
    std::fs::write(&public, key.to_string()).unwrap();
    let sealed = stack.ctl(&["encrypt", "for a key", "--jwk", public.to_str().unwrap()]);
    assert_eq!(
        stack.ctl(&["decrypt", sealed.trim()]).trim_end(),
        "for a key"
    );
}

#[test]
fn errors_say_what_is_wrong_and_how_to_mend_it() {
    let mut stack = Stack::start();
    stack.create_development_key_sets();
    ends(
        &stack,
        &["sign", "op/access-token", "{"],
        65,
        &["INVALID_ARGUMENT", "claims_json"],
    );
    ends(
        &stack,
        &["sign", "op/access-token", r#"{"exp":1}"#],
        65,
        &["claims.exp", "lifetime"],
    );
    ends(
        &stack,
        &["sign", "op/access-token", "{}", "--as", "auth"],
        77,
        &["NOT_GRANTED"],
    );
    ends(
        &stack,
        &["sign", "op/none", "{}"],
        1,
        &["KEY_SET_NOT_FOUND"],
    );
    ends(
        &stack,
        &["keyset", "create", "op/access-token", "--alg", "ES256"],
        1,
        &["CONFLICT"],
    );
    for refused in ["RSA1_5", "PBES2-HS256+A128KW", "none", "ES257"] {
        ends(
            &stack,
            &["keyset", "create", "op/x", "--alg", refused],
            65,
            &[refused],
        );
        ends(&stack, &["keygen", refused], 65, &["algorithm"]);
    }
    ends(
        &stack,
        &["sign", "op/access-token", "{}", "--as", "nobody"],
        64,
        &["nobody.crt", "dev init", "--as"],
    );
    ends(
        &stack,
        &["sign", "op/access-token", "{}", "--certs", "elsewhere"],
        64,
        &["elsewhere", "dev init", "--certs"],
    );
    ends(&stack, &["verify", "x"], 2, &["--audience"]);
    ends(&stack, &["frobnicate"], 2, &["frobnicate"]);
    ends(
        &stack,
        &["keygen", "RS256", "--rsa-bits", "1024"],
        64,
        &["2048"],
    );
    stack.crypto_service.take().unwrap().kill();
    let address = stack.crypto.grpc.to_string();
    ends(
        &stack,
        &["sign", "op/access-token", "{}"],
        69,
        &["UNAVAILABLE", &address],
    );
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_secret_is_never_written_over_and_its_file_is_private() {
    let stack = Stack::init();
    let file = |name: &str| stack.root().join(name);
    for (name, arguments) in [
        ("jwk", vec!["keygen", "ES256", "--out"]),
        ("hex", vec!["secret", "--out"]),
    ] {
        let path = file(name);
        let mut arguments = arguments;
        arguments.push(path.to_str().unwrap());
        stack.ctl(&arguments);
        let before = read(&path);
        assert!(
            before.len() > 32 && mode(&path) == 0o600,
            "{name}: {:o}",
            mode(&path)
        );
        ends(&stack, &arguments, 74, &[name, "exists"]);
        assert!(read(&path) == before, "{name} was written over");
    }
    let hex = stack.ctl(&["secret"]);
    assert_eq!(
        (
            hex.trim().len(),
            hex.trim().chars().all(|digit| digit.is_ascii_hexdigit())
        ),
        (64, true)
    );
    assert_ne!(hex, stack.ctl(&["secret"]));
}

#[test]
fn a_second_dev_init_keeps_what_is_there() {
    let stack = Stack::init();
    let files = || {
        let entries = std::fs::read_dir(stack.dev())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries
            .map(|path| (path.clone(), read(&path), mode(&path)))
            .collect();
        files.sort();
        files
    };
    let before = files();
    for role in [
        "token",
        "auth",
        "userinfo",
        "management",
        "admin",
        "crypto-service",
        "key-manager",
    ] {
        let named = |end: &str| {
            before
                .iter()
                .find(|(path, _, _)| path.ends_with(format!("{role}.{end}")))
        };
        assert!(named("crt").is_some(), "{role}.crt");
        assert_eq!(
            named("key").map(|(_, _, mode)| *mode),
            Some(0o600),
            "{role}.key"
        );
    }
    let said = stack.ctl(&["dev", "init"]);
    assert!(said.contains("0 files made"), "{said}");
    assert!(files() == before);
}

#[test]
fn completions_and_help_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(program("cryptoctl"))
            .args(["completions", shell])
            .output()
            .unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        for command in [
            "keyset", "sign", "verify", "encrypt", "decrypt", "jwks", "keygen", "secret", "dev",
        ] {
            assert!(
                output.status.success() && script.contains(command),
                "{shell}: no {command}"
            );
        }
    }
    let help = Command::new(program("cryptoctl"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(
        help.status.success() && text(&help).contains("Exit codes"),
        "{}",
        text(&help)
    );
}
