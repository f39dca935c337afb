//! The verifier: reads a log from its first file to its last and names the first entry that does not fit.

use std::collections::BTreeMap;

use jose::provider::{Digest, Verify};

use crate::{Body, CheckpointError, Head, LineError, Statement, read_line};

/// The file of a chain that begins with the entry of that number.
#[must_use]
pub fn file_name(chain: &str, first: u64) -> String {
    format!("{chain}.{first:012}.jsonl")
}

/// The chain and the first number that a file's name says; `None` for the name of another file.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<(&str, u64)> {
    let (chain, first) = name.strip_suffix(".jsonl")?.rsplit_once('.')?;
    let numbered = first.len() >= 12 && first.bytes().all(|byte| byte.is_ascii_digit());
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let named = !chain.is_empty() && chain.bytes().all(fits);
    let first = first.parse().ok().filter(|_| numbered && named)?;
    Some((chain, first))
}

/// Statements that are known from elsewhere: the log must reach each of them and agree with it.
pub type Expected = Vec<Statement>;

/// The first entry that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: entry {seq} of chain {chain} {problem}")]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The chain.
    pub chain: String,
    /// The number that the entry has, or that it should have.
    pub seq: u64,
    /// What is wrong.
    pub problem: String,
}

/// What was found to be whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries of every kind.
    pub entries: u64,
    /// Checkpoints among them.
    pub checkpoints: u64,
    /// By chain, the last checkpoint and the number of entries after what it covers.
    pub chains: BTreeMap<String, (Option<Statement>, u64)>,
}

/// Reads a log file by file, in the order of their names.
pub struct Verifier<'a> {
    digest: &'a dyn Digest,
    key: &'a dyn Verify,
    expected: Expected,
    report: Report,
    /// The chain that is being read, and where it is.
    at: Option<(String, Head)>,
    /// By chain, its last file and the number of its last entry.
    ends: BTreeMap<String, (String, u64)>,
}

impl std::fmt::Debug for Verifier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

impl<'a> Verifier<'a> {
    /// A verifier of a log whose checkpoints `key` signs.
    #[must_use]
    pub fn new(digest: &'a dyn Digest, key: &'a dyn Verify, expected: Expected) -> Self {
        Self {
            digest,
            key,
            expected,
            report: Report::default(),
            at: None,
            ends: BTreeMap::new(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let Some((chain, first)) = parse_file_name(name) else {
            return Err(fault(name, "", 0, "is in no file of a log"));
        };
        let continues = self.at.take().filter(|(of, _)| of == chain);
        let mut head = match continues {
            Some((_, head)) => head,
            None if first == 1 => Head::default(),
            None => return Err(fault(name, chain, 1, "is missing: the chain begins later")),
        };
        if bytes.is_empty() {
            return Err(fault(
                name,
                chain,
                head.seq + 1,
                "is missing: the file is empty",
            ));
        }
        let (mut rest, mut begins) = (bytes, true);
        while !rest.is_empty() {
            let Some((line, after)) = split_line(rest) else {
                return Err(fault(name, chain, head.seq + 1, "is cut off in its middle"));
            };
            head = self.line(name, chain, &head, line, begins)?;
            (begins, rest) = (false, after);
        }
        self.ends
            .insert(chain.to_owned(), (name.to_owned(), head.seq));
        self.at = Some((chain.to_owned(), head));
        Ok(())
    }

    fn line(
        &mut self,
        file: &str,
        chain: &str,
        before: &Head,
        line: &[u8],
        begins: bool,
    ) -> Result<Head, Fault> {
        let wrong = |problem: &dyn std::fmt::Display| {
            fault(file, chain, before.seq.saturating_add(1), problem)
        };
        let read =
            read_line(self.digest, Some(before), line).map_err(|error: LineError| wrong(&error))?;
        let known = self.report.chains.entry(chain.to_owned()).or_default();
        known.1 = known.1.saturating_add(1);
        match &read.entry.body {
            Body::Segment(segment) => {
                if !begins || segment.chain != chain || segment.previous != before.hash {
                    return Err(wrong(&"begins a file of another place"));
                }
                if parse_file_name(file) != Some((chain, read.entry.seq)) {
                    return Err(wrong(&"begins a file that has the name of another"));
                }
            }
            _ if begins => return Err(wrong(&"does not begin its file as it should")),
            Body::Checkpoint(jws) => {
                let statement = Statement::verify(jws, self.key)
                    .map_err(|error: CheckpointError| wrong(&error))?;
                if (statement.chain.as_str(), statement.seq, &statement.hash)
                    != (chain, before.seq, &before.hash)
                {
                    return Err(wrong(&"is a checkpoint of another place"));
                }
                self.report.checkpoints += 1;
                *known = (Some(statement), 0);
            }
            Body::Act(_) => {}
        }
        self.report.entries += 1;
        self.compare(file, chain, &read.head)?;
        Ok(read.head)
    }

    fn compare(&mut self, file: &str, chain: &str, head: &Head) -> Result<(), Fault> {
        let here = |statement: &Statement| statement.chain == chain && statement.seq == head.seq;
        if let Some(other) = self
            .expected
            .iter()
            .find(|statement| here(statement) && statement.hash != head.hash)
        {
            let problem = format!(
                "is not the one that a checkpoint of {} ms covers: the chain was rewritten",
                other.at
            );
            return Err(fault(file, chain, head.seq, problem));
        }
        self.expected.retain(|statement| !here(statement));
        Ok(())
    }

    /// Ends the log.
    ///
    /// # Errors
    /// [`Fault`] where it ends before a statement that is known from elsewhere.
    pub fn finish(self) -> Result<Report, Fault> {
        let Some(missing) = self.expected.first() else {
            return Ok(self.report);
        };
        let (file, next) = self.ends.get(&missing.chain).map_or_else(
            || (file_name(&missing.chain, 1), 1),
            |(file, last)| (file.clone(), last.saturating_add(1)),
        );
        let problem = format!(
            "is missing: a signed checkpoint covers entry {}, so the log was cut off",
            missing.seq
        );
        Err(fault(&file, &missing.chain, next, problem))
    }
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

fn fault(file: &str, chain: &str, seq: u64, problem: impl std::fmt::Display) -> Fault {
    Fault {
        file: file.to_owned(),
        chain: chain.to_owned(),
        seq,
        problem: problem.to_string(),
    }
}
