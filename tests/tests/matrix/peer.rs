//! A peer: a program around somebody else's JOSE library, which answers a line with a line
//! (`tests/peers-scripts/README.md`).

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use blackbox::{repository, tool};
use jose::base64url;
use serde_json::Value;

/// The peers by name.
pub(crate) const PEERS: [&str; 3] = ["jose", "joserfc", "jwcrypto"];

/// A running peer.
pub(crate) struct Peer {
    name: &'static str,
    program: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Why a peer gave no answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It has no such algorithm, curve or operation.
    Lacks(String),
    /// It refused the token or the key.
    Failed(String),
}

impl Peer {
    pub(crate) fn start(name: &'static str) -> Self {
        let scripts = repository().join("tests/peers-scripts");
        let mut command = match name {
            "jose" => {
                let _library = tool("node/node_modules/jose/package.json");
                let mut node = Command::new("node");
                node.arg(scripts.join("peer.mjs"));
                node
            }
            _ => {
                let mut python = Command::new(tool("venv/bin/python"));
                python.arg(scripts.join(format!("peer_{name}.py")));
                python
            }
        };
        let mut program = command
            .current_dir(repository())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|cause| panic!("{name} does not start ({command:?}): {cause}"));
        Self {
            name,
            requests: program.stdin.take().expect("a pipe"),
            answers: BufReader::new(program.stdout.take().expect("a pipe")),
            program,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Asks and waits.
    pub(crate) fn ask(&mut self, request: &Value) -> Result<Value, Refusal> {
        writeln!(self.requests, "{request}").expect("the peer reads");
        let mut line = String::new();
        let _bytes = self.answers.read_line(&mut line).expect("the peer writes");
        let answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|cause| panic!("{}: {cause}: {line:?}", self.name));
        let detail = || answer["detail"].as_str().unwrap_or_default().to_owned();
        match answer["error"].as_str() {
            None => Ok(answer),
            Some("unsupported") => Err(Refusal::Lacks(detail())),
            Some("failed") => Err(Refusal::Failed(detail())),
            Some(_mistake) => panic!("{}: {request} is no request: {answer}", self.name),
        }
    }

    /// Ends it; it has to agree that all went well.
    pub(crate) fn finish(mut self) {
        drop(self.requests);
        let status = self.program.wait().expect("it ends");
        assert!(status.success(), "{} ended with {status}", self.name);
    }
}

/// A token out of an answer.
pub(crate) fn token(answer: &Value) -> String {
    answer["token"].as_str().expect("a token").to_owned()
}

/// A payload out of an answer.
pub(crate) fn payload(answer: &Value) -> Vec<u8> {
    base64url::decode(answer["payload"].as_str().expect("a payload")).expect("base64url")
}
