//! Node's jose as a verifier that reads nothing of ours but JWK Sets over HTTP.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    Fault,
    stack::{AUDIENCE, ISSUER},
};

/// A process with jose; it ends with this value.
#[derive(Debug)]
pub(super) struct Verifier {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Verifier {
    /// Starts it, with a cache that lives so long.
    pub(super) fn start(cache: Duration) -> Result<Self, Fault> {
        let mut process = Command::new("node")
            .arg(blackbox::repository().join("tests/faults/verifier.mjs"))
            .arg(blackbox::tool("node").canonicalize()?)
            .arg(cache.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|cause| format!("node: {cause}: `make doctor` says what brings it"))?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (requests, answers) = pipes.ok_or("node has no pipes")?;
        Ok(Self {
            process,
            requests,
            answers: BufReader::new(answers),
        })
    }

    /// Verifies with the keys of that JWK Set, and says what failed.
    pub(super) fn verify(&mut self, url: &str, tokens: &[String]) -> Result<Vec<String>, Fault> {
        let request = json!({
            "url": url, "tokens": tokens, "issuer": ISSUER, "audience": AUDIENCE,
        });
        writeln!(self.requests, "{request}")?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("the verifier ended".into());
        }
        let answer: Value = serde_json::from_str(&line)?;
        let failed = answer.get("failed").and_then(Value::as_array);
        let failed = failed.ok_or_else(|| format!("the verifier said {line}"))?;
        Ok(failed.iter().map(Value::to_string).collect())
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        // both fail only where it has ended already
        let _killed = self.process.kill();
        let _reaped = self.process.wait();
    }
}
