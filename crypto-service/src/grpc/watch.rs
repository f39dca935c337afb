//! One stream of `WatchTrust`: what a thin client needs to verify locally.
//!
//! ```text
//! jwks (complete), revocations, token_revocations*, lease
//!     ->  (revocations, token_revocations*, jwks (changed sets), lease | lease)*  ->  UNAVAILABLE
//! ```
//!
//! A follower that fell behind the changes, or whose grants changed, is sent everything again as a complete `jwks`. A client that
//! does not read is not waited for long: its stream ends, and it connects again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crypto_proto::jwks::v1 as proto;
use jose::revocation;
use keyring::{Publish, State, Use};
use proto::watch_trust_response::Event;
use service_kit::clock::BootTime;
use service_kit::grants::Operation;
use service_kit::identity::Caller;
use service_kit::shutdown::Shutdown;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::keys::{Change, Changed, KeySet, Snapshot, StateRules, TokensSpec, Version};
use crate::refusal::Refusal;
use crate::usecase::DataPlane;

/// Events that wait for a client to read.
const OUTBOX: usize = 64;
/// Between leases.
const LEASE_INTERVAL: Duration = Duration::from_secs(2);
/// How long an event may wait for its client.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the reason of an end may wait for its client.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(2);
/// Key sets in one event, so that it stays far below the largest answer.
const SETS_PER_EVENT: usize = 100;

type Outbox = mpsc::Sender<Result<proto::WatchTrustResponse, Status>>;

/// Why a stream ends.
enum End {
    /// The client has gone, or does not read.
    ClientGone,
    /// The instance has nothing more to say.
    NotReady(&'static str),
}

/// What one client follows.
pub(super) struct Follower {
    plane: DataPlane,
    caller: Caller,
    tenant: String,
    named: Vec<String>,
    opened: BootTime,
    /// The sets that the client holds.
    sent: HashSet<Arc<str>>,
    /// The revoked keys that the client knows of.
    revoked: HashSet<Arc<str>>,
    /// Revocations of one set's tokens that the client takes one by one.
    max_tokens: usize,
    /// What it was sent on top of the last complete ones, by set: no more than it takes.
    added: HashMap<Arc<str>, usize>,
    /// The epoch up to which the client has been told of everything.
    covered: u64,
}

impl Follower {
    pub(super) fn new(
        plane: DataPlane,
        caller: Caller,
        tenant: String,
        named: Vec<String>,
        max_tokens: usize,
    ) -> Self {
        let opened = plane.clock().boot();
        Self {
            plane,
            caller,
            tenant,
            named,
            opened,
            sent: HashSet::new(),
            revoked: HashSet::new(),
            max_tokens,
            added: HashMap::new(),
            covered: 0,
        }
    }

    /// Runs until the client goes, the instance drains, or its lease runs out.
    pub(super) fn follow(
        mut self,
        place: OwnedSemaphorePermit,
        shutdown: Shutdown,
    ) -> ReceiverStream<Result<proto::WatchTrustResponse, Status>> {
        let (outbox, events) = mpsc::channel(OUTBOX);
        tokio::spawn(async move {
            let _held_until_the_end = place;
            let ended = tokio::select! {
                ended = self.run(&outbox) => ended,
                () = shutdown.triggered() => End::NotReady("the instance drains"),
                () = outbox.closed() => End::ClientGone,
            };
            if let End::NotReady(what) = ended {
                // A client that has gone, or does not read, does not hear it.
                let _unheard = timeout(
                    LAST_WORD_TIMEOUT,
                    outbox.send(Err(Refusal::not_ready(what).into())),
                )
                .await;
            }
        });
        ReceiverStream::new(events)
    }

    async fn run(&mut self, outbox: &Outbox) -> End {
        // Subscribed before the first snapshot is read: nothing in between is missed.
        let mut changes = self.plane.keys().changes();
        let mut grants = self.plane.access().changes();
        let mut leases = interval(LEASE_INTERVAL);
        leases.set_missed_tick_behavior(MissedTickBehavior::Delay);
        leases.reset();
        let mut events = self.everything();
        loop {
            if let Err(end) = self.send(outbox, events, &changes).await {
                return end;
            }
            events = tokio::select! {
                change = changes.recv() => match change {
                    Ok(Change::Some(changed)) => self.changed(&changed),
                    Ok(Change::All) | Err(broadcast::error::RecvError::Lagged(_)) => self.everything(),
                    Err(broadcast::error::RecvError::Closed) => return End::NotReady("the instance drains"),
                },
                Ok(()) = grants.changed() => self.everything(),
                _ = leases.tick() => Vec::new(),
            };
        }
    }

