//! One stream, from hello to its end.

mod deltas;
mod shares;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use jose::revocation::{ENTRY_LEN, Table};
use keyring::{Ack, Subscriber, Usage};
use service_kit::identity::Caller;
use tokio::{sync::mpsc, time::timeout};

use super::{
    Down, FedTokens, Feed, FeedError, HELLO_TIMEOUT, Hello, Report, SEND_TIMEOUT, StreamKey, Up,
    handshake::{offset, protocol},
};
use crate::{
    lifecycle::Connected,
    vault::{Instance, Scope, SetName},
};

/// A part of a snapshot or delta is sent when it has grown to this; a message is at most 4 MiB.
const PART_BYTES: usize = 256 * 1024;

/// Records of one caller at most: an identity that starts over and over does not fill the store.
const MAX_RECORDS: usize = 1_000;

/// Reports of one message at most.
const MAX_REPORTS: usize = 20_000;

/// When a record has so many acks, those of one second become one, and those that nothing asks for are dropped. Looking for them takes
/// a walk over all sets, so the next walk waits until there are twice as many as this one has left.
const COMPACT_AT: usize = 64;

type Inbox = mpsc::Receiver<Result<Up, FeedError>>;
type Outbox = mpsc::Sender<Result<Down, FeedError>>;

struct Session<'a> {
    feed: &'a Feed,
    down: &'a Outbox,
    name: String,
    caller: String,
    scope: Scope,
    key: StreamKey,
    /// The epoch that the last message leads to.
    sent: u64,
    /// The epoch that the last lease stands on, or the snapshot shows: to be acknowledged before the next.
    leased: u64,
    /// The renewal that waits for that ack.
    renewal: Option<(u64, Report)>,
    compact_at: AtomicUsize,
    _connected: Connected,
}

pub(super) async fn run(
    feed: &Feed,
    caller: &Caller,
    mut up: Inbox,
    down: &Outbox,
) -> Result<(), FeedError> {
    let first = timeout(HELLO_TIMEOUT, feed.shutdown.guard(up.recv())).await;
    let hello = match first.map_err(|_late| protocol("hello", "must be sent within 10 s"))? {
        None => return Err(FeedError::Draining),
        Some(Some(Ok(Up::Hello(hello)))) => hello,
        Some(Some(Err(error))) => return Err(error),
        Some(Some(Ok(_))) => {
            return Err(protocol(
                "message",
                "the first message of a stream is hello",
            ));
        }
        Some(None) => return Ok(()),
    };
    let mut regrants = feed.policy.changes();
    let mut epochs = feed.lifecycle.vault().watch();
    let mut session = Session::open(feed, caller, &hello, down).await?;
    session.snapshot().await?;
    loop {
        tokio::select! {
            // In this order: what was written goes out before reports are read, however many of those there are.
            biased;
            () = feed.shutdown.triggered() => return Err(FeedError::Draining),
            Ok(()) = regrants.changed() => return Err(FeedError::Regranted),
            Ok(()) = epochs.changed() => session.deltas().await?,
            message = up.recv() => match message {
                None => return Ok(()),
                Some(message) => if session.receive(message?).await? { return Ok(()) },
            },
        }
    }
}

impl<'a> Session<'a> {
    async fn open(
        feed: &'a Feed,
        caller: &Caller,
        hello: &Hello,
        down: &'a Outbox,
    ) -> Result<Self, FeedError> {
        let (welcome, key) = feed.welcome(caller, hello)?;
        // Another replica may have fed it what is not known here yet.
        feed.lifecycle.vault().refresh_shared().await?;
        let present = feed.lifecycle.vault().epoch();
        if hello.highest_epoch > present {
            tracing::error!(
                caller = caller.name(),
                seen = hello.highest_epoch,
                present,
                "an older store was put in place"
            );
            feed.lifecycle.vault().witness(hello.highest_epoch);
            return Err(FeedError::RolledBack {
                seen: hello.highest_epoch,
                present,
            });
        }
        let name = welcome.subscriber.clone();
        let connected = feed.lifecycle.connect(&name);
        send(down, Down::Welcome(welcome)).await?;
        let (caller, scope) = (caller.name().to_owned(), feed.scope(caller));
        Ok(Self {
            feed,
            down,
            name,
            caller,
            scope,
            key,
            sent: 0,
            leased: 0,
            renewal: None,
            compact_at: AtomicUsize::new(COMPACT_AT),
            _connected: connected,
        })
    }

