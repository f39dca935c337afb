//! An instance's streams, one after the other, over lines that delay, lose and break.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crypto_proto::keys::v1 as proto;
use crypto_service::keys::KeysWriter;
use crypto_service::keys::feed::{Instance, Link};
use key_manager::grpc::{down_message, up_message};
use proto::watch_request::Message as Up;
use proto::watch_response::Message as Down;
use tokio::time::sleep;

use super::messages::{broken_down, broken_up, down_name, up_name, without_tokens};
use super::{Node, Process};
use crate::bug::Bug;
use crate::replica::{FromFeed, Stream, ToFeed};
use crate::sim::lock;
use crate::stage::{Stage, TENANT};
use crate::truth::Finding;

/// The first and the longest wait before a stream is opened again, in milliseconds.
const BACKOFF: (u64, u64) = (100, 5_000);

/// A line that is cut for so long is given up by both ends.
const KEEPALIVE: u64 = 10_000;

/// How often a cut line is looked at again.
const LOOK: u64 = 500;

/// The part of an instance that follows the key-managers.
pub(super) struct Feed {
    pub(super) stage: Arc<Stage>,
    pub(super) node: Arc<Node>,
    pub(super) process: Arc<Process>,
    pub(super) instance: Instance,
    pub(super) writer: KeysWriter,
    pub(super) twin: Option<KeysWriter>,
    pub(super) streams: u64,
}

/// What is on the way on one stream.
struct Line {
    replica: usize,
    link: Link,
    twin: Option<Link>,
    up: VecDeque<(u64, Up)>,
    down: VecDeque<(u64, Option<Down>)>,
    renew_at: u64,
    cut_since: Option<u64>,
}

/// Why a stream ended.
type Ended = &'static str;

impl Feed {
    pub(super) async fn run(mut self) {
        let sim = self.stage.sim.clone();
        let mut backoff = BACKOFF.0;
        loop {
            let ended = self.stream(&mut backoff).await;
            sim.step(format_args!("i{} has no stream: {ended}", self.node.index));
            let wait = sim.dice().within((backoff / 2, backoff));
            sim.sleep(wait).await;
            backoff = (backoff * 2).min(BACKOFF.1);
        }
    }

    async fn stream(&mut self, backoff: &mut u64) -> Ended {
        let stage = Arc::clone(&self.stage);
        let sim = &stage.sim;
        self.node.thaw(sim).await;
        let Some(replica) = stage.any_replica() else {
            return "nobody is there";
        };
        if stage.is_cut(self.node.index, replica.index) {
            sim.sleep(3_000).await;
            return "the line is cut";
        }
        let Some((to_feed, mut from_feed)) = replica.connect(&stage.assets.instance_name) else {
            return "nobody listens";
        };
        let Ok((link, hello)) = Link::open(&self.instance, &self.writer) else {
            return "no hello";
        };
        sim.truth().connected(self.process.id);
        self.streams += 1;
        let mut line = Line {
            replica: replica.index,
            link,
            twin: self.twin.is_some().then(Link::default),
            up: VecDeque::new(),
            down: VecDeque::new(),
            renew_at: sim.now() + sim.world().renewal,
            cut_since: None,
        };
        self.send(&mut line, vec![broken_up(sim, hello)]);
        let ended = self
            .follow(&mut line, (&to_feed, &mut from_feed), backoff)
            .await;
        self.leave_half_open((to_feed, from_feed));
        ended
    }

    /// The other end hears of it some time later.
    fn leave_half_open(&self, stream: Stream) {
        let late = self.stage.sim.within((0, 3 * KEEPALIVE));
        tokio::spawn(async move {
            sleep(Duration::from_millis(late)).await;
            drop(stream);
        });
    }

    async fn follow(
        &mut self,
        line: &mut Line,
        (to_feed, from_feed): (&ToFeed, &mut FromFeed),
        backoff: &mut u64,
    ) -> Ended {
        let sim = self.stage.sim.clone();
        loop {
            self.node.thaw(&sim).await;
            if self.is_cut_for_long(line) {
                return "the line is broken";
            }
            let wake = line.wake(sim.now());
            tokio::select! {
                biased;
                message = from_feed.recv(), if !line.has_end() => {
                    let message = message.and_then(Result::ok);
                    let message = message.map(|one| down_message(one, &sim.world().times));
                    self.arrives_later(line, message);
                }
                () = sim.sleep(wake) => {}
            }
            if line.cut_since.is_some() {
                continue;
            }
            while let Some((_, message)) = line.up.pop_front_if(|(at, _)| *at <= sim.now()) {
                sim.step(format_args!(
                    "r{} <- i{} {}",
                    line.replica,
                    self.node.index,
                    up_name(&message)
                ));
                let message = up_message(proto::WatchRequest {
                    message: Some(message),
                });
                if to_feed.try_send(message).is_err() {
                    return "it takes nothing";
                }
            }
            while let Some((_, message)) = line.down.pop_front_if(|(at, _)| *at <= sim.now()) {
                let Some(message) = message else {
                    return "it was ended";
                };
                if let Err(ended) = self.receive(line, message) {
                    return ended;
                }
                if line.link.is_following() {
                    *backoff = BACKOFF.0;
                }
            }
            if sim.now() >= line.renew_at
                && let Err(ended) = self.renew(line)
            {
                return ended;
            }
        }
    }

    fn is_cut_for_long(&self, line: &mut Line) -> bool {
        let now = self.stage.sim.now();
        if !self.stage.is_cut(self.node.index, line.replica) {
            line.cut_since = None;
            return false;
        }
        now - *line.cut_since.get_or_insert(now) >= KEEPALIVE
    }

