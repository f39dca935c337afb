//! `cryptoctl dev run`, which is what `make run` starts.

use std::{
    os::unix::fs::symlink,
    process::{Command, Stdio},
    time::Duration,
};

use blackbox::{PATIENCE, Process, Stack, get, program, repository, text, tool, wait_until};
use rustix::process::Signal;

/// A folder as a user has it: `.tools` beside `var`.
fn stack() -> Stack {
    let stack = Stack::init();
    symlink(repository().join(".tools"), stack.root().join(".tools")).unwrap();
    stack
}

fn dev_run(stack: &Stack) -> Process {
    let mut command = stack.command("cryptoctl");
    let programs = program("cryptoctl");
    command
        .args(["dev", "run", "--programs"])
        .arg(programs.parent().unwrap());
    Process::start("dev run", command)
}

fn wait_for_ready(run: &Process) {
    let ready = wait_until(PATIENCE, || run.lines().iter().any(|line| line == "ready"));
    assert!(ready, "no `ready`:\n{}", run.log());
}

#[test]
fn the_tour_passes_twice_on_the_same_folder_and_ctrl_c_ends_everything() {
    let stack = stack();
    for round in 1..=2 {
        let run = dev_run(&stack);
        wait_for_ready(&run);
        let log = run.log();
        for step in [
            "sign",
            "verify",
            "encrypt",
            "decrypt",
            "rotate",
            "old token",
        ] {
            assert!(log.contains(step), "round {round} shows no {step}:\n{log}");
        }
        let mut run = run;
        run.signal(Signal::INT);
        let status = run.wait(Duration::from_secs(10));
        assert!(
            status.is_some_and(|status| status.success()),
            "round {round} ended with {status:?}:\n{}",
            run.log()
        );
        assert!(get(stack.crypto.http, "/healthz").is_none());
        assert!(get(stack.keys.http, "/healthz").is_none());
    }
}

#[test]
fn printed_grpcurl_lines_work_when_pasted() {
    let stack = stack();
    let _grpcurl = tool("venv/bin/grpcurl");
    let run = dev_run(&stack);
    wait_for_ready(&run);
    let lines: Vec<String> = run
        .lines()
        .into_iter()
        .map(|line| line.trim().to_owned())
        .filter(|line| line.contains("grpcurl -"))
        .collect();
    assert!(lines.len() >= 4, "{lines:#?}");
    for line in &lines {
        let pasted = Command::new("sh")
            .args(["-c", line])
            .current_dir(stack.root())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(pasted.status.success(), "{line}\n{}", text(&pasted));
    }
}

#[test]
fn daemons_die_with_the_tour_even_when_it_is_killed() {
    let stack = stack();
    let run = dev_run(&stack);
    wait_for_ready(&run);
    run.kill();
    for http in [stack.crypto.http, stack.keys.http] {
        assert!(
            wait_until(PATIENCE, || get(http, "/healthz").is_none()),
            "{http} still answers"
        );
    }
}