    /// The record is stored before the snapshot leaves; it has no lease yet, that comes with the first renewal.
    ///
    /// A replica that decides without having seen the record has read the store before the record was written; what it stands on is
    /// then read here, after it.
    async fn snapshot(&mut self) -> Result<(), FeedError> {
        let vault = self.feed.lifecycle.vault();
        vault.refresh_instances().await?;
        self.register(vault.epoch()).await?;
        vault.refresh_shared().await?;
        self.share_out(&vault.all().1).await?;
        let whole = vault.whole();
        let (epoch, entries) = (whole.epoch, whole.sets);
        (self.sent, self.leased) = (epoch, epoch);
        let (mut sets, mut bytes) = (Vec::new(), 0);
        for entry in entries
            .into_iter()
            .filter(|entry| self.scope.covers(&SetName::of(&entry.set)))
        {
            let set = self.feed.fed(entry, epoch, &self.key).await?;
            bytes += set.weight();
            sets.push(set);
            if bytes >= PART_BYTES {
                bytes = 0;
                send(
                    self.down,
                    Down::Snapshot {
                        epoch,
                        sets: std::mem::take(&mut sets),
                        tokens: Vec::new(),
                        issued: None,
                        last: false,
                    },
                )
                .await?;
            }
        }
        self.snapshot_of_tokens(epoch, whole.tokens).await?;
        let issued = self.feed.issued_keys(epoch, &self.key)?;
        send(
            self.down,
            Down::Snapshot {
                epoch,
                sets,
                tokens: Vec::new(),
                issued,
                last: true,
            },
        )
        .await
    }

    /// The revocations of tokens that belong to the snapshot, some in each part.
    async fn snapshot_of_tokens(
        &self,
        epoch: u64,
        tables: Vec<(SetName, Table)>,
    ) -> Result<(), FeedError> {
        let covered = tables
            .into_iter()
            .filter(|(name, _)| self.scope.covers(name));
        for (name, table) in covered {
            let entries: Vec<_> = table.iter().copied().collect();
            for entries in entries.chunks(PART_BYTES / ENTRY_LEN) {
                let part = Down::Snapshot {
                    epoch,
                    sets: Vec::new(),
                    tokens: vec![FedTokens {
                        name: name.clone(),
                        entries: entries.to_vec(),
                    }],
                    issued: None,
                    last: false,
                };
                send(self.down, part).await?;
            }
        }
        Ok(())
    }

    async fn register(&self, epoch: u64) -> Result<(), FeedError> {
        let vault = self.feed.lifecycle.vault();
        if vault.instance(&self.name).is_none() && is_full(&vault.instances(), &self.caller) {
            return Err(FeedError::TooManyRecords);
        }
        let now = self.feed.lifecycle.now();
        let register = |present: Option<&Instance>| -> Result<_, FeedError> {
            let mut next = present.cloned().unwrap_or_else(|| Instance {
                caller: self.caller.clone(),
                scope: Scope::default(),
                subscriber: Subscriber::new(self.name.as_str(), epoch, now),
                leased: false,
            });
            if next.subscriber.evicted.is_some() {
                return Err(FeedError::Evicted);
            }
            next.scope.extend(&self.scope);
            Ok((present != Some(&next)).then_some(next))
        };
        vault
            .update_instance(&self.name, register)
            .await
            .map(|_| ())
    }

