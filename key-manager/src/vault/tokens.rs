//! Revocations of tokens in the store.
//!
//! - A revocation is a record of its own, written with the next epoch like a key set, so that whatever holds for the epoch (gaps, acks, leases)
//!   holds for it. Its key names set and id; nothing of the token stands in the store.
//! - Forgetting is one write for however many: `revoked-until` rises. What lies below it does not count from then on; the records go
//!   afterwards, a few at a time, and a process that ends in between finds the rest when it starts again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use jose::revocation::{Entry, Id};
use keyring::Use;
use tracing::Instrument as _;

use super::{
    EPOCH, PAGE, Request, SetName, TRIES, Turn, Vault, VaultError, changed_key, envelope,
    held::Held,
    rings::ROOT_OWNER,
    token_record::{
        PREFIX, Record, Token, UNTIL, UNTIL_PLACE, Until, token_change, token_key, token_place,
    },
    turn::finished,
};
use crate::{
    seal::{DataKey, RecordBinding, Ring},
    store::{Batch, Entry as Stored, Precondition},
};

/// Records that one write clears away: engines bound the steps of a transaction.
const CLEARED: usize = 40;

/// Revocations to write, each of another set or id.
#[derive(Debug)]
pub struct Revoking {
    /// By key set.
    pub entries: Vec<(SetName, Entry)>,
    /// How many may live at most.
    pub limit: usize,
    /// Remembered with the write.
    pub request: Option<Request>,
}

/// Revocations to forget.
#[derive(Clone, Copy, Debug)]
pub struct Forgetting {
    /// Those that are to be forgotten by then, in seconds since 1970.
    pub until: u32,
}

/// What was read from the store.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) entries: BTreeMap<SetName, BTreeMap<Id, Entry>>,
    pub(super) until: Option<u32>,
    /// The latest epoch that wrote any of it.
    pub(super) newest: u64,
}

impl Taken {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.until.is_none()
    }

    /// What is read later replaces what was read of the same before.
    fn put(&mut self, name: SetName, entry: Entry, epoch: u64) {
        self.entries
            .entry(name)
            .or_default()
            .insert(entry.id, entry);
        self.newest = self.newest.max(epoch);
    }

    fn forget(&mut self, until: Option<Until>) {
        if let Some(until) = until {
            self.until = Some(until.until);
            self.newest = self.newest.max(until.epoch);
        }
    }
}

/// Records that do not count any more and are still there.
#[derive(Debug, Default)]
pub(super) struct Garbage(Mutex<Vec<String>>);

/// Whether an entry `changed/..` names something of this module.
pub(super) fn is_of_tokens(key: &str) -> bool {
    key == UNTIL || key.starts_with(PREFIX)
}

impl Turn {
    /// Writes revocations, all or none, and gives back the epoch that holds them. What is revoked already stays at least as it is; where
    /// nothing is new nothing is written but the request, and the epoch is the present one. Like [`Turn::commit`] it ends even where its
    /// caller stops waiting.
    ///
    /// # Errors
    /// [`VaultError::TooManyRevocations`], [`VaultError::Conflict`] where another replica was faster: refresh and ask again. Nothing was
    /// written then.
    pub async fn revoke_tokens(self, revoking: Revoking) -> Result<u64, VaultError> {
        let written = async move { self.write_tokens(revoking).await };
        finished(tokio::spawn(written.in_current_span()).await)
    }

    /// Forgets revocations, and gives back how many those were. Where there are none nothing is written.
    ///
    /// # Errors
    /// As [`Turn::revoke_tokens`].
    pub async fn forget_tokens(self, forgetting: Forgetting) -> Result<usize, VaultError> {
        let written = async move { self.write_until(forgetting.until).await };
        finished(tokio::spawn(written.in_current_span()).await)
    }

