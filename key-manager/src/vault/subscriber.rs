//! Instances: records of their own, which move no epoch.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use keyring::Subscriber;
use serde::{Deserialize, Serialize};
use service_kit::grants::KeySetGlob;
use tokio::sync::{Mutex, watch};

use super::{PAGE, SetName, TRIES, Vault, VaultError, envelope, rings::ROOT_OWNER, set::digest};
use crate::{
    seal::{RecordBinding, Ring},
    store::{Batch, Entry, Pair, Precondition},
};

const PREFIX: &str = "subscriber/";

/// One start of an instance: who it is, and what it has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// The identity of its certificate.
    pub caller: String,
    /// What it is fed.
    pub scope: Scope,
    /// Acks, lease, clock and what it signed.
    pub subscriber: Subscriber,
    /// Whether it ever had a lease: one that had none has served nothing.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub leased: bool,
}

fn yes() -> bool {
    true
}

/// The key sets that an instance is fed: globs by tenant. Kept with the instance, because a changed policy takes nothing out of its memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    into = "BTreeMap<String, Vec<String>>",
    from = "BTreeMap<String, Vec<String>>"
)]
pub struct Scope(BTreeMap<String, Vec<KeySetGlob>>);

impl Scope {
    /// The scope of those globs, by tenant.
    #[must_use]
    pub fn new(globs: impl IntoIterator<Item = (String, Vec<KeySetGlob>)>) -> Self {
        Self(globs.into_iter().collect())
    }

    /// Whether the key set belongs to it.
    #[must_use]
    pub fn covers(&self, name: &SetName) -> bool {
        self.0
            .get(&name.tenant)
            .is_some_and(|globs| globs.iter().any(|glob| glob.matches(&name.name)))
    }

    /// Whether nothing belongs to it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }

    /// Its globs, each as `tenant/glob`.
    pub fn globs(&self) -> impl Iterator<Item = String> {
        self.0
            .iter()
            .flat_map(|(tenant, globs)| globs.iter().map(move |glob| format!("{tenant}/{glob}")))
    }

    /// Its tenants.
    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Adds what `other` covers.
    pub fn extend(&mut self, other: &Self) {
        for (tenant, globs) in &other.0 {
            let own = self.0.entry(tenant.clone()).or_default();
            own.extend(
                globs
                    .iter()
                    .filter(|glob| !own.contains(glob))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
        }
    }
}

impl From<Scope> for BTreeMap<String, Vec<String>> {
    fn from(scope: Scope) -> Self {
        let texts =
            |globs: Vec<KeySetGlob>| globs.iter().map(|glob| glob.as_str().to_owned()).collect();
        scope
            .0
            .into_iter()
            .map(|(tenant, globs)| (tenant, texts(globs)))
            .collect()
    }
}

impl From<BTreeMap<String, Vec<String>>> for Scope {
    fn from(texts: BTreeMap<String, Vec<String>>) -> Self {
        let globs = |texts: Vec<String>| {
            texts
                .iter()
                .filter_map(|text| KeySetGlob::new(text))
                .collect()
        };
        Self(
            texts
                .into_iter()
                .map(|(tenant, texts)| (tenant, globs(texts)))
                .collect(),
        )
    }
}

/// By the name of the subscriber; the number is the entry's revision.
type Known = BTreeMap<String, (Arc<Instance>, u64)>;

pub(super) struct Instances {
    known: RwLock<Known>,
    changes: watch::Sender<u64>,
    /// Every record up to this commit is known.
    read_to: Mutex<u64>,
}

impl Default for Instances {
    fn default() -> Self {
        Self {
            known: RwLock::default(),
            changes: watch::Sender::new(0),
            read_to: Mutex::default(),
        }
    }
}

impl fmt::Debug for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instances")
    }
}

impl Vault {
    /// Every instance whose record is kept, by name.
    #[must_use]
    pub fn instances(&self) -> Vec<Arc<Instance>> {
        let known = self
            .instances
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        known
            .values()
            .map(|(instance, _)| Arc::clone(instance))
            .collect()
    }

    /// One instance.
    #[must_use]
    pub fn instance(&self, name: &str) -> Option<Arc<Instance>> {
        let known = self
            .instances
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        known.get(name).map(|(instance, _)| Arc::clone(instance))
    }

    /// Rises with every stored change of an instance.
    #[must_use]
    pub fn watch_instances(&self) -> watch::Receiver<u64> {
        self.instances.changes.subscribe()
    }

    /// Changes the record of an instance, and gives it back once it is stored. `change` sees `None` where there is none yet and may
    /// be called again where another replica was faster; `None` from it leaves everything as it is.
    ///
    /// # Errors
    /// What `change` gives, or [`VaultError`].
    pub async fn update_instance<E: From<VaultError>>(
        &self,
        name: &str,
        change: impl Fn(Option<&Instance>) -> Result<Option<Instance>, E>,
    ) -> Result<Option<Arc<Instance>>, E> {
        let key = key(name);
        for _ in 0..TRIES {
            let present = self.known_instance(name);
            let Some(next) = change(present.as_ref().map(|(instance, _)| instance.as_ref()))?
            else {
                return Ok(present.map(|(instance, _)| instance));
            };
            let expected = present
                .as_ref()
                .map_or(Precondition::Absent, |(_, revision)| {
                    Precondition::Revision(*revision)
                });
            let root = self.root();
            let (record, _) = envelope::write(&root.ring, place(name), &next)?;
            let batch = Batch::new().check(&key, expected).put(&key, record);
            match self.commit(Self::under(batch, &root)).await {
                Ok(revision) => return Ok(Some(self.know(name, next, revision))),
                Err(error) if error.is_conflict() => self.reload_instance(name).await?,
                Err(error) => return Err(VaultError::from(error).into()),
            }
        }
        Err(VaultError::Conflict.into())
    }

