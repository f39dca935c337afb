//! Lines and how each covers the one before.

use jose::{algorithm::Hash, base64url, provider::Digest};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Body, Entry};

const DOMAIN: &[u8] = b"crypto-service/audit/v1\0";

/// The hash of nothing: before the first entry.
const NOTHING: [u8; 32] = [0; 32];

/// The end of a chain so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the last entry; 0 = there is none.
    pub seq: u64,
    /// Its hash, base64url.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            seq: 0,
            hash: base64url::encode(NOTHING),
        }
    }
}

/// Why a line is not the next of its chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is no line of a log.
    #[error("is not an entry: {0}")]
    Malformed(String),
    /// It has another number than the one that follows.
    #[error(
        "has the number {found}, but {expected} follows: entries were removed, added or swapped"
    )]
    Number {
        /// What follows.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// Its hash covers something else.
    #[error("does not have the hash that it says: it, or an entry before it, was changed")]
    Hash,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The entry.
    pub entry: Entry,
    /// The head behind it.
    pub head: Head,
}

impl Head {
    /// The next line, with its end, and the head behind it.
    ///
    /// # Errors
    /// [`LineError::Malformed`] where the body cannot be written as JSON, which no body of ours is.
    pub fn next(
        &self,
        digest: &dyn Digest,
        at: u64,
        body: Body,
    ) -> Result<(String, Self), LineError> {
        let seq = self.seq.saturating_add(1);
        let entry = Entry { seq, at, body };
        let json = serde_json::to_string(&entry)
            .map_err(|error| LineError::Malformed(error.to_string()))?;
        let hash = hash_of(digest, &self.hash, &json)?;
        Ok((line(&hash, &json) + "\n", Self { seq, hash }))
    }
}

/// Reads a line, without its end, that follows `before`. `None` for the first line of a file whose predecessors are not at hand: its own
/// word for them is then taken.
///
/// # Errors
/// [`LineError`].
pub fn read_line(
    digest: &dyn Digest,
    before: Option<&Head>,
    text: &[u8],
) -> Result<Read, LineError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line<'a> {
        hash: String,
        #[serde(borrow)]
        entry: &'a RawValue,
    }
    let malformed = |problem: &dyn std::fmt::Display| LineError::Malformed(problem.to_string());
    let parsed: Line<'_> = serde_json::from_slice(text).map_err(|error| malformed(&error))?;
    let json = parsed.entry.get();
    // There is one spelling for a line, so that no byte of it can be another.
    if line(&parsed.hash, json).as_bytes() != text {
        return Err(malformed(&"it is written in another form"));
    }
    let entry: Entry = serde_json::from_str(json).map_err(|error| malformed(&error))?;
    let before = match (before, &entry.body) {
        (Some(before), _) => before.clone(),
        (None, Body::Segment(segment)) => Head {
            seq: entry.seq.saturating_sub(1),
            hash: segment.previous.clone(),
        },
        (None, _) => return Err(malformed(&"a file begins with a segment entry")),
    };
    let expected = before.seq.saturating_add(1);
    if entry.seq != expected {
        return Err(LineError::Number {
            expected,
            found: entry.seq,
        });
    }
    if hash_of(digest, &before.hash, json)? != parsed.hash {
        return Err(LineError::Hash);
    }
    let head = Head {
        seq: entry.seq,
        hash: parsed.hash,
    };
    Ok(Read { entry, head })
}

fn line(hash: &str, json: &str) -> String {
    format!("{{\"hash\":\"{hash}\",\"entry\":{json}}}")
}

fn hash_of(digest: &dyn Digest, before: &str, json: &str) -> Result<String, LineError> {
    let before = base64url::decode(before)
        .ok()
        .filter(|hash| hash.len() == NOTHING.len())
        .ok_or(LineError::Hash)?;
    let input = [DOMAIN, &before, json.as_bytes()].concat();
    Ok(base64url::encode(digest.digest(Hash::Sha256, &input)))
}
