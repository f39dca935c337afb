//! Configuration and signals of the daemons.

use std::time::Duration;

use blackbox::{Process, Stack, get, text};
use rustix::process::Signal;

use crate::support::{crypto, sign, signing_set};

const DAEMONS: [&str; 2] = ["crypto-service", "key-manager"];

#[test]
fn bad_configuration_ends_with_64_and_names_every_mistake() {
    let stack = Stack::init();
    for name in DAEMONS {
        let run = |arguments: &[&str], environment: &[(&str, &str)]| {
            let mut command = stack.command(name);
            command.args(arguments).envs(environment.iter().copied());
            let output = command.output().unwrap();
            (output.status.code(), text(&output))
        };
        let sound = format!("var/dev/{name}.toml");
        let bad = stack.root().join("bad.toml");
        std::fs::write(
            &bad,
            "[grpc]\nlisten = \"here\"\nport = 1\n[nonsense]\nkey = 1\n",
        )
        .unwrap();
        let (code, said) = run(&["--config", bad.to_str().unwrap()], &[]);
        assert_eq!(code, Some(64), "{name}: {said}");
        for part in [
            "grpc.listen",
            "grpc.port",
            "nonsense",
            "tls.cert",
            "tls.key",
            "tls.ca",
            "policy.file",
        ] {
            assert!(said.contains(part), "{name} does not name {part}: {said}");
        }
        std::fs::write(&bad, "no TOML at all").unwrap();
        assert_eq!(
            run(&["--config", bad.to_str().unwrap()], &[]).0,
            Some(64),
            "{name}: no TOML"
        );
        let (code, said) = run(&["--config", "missing.toml"], &[]);
        assert!(
            code == Some(64) && said.contains("missing.toml"),
            "{name}: {said}"
        );
        let (code, said) = run(&["--config", &sound, "--set", "grpc.frobnicate=1"], &[]);
        assert!(
            code == Some(64) && said.contains("grpc.frobnicate"),
            "{name}: {said}"
        );
        assert_eq!(
            run(&["--frobnicate"], &[]).0,
            Some(64),
            "{name}: an unknown flag"
        );
        let variable = format!("{}_GRPC_FROBNICATE", name.to_uppercase().replace('-', "_"));
        let (code, said) = run(&["--config", &sound, "--check-config"], &[(&variable, "1")]);
        assert!(
            code == Some(64) && said.contains(&variable),
            "{name}: {said}"
        );

        let (code, said) = run(&["--config", &sound, "--check-config"], &[]);
        assert!(code == Some(0) && said.contains("sound"), "{name}: {said}");
        let (code, printed) = run(&["--config", &sound, "--print-config"], &[]);
        assert!(
            code == Some(0) && printed.contains("[grpc]") && printed.contains("policy.toml"),
            "{name}: {printed}"
        );
        assert_eq!(run(&["--help"], &[]).0, Some(0), "{name}");
    }
    let (code, said) = {
        let mut command = stack.command("key-manager");
        command.args([
            "--config",
            "var/dev/key-manager.toml",
            "--set",
            "times.lead=1s",
        ]);
        let output = command.output().unwrap();
        (output.status.code(), text(&output))
    };
    assert!(
        code == Some(64) && said.contains("times.lead") && said.contains("cap"),
        "a lead below the cap: {said}"
    );
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let stack = Stack::init();
    for name in DAEMONS {
        for (setting, says) in [
            ("tls.cert", "missing.pem"),
            ("tls.ca", "missing.pem"),
            ("policy.file", "missing.pem"),
        ] {
            let mut command = stack.command(name);
            command.args([
                "--config",
                &format!("var/dev/{name}.toml"),
                "--set",
                &format!("{setting}=missing.pem"),
            ]);
            let mut process = Process::start(name, command);
            let status = process.wait(Duration::from_secs(20));
            assert!(
                status.is_some_and(|status| !status.success()),
                "{name} {setting}: {status:?} {}",
                process.log()
            );
            blackbox::wait_until(Duration::from_secs(5), || process.log().contains(says));
            assert!(
                process.log().contains(says) && !process.log().contains("panicked"),
                "{name} {setting}: {}",
                process.log()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_drain_within_ten_seconds_with_calls_and_streams_open() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut stack = Stack::start();
        signing_set(&stack, "op/access-token", "ES256").await;
        let token = crypto(&stack, "token");
        let watching =
            client_core::LocalVerifier::start(crypto(&stack, "auth"), client_core::Follow::all());
        watching.ready().await;
        let calling = tokio::spawn(async move {
            let mut signed = 0;
            while sign(&token, "op/access-token").await.is_ok() {
                signed += 1;
            }
            signed
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        for (what, process) in [
            ("crypto-service", stack.crypto_service.take()),
            ("key-manager", stack.key_manager.take()),
        ] {
            let mut process = process.unwrap();
            process.signal(signal);
            let status = process.wait(Duration::from_secs(10));
            assert!(
                status.is_some_and(|status| status.success()),
                "{what} after {signal:?}: {status:?}\n{}",
                process.log()
            );
        }
        assert!(calling.await.unwrap() > 0);
        assert!(get(stack.crypto.http, "/healthz").is_none());
    }
}
