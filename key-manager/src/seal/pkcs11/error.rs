//! What can be wrong with a token, and what to do about it.

use std::time::Duration;

use cryptoki::error::Error;

/// Why a key in a PKCS#11 token cannot be used. No text holds a PIN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs11Error {
    /// The shared library is missing, or is no PKCS#11 module.
    #[error("module: {module} cannot be loaded: {problem}")]
    Module {
        /// The file.
        module: String,
        /// Why.
        problem: String,
    },
    /// No token of that label is there.
    #[error(
        "token_label: no token with the label {label:?} is there ({present}): connect it, or correct the label"
    )]
    NoToken {
        /// The label.
        label: String,
        /// The labels that are there.
        present: String,
    },
    /// Several tokens have the label.
    #[error("token_label: {count} tokens have the label {label:?}: give one of them another label")]
    SeveralTokens {
        /// The label.
        label: String,
        /// How many.
        count: usize,
    },
    /// The PIN cannot be read.
    #[error("pin: {0}")]
    NoPin(String),
    /// The token refuses the PIN. It is not tried a second time.
    #[error(
        "pin: the token {0:?} refuses the PIN; it is not tried again, because a token locks after a few: correct it"
    )]
    PinRefused(String),
    /// One more wrong PIN locks the token.
    #[error(
        "pin: not tried, because one more wrong PIN locks the token {0:?}: log in once with the right PIN by the tool of its vendor"
    )]
    LastTry(String),
    /// The token is locked, or has no user PIN yet.
    #[error(
        "pin: the PIN of the token {0:?} is locked, expired or not set: its security officer sets a new one"
    )]
    Locked(String),
    /// No key of that label is in the token.
    #[error(
        "key_label: no key with the label {label:?} is in the token {token:?}: correct the label, or make the key with `key-manager kek create`"
    )]
    NoKey {
        /// The label.
        label: String,
        /// The token's.
        token: String,
    },
    /// Several keys have the label.
    #[error(
        "key_label: {count} keys in the token {token:?} have the label {label:?}: give one of them another label"
    )]
    SeveralKeys {
        /// The label.
        label: String,
        /// The token's.
        token: String,
        /// How many.
        count: usize,
    },
    /// The object of that label cannot wrap.
    #[error(
        "key_label: {label:?} {problem}: an AES-256 secret key that may encrypt and decrypt is needed"
    )]
    Unfit {
        /// The label.
        label: String,
        /// What it is.
        problem: &'static str,
    },
    /// The key that was to be made is there.
    #[error("key_label: a key with the label {0:?} is in the token already; nothing was changed")]
    Exists(String),
    /// The token fails, or was removed.
    #[error(
        "the token {token:?} fails or was removed ({code}): it is looked for again with the next call"
    )]
    Failed {
        /// Its label.
        token: String,
        /// The function and its result.
        code: String,
    },
    /// The token does not answer.
    #[error("the token {token:?} has not answered within {limit:?}")]
    Silent {
        /// Its label.
        token: String,
        /// How long it had.
        limit: Duration,
    },
}

impl Pkcs11Error {
    /// Whether the same call may succeed later with the same settings.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::NoToken { .. } | Self::Failed { .. } | Self::Silent { .. }
        )
    }

    pub(super) fn failed(token: &str, error: &Error) -> Self {
        let code = match error {
            Error::Pkcs11(code, function) => format!("{code:?} from {function:?}"),
            other => other.to_string(),
        };
        Self::Failed {
            token: token.to_owned(),
            code,
        }
    }
}
