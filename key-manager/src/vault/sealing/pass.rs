//! One pass over everything of an owner that may stand under an older generation of its data key.

use std::{collections::VecDeque, sync::Arc};

use keyring::Time;

use super::{
    super::{PAGE, SetEntry, SetName, Vault, VaultError, envelope::Rings, held::Held, set},
    Owner,
    chunk::{Chunk, Moved},
    work::{self, Keyed},
};
use crate::{seal::SealError, store::Entry};

/// Entries that one step looks at, at most: it ends then, also where all of them are done.
const LOOK: usize = 2_000;

/// Sealed keys of one set in one write at most.
const KEYS: usize = 40;

/// So often in a row a write may find that others were faster.
const CONFLICTS: usize = 64;

/// A pass, from its beginning to where it is.
#[derive(Debug)]
pub struct Pass {
    owner: Owner,
    /// The generation that everything is to stand under.
    generation: u32,
    places: Vec<String>,
    /// Everything up to there stands under it.
    settled: Position,
    read_to: Position,
    page: VecDeque<Entry>,
    conflicts: usize,
    resealed: u64,
}

/// An index of `places`, and the last key there.
#[derive(Clone, Debug, Default)]
struct Position(usize, Option<String>);

impl Pass {
    /// Whose.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The generation that everything is to stand under.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Records and keys that it has re-sealed.
    #[must_use]
    pub fn resealed(&self) -> u64 {
        self.resealed
    }

    fn goes_back(&mut self) {
        self.page.clear();
        self.read_to = self.settled.clone();
    }
}

/// Where a pass stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more.
    More,
    /// Everything stands under the generation.
    Done,
    /// The data key was rotated again, or another replica has ended this: begin anew where there is need.
    Outdated,
}

