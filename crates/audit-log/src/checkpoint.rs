//! Checkpoints: signed statements about a chain. They are plain JWS, so that any JOSE library can check one that was kept.

use jose::{
    algorithm::JwsAlgorithm,
    jws::{self, EncodedHeader, SignError, UnverifiedJws},
    provider::{Sign, Verify},
};
use serde::{Deserialize, Serialize};

use crate::Head;

/// The `typ` of a checkpoint.
pub const TYP: &str = "audit-checkpoint+jws";

/// The longest payload of a checkpoint, in bytes.
const LONGEST: usize = 1_024;

/// What a checkpoint states: the entry of that number has that hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The chain.
    pub chain: String,
    /// The number of the last entry that it covers.
    pub seq: u64,
    /// That entry's hash, base64url.
    pub hash: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// Why a checkpoint is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is no JWS of ours.
    #[error("the checkpoint is malformed: {0}")]
    Malformed(String),
    /// The key did not sign it.
    #[error("the checkpoint is not signed with the key of the log")]
    Signature,
}

impl Statement {
    /// Signs the statement about `head`.
    ///
    /// # Errors
    /// [`SignError`] where the engine fails.
    pub fn sign(
        chain: &str,
        head: &Head,
        at: u64,
        kid: &str,
        key: &dyn Sign,
    ) -> Result<(Self, String), SignError> {
        let statement = Self {
            chain: chain.to_owned(),
            seq: head.seq,
            hash: head.hash.clone(),
            at,
        };
        let payload = serde_json::to_vec(&statement).map_err(|_never| SignError::TooLarge)?;
        let header = EncodedHeader::new(key.algorithm(), Some(kid), Some(TYP), None);
        let jws = jws::sign(&header, &payload, key)?;
        Ok((statement, jws))
    }

    /// Reads a checkpoint that `key` signed.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn verify(jws: &str, key: &dyn Verify) -> Result<Self, CheckpointError> {
        let malformed = |problem: String| CheckpointError::Malformed(problem);
        let parsed = UnverifiedJws::parse(jws, LONGEST)
            .map_err(|reason| malformed(format!("{reason:?}")))?;
        let of_key = parsed.algorithm.name() == key.algorithm().name()
            || [parsed.algorithm, key.algorithm()].iter().all(is_ed25519);
        if !of_key {
            return Err(malformed("another algorithm".to_owned()));
        }
        key.verify(parsed.signing_input, &parsed.signature)
            .map_err(|_failed| CheckpointError::Signature)?;
        serde_json::from_slice(&parsed.payload).map_err(|error| malformed(error.to_string()))
    }
}

/// One algorithm has two names (RFC 8037, RFC 9864).
fn is_ed25519(algorithm: &JwsAlgorithm) -> bool {
    matches!(algorithm.name(), "EdDSA" | "Ed25519")
}
