//! What is known in memory: every key set, decoded and verified, every revocation of tokens, and the recent order of writes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use jose::revocation::{Entry, Table};

use super::{SetEntry, SetName, heads::Heads, token_head::TokenHead, tokens::Taken};
use crate::seal::DataKey;

/// How many writes are remembered in order; who lags behind further is sent a snapshot.
const LOG: usize = 65_536;

/// Revocations that are given at once, about: 96 KiB.
const TOKENS: usize = 4_096;

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
        /// Revocations of tokens, and what was forgotten after them.
        tokens: RevokedTokens,
    },
    /// The order of writes is no longer known that far back.
    TooOld,
}

/// Revocations of tokens that were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevokedTokens {
    /// By key set.
    pub entries: BTreeMap<SetName, Vec<Entry>>,
    /// Up to when all are forgotten, in seconds since 1970.
    pub forgotten: Option<u32>,
}

/// Everything, of one epoch.
#[derive(Debug)]
pub struct Whole {
    /// The epoch.
    pub epoch: u64,
    /// The key sets, by name.
    pub sets: Vec<Arc<SetEntry>>,
    /// The revocations of tokens, by key set.
    pub tokens: Vec<(SetName, Table)>,
}

/// A revocation that changes something.
pub(super) struct NewToken {
    pub(super) name: SetName,
    pub(super) entry: Entry,
    pub(super) replaces: Option<Entry>,
}

/// One write.
enum Written {
    Set(SetName),
    Tokens(Vec<(SetName, Vec<Entry>)>),
    Forgotten(u32),
}

pub(super) struct View {
    pub(super) epoch: u64,
    /// The revision of the entry `epoch`; 0 = there is none yet.
    pub(super) epoch_revision: u64,
    pub(super) sets: BTreeMap<SetName, Arc<SetEntry>>,
    pub(super) heads: Heads,
    tokens: BTreeMap<SetName, Table>,
    /// Up to when revocations of tokens are forgotten, in seconds since 1970.
    pub(super) tokens_forgotten: u32,
    log: VecDeque<(u64, Written)>,
    log_from: u64,
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            epoch: 0,
            epoch_revision: 0,
            sets: BTreeMap::new(),
            heads: Heads::new(),
            tokens: BTreeMap::new(),
            tokens_forgotten: 0,
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

    /// The heads, with that of all revocations of tokens made with this generation of the root's data key. After a rotation each of them is
    /// gone through once.
    pub(super) fn heads_under(&self, generation: u32, root: &DataKey) -> Heads {
        let mut heads = self.heads.clone();
        if heads.tokens_under != generation {
            heads.tokens_under = generation;
            heads.tokens = TokenHead::default();
            for (name, table) in &self.tokens {
                for entry in table.iter() {
                    heads.tokens.add(root, name, entry);
                }
            }
        }
        heads
    }

    /// The head of all revocations of tokens once these are taken in to those of `head`.
    pub(super) fn token_head_with(
        &self,
        mut head: TokenHead,
        root: &DataKey,
        taken: &Taken,
    ) -> TokenHead {
        let until = taken.until.unwrap_or_default();
        let mut replaced = BTreeSet::new();
        for (name, entries) in &taken.entries {
            let table = self.tokens.get(name);
            for entry in entries.values() {
                if let Some(old) = table.and_then(|table| table.get(&entry.id)) {
                    head.subtract(root, name, old);
                    replaced.insert((name, entry.id));
                }
                if entry.forget_at > until {
                    head.add(root, name, entry);
                }
            }
        }
        for (name, entry) in self.tokens_until(until) {
            if !replaced.contains(&(&name, entry.id)) {
                head.subtract(root, &name, &entry);
            }
        }
        head
    }

    /// As [`View::take`], for revocations of tokens, whose head is then that of `heads`.
    pub(super) fn take_tokens(&mut self, taken: Taken, heads: Heads, epoch: u64) {
        (self.heads.tokens, self.heads.tokens_under) = (heads.tokens, heads.tokens_under);
        let mut logged = Vec::new();
        for (name, entries) in taken.entries {
            let entries: Vec<_> = entries.into_values().collect();
            logged.push((name.clone(), entries.clone()));
            self.tokens.entry(name).or_default().extend(entries);
        }
        if !logged.is_empty() {
            self.log(epoch, Written::Tokens(logged));
        }
        if let Some(until) = taken.until {
            self.drop_tokens(until, epoch);
        }
    }

