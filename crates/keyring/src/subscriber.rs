//! What the store remembers of one instance: acks, lease, clock and what it signed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Span, Time, Times};

/// How long a record outlives its lease at least.
const AFTERLIFE: Span = Span::from_days(1);

/// What an instance has signed with one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// The highest `exp` signed; a token without one counts as `iat` + the maximum lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest_exp: Option<Time>,
    /// Signatures with this key were in flight at the last report.
    #[serde(default)]
    pub in_flight: bool,
}

/// What an instance may encrypt, and has encrypted, with one key since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invocations {
    /// How many encryptions it has been granted.
    pub granted: u64,
    /// How many it has reported.
    #[serde(default)]
    pub used: u64,
}

/// One ack as the feed received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The epoch that the instance has applied.
    pub epoch: u64,
    /// When the ack was received, by the receiver's clock.
    pub at: Time,
    /// The instance's clock minus the receiver's, at receipt, in milliseconds.
    pub clock_offset_ms: i64,
    /// Tenant, kid and usage of every key that signed, or had signatures in flight, since the last report.
    pub usage: Vec<(String, String, Usage)>,
}

/// The record of an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Eviction {
    /// When.
    pub at: Time,
    /// The operator said that the instance is dead, and the lease ended at once.
    pub forced: bool,
}

/// Why a lease was not renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenewalRefused {
    /// The subscriber has been evicted.
    #[error("the subscriber has been evicted: restart the instance")]
    Evicted,
    /// The present epoch has not been acked.
    #[error("epoch {epoch} is not acked yet; a lease is renewed on the present epoch only")]
    NotAcked {
        /// The epoch to ack first.
        epoch: u64,
    },
}

/// One start of one instance. It is no key record: it moves no epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscriber {
    /// The URI SAN and 128 random bits made at start.
    pub name: String,
    /// The epoch of its first snapshot: it never served without what that held.
    pub first_epoch: u64,
    /// Epoch to the time of the first ack at or above it; strictly rising in both.
    #[serde(default)]
    pub acks: BTreeMap<u64, Time>,
    /// Until when it may verify and serve JWKS; stored before the grant is sent.
    pub lease_end: Time,
    /// Its clock minus the receiver's at the last ack, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset_ms: Option<i64>,
    /// What it signed: tenant, then kid.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub usage: BTreeMap<String, BTreeMap<String, Usage>>,
    /// What it may encrypt, and has encrypted, with keys that have a budget: tenant, then kid.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub invocations: BTreeMap<String, BTreeMap<String, Invocations>>,
    /// Present once it has been evicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evicted: Option<Eviction>,
}

impl Subscriber {
    /// A subscriber that is about to be sent its first snapshot, of `first_epoch`.
    #[must_use]
    pub fn new(name: impl Into<String>, first_epoch: u64, lease_end: Time) -> Self {
        Self {
            name: name.into(),
            first_epoch,
            acks: BTreeMap::new(),
            lease_end,
            clock_offset_ms: None,
            usage: BTreeMap::new(),
            invocations: BTreeMap::new(),
            evicted: None,
        }
    }

    /// True while its lease has not run out, connected or not.
    #[must_use]
    pub fn is_live(&self, now: Time) -> bool {
        now < self.lease_end
    }

    /// The highest epoch acked.
    #[must_use]
    pub fn acked_epoch(&self) -> Option<u64> {
        self.acks.last_key_value().map(|(epoch, _)| *epoch)
    }

    /// The time of the first ack at or above `epoch`.
    #[must_use]
    pub fn first_ack_covering(&self, epoch: u64) -> Option<Time> {
        self.acks.range(epoch..).next().map(|(_, at)| *at)
    }

    /// What it reported for that key.
    #[must_use]
    pub fn usage_of(&self, tenant: &str, kid: &str) -> Usage {
        self.usage
            .get(tenant)
            .and_then(|kids| kids.get(kid))
            .copied()
            .unwrap_or_default()
    }

    /// What it may encrypt, and has encrypted, with that key.
    #[must_use]
    pub fn invocations_of(&self, tenant: &str, kid: &str) -> Invocations {
        self.invocations
            .get(tenant)
            .and_then(|kids| kids.get(kid))
            .copied()
            .unwrap_or_default()
    }

    /// Gives it more encryptions with the key; they have been granted in the key's record before.
    pub fn grant_invocations(&mut self, tenant: &str, kid: &str, more: u64) {
        let entry = self.invocations_mut(tenant, kid);
        entry.granted = entry.granted.saturating_add(more);
    }

    /// Takes in how many encryptions it has made; a late report lowers nothing.
    pub fn report_invocations(&mut self, tenant: &str, kid: &str, used: u64) {
        let entry = self.invocations_mut(tenant, kid);
        entry.used = entry.used.max(used);
    }

    fn invocations_mut(&mut self, tenant: &str, kid: &str) -> &mut Invocations {
        let kids = self.invocations.entry(tenant.to_owned()).or_default();
        kids.entry(kid.to_owned()).or_default()
    }

