//! From the store to memory: the first load, and what other replicas write.
//!
//! A store may be written while it is read. What was read fits together when the epoch was read first and no set is newer than it;
//! where one is, the newer epoch is read and what changed up to it. Instances move no epoch: they are read by the commits that wrote them.

use std::{collections::BTreeMap, sync::Arc};

use service_kit::shutdown::Shutdown;

use super::{
    EPOCH, PAGE, SetEntry, SetName, Vault, VaultError, changed_key,
    heads::Head,
    rings::ROOT_OWNER,
    tokens::{Taken, is_of_tokens},
};
use crate::store::{Entry, StoreError};

/// How often a read is repeated because the store was written meanwhile.
const TRIES: usize = 64;

type Sets = BTreeMap<SetName, SetEntry>;

/// The entry `epoch`, as it was read.
pub(super) struct Epoch {
    pub(super) revision: u64,
    pub(super) head: Head,
    /// The generation of the root's data key that it stands under.
    generation: u32,
}

impl Vault {
    /// Takes in what other replicas wrote to key sets.
    ///
    /// # Errors
    /// [`VaultError`]; what is known stays as it was then. A store whose epoch is older than what is known was put back, and is damaged.
    pub async fn refresh(&self) -> Result<(), VaultError> {
        let _turn = self.turn.lock().await;
        match self.catch_up_with_the_store().await {
            Err(error @ VaultError::Damaged { .. }) => Err(self.unless_replaced(error).await),
            done => done,
        }
    }

    async fn catch_up_with_the_store(&self) -> Result<(), VaultError> {
        let stored = self.read_epoch().await?;
        let stored = stored.map_or((0, 0), |stored| (stored.head.epoch, stored.revision));
        let known = {
            let view = self.view();
            (view.epoch, view.epoch_revision)
        };
        if stored == known {
            return Ok(());
        }
        self.fence.check().await?;
        // The same epoch once more is that of a rotated root.
        if stored < known {
            return Err(VaultError::damaged(
                EPOCH,
                format_args!(
                    "went back from {} to {}: an older store was put in place",
                    known.0, stored.0
                ),
            ));
        }
        let (mut changed, mut tokens) = (Sets::new(), Taken::default());
        let head = self.catch_up(known.0, &mut changed, &mut tokens).await?;
        self.take(changed, tokens, head)
    }