    /// Takes in a record that was re-sealed: it is the same write, so nothing else changes.
    pub(super) fn reseal(&mut self, name: &SetName, entry: &Arc<SetEntry>) {
        if let Some(present) = self.sets.get_mut(name)
            && present.is_same_write(entry)
            && present.store_revision < entry.store_revision
        {
            *present = Arc::clone(entry);
        }
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
        self.log(epoch, Written::Set(name));
        (self.epoch, self.epoch_revision) = (epoch, epoch_revision);
    }

    pub(super) fn put_tokens(
        &mut self,
        heads: Heads,
        entries: Vec<(SetName, Entry)>,
        epoch: u64,
        epoch_revision: u64,
    ) {
        self.heads = heads;
        for (name, entry) in &entries {
            self.tokens
                .entry(name.clone())
                .or_default()
                .extend([*entry]);
        }
        let logged = entries.into_iter().map(|(name, entry)| (name, vec![entry]));
        self.log(epoch, Written::Tokens(logged.collect()));
        (self.epoch, self.epoch_revision) = (epoch, epoch_revision);
    }

    pub(super) fn forget_tokens(
        &mut self,
        heads: Heads,
        until: u32,
        epoch: u64,
        epoch_revision: u64,
    ) {
        self.heads = heads;
        self.drop_tokens(until, epoch);
        (self.epoch, self.epoch_revision) = (epoch, epoch_revision);
    }

    fn drop_tokens(&mut self, until: u32, epoch: u64) {
        self.tokens_forgotten = self.tokens_forgotten.max(until);
        self.tokens.retain(|_, table| {
            table.forget(until);
            !table.is_empty()
        });
        self.log(epoch, Written::Forgotten(until));
    }

    fn log(&mut self, epoch: u64, written: Written) {
        self.log.push_back((epoch, written));
        if self.log.len() > LOG
            && let Some((dropped, _)) = self.log.pop_front()
        {
            self.log_from = dropped;
        }
    }

    /// What of these changes something, joined with what is there. None is born forgotten.
    pub(super) fn new_tokens(&self, entries: Vec<(SetName, Entry)>) -> Vec<NewToken> {
        let new = entries.into_iter().filter_map(|(name, mut entry)| {
            entry.forget_at = entry.forget_at.max(self.tokens_forgotten.saturating_add(1));
            let old = self
                .tokens
                .get(&name)
                .and_then(|table| table.get(&entry.id));
            let joined = old.map_or(entry, |old| old.joined(entry));
            (old != Some(&joined)).then(|| NewToken {
                name,
                entry: joined,
                replaces: old.copied(),
            })
        });
        new.collect()
    }

    pub(super) fn count_tokens(&self) -> usize {
        self.tokens.values().map(Table::len).sum()
    }

    /// The revocations that are to be forgotten by then.
    pub(super) fn tokens_until(&self, until: u32) -> Vec<(SetName, Entry)> {
        let due = self
            .tokens
            .iter()
            .filter(|(_, table)| table.next_end() <= until);
        due.flat_map(|(name, table)| {
            let due = table.iter().filter(move |entry| entry.forget_at <= until);
            due.map(|entry| (name.clone(), *entry))
        })
        .collect()
    }

    pub(super) fn whole(&self) -> Whole {
        let tokens = self.tokens.iter();
        Whole {
            epoch: self.epoch,
            sets: self.sets.values().cloned().collect(),
            tokens: tokens
                .map(|(name, table)| (name.clone(), table.clone()))
                .collect(),
        }
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
        let (mut names, mut tokens, mut count) = (BTreeSet::new(), RevokedTokens::default(), 0);
        let mut reached = epoch;
        for (epoch, written) in self.log.range(start..) {
            if *epoch != reached && (names.len() >= limit || count >= TOKENS) {
                break;
            }
            reached = *epoch;
            match written {
                Written::Set(name) => drop(names.insert(name)),
                Written::Tokens(entries) => count += tokens.extend(entries),
                Written::Forgotten(until) => tokens.forgotten = Some(*until),
            }
        }
        let entries = names
            .into_iter()
            .filter_map(|name| self.sets.get(name).cloned())
            .collect();
        Changes::Some {
            epoch: reached,
            entries,
            tokens,
        }
    }
}

impl RevokedTokens {
    /// Adds them, and gives back how many those are.
    fn extend(&mut self, added: &[(SetName, Vec<Entry>)]) -> usize {
        for (name, entries) in added {
            let of_set = self.entries.entry(name.clone()).or_default();
            of_set.extend_from_slice(entries);
        }
        added.iter().map(|(_, entries)| entries.len()).sum()
    }
}