    async fn write_tokens(&self, revoking: Revoking) -> Result<u64, VaultError> {
        let vault = &self.vault;
        let new = vault.view().new_tokens(revoking.entries);
        if new.is_empty() {
            if let Some(request) = &revoking.request {
                let batch = vault.remember(Batch::new(), request).await?;
                let stored = vault.commit(batch).await;
                stored.map_err(|error| VaultError::of_write(error, "", false))?;
            }
            return Ok(vault.epoch());
        }
        let added = new.iter().filter(|new| new.replaces.is_none()).count();
        if vault.view().count_tokens() + added > revoking.limit {
            return Err(VaultError::TooManyRevocations {
                limit: revoking.limit,
            });
        }
        let epoch = self.next_epoch();
        let root = vault.root();
        let mut batch = Vault::under(Batch::new(), &root);
        for (place, (name, entry)) in new.iter().map(|new| (&new.name, &new.entry)).enumerate() {
            batch = vault
                .write_token(batch, &root, (name, entry), (epoch, place))
                .await?;
        }
        if let Some(request) = &revoking.request {
            batch = vault.remember(batch, request).await?;
        }
        let (generation, key) = newest(&root.ring)?;
        let mut heads = vault.view().heads_under(generation, key);
        for new in &new {
            if let Some(old) = &new.replaces {
                heads.tokens.subtract(key, &new.name, old);
            }
            heads.tokens.add(key, &new.name, &new.entry);
        }
        let batch = vault.with_epoch(batch, heads.head(epoch, &root.ring)?);
        let commit = vault.commit(batch).await;
        let commit = commit.map_err(|error| VaultError::of_write(error, "", false))?;
        let entries = new.into_iter().map(|new| (new.name, new.entry));
        vault
            .view_mut()
            .put_tokens(heads, entries.collect(), epoch, commit);
        vault.epochs.send_replace(epoch);
        Ok(epoch)
    }

    /// Tries once more where only what the write stands under has changed.
    async fn write_until(&self, until: u32) -> Result<usize, VaultError> {
        for _ in 0..TRIES {
            match self.try_write_until(until).await {
                Err(VaultError::Conflict) => {}
                done => return done,
            }
        }
        Err(VaultError::Conflict)
    }

    async fn try_write_until(&self, until: u32) -> Result<usize, VaultError> {
        let vault = &self.vault;
        let gone = vault.view().tokens_until(until);
        if gone.is_empty() {
            return Ok(0);
        }
        let epoch = self.next_epoch();
        let root = vault.root();
        let (generation, key) = newest(&root.ring)?;
        let mut heads = vault.view().heads_under(generation, key);
        for (name, entry) in &gone {
            heads.tokens.subtract(key, name, entry);
        }
        let mut batch = Vault::under(Batch::new(), &root);
        batch = match vault.read_until().await? {
            None => batch.check(UNTIL, Precondition::Absent),
            Some((old, revision)) => batch
                .check(UNTIL, Precondition::Revision(revision))
                .delete(changed_key(old.epoch)),
        };
        let place = RecordBinding {
            revision: epoch,
            ..UNTIL_PLACE
        };
        let (record, _) = envelope::write(&root.ring, place, &Until { until, epoch })?;
        let batch = batch.put(UNTIL, record).put(changed_key(epoch), UNTIL);
        let batch = vault.with_epoch(batch, heads.head(epoch, &root.ring)?);
        let commit = vault.commit(batch).await?;
        vault
            .garbage
            .extend(gone.iter().map(|(name, entry)| token_key(name, &entry.id)));
        vault.view_mut().forget_tokens(heads, until, epoch, commit);
        vault.epochs.send_replace(epoch);
        Ok(gone.len())
    }
}

