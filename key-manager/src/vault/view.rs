//! What is known in memory: every key set, decoded and verified, and the recent order of writes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{SetEntry, SetName, heads::Heads};

/// How many writes are remembered in order; who lags behind further is sent a snapshot.
const LOG: usize = 65_536;

/// What was written after some epoch.
#[derive(Debug)]
pub enum Changes {
    /// Nothing.
    None,
    /// These sets, as they now are. Applying them leads to `epoch`.
    Some {
        /// The epoch that they lead to.
        epoch: u64,
        /// Each set once.
        entries: Vec<Arc<SetEntry>>,
    },
    /// The order of writes is no longer known that far back.
    TooOld,
}

pub(super) struct View {
    pub(super) epoch: u64,
    /// The revision of the entry `epoch`; 0 = there is none yet.
    pub(super) epoch_revision: u64,
    pub(super) sets: BTreeMap<SetName, Arc<SetEntry>>,
    pub(super) heads: Heads,
    log: VecDeque<(u64, SetName)>,
    log_from: u64,
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            epoch: 0,
            epoch_revision: 0,
            sets: BTreeMap::new(),
            heads: Heads::new(),
            log: VecDeque::new(),
            log_from: 0,
        }
    }

    /// Begins the log here, after the first load.
    pub(super) fn start_at(&mut self, epoch: u64, epoch_revision: u64) {
        (self.epoch, self.epoch_revision) = (epoch, epoch_revision);
        (self.log_from, self.log) = (epoch, VecDeque::new());
    }

    /// Takes in what was read from the store: several writes under the one epoch at which all of them are known.
    pub(super) fn take(&mut self, entries: Vec<SetEntry>, epoch: u64, epoch_revision: u64) {
        for entry in entries {
            self.put(
                SetName::of(&entry.set),
                Arc::new(entry),
                epoch,
                epoch_revision,
            );
        }
        (self.epoch, self.epoch_revision) = (epoch, epoch_revision);
    }

    pub(super) fn put(
        &mut self,
        name: SetName,
        entry: Arc<SetEntry>,
        epoch: u64,
        epoch_revision: u64,
    ) {
        self.heads.put(&name, &entry);
        self.sets.insert(name.clone(), entry);
        self.log.push_back((epoch, name));
        if self.log.len() > LOG
            && let Some((dropped, _)) = self.log.pop_front()
        {
            self.log_from = dropped;
        }
        (self.epoch, self.epoch_revision) = (epoch, epoch_revision);
    }

    /// A set may be newer than the epoch that a part leads to; it then comes again in the part of its own epoch.
    pub(super) fn changes_since(&self, epoch: u64, limit: usize) -> Changes {
        if epoch >= self.epoch {
            return Changes::None;
        }
        if epoch < self.log_from {
            return Changes::TooOld;
        }
        let start = self.log.partition_point(|(written, _)| *written <= epoch);
        let (mut names, mut reached) = (BTreeSet::new(), epoch);
        for (written, name) in self.log.range(start..) {
            if names.len() >= limit && *written != reached {
                break;
            }
            names.insert(name);
            reached = *written;
        }
        let entries = names
            .into_iter()
            .filter_map(|name| self.sets.get(name).cloned())
            .collect();
        Changes::Some {
            epoch: reached,
            entries,
        }
    }
}