    /// True at the end of the stream.
    async fn receive(&mut self, message: Up) -> Result<bool, FeedError> {
        match message {
            Up::Hello(_) => return Err(protocol("hello", "is sent once")),
            Up::Ack(report) => {
                self.check(&report)?;
                self.report(&report).await?;
            }
            Up::Renewal { id, report } => {
                self.check(&report)?;
                self.renewal = Some((id, report));
            }
            Up::Goodbye => {
                let now = self.feed.lifecycle.now();
                self.change(|instance| {
                    instance.subscriber.drained(now);
                    Ok(())
                })
                .await?;
                return Ok(true);
            }
        }
        self.grant().await.map(|()| false)
    }

    fn check(&self, report: &Report) -> Result<(), FeedError> {
        if report.epoch > self.sent {
            return Err(protocol("epoch", "was not sent on this stream yet"));
        }
        match report
            .high_water
            .len()
            .saturating_add(report.in_flight.len())
            .saturating_add(report.invocations.len())
            > MAX_REPORTS
        {
            true => Err(protocol(
                "high_water",
                "with in_flight_kids and invocations at most 20000 entries",
            )),
            false => Ok(()),
        }
    }

    /// Answers the renewal, once the epoch of the last lease is acknowledged. The lease is stored before it is sent.
    async fn grant(&mut self) -> Result<(), FeedError> {
        let acked = |name: &str| {
            self.feed
                .lifecycle
                .vault()
                .instance(name)
                .and_then(|instance| instance.subscriber.acked_epoch())
        };
        if acked(&self.name).is_none_or(|acked| acked < self.leased) {
            return Ok(());
        }
        let Some((id, report)) = self.renewal.take() else {
            return Ok(());
        };
        let lifecycle = &self.feed.lifecycle;
        let leased = self.leased;
        let lease_end = lifecycle.now() + lifecycle.times().max_verify_staleness;
        let ack = self.ack(&report);
        self.change(|instance| {
            let subscriber = &mut instance.subscriber;
            // What comes with a renewal is a report; acks are messages of their own.
            let epoch = subscriber.acked_epoch().unwrap_or_default().min(ack.epoch);
            subscriber.ack(Ack {
                epoch,
                ..ack.clone()
            });
            note_invocations(subscriber, &report);
            subscriber
                .renew(leased, lease_end)
                .map_err(|_refused| FeedError::Evicted)?;
            instance.leased = true;
            Ok(())
        })
        .await?;
        // Who decided before this lease was stored has written by now, or will find it: the lease stands on what is written.
        lifecycle.vault().refresh_shared().await?;
        let epoch = lifecycle.vault().epoch();
        self.leased = epoch;
        send(self.down, Down::Lease { id, epoch }).await?;
        self.share_more(&report).await
    }

    /// Stores what is reported. It counts once it is stored.
    async fn report(&self, report: &Report) -> Result<(), FeedError> {
        let ack = self.ack(report);
        self.change(|instance| {
            instance.subscriber.ack(ack.clone());
            note_invocations(&mut instance.subscriber, report);
            Ok(())
        })
        .await?;
        self.share_more(report).await
    }

    async fn change(
        &self,
        change: impl Fn(&mut Instance) -> Result<(), FeedError>,
    ) -> Result<(), FeedError> {
        let apply = |present: Option<&Instance>| {
            let mut next = present.cloned().ok_or(FeedError::Broken)?;
            change(&mut next)?;
            if next.subscriber.acks.len() > COMPACT_AT {
                next.subscriber.thin_acks();
            }
            let usage = next.subscriber.usage.values();
            let usage: usize = usage.map(|kids| kids.len()).sum();
            if next.subscriber.acks.len() > self.compact_at.load(Ordering::Relaxed)
                || usage > MAX_REPORTS
            {
                self.compact(&mut next);
                let left = next.subscriber.acks.len();
                self.compact_at
                    .store(COMPACT_AT.max(2 * left), Ordering::Relaxed);
            }
            Ok(Some(next))
        };
        self.feed
            .lifecycle
            .vault()
            .update_instance(&self.name, apply)
            .await
            .map(|_| ())
    }

