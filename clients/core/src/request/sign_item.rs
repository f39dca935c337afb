//! An item of a `SignBatch`.

use std::fmt;
use std::time::Duration;

use crypto_proto::jwt::v1 as proto;

use super::sign_batch::ItemRef;
use super::{Recipient, Sign};
use crate::redact::Redacted;

/// For whom a token of a batch is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptTo {
    recipient: Recipient,
    alg: String,
    enc: String,
}

impl EncryptTo {
    /// For `recipient` to read.
    #[must_use]
    pub fn new(recipient: Recipient) -> Self {
        Self {
            recipient,
            alg: String::new(),
            enc: String::new(),
        }
    }

    /// The key management algorithm, for a JWK that names none. Default: RSA-OAEP-256 (RSA), ECDH-ES+A256KW (EC, OKP).
    #[must_use]
    pub fn alg(mut self, alg: impl Into<String>) -> Self {
        self.alg = alg.into();
        self
    }

    /// The content encryption. Default: A256GCM.
    #[must_use]
    pub fn enc(mut self, enc: impl Into<String>) -> Self {
        self.enc = enc.into();
        self
    }

    pub(super) fn into_wire(self, token_of: Option<u32>) -> proto::EncryptTo {
        use proto::encrypt_to::Recipient as Wire;
        let recipient = match self.recipient {
            Recipient::KeySet(name) => Wire::KeySet(name),
            Recipient::Jwk(json) => Wire::RecipientJwk(json),
        };
        proto::EncryptTo {
            recipient: Some(recipient),
            alg: self.alg,
            enc: self.enc,
            token_of,
        }
    }
}

impl From<Recipient> for EncryptTo {
    fn from(recipient: Recipient) -> Self {
        Self::new(recipient)
    }
}

/// One token of a batch: claims to sign, or an earlier token to encrypt.
#[derive(Debug, Clone)]
pub struct SignItem {
    pub(super) work: Work,
    pub(super) at_hash: Option<ItemRef>,
    pub(super) c_hash: Option<ItemRef>,
    pub(super) c_hash_code: Code,
    pub(super) timeout: Option<Duration>,
}

/// What an item does.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Sign(Sign, Option<EncryptTo>),
    Encrypt(ItemRef, EncryptTo),
}

/// An authorization code.
#[derive(Clone, Default)]
pub(super) struct Code(String);

impl Code {
    pub(super) fn into_inner(self) -> String {
        self.0
    }
}

impl SignItem {
    /// Signs as `sign` says.
    #[must_use]
    pub fn new(sign: Sign) -> Self {
        Self::doing(Work::Sign(sign, None))
    }

    /// Encrypts the token of an earlier item, which then leaves in both forms.
    #[must_use]
    pub fn encrypted(token: ItemRef, to: impl Into<EncryptTo>) -> Self {
        Self::doing(Work::Encrypt(token, to.into()))
    }

    fn doing(work: Work) -> Self {
        Self {
            work,
            at_hash: None,
            c_hash: None,
            c_hash_code: Code::default(),
            timeout: None,
        }
    }

    /// Adds `at_hash` (OpenID Connect Core 3.1.3.6), the hash of an earlier token of the batch, with the hash of the algorithm that
    /// signs this item.
    #[must_use]
    pub fn at_hash_of(mut self, access_token: ItemRef) -> Self {
        self.at_hash = Some(access_token);
        self
    }

    /// Adds `c_hash` (OpenID Connect Core 3.3.2.11) of a code that is an earlier token of the batch.
    #[must_use]
    pub fn c_hash_of(mut self, code: ItemRef) -> Self {
        self.c_hash = Some(code);
        self
    }

    /// Adds `c_hash` of a code that is no token of the batch: 1 byte to 4 KiB. Not together with [`SignItem::c_hash_of`].
    #[must_use]
    pub fn c_hash_code(mut self, code: impl Into<String>) -> Self {
        self.c_hash_code = Code(code.into());
        self
    }

    /// Encrypts the token: the answer is then the JWE. An item that encrypts already takes the new recipient.
    #[must_use]
    pub fn encrypt_to(mut self, to: impl Into<EncryptTo>) -> Self {
        match &mut self.work {
            Work::Sign(_, encrypt) => *encrypt = Some(to.into()),
            Work::Encrypt(_, encrypt) => *encrypt = to.into(),
        }
        self
    }

    /// How long the item may take from the call's arrival; then it fails with DEADLINE_EXCEEDED. Default: as long as the call.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl From<Sign> for SignItem {
    fn from(sign: Sign) -> Self {
        Self::new(sign)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Redacted::of(&self.0).fmt(f)
    }
}
