//! Keys of keys: data keys, their generations, and the key-encryption keys that wrap them.

use std::time::SystemTime;

use client_core::{Error, request::time_from_wire, request_id};
use crypto_proto::keys::v1 as proto;

/// A data key to rotate.
#[derive(Debug, Clone)]
pub struct RotateDataKey {
    tenant: String,
    root: bool,
    request_id: String,
}

impl RotateDataKey {
    /// That of a tenant; empty = `default`.
    #[must_use]
    pub fn of_tenant(tenant: impl Into<String>) -> Self {
        Self {
            tenant: tenant.into(),
            root: false,
            request_id: request_id(),
        }
    }

    /// That of what belongs to no tenant.
    #[must_use]
    pub fn of_the_root() -> Self {
        Self {
            root: true,
            ..Self::of_tenant("")
        }
    }

    /// Names the request, so that asking again does not act twice. Default: 128 random bits, made with this value.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }
}

impl From<&RotateDataKey> for proto::RotateDataKeyRequest {
    fn from(rotate: &RotateDataKey) -> Self {
        Self {
            tenant: rotate.tenant.clone(),
            root: rotate.root,
            request_id: rotate.request_id.clone(),
        }
    }
}

/// How the store is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealing {
    /// The root's data key.
    pub root: DataKey,
    /// The tenants' data keys, by tenant.
    pub tenants: Vec<DataKey>,
    /// The public id of the key-encryption key.
    pub kek_id: String,
    /// That of the one before, where one is configured.
    pub previous_kek_id: Option<String>,
    /// Data keys that the present key-encryption key does not wrap yet.
    pub data_keys_left: u64,
    /// The one before is configured and wraps nothing any more.
    pub previous_removable: bool,
}

impl Sealing {
    /// Whether nothing is left to be re-sealed or wrapped anew.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let mut all = self.tenants.iter().chain([&self.root]);
        self.data_keys_left == 0 && all.all(|key| key.generations.len() == 1)
    }
}

/// The data key of a tenant, or of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKey {
    /// The tenant; empty for the root.
    pub tenant: String,
    /// The generation that seals, from 1.
    pub generation: u32,
    /// All that are kept, the oldest first.
    pub generations: Vec<DataKeyGeneration>,
    /// Records and keys under older ones.
    pub left: u64,
    /// When the present one was made by a rotation.
    pub began: Option<SystemTime>,
    /// When nothing was left under older ones.
    pub ended: Option<SystemTime>,
    /// When it was counted.
    pub counted_at: Option<SystemTime>,
}

/// One generation of a data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKeyGeneration {
    /// Its number.
    pub generation: u32,
    /// Records that are authenticated with it.
    pub records: u64,
    /// Private keys and secrets that are sealed with it.
    pub keys: u64,
    /// The public id of the key-encryption key that wraps it; empty where that is not known.
    pub kek_id: String,
}

impl From<proto::DataKeySealing> for DataKey {
    fn from(wire: proto::DataKeySealing) -> Self {
        let generations = wire.generations.into_iter();
        Self {
            tenant: wire.tenant,
            generation: wire.generation,
            generations: generations
                .map(|one| DataKeyGeneration {
                    generation: one.generation,
                    records: one.records,
                    keys: one.keys,
                    kek_id: one.kek_id,
                })
                .collect(),
            left: wire.left,
            began: wire.began.map(time_from_wire),
            ended: wire.ended.map(time_from_wire),
            counted_at: wire.counted_at.map(time_from_wire),
        }
    }
}

impl DataKey {
    pub(crate) fn read(wire: Option<proto::DataKeySealing>) -> Result<Self, Error> {
        wire.map(Self::from).ok_or_else(|| Error::answer("sealing"))
    }
}

impl Sealing {
    /// The first page; the tenants of the others follow.
    pub(crate) fn read(wire: proto::GetSealingResponse) -> Result<Self, Error> {
        let root = wire.root.map(DataKey::from);
        Ok(Self {
            root: root.ok_or_else(|| Error::answer("root"))?,
            tenants: wire.tenants.into_iter().map(DataKey::from).collect(),
            kek_id: wire.kek_id,
            previous_kek_id: Some(wire.previous_kek_id).filter(|id| !id.is_empty()),
            data_keys_left: wire.data_keys_left,
            previous_removable: wire.previous_removable,
        })
    }
}