    /// As [`Self::refresh`] where other processes may write, nothing where none can: all writes of this one are known.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn refresh_shared(&self) -> Result<(), VaultError> {
        match self.store.is_shared() {
            true => self.refresh().await,
            false => Ok(()),
        }
    }

    /// Follows the store until shutdown, so that what another replica writes is known here, and fed, at once. Spawn it.
    pub async fn follow(self: Arc<Self>, shutdown: Shutdown) {
        if !self.store.is_shared() {
            return;
        }
        let mut commits = self.store.watch();
        while let Some(Ok(())) = shutdown.guard(commits.changed()).await {
            commits.mark_unchanged();
            let taken = async {
                self.refresh().await?;
                self.refresh_instances().await
            };
            if let Err(error) = taken.await {
                // The driver reads the store each second and says what is wrong with it.
                tracing::debug!(%error, "what another replica wrote is not known yet");
            }
        }
    }

    /// The error, or that the store was restored, where that explains it.
    pub(super) async fn unless_replaced(&self, error: VaultError) -> VaultError {
        match self.fence.check().await {
            Err(replaced @ StoreError::Replaced) => VaultError::Store(replaced),
            _ => error,
        }
    }

    pub(super) async fn load_sets(&self) -> Result<(), VaultError> {
        let began = self.read_epoch().await?;
        let began = began.map_or(0, |began| began.head.epoch);
        let mut loaded = Sets::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.scan("set/", after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for entry in &page {
                let set = self.read_set(entry).await?;
                loaded.insert(SetName::of(&set.set), set);
            }
        }
        let mut tokens = self.load_tokens().await?;
        let head = self.catch_up(began, &mut loaded, &mut tokens).await?;
        self.take(loaded, tokens, head)?;
        let mut view = self.view_mut();
        let (epoch, revision) = (view.epoch, view.epoch_revision);
        view.start_at(epoch, revision);
        Ok(())
    }

    /// Verifies the sets against the heads of the epoch, and makes them known.
    fn take(&self, sets: Sets, tokens: Taken, read: Option<Epoch>) -> Result<(), VaultError> {
        let Some(read) = read else {
            return match sets.is_empty() && tokens.is_empty() {
                true => Ok(()),
                false => Err(VaultError::damaged(EPOCH, "is missing")),
            };
        };
        let (head, root) = (&read.head, self.root());
        let key = root.ring.key(read.generation)?;
        let mut heads = self.view().heads_under(read.generation, key);
        for (name, set) in &sets {
            heads.put(name, set);
        }
        heads.tokens = self.view().token_head_with(heads.tokens, key, &tokens);
        heads.verify(head.epoch, &head.heads)?;
        {
            let mut view = self.view_mut();
            view.take(sets.into_values().collect(), head.epoch, read.revision);
            view.take_tokens(tokens, heads, head.epoch);
        }
        self.epochs.send_replace(head.epoch);
        Ok(())
    }

    /// Adds to `sets` what was changed after the epoch `from`, and gives the epoch's entry that it fits.
    async fn catch_up(
        &self,
        from: u64,
        sets: &mut Sets,
        tokens: &mut Taken,
    ) -> Result<Option<Epoch>, VaultError> {
        let mut before = None;
        for _ in 0..TRIES {
            let Some(read) = self.read_epoch().await? else {
                return Ok(None);
            };
            self.read_changed(from, sets, tokens).await?;
            let epoch = read.head.epoch;
            let fits =
                sets.values().all(|entry| entry.set.epoch <= epoch) && tokens.newest <= epoch;
            // Where nobody has written meanwhile, a set that is newer than the epoch is no race: the heads will not fit.
            if fits || before == Some(read.revision) {
                return Ok(Some(read));
            }
            before = Some(read.revision);
        }
        Err(VaultError::Store(StoreError::Unavailable(
            "it is written faster than it is read".into(),
        )))
    }

    async fn read_changed(
        &self,
        from: u64,
        sets: &mut Sets,
        tokens: &mut Taken,
    ) -> Result<(), VaultError> {
        let mut after = changed_key(from);
        loop {
            let page = self.store.scan("changed/", Some(&after), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after.clone_from(&last.key);
            for entry in &page {
                let key = String::from_utf8_lossy(&entry.value).into_owned();
                if is_of_tokens(&key) {
                    self.take_tokens(&key, tokens).await?;
                    continue;
                }
                let set = self.store.get(&key).await?;
                let set = set.ok_or_else(|| VaultError::damaged(&key, "is missing"))?;
                let set = self.read_set(&set).await?;
                sets.insert(SetName::of(&set.set), set);
            }
        }
    }

    pub(super) async fn read_epoch(&self) -> Result<Option<Epoch>, VaultError> {
        let Some(entry) = self.store.get(EPOCH).await? else {
            return Ok(None);
        };
        let read = self.opened(ROOT_OWNER, &entry, |rings, entry| {
            let (head, generation) = Head::read(rings.root, &entry.value)?;
            Ok(Epoch {
                revision: entry.revision,
                head,
                generation,
            })
        });
        read.await.map(Some)
    }

    pub(super) async fn read_set(&self, entry: &Entry) -> Result<SetEntry, VaultError> {
        let name = SetName::of_key(&entry.key)
            .ok_or_else(|| VaultError::damaged(&entry.key, "names no set"))?;
        let read = self.opened(&name.tenant, entry, |rings, entry| {
            SetEntry::read(&name, entry, rings)
        });
        read.await
    }

    /// Reads the record of a set as it stands by now, and gives it where it is the write that is known, re-sealed perhaps.
    pub(super) async fn reread(&self, name: &SetName) -> Result<Option<Arc<SetEntry>>, VaultError> {
        let Some(entry) = self.store.get(&name.key()).await? else {
            return Ok(None);
        };
        let fresh = Arc::new(self.read_set(&entry).await?);
        let known = self.get(name);
        if !known.is_some_and(|known| known.is_same_write(&fresh)) {
            return Ok(None);
        }
        self.view_mut().reseal(name, &fresh);
        Ok(Some(fresh))
    }
}
