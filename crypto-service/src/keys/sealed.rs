//! Private halves as they arrive and as they are kept: wrapped to this instance.
//!
//! A fed key is a JWE (`dir`, A256GCM) under the key of one stream. Its protected header says for whom it is; that is
//! compared when the key arrives and again, then authenticated, when it is opened.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jose::algorithm::ContentEncryption;
use jose::jwe::{Decrypter, JweHeader, peek};
use jose::key::{KeyError, SymmetricKey};
use zeroize::Zeroizing;

/// A wrapped key is not what it says, or not for this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// Not a JWE of the form that the feed uses.
    #[error("the wrapped key is malformed")]
    Malformed,
    /// The protected header speaks of another key, tenant, epoch or instance.
    #[error("the wrapped key is for another {0}")]
    For(&'static str),
    /// It does not open under the stream's key.
    #[error("the wrapped key does not open under the stream's key")]
    Opening,
}

/// The key that one stream's private keys are wrapped under, and the name of the instance that it was agreed with.
pub struct StreamKey {
    key: Box<dyn Decrypter>,
    instance: String,
}

impl StreamKey {
    /// Takes the agreed secret.
    ///
    /// # Errors
    /// The engine refuses the key.
    pub fn new(secret: &[u8; 32], instance: impl Into<String>) -> Result<Self, KeyError> {
        let secret = SymmetricKey::new(secret)?;
        let key = jose_aws_lc::jwe::SharedKey::direct(ContentEncryption::A256Gcm, &secret)?;
        Ok(Self {
            key: Box::new(key),
            instance: instance.into(),
        })
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamKey")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// Which key a wrapped key has to be.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The key id.
    pub kid: &'a str,
    /// The epoch of the message that brought it.
    pub epoch: u64,
}

impl Binding<'_> {
    fn compare(&self, header: &JweHeader, instance: &str) -> Result<(), SealedError> {
        let text = |name: &'static str, expected: &str| match header.string(name) {
            Some(found) if found == expected => Ok(()),
            _ => Err(SealedError::For(name)),
        };
        text("kid", self.kid)?;
        text("tenant", self.tenant)?;
        text("instance", instance)?;
        let epoch = header
            .member("epoch")
            .and_then(|value| value.raw().parse::<u64>().ok());
        if epoch == Some(self.epoch) {
            Ok(())
        } else {
            Err(SealedError::For("epoch"))
        }
    }
}

/// A private or secret half, wrapped.
pub struct SealedKey {
    jwe: Box<str>,
    opener: Arc<StreamKey>,
    tenant: Box<str>,
    kid: Box<str>,
    epoch: u64,
    generation: u64,
}

impl SealedKey {
    /// Takes a wrapped key, where it says that it is the expected one.
    ///
    /// # Errors
    /// [`SealedError`].
    pub fn receive(
        jwe: String,
        opener: &Arc<StreamKey>,
        binding: Binding<'_>,
    ) -> Result<Self, SealedError> {
        static GENERATIONS: AtomicU64 = AtomicU64::new(0);
        let view = peek(&jwe).map_err(|_malformed| SealedError::Malformed)?;
        binding.compare(view.header(), &opener.instance)?;
        Ok(Self {
            jwe: jwe.into(),
            opener: Arc::clone(opener),
            tenant: binding.tenant.into(),
            kid: binding.kid.into(),
            epoch: binding.epoch,
            generation: GENERATIONS.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Numbers what was received: no two wrapped keys of a process share it, whatever their `kid`.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The key's bytes.
    pub(crate) fn open(&self) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        let opened = jose::jwe::decrypt(&self.jwe, &*self.opener.key)
            .map_err(|_failed| SealedError::Opening)?;
        let binding = Binding {
            tenant: &self.tenant,
            kid: &self.kid,
            epoch: self.epoch,
        };
        binding.compare(&opened.header, &self.opener.instance)?;
        Ok(opened.payload)
    }
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedKey")
            .field("kid", &self.kid)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
