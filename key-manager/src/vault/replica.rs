//! What the key-managers that share a store tell each other of their clocks.

use keyring::Time;
use serde::{Deserialize, Serialize};

use super::{Vault, VaultError, envelope, rings::ROOT_OWNER};
use crate::{
    seal::{RecordBinding, Ring},
    store::{Batch, Entry},
};

const PREFIX: &str = "replica/";

/// What a key-manager tells of its clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// The key-manager: its machine, and random bits made at its start.
    pub name: String,
    /// What its clock said just before this was written.
    pub at: Time,
}

impl Vault {
    /// Tells the others what the own clock says.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn tell_clock(&self, told: &Told) -> Result<(), VaultError> {
        let root = self.root();
        let key = key(&told.name);
        let (record, _) = envelope::write(&root.ring, place(&told.name), told)?;
        let batch = Self::under(Batch::new().put(key, record), &root);
        self.commit(batch).await?;
        Ok(())
    }

    /// What was told after the commit `since`, and up to which commit this is everything.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn told_since(&self, since: u64) -> Result<(Vec<Told>, u64), VaultError> {
        let newer = self.store.newer(PREFIX, since).await?;
        let mut told = Vec::with_capacity(newer.entries.len());
        for entry in &newer.entries {
            let read = self.opened(ROOT_OWNER, entry, |rings, entry| read(rings.root, entry));
            told.push(read.await?);
        }
        Ok((told, newer.commit))
    }

    /// Nobody is told of that key-manager any more.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn forget_clock(&self, name: &str) -> Result<(), VaultError> {
        self.store.commit(Batch::new().delete(key(name))).await?;
        Ok(())
    }
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn place(name: &str) -> RecordBinding<'_> {
    RecordBinding {
        kind: "replica",
        tenant: "",
        name,
        revision: 0,
    }
}

fn read(root: &Ring, entry: &Entry) -> Result<Told, VaultError> {
    let place = place(name_of(entry)?);
    let (told, _): (Told, _) = envelope::read(root, place, |_: &Told| 0, &entry.value)?;
    Ok(told)
}

/// The record under the present generation.
pub(super) fn reseal(root: &Ring, entry: &Entry) -> Result<Option<Vec<u8>>, VaultError> {
    envelope::reseal(root, place(name_of(entry)?), |_: &Told| 0, &entry.value)
}

fn name_of(entry: &Entry) -> Result<&str, VaultError> {
    let name = entry.key.strip_prefix(PREFIX);
    name.ok_or_else(|| VaultError::damaged(&entry.key, "names no key-manager"))
}