impl Vault {
    /// A pass over what belongs to an owner; `None` where it has one generation.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn begin_pass(&self, owner: &Owner, now: Time) -> Result<Option<Pass>, VaultError> {
        let held = self.reload_held(owner.name()).await?;
        if !held.is_resealing() {
            return Ok(None);
        }
        let places = match owner {
            Owner::Root => {
                self.count_root(now).await?;
                let kinds = work::of_the_root().map(|kind| kind.name.to_owned());
                kinds.chain(["set/".to_owned()]).collect()
            }
            Owner::Tenant(tenant) => vec![format!("set/{tenant}/")],
        };
        Ok(Some(Pass {
            owner: owner.clone(),
            generation: held.ring.present(),
            places,
            settled: Position::default(),
            read_to: Position::default(),
            page: VecDeque::new(),
            conflicts: 0,
            resealed: 0,
        }))
    }

    /// Re-seals some of it, in one write.
    ///
    /// # Errors
    /// [`VaultError`]: what stands under older generations stays as it is, and so do those. [`VaultError::Conflict`] where others were
    /// faster many times.
    pub async fn reseal_some(&self, pass: &mut Pass, now: Time) -> Result<Step, VaultError> {
        let (held, root) = (self.held(pass.owner.name()).await?, self.root());
        if held.ring.present() != pass.generation || !held.is_resealing() {
            return Ok(Step::Outdated);
        }
        let mut chunk = Chunk::new(&root);
        let (mut reached, mut whole) = (pass.settled.clone(), true);
        let (mut looked, mut more) = (0, true);
        while whole && !chunk.is_full() && looked < LOOK {
            let Some(entry) = self.next_of(pass).await? else {
                more = false;
                break;
            };
            looked += 1;
            match self.reseal_entry(&entry, &root, &mut chunk).await {
                Ok(done) => whole = done,
                // What was read has been written since.
                Err(VaultError::Conflict) => return self.again(pass),
                Err(error) => return Err(error),
            }
            if whole {
                reached = Position(pass.read_to.0, Some(entry.key));
            }
        }
        if chunk.operations == 0 {
            pass.settled = reached;
            return Ok(if more { Step::More } else { Step::Done });
        }
        let commit = match self.commit(std::mem::take(&mut chunk.batch)).await {
            Ok(commit) => commit,
            Err(error) if error.is_conflict() => return self.again(pass),
            Err(error) => return Err(error.into()),
        };
        self.resealed(chunk, commit, pass, now);
        (pass.settled, pass.conflicts) = (reached, 0);
        if !whole {
            pass.goes_back();
        }
        Ok(Step::More)
    }

    /// Removes the older generations once a pass has found nothing under them; false where the data key was rotated again meanwhile, or
    /// they are gone.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn end_pass(&self, pass: &Pass, now: Time) -> Result<bool, VaultError> {
        let name = pass.owner.name();
        let held = self.reload_held(name).await?;
        if held.ring.present() != pass.generation || !held.is_resealing() {
            return Ok(false);
        }
        let stored = Entry {
            key: held.key(),
            value: held.alone(now)?,
            revision: 0,
        };
        match self.replace_held(&held, stored).await {
            Err(VaultError::Conflict) => return Ok(false),
            done => done?,
        }
        if pass.owner == Owner::Root {
            *self.root_count() = None;
        }
        Ok(true)
    }

    fn again(&self, pass: &mut Pass) -> Result<Step, VaultError> {
        pass.conflicts += 1;
        pass.goes_back();
        match pass.conflicts < CONFLICTS {
            true => Ok(Step::More),
            false => Err(VaultError::Conflict),
        }
    }

    async fn next_of(&self, pass: &mut Pass) -> Result<Option<Entry>, VaultError> {
        loop {
            if let Some(entry) = pass.page.pop_front() {
                return Ok(Some(entry));
            }
            let Position(place, after) = &mut pass.read_to;
            let Some(prefix) = pass.places.get(*place) else {
                return Ok(None);
            };
            let page = self.store.scan(prefix, after.as_deref(), PAGE).await?;
            match page.last() {
                Some(last) => *after = Some(last.key.clone()),
                None => (*place, *after) = (*place + 1, None),
            }
            pass.page = page.into();
        }
    }

    /// Adds an entry to the chunk where it stands under an older generation; false where some of its keys are left for the next one.
    async fn reseal_entry(
        &self,
        entry: &Entry,
        root: &Arc<Held>,
        chunk: &mut Chunk,
    ) -> Result<bool, VaultError> {
        let kind = work::KINDS.iter().find(|kind| kind.covers(&entry.key));
        let Some(kind) = kind else { return Ok(true) };
        let (reseal, keys) = match kind.keyed {
            Keyed::RootRecord(reseal) => (reseal, 0),
            Keyed::RootKey(reseal) => (reseal, 1),
            Keyed::Set => return self.reseal_set(entry, root, chunk).await,
            Keyed::Nothing | Keyed::Kek | Keyed::AtOnce | Keyed::KeyOfSet => return Ok(true),
        };
        let resealed = reseal(&root.ring, entry).map_err(since_read)?;
        if let Some(resealed) = resealed {
            chunk.check(&entry.key, entry.revision);
            chunk.put(&entry.key, resealed);
            chunk.moved.push(Moved {
                root: true,
                from: work::generation(kind, entry),
                records: 1 - keys,
                keys,
            });
        }
        Ok(true)
    }

    async fn reseal_set(
        &self,
        entry: &Entry,
        root: &Arc<Held>,
        chunk: &mut Chunk,
    ) -> Result<bool, VaultError> {
        let mut set = self.read_set(entry).await?;
        let name = SetName::of(&set.set);
        let held = self.held(&name.tenant).await?;
        let (present, roots) = (held.ring.present(), root.ring.present());
        let older: Vec<String> = set
            .keys
            .iter()
            .filter(|(_, facts)| facts.sealed_under().is_some_and(|under| under != present))
            .map(|(kid, _)| kid.clone())
            .collect();
        let under_root = set.sealed.root;
        if older.is_empty()
            && set.sealed.generation == present
            && under_root.is_none_or(|under| under == roots)
        {
            self.know_resealed(&name, set);
            return Ok(true);
        }
        let whole = older.len() <= KEYS;
        for kid in older.iter().take(KEYS) {
            self.reseal_key(&mut set, kid, &held, chunk).await?;
        }
        let (record, sealed) = set.write_resealed(Rings {
            owner: &held.ring,
            root: &root.ring,
        })?;
        chunk.under(&held);
        chunk.check(&entry.key, set.store_revision);
        chunk.put(&entry.key, record);
        if set.sealed.generation != present {
            chunk.moved.push(Moved {
                root: false,
                from: Some(set.sealed.generation),
                records: 1,
                keys: 0,
            });
        }
        if under_root != Some(roots) {
            chunk.moved.push(Moved {
                root: true,
                from: under_root,
                records: 1,
                keys: 0,
            });
        }
        set.sealed = sealed;
        chunk.sets.push((name, set));
        Ok(whole)
    }

    async fn reseal_key(
        &self,
        set: &mut SetEntry,
        kid: &str,
        held: &Held,
        chunk: &mut Chunk,
    ) -> Result<(), VaultError> {
        let key = set::blob_key(&set.set.tenant, kid);
        let blob = self.store.get(&key).await?;
        let blob = blob.ok_or_else(|| VaultError::damaged(&key, "is missing"))?;
        let version = set.set.version(kid);
        let version = version.ok_or_else(|| VaultError::damaged(&key, "belongs to no version"))?;
        let Some(facts) = set.keys.get(kid) else {
            return Ok(());
        };
        if facts.sealed.as_deref() != Some(set::digest(&blob.value).as_str()) {
            return self.is_damaged(set, &key).await;
        }
        let binding = set::binding(&set.set, version);
        let secret = held.ring.open(binding, &blob.value);
        let secret = secret.map_err(|error| match error {
            SealError::Generation(_) => VaultError::Conflict,
            error => VaultError::damaged(&key, error),
        })?;
        let sealed = held.ring.seal(binding, &secret)?;
        let from = facts.sealed_under();
        if let Some(facts) = set.keys.get_mut(kid) {
            facts.sealed = Some(set::digest(&sealed));
            facts.generation = Some(held.ring.present());
        }
        chunk.put(&key, sealed);
        chunk.moved.push(Moved {
            root: false,
            from,
            records: 0,
            keys: 1,
        });
        Ok(())
    }

    /// A sealed key is not what the record says: where the record has been written since it was read that is no wonder.
    async fn is_damaged(&self, set: &SetEntry, key: &str) -> Result<(), VaultError> {
        let stored = self.store.get(&SetName::of(&set.set).key()).await?;
        match stored.is_some_and(|stored| stored.revision == set.store_revision) {
            true => Err(VaultError::damaged(
                key,
                "is not what the record of its set says",
            )),
            false => Err(VaultError::Conflict),
        }
    }

    /// Makes known what another replica has re-sealed.
    fn know_resealed(&self, name: &SetName, set: SetEntry) {
        let newer = |known: &Arc<SetEntry>| known.store_revision < set.store_revision;
        let is_news = self.view().sets.get(name).is_some_and(newer);
        if is_news {
            self.view_mut().reseal(name, &Arc::new(set));
        }
    }

    fn resealed(&self, chunk: Chunk, commit: u64, pass: &mut Pass, now: Time) {
        {
            let mut view = self.view_mut();
            for (name, mut set) in chunk.sets {
                set.store_revision = commit;
                view.reseal(&name, &Arc::new(set));
            }
        }
        let to = self.root().ring.present();
        let mut root = self.root_count();
        for moved in chunk.moved {
            if moved.from.is_some() {
                pass.resealed += moved.records + moved.keys;
            }
            if let Some((at, counts)) = root.as_mut().filter(|_| moved.root) {
                *at = now;
                if let Some(from) = moved.from {
                    let from = counts.entry(from).or_default();
                    from.0 = from.0.saturating_sub(moved.records);
                    from.1 = from.1.saturating_sub(moved.keys);
                }
                let newest = counts.entry(to).or_default();
                (newest.0, newest.1) = (newest.0 + moved.records, newest.1 + moved.keys);
            }
        }
    }
}

/// Of a generation that is gone: another replica has re-sealed it.
fn since_read(error: VaultError) -> VaultError {
    match error {
        VaultError::Seal(SealError::Generation(_)) => VaultError::Conflict,
        error => error,
    }
}
