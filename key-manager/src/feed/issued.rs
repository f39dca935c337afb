//! Records of issued tokens: the keys that instances are given for them, and what they ship.

use std::sync::Arc;

use service_kit::{grants::Operation, identity::Caller};

use super::{Feed, FeedError, StreamKey};
use crate::issued::Shipment;

/// The kid that the key of subjects is wrapped under.
const SUBJECTS: &str = "issued-subjects";

/// What an instance seals and hashes records with.
#[derive(Clone, Debug)]
pub struct FedIssued {
    /// Segments are sealed to it.
    pub public_key: Vec<u8>,
    /// What subjects are hashed with, wrapped.
    pub subject_key: String,
}

impl Feed {
    /// The keys for one instance, where this key-manager keeps records.
    pub(super) fn issued_keys(
        &self,
        epoch: u64,
        key: &StreamKey,
    ) -> Result<Option<FedIssued>, FeedError> {
        let Some(issued) = self.lifecycle.issued() else {
            return Ok(None);
        };
        let keys = issued.keys();
        Ok(Some(FedIssued {
            public_key: keys.public_key(),
            subject_key: key.wrap("", SUBJECTS, epoch, keys.subject_key())?,
        }))
    }

    /// Takes what an instance ships, and gives the frame that is expected next.
    ///
    /// # Errors
    /// [`FeedError::NotGranted`], [`FeedError::NoRecords`] and [`FeedError::Issued`].
    pub async fn ship(&self, caller: &Caller, shipment: Shipment) -> Result<u32, FeedError> {
        self.admit(caller)?;
        let issued = self.lifecycle.issued().ok_or(FeedError::NoRecords)?;
        let (policy, caller) = (Arc::clone(&self.policy.current()), caller.clone());
        let granted = move |tenant: &str, key_set: &str| {
            policy.allows(&caller, Operation::Feed, tenant, key_set)
        };
        Ok(issued.take(shipment, granted).await?)
    }
}