    /// Takes an ack in. One that repeats the last epoch is a report: it brings the clock and the usage up
    /// to date. One of an earlier epoch comes late: it can only raise the highest `exp`.
    pub fn ack(&mut self, ack: Ack) {
        let late = self.acked_epoch().is_some_and(|acked| ack.epoch < acked);
        if self.acked_epoch().is_none_or(|acked| ack.epoch > acked) {
            self.acks.insert(ack.epoch, ack.at);
        }
        if !late {
            self.clock_offset_ms = Some(ack.clock_offset_ms);
        }
        for (tenant, kid, reported) in ack.usage {
            let usage = self
                .usage
                .entry(tenant)
                .or_default()
                .entry(kid)
                .or_default();
            usage.highest_exp = usage.highest_exp.max(reported.highest_exp);
            usage.in_flight = if late {
                usage.in_flight
            } else {
                reported.in_flight
            };
        }
    }

    /// Extends the lease to `lease_end`; `epoch` is the store's present one. A lease is never shortened.
    ///
    /// # Errors
    /// [`RenewalRefused`] for an evicted subscriber, or one that has not acked `epoch`.
    pub fn renew(&mut self, epoch: u64, lease_end: Time) -> Result<(), RenewalRefused> {
        if self.evicted.is_some() {
            return Err(RenewalRefused::Evicted);
        }
        if self.acked_epoch().is_none_or(|acked| acked < epoch) {
            return Err(RenewalRefused::NotAcked { epoch });
        }
        self.lease_end = self.lease_end.max(lease_end);
        Ok(())
    }

    /// The instance has stopped serving: its lease ends now.
    pub fn drained(&mut self, now: Time) {
        self.lease_end = self.lease_end.min(now);
    }

    /// Refuses renewals from now on; with `force` ends the lease at once.
    pub fn evict(&mut self, now: Time, force: bool) {
        self.evicted = Some(Eviction {
            at: now,
            forced: force,
        });
        if force {
            self.drained(now);
        }
    }

    /// Of the acks of one second keeps the last. Forgetting the others is safe: a later ack then counts, so a promotion waits up to a
    /// second longer. Without it the record of an instance grows with every set that is made while it is connected.
    pub fn thin_acks(&mut self) {
        let seconds: Vec<u64> = self
            .acks
            .values()
            .map(|at| at.as_millis() / 1_000)
            .collect();
        let mut following = seconds.iter().skip(1);
        let mut own = seconds.iter();
        self.acks.retain(|_, _| own.next() != following.next());
    }

    /// Drops the ack times that no mark asks for, and the usage of keys that `watches` says no to: it must
    /// say yes (tenant, kid) to Active and Retiring versions.
    ///
    /// `epochs` are those of [`crate::KeySet::watched_epochs`] over all sets that this instance is fed.
    /// Forgetting one that mattered is safe: a later ack then counts, so promotion waits longer.
    pub fn compact(
        &mut self,
        epochs: impl IntoIterator<Item = u64>,
        watches: impl Fn(&str, &str) -> bool,
    ) {
        let wanted = epochs
            .into_iter()
            .filter_map(|epoch| self.acks.range(epoch..).next());
        let mut kept: BTreeSet<u64> = wanted.map(|(epoch, _)| *epoch).collect();
        kept.extend(self.acked_epoch());
        self.acks.retain(|epoch, _| kept.contains(epoch));
        self.usage.retain(|tenant, kids| {
            kids.retain(|kid, _| watches(tenant, kid));
            !kids.is_empty()
        });
        self.invocations.retain(|tenant, kids| {
            kids.retain(|kid, _| watches(tenant, kid));
            !kids.is_empty()
        });
    }

    /// When the record may be deleted: a day after its lease, and not before everything that it signed,
    /// and every JWKS that it served, is out of the world. `largest_lifetime` is the largest of
    /// [`crate::KeySet::largest_lifetime`] over the sets that it was fed.
    #[must_use]
    pub fn forget_at(&self, largest_lifetime: Span, longest_lead: Span, times: &Times) -> Time {
        let tokens = largest_lifetime + crate::MAX_LEEWAY;
        let served = longest_lead.max(times.publication_lead).max(times.jwks_cap) + times.skew;
        self.lease_end + AFTERLIFE.max(tokens).max(served)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_acks_of_a_second_the_last_is_kept_and_none_is_earlier_than_it_was() {
        let mut subscriber = Subscriber::new("a#1", 1, Time::default());
        let acks = [
            (2, 1_000),
            (3, 1_400),
            (5, 1_999),
            (6, 2_000),
            (9, 4_100),
            (12, 4_900),
        ];
        for (epoch, millis) in acks {
            subscriber.acks.insert(epoch, Time::from_millis(millis));
        }
        let before = subscriber.clone();
        subscriber.thin_acks();
        let kept: Vec<u64> = subscriber.acks.keys().copied().collect();
        assert_eq!(kept, [5, 6, 12]);
        for epoch in 0..=12 {
            let (was, is) = (
                before.first_ack_covering(epoch),
                subscriber.first_ack_covering(epoch),
            );
            assert!(is >= was && is.is_some(), "epoch {epoch}: {was:?} {is:?}");
        }
        assert_eq!(subscriber.acked_epoch(), before.acked_epoch());
    }
}
