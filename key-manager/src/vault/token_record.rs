//! Revocations of tokens as they are stored: their records, their names, and the same once more under the present data key.

use jose::revocation::{Entry, Id};
use serde::{Deserialize, Serialize};

use super::{SetName, VaultError, changed_key, envelope};
use crate::{
    seal::{RecordBinding, Ring},
    store::Entry as Stored,
};

pub(super) const UNTIL: &str = "revoked-until";
pub(super) const PREFIX: &str = "revoked/";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) issued_before: u32,
    pub(super) forget_at: u32,
    /// The epoch that wrote it, and its place among those of that epoch.
    pub(super) epoch: u64,
    pub(super) place: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Until {
    pub(super) until: u32,
    pub(super) epoch: u64,
}

/// A revocation as it is stored.
pub(super) struct Token {
    pub(super) name: SetName,
    pub(super) entry: Entry,
    pub(super) record: Record,
    /// The commit that wrote it.
    pub(super) revision: u64,
}

impl Token {
    pub(super) fn read(root: &Ring, stored: &Stored) -> Result<Self, VaultError> {
        let (name, id) = named(stored)?;
        let place = token_place(&name, &stored.key);
        let epoch = |record: &Record| record.epoch;
        let (record, _) = envelope::read(root, place, epoch, &stored.value)?;
        let entry = Entry {
            id,
            issued_before: record.issued_before,
            forget_at: record.forget_at,
        };
        Ok(Self {
            name,
            entry,
            record,
            revision: stored.revision,
        })
    }
}

/// The revocation under the present generation.
pub(super) fn reseal(root: &Ring, stored: &Stored) -> Result<Option<Vec<u8>>, VaultError> {
    let (name, _) = named(stored)?;
    let place = token_place(&name, &stored.key);
    envelope::reseal(root, place, |record: &Record| record.epoch, &stored.value)
}

/// What is forgotten, under the present generation.
pub(super) fn reseal_until(root: &Ring, stored: &Stored) -> Result<Option<Vec<u8>>, VaultError> {
    let epoch = |until: &Until| until.epoch;
    envelope::reseal(root, UNTIL_PLACE, epoch, &stored.value)
}

fn named(stored: &Stored) -> Result<(SetName, Id), VaultError> {
    of_token_key(&stored.key).ok_or_else(|| VaultError::damaged(&stored.key, "names no revocation"))
}

pub(super) fn token_place<'a>(name: &'a SetName, key: &'a str) -> RecordBinding<'a> {
    RecordBinding {
        kind: "revoked",
        tenant: &name.tenant,
        name: key,
        revision: 0,
    }
}

pub(super) const UNTIL_PLACE: RecordBinding<'static> = RecordBinding {
    kind: "revoked-until",
    tenant: "",
    name: UNTIL,
    revision: 0,
};

pub(super) fn token_key(name: &SetName, id: &Id) -> String {
    let id = jose::base64url::encode(id.bytes());
    format!("{PREFIX}{}/{}/{id}", name.tenant, name.name)
}

/// Neither tenant nor id holds a slash.
fn of_token_key(key: &str) -> Option<(SetName, Id)> {
    let (tenant, rest) = key.strip_prefix(PREFIX)?.split_once('/')?;
    let (set, id) = rest.rsplit_once('/')?;
    let id = jose::base64url::decode(id).ok()?.try_into().ok()?;
    Some((SetName::new(tenant, set), Id::from_bytes(id)?))
}

/// Behind the entry of its epoch: who asks for what follows an epoch may see these once more, which changes nothing.
pub(super) fn token_change(epoch: u64, place: usize) -> String {
    format!("{}/{place:02}", changed_key(epoch))
}
