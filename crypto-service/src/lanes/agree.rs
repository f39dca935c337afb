//! Key agreements that are made up to eight at once, before the work that needs them (ECDH-ES, RFC 7518 section 4.6).

use std::fmt;
use std::sync::Arc;

use jose::jwe::{AgreementCurve, AgreementKey};
use jose::key::{EcCurve, EcPublicKey, KeyError, PrivateKey, PublicKey};
use multibuffer::{AgreementJob, PeerKey};
use zeroize::Zeroizing;

use super::engine::Engine;

/// The agreed secret Z of P-256.
pub type AgreedSecret = Zeroizing<[u8; 32]>;

/// A private key that agrees in lanes. Cheap to clone; zeroised with the last one.
#[derive(Clone)]
pub struct AgreeingKey(Arc<multibuffer::Agreement>);

/// One agreement: to be made, or made.
pub struct Agreement {
    key: AgreeingKey,
    peer: PeerKey,
    shared: Option<AgreedSecret>,
}

impl Engine {
    /// Prepares a private key that agrees. `None`: there are no lanes for it.
    ///
    /// # Errors
    /// [`KeyError`] when its parts do not belong together.
    pub fn prepare_agreement(&self, key: &PrivateKey) -> Result<Option<AgreeingKey>, KeyError> {
        let key = self.multi().map(|multi| multi.agreement(key)).transpose()?;
        Ok(key.flatten().map(|key| AgreeingKey(Arc::new(key))))
    }

    /// An agreement of `key` with the peer of a token. `None`: it is not for lanes, or the peer's key is none.
    #[must_use]
    pub fn agreement(&self, key: AgreeingKey, peer: &AgreementKey) -> Option<Agreement> {
        if peer.curve() != AgreementCurve::Ec(EcCurve::P256) {
            return None;
        }
        let peer = EcPublicKey::from_uncompressed(EcCurve::P256, peer.as_bytes()).ok()?;
        let peer = self.multi()?.peer(&PublicKey::Ec(peer))?;
        let shared = None;
        Some(Agreement { key, peer, shared })
    }
}

impl Agreement {
    /// What a lane does, into `shared`.
    pub(super) fn job<'a>(&'a self, shared: &'a mut AgreedSecret) -> AgreementJob<'a> {
        AgreementJob {
            key: &self.key.0,
            peer: &self.peer,
            shared,
        }
    }

    pub(super) fn made(&mut self, shared: Option<AgreedSecret>) {
        self.shared = shared;
    }

    pub(super) fn into_shared(self) -> Option<AgreedSecret> {
        self.shared
    }
}

impl fmt::Debug for AgreeingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgreeingKey(P-256, redacted)")
    }
}

impl fmt::Debug for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Agreement(P-256, redacted)")
    }
}