    /// Deletes the record of an instance.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn forget_instance(&self, name: &str) -> Result<(), VaultError> {
        let Some((_, revision)) = self.known_instance(name) else {
            return Ok(());
        };
        let key = key(name);
        let batch = Batch::new()
            .check(&key, Precondition::Revision(revision))
            .delete(&key);
        match self.store.commit(batch).await {
            // Another replica has changed or forgotten it.
            Err(error) if error.is_conflict() => return self.reload_instance(name).await,
            done => done?,
        };
        self.instances
            .known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
        Ok(())
    }

    /// Takes in the records that other replicas wrote: whatever was stored before this call is known after it. Acks reach one
    /// replica and any may act, so this comes before every decision that counts them. A record that another replica has forgotten stays
    /// known until it is forgotten here too; its lease has ended, so it holds nothing up.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn refresh_instances(&self) -> Result<(), VaultError> {
        if !self.store.is_shared() {
            return Ok(());
        }
        let mut read_to = self.instances.read_to.lock().await;
        let newer = self.store.newer(PREFIX, *read_to).await?;
        for entry in &newer.entries {
            self.take_instance(entry).await?;
        }
        *read_to = newer.commit;
        Ok(())
    }

    /// Every instance that `kept` says yes to as a store with the root key of `other` has it, when it has acknowledged nothing of what that store holds:
    /// acks of earlier epochs say nothing about keys that come back.
    pub(super) fn instance_entries_for(
        &self,
        other: &Self,
        kept: impl Fn(&Instance) -> bool,
    ) -> Result<Vec<Pair>, VaultError> {
        let (known, root) = (self.instances(), other.root());
        let kept = known.iter().filter(|instance| kept(instance));
        let entry = |instance: &Arc<Instance>| {
            let mut next = instance.as_ref().clone();
            next.subscriber.first_epoch = 0;
            next.subscriber.acks.clear();
            let name = &instance.subscriber.name;
            let (record, _) = envelope::write(&root.ring, place(name), &next)?;
            Ok((key(name), record))
        };
        kept.map(entry).collect()
    }

    pub(super) async fn load_instances(&self) -> Result<(), VaultError> {
        let commit = *self.store.watch().borrow();
        *self.instances.read_to.lock().await = commit;
        let mut after: Option<String> = None;
        loop {
            let page = self.store.scan(PREFIX, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.key.clone());
            for entry in &page {
                self.take_instance(entry).await?;
            }
        }
    }

    async fn reload_instance(&self, name: &str) -> Result<(), VaultError> {
        match self.store.get(&key(name)).await? {
            Some(entry) => self.take_instance(&entry).await?,
            None => {
                self.instances
                    .known
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(name);
            }
        }
        Ok(())
    }

    async fn take_instance(&self, entry: &Entry) -> Result<(), VaultError> {
        let read = self.opened(ROOT_OWNER, entry, |rings, entry| {
            read(rings.root, entry).map(|read| (read, entry.revision))
        });
        let ((name, instance), revision) = read.await?;
        self.know(&name, instance, revision);
        Ok(())
    }

    fn known_instance(&self, name: &str) -> Option<(Arc<Instance>, u64)> {
        self.instances
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// A late writer never puts an older record in the place of a newer one.
    fn know(&self, name: &str, instance: Instance, revision: u64) -> Arc<Instance> {
        let instance = Arc::new(instance);
        {
            let mut known = self
                .instances
                .known
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            let newer = known
                .get(name)
                .is_none_or(|(_, present)| *present < revision);
            if newer {
                known.insert(name.to_owned(), (Arc::clone(&instance), revision));
                self.instances
                    .changes
                    .send_modify(|count| *count = count.wrapping_add(1));
            }
        }
        instance
    }
}

/// Identities may be longer than a key of the store, and the entry is not read by its key alone: the name is in the record.
fn key(name: &str) -> String {
    format!("{PREFIX}{}", digest(name.as_bytes()))
}

fn place(name: &str) -> RecordBinding<'_> {
    RecordBinding {
        kind: "subscriber",
        tenant: "",
        name,
        revision: 0,
    }
}

fn read(root: &Ring, entry: &Entry) -> Result<(String, Instance), VaultError> {
    let name = name_of(entry)?;
    let (instance, _) = envelope::read(root, place(&name), |_: &Instance| 0, &entry.value)?;
    Ok((name, instance))
}

/// The record under the present generation.
pub(super) fn reseal(root: &Ring, entry: &Entry) -> Result<Option<Vec<u8>>, VaultError> {
    let name = name_of(entry)?;
    envelope::reseal(root, place(&name), |_: &Instance| 0, &entry.value)
}

/// The name that the record claims, and that its key agrees with.
fn name_of(entry: &Entry) -> Result<String, VaultError> {
    #[derive(Deserialize)]
    struct Peek {
        record: PeekRecord,
    }
    #[derive(Deserialize)]
    struct PeekRecord {
        subscriber: PeekName,
    }
    #[derive(Deserialize)]
    struct PeekName {
        name: String,
    }
    let peek: Peek = serde_json::from_slice(&entry.value)
        .map_err(|error| VaultError::damaged(&entry.key, error))?;
    let name = peek.record.subscriber.name;
    match key(&name) == entry.key {
        true => Ok(name),
        false => Err(VaultError::damaged(&entry.key, "was moved")),
    }
}
