//! Node's jose: a process that loops and tells its own CPU time.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::{AUDIENCE, CLAIMS, PAYLOAD};
use crate::{Fault, keys::Key};

/// Operations before the clock starts: the optimiser needs a few hundred.
const WARM: u32 = 200;

/// Node with jose; it ends with this value.
#[derive(Debug)]
pub struct Node {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    warm: u32,
}

/// Node's version and jose's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Node.
    pub node: String,
    /// jose.
    pub jose: String,
}

impl Node {
    /// Starts it; `quick` warms it up for a moment only.
    ///
    /// # Errors
    /// Names what is missing, and what brings it.
    pub fn start(root: &Path, quick: bool) -> Result<Self, Fault> {
        let tools = root.join(".tools/node");
        if !tools.join("node_modules/jose").is_dir() {
            let place = tools.display();
            return Err(format!("the peer jose is not in {place}: run `make tools`").into());
        }
        let mut process = Command::new("node")
            .arg(root.join("benches/peers/jose.mjs"))
            .arg(tools.canonicalize()?)
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
            warm: if quick { 2 } else { WARM },
        })
    }

    /// What runs here.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn versions(&mut self) -> Result<Versions, Fault> {
        let answer = self.ask(&json!({ "ask": "versions" }))?;
        let text = |name: &str| {
            let version = answer.get(name).and_then(Value::as_str);
            version.unwrap_or("unknown").to_owned()
        };
        Ok(Versions {
            node: text("node"),
            jose: text("jose"),
        })
    }

    /// Gets ready to `sign`, `verify`, `encrypt` or `decrypt` with `key`.
    ///
    /// # Errors
    /// When it refuses the key.
    pub fn prepare(&mut self, operation: &str, key: &Key) -> Result<(), Fault> {
        self.prepare_with(json!({
            "operation": operation,
            "alg": key.algorithm.name(),
            "jwk": private(key)?,
            "public_jwk": public(key)?,
        }))
    }

    /// Gets ready for whole token requests, signed with `signing` and encrypted to `recipient`.
    ///
    /// # Errors
    /// When it refuses a key.
    pub fn prepare_token_request(&mut self, signing: &Key, recipient: &Key) -> Result<(), Fault> {
        self.prepare_with(json!({
            "operation": "token_request",
            "alg": signing.algorithm.name(),
            "jwk": private(signing)?,
            "encryption_alg": recipient.algorithm.name(),
            "encryption_jwk": public(recipient)?,
        }))
    }

    fn prepare_with(&mut self, mut request: Value) -> Result<(), Fault> {
        let common = [
            ("ask", json!("prepare")),
            ("claims", json!(CLAIMS)),
            ("audience", json!(AUDIENCE)),
            ("payload", json!(std::str::from_utf8(&PAYLOAD)?)),
            ("warm", json!(self.warm)),
        ];
        if let Some(object) = request.as_object_mut() {
            object.extend(common.map(|(name, value)| (name.to_owned(), value)));
        }
        self.ask(&request).map(drop)
    }

    /// Repeats what was prepared: CPU microseconds of the whole process for each operation.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn run(&mut self, duration: Duration) -> Result<f64, Fault> {
        let request = json!({ "ask": "loop", "seconds": duration.as_secs_f64() });
        let answer = self.ask(&request)?;
        let number = |name: &str| {
            let number = answer.get(name).and_then(Value::as_f64);
            number.filter(|number| *number > 0.0)
        };
        let figures = number("cpu_us").zip(number("done"));
        let (cpu, done) = figures.ok_or_else(|| format!("node answers {answer}"))?;
        Ok(cpu / done)
    }

    fn ask(&mut self, request: &Value) -> Result<Value, Fault> {
        writeln!(self.requests, "{request}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            return Err(format!("node ended: {}", self.process.wait()?).into());
        }
        let answer: Value = serde_json::from_str(&line)?;
        match answer.get("error") {
            Some(error) => Err(format!("node: {error}").into()),
            None => Ok(answer),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn private(key: &Key) -> Result<Value, Fault> {
    Ok(serde_json::from_str(&key.jwk().expose_json())?)
}

fn public(key: &Key) -> Result<Value, Fault> {
    Ok(serde_json::from_str(&key.public_jwk()?)?)
}

#[cfg(test)]
mod tests {
    use jose::algorithm::{JwsAlgorithm, KeyManagement};

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn a_missing_peer_is_named_with_what_brings_it() {
        let nowhere = tempfile::tempdir().unwrap();
        let said = Node::start(nowhere.path(), true).unwrap_err().to_string();
        assert!(
            said.contains("jose") && said.contains("make tools"),
            "{said}"
        );
    }

    #[test]
    fn every_operation_runs_and_a_key_that_does_not_fit_is_an_error() {
        let mut node = Node::start(&crate::root(), true).unwrap();
        let versions = node.versions().unwrap();
        assert!(versions.node.contains('.') && versions.jose.contains('.'));
        for algorithm in [JwsAlgorithm::Es256, JwsAlgorithm::Ed25519] {
            let key = Key::signing(algorithm, 0).unwrap();
            for operation in ["sign", "verify"] {
                node.prepare(operation, &key).unwrap();
                assert!(node.run(SHORT).unwrap() > 0.0, "{operation} {algorithm}");
            }
        }
        let recipient = Key::encryption(KeyManagement::EcdhEsA256Kw).unwrap();
        for operation in ["encrypt", "decrypt"] {
            node.prepare(operation, &recipient).unwrap();
            assert!(node.run(SHORT).unwrap() > 0.0, "{operation}");
        }
        let signing = Key::signing(JwsAlgorithm::Es256, 0).unwrap();
        node.prepare_token_request(&signing, &recipient).unwrap();
        assert!(node.run(SHORT).unwrap() > 0.0);
        assert!(node.prepare("encrypt", &signing).is_err());
    }
}
