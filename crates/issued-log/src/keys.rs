//! Whom segments are sealed to, and what subjects are hashed with.

use std::fmt;

use aws_lc_rs::{
    agreement::{PrivateKey, X25519},
    digest, hmac, rand,
};
use zeroize::Zeroizing;

use crate::SealFailed;

/// Domain of the digests of subjects.
const SUBJECT: &[u8] = b"crypto-issued-v1/subject\0";

/// The start of an HMAC-SHA-256 over tenant and `sub`.
pub type Subject = [u8; 16];

/// The key-manager's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient {
    public: [u8; 32],
}

impl Recipient {
    /// A public key of X25519.
    #[must_use]
    pub fn new(public: [u8; 32]) -> Self {
        Self { public }
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The start of a SHA-256 of the public key: what a header names it by.
    #[must_use]
    pub fn id(&self) -> [u8; 8] {
        let digest = digest::digest(&digest::SHA256, &self.public);
        digest.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

/// The key-manager's private key.
pub struct RecipientKey {
    pub(crate) private: PrivateKey,
    recipient: Recipient,
}

impl fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecipientKey")
            .field("id", &self.recipient.id())
            .finish_non_exhaustive()
    }
}

impl RecipientKey {
    /// The key of these 32 bytes.
    ///
    /// # Errors
    /// [`SealFailed`] where they are none.
    pub fn new(bytes: &[u8]) -> Result<Self, SealFailed> {
        let private = PrivateKey::from_private_key(&X25519, bytes).map_err(SealFailed::of)?;
        let public = private.compute_public_key().map_err(SealFailed::of)?;
        let public = public.as_ref().try_into().map_err(SealFailed::of)?;
        Ok(Self {
            private,
            recipient: Recipient::new(public),
        })
    }

    /// The public half.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        self.recipient
    }
}

/// What subjects are hashed with. Without it nobody can test whether a digest is that of a known `sub`, which for an address or a number is a matter of
/// trying all; with it, equal subjects of a tenant are equal, so that they can be looked up.
#[derive(Clone)]
pub struct SubjectKey(hmac::Key);

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(redacted)")
    }
}

impl SubjectKey {
    /// The key of these bytes: 32 random ones.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The digest of a subject. A tenant holds no zero byte, so the two are told apart.
    #[must_use]
    pub fn digest(&self, tenant: &str, sub: &str) -> Subject {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [SUBJECT, tenant.as_bytes(), &[0], sub.as_bytes()] {
            context.update(part);
        }
        let tag = context.sign();
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

/// Random bytes for a key.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], SealFailed> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(SealFailed::of)?;
    Ok(bytes)
}

impl RecipientKey {
    /// Both secrets of a key-manager, made anew: 32 bytes of [`RecipientKey`], then 32 of [`SubjectKey`].
    ///
    /// # Errors
    /// [`SealFailed`] where the system has no randomness.
    pub fn generate_pair() -> Result<Zeroizing<Vec<u8>>, SealFailed> {
        Ok(Zeroizing::new(random::<64>()?.to_vec()))
    }
}
