//! The data keys of one owner, as they are stored: every generation wrapped, and the material key sealed.

use std::{collections::BTreeMap, fmt, sync::Arc};

use keyring::Time;
use serde::{Deserialize, Serialize};

use super::{
    VaultError, envelope,
    rings::{ROOT_OWNER, entry_key},
};
use crate::{
    seal::{
        DataKey, FIRST, KEY_LEN, KekError, Keks, RecordBinding, Ring, SealError, UnwrapError,
        fresh_key,
    },
    store::Entry,
};

/// What an owner's entry holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) keys: Vec<Wrapped>,
    /// The material key, sealed under the newest.
    materials: String,
    /// When the newest was made, where that was a rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) began: Option<Time>,
    /// When nothing was under older ones any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<Time>,
}

/// One generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wrapped {
    pub(super) generation: u32,
    /// The public id of what wraps it; empty where that is not known.
    pub(super) kek: String,
    key: String,
}

/// The data keys of one owner, as they were last read.
pub(super) struct Held {
    pub(super) owner: String,
    /// The commit that wrote the entry; 0 = it is not written yet.
    pub(super) revision: u64,
    pub(super) record: Record,
    pub(super) ring: Arc<Ring>,
    /// Whether the entry is the wrapped key alone.
    pub(super) bare: bool,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({}, {:?})", self.key(), self.ring)
    }
}

impl Held {
    pub(super) fn key(&self) -> String {
        entry_key(&self.owner)
    }

    /// The first generation of a new owner, and the entry that keeps it.
    pub(super) async fn fresh(keks: &Keks, owner: &str) -> Result<(Self, Vec<u8>), VaultError> {
        let key = fresh_key()?;
        let ring = Ring::first(&key)?;
        let record = Record {
            keys: vec![wrap(keks, owner, FIRST, &key).await?],
            materials: jose::base64url::encode(ring.seal_materials(owner)?),
            began: None,
            ended: None,
        };
        let bytes = write(&ring, owner, &record)?;
        let held = Self {
            owner: owner.to_owned(),
            revision: 0,
            record,
            ring: Arc::new(ring),
            bare: false,
        };
        Ok((held, bytes))
    }

    pub(super) async fn read(keks: &Keks, owner: &str, entry: &Entry) -> Result<Self, VaultError> {
        match entry.value.first() {
            Some(b'{') => Self::read_record(keks, owner, entry).await,
            _ => Self::read_bare(keks, owner, entry).await,
        }
    }

    async fn read_record(keks: &Keks, owner: &str, entry: &Entry) -> Result<Self, VaultError> {
        let damaged = |problem: &dyn fmt::Display| VaultError::damaged(&entry.key, problem);
        let peeked: Record = envelope::peek(place(owner), &entry.value)?;
        let mut keys = BTreeMap::new();
        for wrapped in &peeked.keys {
            let bytes = jose::base64url::decode(&wrapped.key).map_err(|error| damaged(&error))?;
            let bound = bound_owner(owner, wrapped.generation);
            let key = keks.unwrap(&wrapped.kek, &bound, &bytes).await;
            let key = key.map_err(|error| unwrap_error(&entry.key, error))?;
            keys.insert(wrapped.generation, DataKey::new(&key)?);
        }
        let (present, newest) = keys.pop_last().ok_or_else(|| damaged(&"holds no key"))?;
        let materials =
            jose::base64url::decode(&peeked.materials).map_err(|error| damaged(&error))?;
        let materials = Ring::open_materials(&newest, owner, &materials);
        let materials = materials.map_err(|error| damaged(&error))?;
        let ring = Ring::new(present, newest, keys, materials);
        let (record, sealed) = envelope::read(&ring, place(owner), |_: &Record| 0, &entry.value)?;
        // Who has an older data key must not be able to say what the newest is.
        if sealed.generation != present {
            return Err(damaged(&"is not authenticated with its newest key"));
        }
        Ok(Self {
            owner: owner.to_owned(),
            revision: entry.revision,
            record,
            ring: Arc::new(ring),
            bare: false,
        })
    }

    async fn read_bare(keks: &Keks, owner: &str, entry: &Entry) -> Result<Self, VaultError> {
        let key = keks.unwrap_unnamed(owner, &entry.value).await;
        let key = key.map_err(|error| match error {
            // The root has proved the key-encryption key.
            UnwrapError::Kek(KekError::Wrong) if owner != ROOT_OWNER => {
                VaultError::damaged(&entry.key, SealError::Refused)
            }
            error => unwrap_error(&entry.key, error),
        })?;
        let ring = Ring::first(&key)?;
        let record = Record {
            keys: vec![Wrapped {
                generation: FIRST,
                kek: String::new(),
                key: String::new(),
            }],
            materials: jose::base64url::encode(ring.seal_materials(owner)?),
            began: None,
            ended: None,
        };
        Ok(Self {
            owner: owner.to_owned(),
            revision: entry.revision,
            record,
            ring: Arc::new(ring),
            bare: true,
        })
    }

