//! Destroying keys.

use std::time::Duration;

use client_core::{Error, request::time_from_wire, request::to_wire};
use crypto_proto::keys::v1 as proto;

use crate::{
    key_set::Destruction,
    request::{Mutation, mutation},
    wire::key_set,
};

/// A key to destroy, or one that is not to be destroyed after all.
#[derive(Debug, Clone)]
pub struct DestroyKey {
    mutation: Mutation,
    kid: String,
    wait: Option<Duration>,
    cancel: bool,
}

mutation!(DestroyKey);

impl DestroyKey {
    /// Schedules the destruction of `kid`, a Retired or Revoked key of `key_set`, in seven days.
    #[must_use]
    pub fn new(key_set: impl Into<String>, kid: impl Into<String>) -> Self {
        Self {
            mutation: Mutation::of(key_set),
            kid: kid.into(),
            wait: None,
            cancel: false,
        }
    }

    /// Another time until the destruction: 60 s to 366 d.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Calls a scheduled destruction off.
    #[must_use]
    pub fn cancel(key_set: impl Into<String>, kid: impl Into<String>) -> Self {
        Self {
            cancel: true,
            ..Self::new(key_set, kid)
        }
    }
}

impl From<&DestroyKey> for proto::DestroyKeyRequest {
    fn from(destroy: &DestroyKey) -> Self {
        let mutation = destroy.mutation.clone();
        Self {
            tenant: mutation.tenant,
            key_set: mutation.key_set,
            kid: destroy.kid.clone(),
            wait: destroy.wait.map(to_wire),
            cancel: destroy.cancel,
            request_id: mutation.request_id,
            expected_revision: mutation.expected_revision,
        }
    }
}

impl Destruction {
    pub(crate) fn read(wire: proto::DestroyKeyResponse) -> Result<Self, Error> {
        Ok(Self {
            key_set: key_set(wire.key_set)?,
            destroy_at: wire.destroy_at.map(time_from_wire),
            remains: wire.remains,
        })
    }
}
