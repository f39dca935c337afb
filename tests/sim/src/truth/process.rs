//! One start of one instance: what it holds, and until when it may rely on it.

use std::collections::{BTreeMap, VecDeque};

use keyring::{Publish, State};

use super::{Finding, TOLERANCE, Truth};
use crate::invariant::Invariant;

/// What is true of one start of an instance.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) node: usize,
    subscriber: String,
    pub(crate) born: u64,
    pub(crate) died: Option<u64>,
    /// The epoch that it has applied.
    pub(crate) epoch: u64,
    pub(crate) sign_end: u64,
    pub(crate) verify_end: u64,
    /// Renewals that were asked for: number and moment.
    asked: VecDeque<(u64, u64)>,
    has_snapshot: bool,
    seen: BTreeMap<String, Seen>,
}

/// What it knows of a key.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Until when it may have served without the key; `None` where it never did.
    without_until: Option<u64>,
    whole: bool,
}

impl Process {
    /// When it may last have served without the key.
    fn without(&self, kid: &str, now: u64) -> Option<u64> {
        if !self.has_snapshot || self.verify_end == 0 {
            return None;
        }
        match self.seen.get(kid) {
            Some(seen) => seen.without_until,
            None => Some(self.verify_end.min(self.died.unwrap_or(now)).min(now)),
        }
    }

    /// It serves, and has never heard of the key.
    fn lacks(&self, kid: &str) -> bool {
        self.died.is_none() && !self.seen.contains_key(kid)
    }

    pub(crate) fn holds_whole(&self, kid: &str) -> bool {
        self.seen.get(kid).is_some_and(|seen| seen.whole)
    }
}

impl Truth {
    /// An instance starts. Gives its number.
    pub(crate) fn born(&mut self, now: u64, node: usize, subscriber: String) -> usize {
        self.processes.push(Process {
            node,
            subscriber,
            born: now,
            died: None,
            epoch: 0,
            sign_end: 0,
            verify_end: 0,
            asked: VecDeque::new(),
            has_snapshot: false,
            seen: BTreeMap::new(),
        });
        self.processes.len() - 1
    }

    pub(crate) fn died(&mut self, process: usize, now: u64) {
        if let Some(process) = self.processes.get_mut(process) {
            process.died.get_or_insert(now);
        }
    }

    pub(crate) fn asked(&mut self, process: usize, id: u64, now: u64) {
        if let Some(process) = self.processes.get_mut(process) {
            process.asked.push_back((id, now));
        }
    }

    /// A new stream: renewals of the one before are not answered any more.
    pub(crate) fn connected(&mut self, process: usize) {
        if let Some(process) = self.processes.get_mut(process) {
            process.asked.clear();
        }
    }

    /// A lease has arrived. `believed` is until when the instance now thinks that it may verify.
    ///
    /// # Errors
    /// What it breaks.
    pub(crate) fn leased(
        &mut self,
        process: usize,
        id: u64,
        (sign_for, verify_for): (u64, u64),
        believed: u64,
    ) -> Result<(), Finding> {
        let Some(of) = self.processes.get_mut(process) else {
            return Ok(());
        };
        while let Some((asked, at)) = of.asked.pop_front() {
            if asked == id {
                of.sign_end = of.sign_end.max(at + sign_for);
                of.verify_end = of.verify_end.max(at + verify_for);
                break;
            }
        }
        let (node, end) = (of.node, of.verify_end);
        let stored = self
            .processes
            .get(process)
            .map_or(0, |of| self.stored_lease(&of.subscriber));
        if end > stored + 500 {
            let what = format!(
                "i{node} relies on a lease {} ms longer than the stored one",
                end - stored
            );
            return Err((Invariant::LeaseStored, what));
        }
        if believed > end + 1 {
            let what = format!(
                "i{node} relies on a lease {} ms longer than it was granted",
                believed - end
            );
            return Err((Invariant::LeaseHeld, what));
        }
        Ok(())
    }

    /// A change or a snapshot is applied; these are the keys that it then holds.
    ///
    /// # Errors
    /// What it breaks.
    pub(crate) fn applied(
        &mut self,
        process: usize,
        now: u64,
        epoch: u64,
        keys: Vec<(String, State, bool)>,
    ) -> Result<(), Finding> {
        let Some(of) = self.processes.get_mut(process) else {
            return Ok(());
        };
        if epoch < of.epoch {
            let what = format!("i{} goes from epoch {} to {epoch}", of.node, of.epoch);
            return Err((Invariant::EpochRises, what));
        }
        of.epoch = epoch;
        let first = !of.has_snapshot;
        of.has_snapshot = true;
        let served_until = of.verify_end.min(now);
        let mut stale = None;
        for (kid, state, whole) in keys {
            let known = self.kids.get(&kid);
            let revoked = known.and_then(|known| known.revoked);
            if state != State::Revoked && revoked.is_some_and(|(_, at)| at <= epoch) {
                stale = known.map(|known| known.label.clone());
            }
            let seen = of.seen.entry(kid).or_insert_with(|| Seen {
                without_until: (!first && served_until > 0).then_some(served_until),
                whole,
            });
            seen.whole = whole;
        }
        let mut made = self.kids.iter();
        let unknown = made
            .find(|(kid, known)| known.made_epoch <= epoch && !of.seen.contains_key(kid.as_str()));
        if let Some((_, known)) = unknown {
            let what = format!(
                "i{} is at epoch {epoch} and does not know {}, made by epoch {}",
                of.node, known.label, known.made_epoch
            );
            return Err((Invariant::Gapless, what));
        }
        match stale {
            Some(label) => {
                let what = format!(
                    "i{} is at epoch {epoch} and does not know that {label} is revoked",
                    of.node
                );
                Err((Invariant::RevokedKey, what))
            }
            None => Ok(()),
        }
    }

    /// The key signs, and nobody who has not been given it may be without it: for the lead, where it is published.
    ///
    /// # Errors
    /// Who may be.
    pub(super) fn long_published(&mut self, kid: &str, now: u64) -> Result<(), Finding> {
        let Some(key) = self.kids.get(kid).filter(|key| !key.cleared) else {
            return Ok(());
        };
        if key.is_excused(now) || key.forced.is_some() {
            return Ok(());
        }
        let Some(set) = self.sets.get(&key.set) else {
            return Ok(());
        };
        let published = set.publish == Publish::Public && !set.policy.key.algorithm.is_symmetric();
        let lead = set
            .policy
            .publication_lead
            .unwrap_or(self.times.publication_lead);
        let lead = lead.max(self.times.jwks_cap + self.times.skew).as_millis();
        let lead = if published { lead } else { 0 };
        let (made, label) = (key.made, key.label.clone());
        for process in &self.processes {
            let without = process.without(kid, now).filter(|at| *at > made);
            if without.is_some_and(|at| now + TOLERANCE < at + lead) {
                let at = without.unwrap_or_default();
                let what = format!(
                    "{label} signs, and i{} may have served without it {} s ago",
                    process.node,
                    now.saturating_sub(at) / 1_000
                );
                return Err((Invariant::LongPublished, what));
            }
            // Behind a key without a lead everybody has to hold it when it signs.
            if lead == 0
                && without.is_some()
                && process.verify_end > now + TOLERANCE
                && process.lacks(kid)
            {
                let what = format!("{label} signs, and i{} serves without it", process.node);
                return Err((Invariant::LongPublished, what));
            }
        }
        if let Some(key) = self.kids.get_mut(kid) {
            key.cleared = true;
        }
        Ok(())
    }
}
