//! What the service does, in domain types: policy, keys, JOSE, lanes. One file per use case.
//!
//! The caller comes first in every one of them. Nothing here waits for the key-manager, a store or a lock: requests read
//! the snapshot that the feed wrote.

mod decrypt;
mod encrypt;
mod nested;
mod publish;
mod sign;
mod trust;
mod verify;

use std::sync::Arc;

use jose::provider::SecureRandom;
use jose_aws_lc::AwsLc;
use keyring::Use;
use service_kit::clock::{Clock, SharedClock};

pub use decrypt::{DecryptCommand, DecryptItem, DecryptedToken};
pub use encrypt::{EncryptCommand, EncryptItem, EncryptedToken, JwkRecipient, Recipient};
pub use nested::{DecryptThenVerifyCommand, NestedRejection, NestedToken, SignThenEncryptCommand};
pub use publish::{JwksAnswer, JwksQuery};
pub(crate) use sign::claims_violations;
pub use sign::{
    AuthorizationCode, BatchItem, BatchSource, BatchedToken, ItemRefusal, SignCommand, SignedToken,
    TimedSign,
};
pub use verify::{Demands, VerifyCommand, VerifyItem, VerifyVerdict};

use crate::issued::Recorder;
use crate::keys::{KeySet, KeysReader, PrivateKeys, Snapshot};
use crate::lanes::Lanes;
use crate::metrics::ServiceMetrics;
use crate::policy::Access;
use crate::refusal::Refusal;

/// The use cases and what they stand on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DataPlane(Arc<Parts>);

/// What the use cases stand on.
#[derive(Debug)]
pub struct Parts {
    /// The keys, as the feed wrote them.
    pub keys: KeysReader,
    /// The grants.
    pub access: Access,
    /// The crypto threads.
    pub lanes: Lanes,
    /// The parsed private keys.
    pub private: PrivateKeys,
    /// Wall and boot time.
    pub clock: SharedClock,
    /// Counters.
    pub metrics: ServiceMetrics,
    /// The records of what is issued.
    pub issued: Recorder,
}

impl DataPlane {
    /// The use cases over these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &KeysReader {
        &self.0.keys
    }

    /// The grants.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.0.access
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.0.lanes
    }

    pub(crate) fn private(&self) -> &PrivateKeys {
        &self.0.private
    }

    pub(crate) fn metrics(&self) -> &ServiceMetrics {
        &self.0.metrics
    }

    pub(crate) fn issued(&self) -> &Recorder {
        &self.0.issued
    }

    /// The set of that name, if it has the use. Asked only after the grant.
    fn set_of(
        &self,
        field: &'static str,
        tenant: &str,
        name: &str,
        key_use: Use,
    ) -> Result<Arc<KeySet>, Refusal> {
        set_in(&self.keys().snapshot(), field, tenant, name, key_use).map(Arc::clone)
    }

    fn may_verify(&self) -> Result<(), Refusal> {
        let out = |_out| Refusal::not_ready("the instance's lease to use its keys has run out");
        self.keys().verify_lease().map(|_left| ()).map_err(out)
    }

    /// 128 random bits.
    fn random_id(&self) -> Result<String, Refusal> {
        let mut bytes = [0; 16];
        AwsLc
            .fill(&mut bytes)
            .map_err(|_failed| Refusal::Internal("the system has no randomness"))?;
        Ok(jose::base64url::encode(bytes))
    }
}

/// The set of that name in a snapshot, if it has the use.
fn set_in<'s>(
    snapshot: &'s Snapshot,
    field: &'static str,
    tenant: &str,
    name: &str,
    key_use: Use,
) -> Result<&'s Arc<KeySet>, Refusal> {
    if !snapshot.is_received() {
        return Err(Refusal::not_ready(
            "the instance has not received its keys yet",
        ));
    }
    let not_found = || Refusal::KeySetNotFound {
        tenant: tenant.to_owned(),
        key_set: name.to_owned(),
    };
    let set = snapshot.set(tenant, name).ok_or_else(not_found)?;
    if set.key_use != key_use {
        return Err(Refusal::field(
            field,
            format!("must name a key set of use {}", use_name(key_use)),
        ));
    }
    Ok(set)
}

fn use_name(key_use: Use) -> &'static str {
    match key_use {
        Use::Sign => "SIGN",
        Use::Encrypt => "ENCRYPT",
        Use::RawSign => "RAW_SIGN",
        Use::Seal => "SEAL",
    }
}