    /// Sends the events and, after them, the lease under which they count. While there is news that the client has not
    /// been told, what it holds is not to be relied on for longer: the lease then follows that news.
    async fn send(
        &self,
        outbox: &Outbox,
        events: Vec<Event>,
        changes: &broadcast::Receiver<Change>,
    ) -> Result<(), End> {
        self.lease()?;
        for event in events {
            offer(outbox, event).await?;
        }
        // Made only now, with room to send it at once: what came before may have waited for the client.
        let room = timeout(SEND_TIMEOUT, outbox.reserve()).await;
        let Ok(Ok(room)) = room else {
            return Err(End::ClientGone);
        };
        let lease = self.lease()?;
        if changes.is_empty() {
            room.send(Ok(response(Event::Lease(lease))));
        }
        Ok(())
    }

    fn lease(&self) -> Result<proto::TrustLease, End> {
        // The age is read first: time that passes in between then shortens the lease.
        let age = self.plane.clock().boot().saturating_since(self.opened);
        let left = self
            .plane
            .keys()
            .verify_lease()
            .map_err(|_out| End::NotReady("the instance's lease has run out"))?;
        let snapshot = self.plane.keys().snapshot();
        Ok(proto::TrustLease {
            stream_age: prost_types::Duration::try_from(age).ok(),
            valid_for: prost_types::Duration::try_from(left.min(snapshot.times().client_lease))
                .ok(),
            epoch: self.covered,
        })
    }