impl Vault {
    /// Up to `limit` key sets of a tenant that sign tokens and whose names `wanted` says yes to.
    #[must_use]
    pub fn signing_sets(
        &self,
        tenant: &str,
        limit: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<SetName> {
        let view = self.view();
        let of_tenant = view.sets.range(SetName::new(tenant, "")..);
        let of_tenant = of_tenant.take_while(|(name, _)| name.tenant == tenant);
        let signing = of_tenant.filter(|(_, entry)| entry.set.key_use == Use::Sign);
        let wanted = signing.filter(|(name, _)| wanted(&name.name));
        wanted.take(limit).map(|(name, _)| name.clone()).collect()
    }

    /// How many revocations of tokens live.
    #[must_use]
    pub fn revoked_tokens(&self) -> usize {
        self.view().count_tokens()
    }

    /// Clears away up to 40 records of revocations that were forgotten; true where there may be more.
    ///
    /// # Errors
    /// [`VaultError`]; they are tried again at the next start then.
    pub async fn clear_forgotten(&self) -> Result<bool, VaultError> {
        let (keys, more) = self.garbage.take(CLEARED);
        let until = self.view().tokens_forgotten;
        let mut batch = Batch::new();
        let mut any = false;
        for key in &keys {
            let Some(stored) = self.store.get(key).await? else {
                continue;
            };
            let read = self.read_token(&stored).await?;
            // Who was revoked once more has a record of the same name that counts.
            if read.record.forget_at <= until {
                any = true;
                batch = batch
                    .check(key, Precondition::Revision(read.revision))
                    .delete(key)
                    .delete(token_change(read.record.epoch, read.record.place));
            }
        }
        if any {
            match self.store.commit(batch).await {
                // One was revoked once more, or re-sealed.
                Err(error) if error.is_conflict() => {
                    self.garbage.extend(keys);
                    return Ok(true);
                }
                done => done?,
            };
        }
        Ok(more)
    }

    pub(super) async fn load_tokens(&self) -> Result<Taken, VaultError> {
        let mut taken = Taken::default();
        taken.forget(self.read_until().await?.map(|(until, _)| until));
        let (mut after, mut garbage) = (None::<String>, Vec::new());
        loop {
            let page = self.store.scan(PREFIX, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for stored in &page {
                let read = self.read_token(stored).await?;
                match taken
                    .until
                    .is_some_and(|until| read.entry.forget_at <= until)
                {
                    true => garbage.push(stored.key.clone()),
                    false => taken.put(read.name, read.entry, read.record.epoch),
                }
            }
        }
        self.garbage.extend(garbage);
        Ok(taken)
    }

    /// Reads what an entry `changed/..` names. What is not there any more was forgotten, by a later epoch.
    pub(super) async fn take_tokens(&self, key: &str, taken: &mut Taken) -> Result<(), VaultError> {
        if key == UNTIL {
            taken.forget(self.read_until().await?.map(|(until, _)| until));
        } else if let Some(stored) = self.store.get(key).await? {
            let read = self.read_token(&stored).await?;
            taken.put(read.name, read.entry, read.record.epoch);
        }
        Ok(())
    }

    async fn write_token(
        &self,
        batch: Batch,
        root: &Held,
        (name, entry): (&SetName, &Entry),
        (epoch, place): (u64, usize),
    ) -> Result<Batch, VaultError> {
        let key = token_key(name, &entry.id);
        // Also where nothing of it counts any more: its record may be there still.
        let batch = match self.store.get(&key).await? {
            None => batch.check(&key, Precondition::Absent),
            Some(stored) => {
                let old = self.read_token(&stored).await?;
                batch
                    .check(&key, Precondition::Revision(old.revision))
                    .delete(token_change(old.record.epoch, old.record.place))
            }
        };
        let record = Record {
            issued_before: entry.issued_before,
            forget_at: entry.forget_at,
            epoch,
            place,
        };
        let binding = RecordBinding {
            revision: epoch,
            ..token_place(name, &key)
        };
        let (bytes, _) = envelope::write(&root.ring, binding, &record)?;
        Ok(batch
            .put(&key, bytes)
            .put(token_change(epoch, place), key.as_bytes()))
    }

    pub(super) fn with_epoch(&self, batch: Batch, head: Vec<u8>) -> Batch {
        let expected = match self.view().epoch_revision {
            0 => Precondition::Absent,
            revision => Precondition::Revision(revision),
        };
        batch.check(EPOCH, expected).put(EPOCH, head)
    }

    /// The record, and the commit that wrote it.
    async fn read_until(&self) -> Result<Option<(Until, u64)>, VaultError> {
        let Some(stored) = self.store.get(UNTIL).await? else {
            return Ok(None);
        };
        let read = self.opened(ROOT_OWNER, &stored, |rings, stored| {
            let epoch = |until: &Until| until.epoch;
            let (until, _) = envelope::read(rings.root, UNTIL_PLACE, epoch, &stored.value)?;
            Ok((until, stored.revision))
        });
        read.await.map(Some)
    }

    async fn read_token(&self, stored: &Stored) -> Result<Token, VaultError> {
        let read = self.opened(ROOT_OWNER, stored, |rings, stored| {
            Token::read(rings.root, stored)
        });
        read.await
    }
}

fn newest(root: &Ring) -> Result<(u32, &DataKey), VaultError> {
    Ok((root.present(), root.key(root.present())?))
}

impl Garbage {
    fn extend(&self, keys: impl IntoIterator<Item = String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(keys);
    }

    /// Up to `count`, and whether there are more.
    fn take(&self, count: usize) -> (Vec<String>, bool) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = keys.len().saturating_sub(count);
        (keys.split_off(rest), !keys.is_empty())
    }
}