    fn arrives_later(&self, line: &mut Line, message: Option<Down>) {
        let sim = &self.stage.sim;
        let lost = sim.world().troubles.lost_messages;
        let may_be_lost = matches!(message, Some(Down::Delta(_) | Down::Lease(_)));
        if may_be_lost && self.stage.is_storm() && sim.dice().in_1000(lost) {
            sim.step(format_args!("a message to i{} is lost", self.node.index));
            return;
        }
        let at = sim.now() + sim.within(sim.world().delay);
        let at = line.down.back().map_or(at, |(last, _)| at.max(*last));
        line.down.push_back((at, message));
    }

    fn send(&self, line: &mut Line, messages: Vec<Up>) {
        let sim = &self.stage.sim;
        for message in messages {
            if let Up::Renewal(renewal) = &message {
                sim.truth().asked(self.process.id, renewal.id, sim.now());
            }
            let at = sim.now() + sim.within(sim.world().delay);
            let at = line.up.back().map_or(at, |(last, _)| at.max(*last));
            line.up.push_back((at, message));
        }
    }

    fn renew(&mut self, line: &mut Line) -> Result<(), Ended> {
        line.renew_at = self.stage.sim.now() + self.stage.sim.world().renewal;
        if let (Some(writer), Some(link)) = (&self.twin, &mut line.twin) {
            link.renew(writer).map_err(|_error| "its own silence")?;
        }
        let renewal = line.link.renew(&self.writer);
        let renewal = renewal.map_err(|_silent| "silence")?;
        self.send(line, renewal.into_iter().collect());
        Ok(())
    }

    fn receive(&mut self, line: &mut Line, message: Down) -> Result<(), Ended> {
        let sim = self.stage.sim.clone();
        sim.step(format_args!(
            "i{} <- r{} {}",
            self.node.index,
            line.replica,
            down_name(&message)
        ));
        let message = broken_down(&sim, message, self.streams, self.writer.epoch());
        self.forget_epochs(&message);
        let lease = match &message {
            Down::Lease(lease) => Some(lease.id),
            _ => None,
        };
        let moves = matches!(message, Down::Snapshot(_) | Down::Delta(_));
        if let (Some(writer), Some(link)) = (&mut self.twin, &mut line.twin) {
            let message = without_tokens(message.clone());
            let answers = link.receive(&self.instance, writer, message);
            answers.map_err(|_error| "its own error")?;
        }
        let answers = line.link.receive(&self.instance, &mut self.writer, message);
        let answers = answers.map_err(|_error| "a message that does not fit")?;
        if lease.is_some() && sim.has(Bug::StalenessFromReceipt) {
            self.count_from_receipt();
        }
        let found = match lease {
            Some(id) => self.leased(id),
            None if moves && line.link.is_following() => self.applied(),
            None => Ok(()),
        };
        if let Err((invariant, what)) = found {
            sim.broken(invariant, what);
        }
        self.send(line, answers);
        Ok(())
    }

    /// The planted bug: what was seen before is forgotten as soon as it is in the way.
    fn forget_epochs(&mut self, message: &Down) {
        let Down::Snapshot(chunk) = message else {
            return;
        };
        let sim = &self.stage.sim;
        if sim.has(Bug::OlderSnapshot) && chunk.epoch < self.writer.highest_epoch() {
            let (writer, plane) = self.node.keys(&self.stage.assets);
            self.writer = writer;
            *lock(&self.process.plane) = plane;
        }
    }

    /// The planted bug.
    fn count_from_receipt(&mut self) {
        use service_kit::clock::Clock as _;
        let times = self.stage.sim.world().times;
        let terms = crypto_service::keys::Terms {
            sign_for: Duration::from_millis(times.max_sign_staleness.as_millis()),
            verify_for: Duration::from_millis(times.max_verify_staleness.as_millis()),
        };
        self.writer.grant(self.node.clock.boot(), terms);
    }

    fn leased(&self, id: u64) -> Result<(), Finding> {
        let sim = &self.stage.sim;
        let left = self.process.plane().keys().verify_lease();
        let left = left.map_or(0, |left| {
            u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
        });
        let times = sim.world().times;
        let terms = (
            times.max_sign_staleness.as_millis(),
            times.max_verify_staleness.as_millis(),
        );
        let now = sim.now();
        sim.truth().leased(self.process.id, id, terms, now + left)
    }

    fn applied(&self) -> Result<(), Finding> {
        let sim = &self.stage.sim;
        let snapshot = self.process.plane().keys().snapshot_owned();
        let mut truth = sim.truth();
        let names: Vec<String> = truth.sets.keys().cloned().collect();
        let keys = names
            .iter()
            .flat_map(|name| snapshot.versions(TENANT, name));
        let keys: Vec<_> = keys
            .map(|(kid, state, whole)| (kid.to_owned(), state, whole))
            .collect();
        if sim.has(Bug::RevokedKeyRecached) {
            let mut cached = lock(&self.process.cached);
            for (kid, state, _) in &keys {
                if *state == keyring::State::Revoked {
                    cached.remove(kid);
                }
            }
        }
        truth.applied(self.process.id, sim.now(), snapshot.epoch(), keys)
    }
}

impl Line {
    fn has_end(&self) -> bool {
        self.down
            .back()
            .is_some_and(|(_, message)| message.is_none())
    }

    /// How long nothing is to be done.
    fn wake(&self, now: u64) -> u64 {
        if self.cut_since.is_some() {
            return LOOK;
        }
        let up = self.up.front().map(|(at, _)| *at);
        let down = self.down.front().map(|(at, _)| *at);
        let at = up.into_iter().chain(down).fold(self.renew_at, u64::min);
        at.saturating_sub(now).min(5_000)
    }
}