    fn compact(&self, instance: &mut Instance) {
        let (_, entries) = self.feed.lifecycle.vault().all();
        let fed: Vec<_> = entries
            .iter()
            .filter(|entry| instance.scope.covers(&SetName::of(&entry.set)))
            .collect();
        let kids: std::collections::HashSet<(&str, &str)> = fed
            .iter()
            .flat_map(|entry| {
                entry
                    .set
                    .versions
                    .iter()
                    .map(|version| (entry.set.tenant.as_str(), version.kid.as_str()))
            })
            .collect();
        let epochs = fed.iter().flat_map(|entry| entry.set.watched_epochs());
        instance
            .subscriber
            .compact(epochs, |tenant, kid| kids.contains(&(tenant, kid)));
    }

    fn ack(&self, report: &Report) -> Ack {
        let at = self.feed.lifecycle.now();
        let marks = report.high_water.iter().map(|(tenant, kid, exp)| {
            let usage = Usage {
                highest_exp: Some(*exp),
                in_flight: report.in_flight.contains(kid),
            };
            (tenant.clone(), kid.clone(), usage)
        });
        let mut usage: Vec<_> = marks.collect();
        usage.extend(self.in_flight(report));
        Ack {
            epoch: report.epoch,
            at,
            clock_offset_ms: offset(report.clock, at),
            usage,
        }
    }

    /// Keys in flight are named without their tenant: they count in each tenant that the instance is fed. Those known before and not named any more have landed.
    fn in_flight(&self, report: &Report) -> Vec<(String, String, Usage)> {
        let known = self.feed.lifecycle.vault().instance(&self.name);
        let known = known.iter().flat_map(|instance| &instance.subscriber.usage);
        let landed = known
            .flat_map(|(tenant, kids)| kids.iter().map(move |(kid, usage)| (tenant, kid, usage)));
        let landed =
            landed.filter(|(_, kid, usage)| usage.in_flight && !report.in_flight.contains(kid));
        let mut changed: Vec<_> = landed
            .map(|(tenant, kid, _)| {
                (
                    tenant.clone(),
                    kid.clone(),
                    Usage {
                        highest_exp: None,
                        in_flight: false,
                    },
                )
            })
            .collect();
        for tenant in self.scope.tenants() {
            let flying = report.in_flight.iter().map(|kid| {
                (
                    tenant.to_owned(),
                    kid.clone(),
                    Usage {
                        highest_exp: None,
                        in_flight: true,
                    },
                )
            });
            changed.extend(flying);
        }
        changed
    }
}

/// Only what was granted counts: a report of other keys leaves nothing behind.
fn note_invocations(subscriber: &mut Subscriber, report: &Report) {
    for (tenant, kid, used) in &report.invocations {
        if subscriber.invocations_of(tenant, kid).granted > 0 {
            subscriber.report_invocations(tenant, kid, *used);
        }
    }
}

/// Whether the caller has all the records that it may have.
fn is_full(known: &[Arc<Instance>], caller: &str) -> bool {
    let own = known.iter().filter(|instance| instance.caller == caller);
    own.count() >= MAX_RECORDS
}

async fn send(down: &Outbox, message: Down) -> Result<(), FeedError> {
    match timeout(SEND_TIMEOUT, down.send(Ok(message))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_closed)) => Err(FeedError::Broken),
        Err(_late) => Err(FeedError::Slow),
    }
}

#[cfg(test)]
mod tests {
    use keyring::Time;

    use super::*;

    #[test]
    fn a_caller_has_only_so_many_records_and_takes_none_from_others() {
        let record = |number: usize| {
            Arc::new(Instance {
                caller: "a".to_owned(),
                scope: Scope::default(),
                subscriber: Subscriber::new(format!("a#{number}"), 1, Time::default()),
                leased: false,
            })
        };
        let mut known: Vec<_> = (1..MAX_RECORDS).map(record).collect();
        assert!(!is_full(&known, "a"), "{}", known.len());
        known.push(record(0));
        assert!(is_full(&known, "a") && !is_full(&known, "b"));
    }
}
