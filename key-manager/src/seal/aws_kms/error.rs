//! What can be wrong with a key in AWS KMS, and what to do about it.

/// Why a key in AWS KMS cannot be used. No text holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AwsKmsError {
    /// The program was built without it.
    #[error("this build has no AWS KMS: build it with --features aws-kms")]
    NotBuilt,
    /// What the settings name as credentials cannot be read.
    #[error("{0}")]
    NoCredentials(String),
    /// The credentials are not valid.
    #[error(
        "the credentials are refused ({0}): check access_key_id, secret_access_key and session_token, that they have not expired, and the clock of this machine"
    )]
    Credentials(String),
    /// The credentials do not permit it.
    #[error(
        "not authorised to use {0}: permit kms:DescribeKey, kms:Encrypt and kms:Decrypt on the key to whose credentials these are"
    )]
    NotAuthorised(String),
    /// There is no such key.
    #[error("key_id: there is no key {key} in {region}: correct key_id, region or endpoint")]
    NoKey {
        /// The key as the settings name it.
        key: String,
        /// The region.
        region: String,
    },
    /// The key is disabled.
    #[error("the key {0} is disabled: enable it")]
    Disabled(String),
    /// The key is about to be deleted, or not ready.
    #[error(
        "the key {key} cannot be used in its state ({state}): cancel its deletion, or wait until it is ready"
    )]
    State {
        /// The key.
        key: String,
        /// Its state.
        state: String,
    },
    /// The key is of another kind.
    #[error(
        "key_id: {key} is {found}: a symmetric encryption key (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT) is needed"
    )]
    Unfit {
        /// The key.
        key: String,
        /// What it is.
        found: String,
    },
    /// Too many calls, after a few tries.
    #[error(
        "AWS KMS takes no more calls at present ({0}): try again later, or ask for a higher quota"
    )]
    Throttled(String),
    /// No answer.
    #[error("AWS KMS cannot be reached at {endpoint}: {problem}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why.
        problem: &'static str,
    },
    /// AWS KMS fails.
    #[error("AWS KMS fails ({0}): try again later")]
    Failed(String),
}

impl AwsKmsError {
    /// Whether the same call may succeed later with the same settings.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::Throttled(_) | Self::Unreachable { .. } | Self::Failed(_)
        )
    }
}
