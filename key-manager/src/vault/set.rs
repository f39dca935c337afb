//! A key set as it is stored, and the entries that belong to it.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest as sha2};
use keyring::{KeySet, State, Use, Version, invariants};
use serde::{Deserialize, Serialize};

use super::{
    Change, Entering, VaultError,
    envelope::{self, Rings, Sealed},
};
use crate::{
    seal::{FIRST, KeyBinding, RecordBinding, Ring},
    store::{Batch, Entry, Precondition},
};

/// The name of a key set: tenant, then name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName {
    /// The tenant.
    pub tenant: String,
    /// The name in the tenant.
    pub name: String,
}

impl SetName {
    /// The name of those two parts.
    #[must_use]
    pub fn new(tenant: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            tenant: tenant.into(),
            name: name.into(),
        }
    }

    /// The name of a set.
    #[must_use]
    pub fn of(set: &KeySet) -> Self {
        Self::new(set.tenant.as_str(), set.name.as_str())
    }

    pub(super) fn key(&self) -> String {
        format!("set/{}/{}", self.tenant, self.name)
    }

    /// A tenant holds no slash, so the first one ends it.
    pub(super) fn of_key(key: &str) -> Option<Self> {
        let (tenant, name) = key.strip_prefix("set/")?.split_once('/')?;
        Some(Self::new(tenant, name))
    }
}

/// What is known of a key besides its version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFacts {
    /// The public JWK; absent for symmetric keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_jwk: Option<String>,
    /// The digest of the sealed key; absent for public keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    /// The generation of the tenant's data key that seals it; absent = the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// Who forced its promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced_by: Option<String>,
}

impl KeyFacts {
    /// The generation of the tenant's data key that seals it; `None` where nothing is sealed.
    pub(super) fn sealed_under(&self) -> Option<u32> {
        let sealed = self.sealed.as_ref();
        sealed.map(|_| self.generation.unwrap_or(FIRST))
    }
}

/// A key set as it is stored.
#[derive(Clone, Debug)]
pub struct SetEntry {
    /// The set.
    pub set: KeySet,
    /// By kid.
    pub keys: BTreeMap<String, KeyFacts>,
    /// The commit that wrote it.
    pub(super) store_revision: u64,
    /// What it stands under.
    pub(super) sealed: Sealed,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    set: KeySet,
    keys: BTreeMap<String, KeyFacts>,
}

#[derive(Serialize)]
struct RecordRef<'a> {
    set: &'a KeySet,
    keys: &'a BTreeMap<String, KeyFacts>,
}

impl SetEntry {
    /// The entry that a change makes, before it is written, and the sealed key that enters with it.
    pub(super) fn prepare(
        change: &Change,
        replaces: Option<&Self>,
        ring: &Ring,
    ) -> Result<(Self, Option<Vec<u8>>), VaultError> {
        let set = change.set.clone();
        let mut keys = replaces.map(|old| old.keys.clone()).unwrap_or_default();
        let mut sealed = None;
        if let Some(entering) = &change.entering {
            let version = set
                .version(&entering.kid)
                .ok_or_else(|| VaultError::damaged(&entering.kid, "enters no version"))?;
            sealed = entering
                .secret
                .as_ref()
                .map(|secret| ring.seal(binding(&set, version), secret))
                .transpose()?;
            let facts = KeyFacts {
                public_jwk: entering.public_jwk.clone(),
                sealed: sealed.as_deref().map(digest),
                generation: sealed.as_ref().map(|_| ring.present()),
                forced_by: None,
            };
            keys.insert(entering.kid.clone(), facts);
        }
        for version in set
            .versions
            .iter()
            .filter(|version| version.forced.is_some())
        {
            let facts = keys.entry(version.kid.clone()).or_default();
            facts.forced_by.get_or_insert_with(|| change.actor.clone());
        }
        for version in set.in_state(State::Destroyed) {
            keys.entry(version.kid.clone())
                .and_modify(|facts| (facts.sealed, facts.generation) = (None, None));
        }
        Ok((
            Self {
                set,
                keys,
                store_revision: 0,
                sealed: Sealed {
                    mark: [0; 32],
                    generation: ring.present(),
                    root: None,
                },
            },
            sealed,
        ))
    }

