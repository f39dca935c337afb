//! Records as they are written: each is checked against the one before it, and against what its writer knew.

use key_manager::vault::Instance;
use keyring::invariants::{Violation, check_live_tokens, check_step};
use keyring::{Context, KeySet, Peers, State, Subscriber, Time};
use serde::Deserialize;

use super::{Finding, Kid, Truth};
use crate::clock::{EPOCH_MS, NodeClock};
use crate::invariant::Invariant;

/// How long a decision may be under way: what its writer read may have changed since.
const UNDER_WAY: u64 = 5_000;

/// A token is judged with so much less than the largest leeway, because clocks differ.
const SLACK: u64 = 10_000;

#[derive(Deserialize)]
struct Stored<T> {
    record: T,
}

#[derive(Deserialize)]
struct SetRecord {
    set: KeySet,
}

fn read<T: for<'a> Deserialize<'a>>(value: &[u8]) -> Result<T, Finding> {
    let stored = serde_json::from_slice::<Stored<T>>(value);
    let stored = stored.map_err(|error| (Invariant::Record, format!("a record is none: {error}")));
    stored.map(|stored| stored.record)
}

impl Truth {
    /// The records of instances are about to change: decisions that are under way may stand on those of now.
    pub(super) fn keep_former(&mut self, now: u64) {
        while self
            .former
            .front()
            .is_some_and(|(until, _)| until + UNDER_WAY < now)
        {
            self.former.pop_front();
        }
        let table = self.subscribers.values().cloned().collect();
        self.former.push_back((now, table));
    }

    pub(super) fn subscriber(
        &mut self,
        key: &str,
        value: &[u8],
        clock: &NodeClock,
    ) -> Result<(), Finding> {
        let subscriber = read::<Instance>(value)?.subscriber;
        // By the clock of who writes, as it is now: that is what decisions compare it with.
        let end = subscriber
            .lease_end
            .shifted(clock.offset().saturating_neg());
        let end = end.as_millis().saturating_sub(EPOCH_MS);
        self.leases.insert(subscriber.name.clone(), end);
        self.subscribers.insert(key.to_owned(), subscriber);
        Ok(())
    }

    /// When the stored lease of the subscriber really ends.
    pub(super) fn stored_lease(&self, subscriber: &str) -> u64 {
        self.leases.get(subscriber).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, now: u64, value: &[u8], clock: &NodeClock) -> Result<(), Finding> {
        let after = read::<SetRecord>(value)?.set;
        if after.epoch <= self.epoch {
            let what = format!("epoch {} follows {}", after.epoch, self.epoch);
            return Err((Invariant::EpochRises, what));
        }
        self.epoch = after.epoch;
        let before = self.sets.insert(after.name.clone(), after.clone());
        let known = before.as_ref().unwrap_or(&after);
        let lawful = self.lawful(now, known, &after, clock);
        self.learn(now, &after);
        lawful?;
        if known.active().is_some() && after.active().is_none() && after.policy.generate {
            let what = format!("{} is left without one", after.name);
            return Err((Invariant::KeepsActive, what));
        }
        self.keeps_live_tokens(now, &after)
    }

    /// Whether the step is lawful by what its writer can have known.
    fn lawful(
        &self,
        now: u64,
        before: &KeySet,
        after: &KeySet,
        clock: &NodeClock,
    ) -> Result<(), Finding> {
        let present: Vec<Subscriber> = self.subscribers.values().cloned().collect();
        let mut found = self.step(before, after, &present, clock);
        let recent = self.former.iter().rev();
        let recent = recent.take_while(|(until, _)| until + UNDER_WAY >= now);
        for (_, table) in recent {
            if found.is_empty() {
                break;
            }
            found = self.step(before, after, table, clock);
        }
        match found.into_iter().next() {
            None => Ok(()),
            Some(violation) => {
                let what = format!("{}: {}", after.name, self.said(&violation));
                Err((Invariant::Record, what))
            }
        }
    }

    fn step(
        &self,
        before: &KeySet,
        after: &KeySet,
        subscribers: &[Subscriber],
        clock: &NodeClock,
    ) -> Vec<Violation> {
        check_step(
            before,
            after,
            &Context {
                now: clock.time(),
                epoch: after.epoch,
                times: &self.times,
                subscribers,
                peers: Peers::NONE,
            },
        )
    }

    /// Without the kid, which differs from run to run only where keys do.
    fn said(&self, violation: &Violation) -> String {
        let mut text = violation.to_string();
        for (kid, known) in &self.kids {
            text = text.replace(kid.as_str(), &known.label);
        }
        text
    }

    /// What is true of each key now.
    fn learn(&mut self, now: u64, set: &KeySet) {
        for (place, version) in set.versions.iter().enumerate() {
            let kid = self.kids.entry(version.kid.clone()).or_insert_with(|| Kid {
                label: format!("{}/{}", set.name, place + 1),
                set: set.name.clone(),
                state: State::Prepared,
                made: now,
                made_epoch: set.epoch,
                revoked: None,
                demoted_epoch: None,
                forced: None,
                cleared: false,
            });
            if version.state == State::Active && kid.state != State::Active {
                self.promotions += 1;
            }
            kid.state = version.state;
            if version.revoked_at.is_some() {
                kid.revoked.get_or_insert((now, set.epoch));
            }
            kid.demoted_epoch = version.demoted_epoch;
            if version.forced.is_some() {
                kid.forced.get_or_insert(now);
            }
        }
    }

    fn keeps_live_tokens(&self, now: u64, set: &KeySet) -> Result<(), Finding> {
        let of_set = self
            .tokens
            .iter()
            .filter(|token| token.set == set.name && token.sane);
        let tokens = of_set.map(|token| {
            let exp = Time::from_millis(token.exp * 1_000);
            (token.kid.as_str(), exp)
        });
        let judged = Time::from_millis(EPOCH_MS + now + SLACK);
        match check_live_tokens(set, tokens, judged).into_iter().next() {
            None => Ok(()),
            Some(violation) => Err((Invariant::LiveToken, self.said(&violation))),
        }
    }
}
