//! What records of issued tokens are sealed and hashed with, as the feed brings it.

use std::sync::Arc;

use crypto_proto::keys::v1 as proto;
use issued_log::{Recipient, SubjectKey};

use super::sealed::{Binding, SealedError, SealedKey, StreamKey};

/// The kid that the key of subjects is wrapped under.
const SUBJECTS: &str = "issued-subjects";

/// Whom segments are sealed to, and what subjects are hashed with.
#[derive(Clone, Debug)]
pub struct IssuedKeys {
    /// The key-manager.
    pub recipient: Recipient,
    /// The key of subjects.
    pub subjects: SubjectKey,
}

impl IssuedKeys {
    /// Opens what a snapshot of that epoch brought.
    pub(crate) fn receive(
        keys: proto::IssuedKeys,
        opener: &Arc<StreamKey>,
        epoch: u64,
    ) -> Result<Self, SealedError> {
        let public = keys.public_key.as_slice().try_into();
        let public = public.map_err(|_length| SealedError::Malformed)?;
        let binding = Binding {
            tenant: "",
            kid: SUBJECTS,
            epoch,
        };
        let subjects = SealedKey::receive(keys.subject_key, opener, binding)?.open()?;
        if subjects.len() != 32 {
            return Err(SealedError::Malformed);
        }
        Ok(Self {
            recipient: Recipient::new(public),
            subjects: SubjectKey::new(&subjects),
        })
    }
}