    /// All sets and all revocations.
    fn everything(&mut self) -> Vec<Event> {
        self.sent.clear();
        self.revoked.clear();
        let snapshot = self.plane.keys().snapshot_owned();
        self.covered = snapshot.epoch();
        let tenant = snapshot.tenant(&self.tenant);
        let sets: Vec<_> = tenant
            .iter()
            .flat_map(|tenant| tenant.sets())
            .filter(|set| self.follows(set))
            .cloned()
            .collect();
        let mut events = Vec::new();
        let mut rest = sets.as_slice();
        loop {
            let (chunk, more) = rest.split_at(rest.len().min(SETS_PER_EVENT));
            let key_sets = chunk.iter().map(trust_key_set).collect();
            let complete = events.is_empty();
            events.push(Event::Jwks(proto::TrustJwks {
                complete,
                key_sets,
                removed_key_sets: Vec::new(),
            }));
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        self.sent
            .extend(sets.iter().map(|set| Arc::clone(&set.name)));
        let kids = self.newly_revoked(&sets);
        events.push(Event::Revocations(proto::TrustRevocations { kids }));
        self.added.clear();
        events.extend(
            sets.iter()
                .filter_map(|set| self.all_tokens(&snapshot, &set.name)),
        );
        events
    }

    /// The sets that changed, as they now are. Revocations go first: nothing may be believed a moment longer.
    fn changed(&mut self, changed: &Changed) -> Vec<Event> {
        // Sets may be newer than this change; their own is still to come.
        self.covered = self.covered.max(changed.epoch);
        let snapshot = self.plane.keys().snapshot_owned();
        let (mut present, mut removed) = (Vec::new(), Vec::new());
        let names = changed.sets.iter();
        for (_, name) in names.filter(|(tenant, _)| **tenant == *self.tenant) {
            match snapshot
                .set(&self.tenant, name)
                .filter(|set| self.follows(set))
            {
                Some(set) => present.push(Arc::clone(set)),
                None if self.sent.remove(name) => removed.push(name.to_string()),
                None => {}
            }
        }
        let mut events = Vec::new();
        for set in &present {
            if self.sent.insert(Arc::clone(&set.name)) {
                // It was not followed before, and may come with revocations.
                events.extend(self.all_tokens(&snapshot, &set.name));
            }
        }
        let tokens = changed.tokens.iter();
        for spec in tokens {
            events.extend(self.more_tokens(&snapshot, changed.epoch, spec));
        }
        let kids = self.newly_revoked(&present);
        if !kids.is_empty() {
            events.push(Event::Revocations(proto::TrustRevocations { kids }));
        }
        if !present.is_empty() || !removed.is_empty() {
            let key_sets = present.iter().map(trust_key_set).collect();
            events.push(Event::Jwks(proto::TrustJwks {
                complete: false,
                key_sets,
                removed_key_sets: removed,
            }));
        }
        events
    }

    /// Every revocation of the set's tokens, or a filter where those are more than the client takes. `None` where there is none.
    fn all_tokens(&mut self, snapshot: &Snapshot, key_set: &Arc<str>) -> Option<Event> {
        let revoked = snapshot.tenant(&self.tenant)?.revoked(key_set)?;
        self.added.insert(Arc::clone(key_set), 0);
        let table = revoked.table();
        let mut event = proto::TrustTokenRevocations {
            key_set: key_set.to_string(),
            epoch: snapshot.epoch(),
            complete: true,
            ..proto::TrustTokenRevocations::default()
        };
        if table.len() <= self.max_tokens {
            event.entries = revocation::encode(table.iter().copied());
        } else {
            let filter = revoked.filter();
            event.filter = Some(proto::TokenFilter {
                bits: filter.bits().to_vec(),
                kinds: filter.claims(),
            });
        }
        Some(Event::TokenRevocations(event))
    }

    /// Revocations that were added to a set that the client holds. Where it would then have been sent more than it takes, it gets all anew.
    fn more_tokens(&mut self, snapshot: &Snapshot, epoch: u64, spec: &TokensSpec) -> Option<Event> {
        if spec.tenant != self.tenant {
            return None;
        }
        let name = self.sent.get(spec.key_set.as_str()).cloned()?;
        let added = self.added.entry(Arc::clone(&name)).or_default();
        *added += spec.entries.len();
        if *added > self.max_tokens {
            return self.all_tokens(snapshot, &name);
        }
        Some(Event::TokenRevocations(proto::TrustTokenRevocations {
            key_set: spec.key_set.clone(),
            epoch,
            complete: false,
            entries: revocation::encode(spec.entries.iter().copied()),
            filter: None,
        }))
    }

    fn follows(&self, set: &KeySet) -> bool {
        set.key_use == Use::Sign
            && set.publish >= Publish::Internal
            && (self.named.is_empty() || self.named.iter().any(|name| **name == *set.name))
            && self
                .plane
                .access()
                .allows(&self.caller, Operation::Verify, &self.tenant, &set.name)
    }

    fn newly_revoked(&mut self, sets: &[Arc<KeySet>]) -> Vec<String> {
        let versions = sets.iter().flat_map(|set| &set.versions);
        let revoked = versions.filter(|version| version.state == State::Revoked);
        let new = revoked.filter(|version| self.revoked.insert(Arc::clone(&version.kid)));
        new.map(|version| version.kid.to_string()).collect()
    }
}

/// Waits for a slow client a little, and for one that reads nothing not at all beyond that.
async fn offer(outbox: &Outbox, event: Event) -> Result<(), End> {
    match timeout(SEND_TIMEOUT, outbox.send(Ok(response(event)))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End::ClientGone),
    }
}

fn response(event: Event) -> proto::WatchTrustResponse {
    proto::WatchTrustResponse { event: Some(event) }
}

fn trust_key_set(set: &Arc<KeySet>) -> proto::TrustKeySet {
    let seconds = |seconds: u64| {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        Some(prost_types::Duration { seconds, nanos: 0 })
    };
    proto::TrustKeySet {
        name: set.name.to_string(),
        issuer: set.issuer.to_string(),
        typ: set.profile.typ.clone(),
        expiry_optional: set.profile.expiry_optional,
        hint_window: seconds(set.profile.hint_window),
        keys: set
            .versions
            .iter()
            .filter_map(|version| trust_key(version))
            .collect(),
        max_lifetime: seconds(set.profile.max_lifetime),
    }
}

/// A key of which nothing is held is good for nothing here either, and is left out: all but the news that it is revoked.
fn trust_key(version: &Version) -> Option<proto::TrustKey> {
    let is_held = version.public.is_some() || version.sealed.is_some();
    if !is_held && version.state != State::Revoked {
        return None;
    }
    let state = match version.state {
        State::Revoked => proto::TrustState::Revoked,
        state if state.verifies_access() => proto::TrustState::Verifies,
        state if state.verifies_hints() => proto::TrustState::HintOnly,
        _ => return None,
    };
    Some(proto::TrustKey {
        kid: version.kid.to_string(),
        algorithm: version.algorithm.name().to_owned(),
        state: state.into(),
        jwk: version.jwk_json().unwrap_or_default(),
    })
}