    /// The entry with one more generation.
    pub(super) async fn rotated(
        &self,
        keks: &Keks,
        stored: &Entry,
        now: Time,
    ) -> Result<Vec<u8>, VaultError> {
        let generation = self.ring.present().saturating_add(1);
        let key = fresh_key()?;
        let newest = self.ring.successor(generation, &key)?;
        let mut record = self.named(keks, stored).await?;
        record
            .keys
            .push(wrap(keks, &self.owner, generation, &key).await?);
        record.materials = jose::base64url::encode(newest.seal_materials(&self.owner)?);
        (record.began, record.ended) = (Some(now), None);
        write(&newest, &self.owner, &record)
    }

    /// The entry with the newest generation alone.
    pub(super) fn alone(&self, now: Time) -> Result<Vec<u8>, VaultError> {
        let mut record = self.record.clone();
        let present = self.ring.present();
        record.keys.retain(|key| key.generation == present);
        record.ended = Some(now);
        write(&self.ring, &self.owner, &record)
    }

    /// The entry with every generation wrapped by the present key-encryption key.
    pub(super) async fn rewrapped(
        &self,
        keks: &Keks,
        stored: &Entry,
    ) -> Result<Vec<u8>, VaultError> {
        let mut record = self.named(keks, stored).await?;
        for wrapped in record.keys.iter_mut().filter(|key| key.kek != keks.id()) {
            let bytes = jose::base64url::decode(&wrapped.key)
                .map_err(|error| VaultError::damaged(&stored.key, error))?;
            let bound = bound_owner(&self.owner, wrapped.generation);
            let key = keks.unwrap(&wrapped.kek, &bound, &bytes).await;
            let key = key.map_err(|error| unwrap_error(&stored.key, error))?;
            *wrapped = wrap(keks, &self.owner, wrapped.generation, &key).await?;
        }
        write(&self.ring, &self.owner, &record)
    }

    /// The record; where the entry is the wrapped key alone, one that wraps it under the present key-encryption key.
    async fn named(&self, keks: &Keks, stored: &Entry) -> Result<Record, VaultError> {
        let mut record = self.record.clone();
        if self.bare {
            let key = keks.unwrap_unnamed(&self.owner, &stored.value).await;
            let key = key.map_err(|error| unwrap_error(&stored.key, error))?;
            record.keys = vec![wrap(keks, &self.owner, FIRST, &key).await?];
        }
        Ok(record)
    }

    /// Generations that are not wrapped by that key-encryption key.
    pub(super) fn not_under(&self, kek: &str) -> usize {
        let keys = self.record.keys.iter();
        keys.filter(|key| key.kek != kek).count()
    }

    /// Whether something may stand under an older generation.
    pub(super) fn is_resealing(&self) -> bool {
        self.record.keys.len() > 1
    }
}

/// A tenant holds no slash, so no two of these are alike, and none is like that of the form without generations.
fn bound_owner(owner: &str, generation: u32) -> String {
    format!("{owner}/{generation}")
}

fn place(owner: &str) -> RecordBinding<'_> {
    RecordBinding {
        kind: "data-key",
        tenant: owner,
        name: "",
        revision: 0,
    }
}

fn write(ring: &Ring, owner: &str, record: &Record) -> Result<Vec<u8>, VaultError> {
    envelope::write(ring, place(owner), record).map(|(bytes, _)| bytes)
}

async fn wrap(
    keks: &Keks,
    owner: &str,
    generation: u32,
    key: &[u8; KEY_LEN],
) -> Result<Wrapped, VaultError> {
    let wrapped = keks.wrap(&bound_owner(owner, generation), key).await?;
    Ok(Wrapped {
        generation,
        kek: keks.id().to_owned(),
        key: jose::base64url::encode(wrapped),
    })
}

fn unwrap_error(entry: &str, error: UnwrapError) -> VaultError {
    match error {
        UnwrapError::Kek(error) => VaultError::Kek(error),
        UnwrapError::Seal(error @ (SealError::Refused | SealError::Format(_))) => {
            VaultError::damaged(entry, error)
        }
        UnwrapError::Seal(error) => VaultError::Seal(error),
    }
}