    pub(super) fn write(&self, ring: &Ring) -> Result<(Vec<u8>, Sealed), VaultError> {
        envelope::write(ring, self.place(), &self.record())
    }

    /// The same write once more, under the present generations.
    pub(super) fn write_resealed(&self, rings: Rings<'_>) -> Result<(Vec<u8>, Sealed), VaultError> {
        envelope::write_resealed(rings, self.place(), &self.record(), self.sealed.mark)
    }

    fn place(&self) -> RecordBinding<'_> {
        RecordBinding {
            kind: "set",
            tenant: &self.set.tenant,
            name: &self.set.name,
            revision: self.set.revision,
        }
    }

    fn record(&self) -> RecordRef<'_> {
        RecordRef {
            set: &self.set,
            keys: &self.keys,
        }
    }

    /// Whether both are what the same write of the set made, whatever they stand under by now.
    pub(super) fn is_same_write(&self, other: &Self) -> bool {
        (self.set.revision, self.sealed.mark) == (other.set.revision, other.sealed.mark)
    }

    pub(super) fn sealed_digest(&self, kid: &str) -> Option<String> {
        self.keys.get(kid)?.sealed.clone()
    }

    pub(super) fn read(
        name: &SetName,
        entry: &Entry,
        rings: Rings<'_>,
    ) -> Result<Self, VaultError> {
        let place = RecordBinding {
            kind: "set",
            tenant: &name.tenant,
            name: &name.name,
            revision: 0,
        };
        let (record, sealed) = envelope::read_resealed(
            rings,
            place,
            |record: &Record| record.set.revision,
            &entry.value,
        )?;
        if let Some(violation) = invariants::check(&record.set).into_iter().next() {
            return Err(VaultError::damaged(&entry.key, violation));
        }
        Ok(Self {
            set: record.set,
            keys: record.keys,
            store_revision: entry.revision,
            sealed,
        })
    }
}

/// Takes the kid and the material in the tenant, and stores the sealed key.
pub(super) fn claims(
    batch: Batch,
    tenant: &str,
    entering: &Entering,
    sealed: Option<Vec<u8>>,
) -> Batch {
    let (key, material) = (
        blob_key(tenant, &entering.kid),
        format!("material/{tenant}/{}", entering.material),
    );
    batch
        .check(&material, Precondition::Absent)
        .check(&key, Precondition::Absent)
        .put(&material, entering.kid.as_bytes())
        .put(&key, sealed.unwrap_or_default())
}

/// Erases the sealed keys of versions that are destroyed with this change. The entries stay, empty, and so do those of the
/// materials: neither kid nor key enters again.
pub(super) fn erasures(batch: Batch, change: &Change) -> Batch {
    let before = change.replaces.as_ref().map(|old| &old.set);
    let destroyed_now = |version: &&Version| {
        before
            .and_then(|set| set.version(&version.kid))
            .is_some_and(|old| old.state != State::Destroyed)
    };
    let destroyed = change.set.in_state(State::Destroyed).filter(destroyed_now);
    destroyed.fold(batch, |batch, version| {
        let key = blob_key(&change.set.tenant, &version.kid);
        batch.put(key, "").erase()
    })
}

pub(super) fn blob_key(tenant: &str, kid: &str) -> String {
    format!("key/{tenant}/{kid}")
}

pub(super) fn digest(bytes: &[u8]) -> String {
    jose::base64url::encode(sha2(&SHA256, bytes))
}

pub(super) fn binding<'a>(set: &'a KeySet, version: &'a Version) -> KeyBinding<'a> {
    let key_use = match set.key_use {
        Use::Sign => "sign",
        Use::Encrypt => "encrypt",
        Use::RawSign => "raw_sign",
        Use::Seal => "seal",
    };
    KeyBinding {
        tenant: &set.tenant,
        set: &set.name,
        kid: &version.kid,
        algorithm: version.algorithm.as_str(),
        key_use,
    }
}
