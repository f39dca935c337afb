//! The protocol of one stream after its welcome, without I/O: messages in, messages out.
//!
//! ```text
//! Filling --snapshot chunks--> Filling --last chunk--> Following --deltas, leases--> Following
//! ```
//!
//! A lease counts from when its renewal was sent, and once the epoch that it stands on is applied.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crypto_proto::keys::v1 as proto;
use proto::watch_request::Message as Up;
use proto::watch_response::Message as Down;
use service_kit::clock::{BootTime, SharedClock};

use super::FeedError;
use super::decode::{Decoder, duration, forgotten, times, tokens};
use crate::keys::lease::Terms;
use crate::keys::model::KeySetSpec;
use crate::keys::sealed::StreamKey;
use crate::keys::snapshot::Times;
use crate::keys::usage::{HighWater, Invoked, Report};
use crate::keys::writer::{Delta, KeysWriter};
use crate::keys::{IssuedKeys, TokensSpec};

/// How long a renewal may go without an answer before the stream is given up.
const LONGEST_SILENCE: Duration = Duration::from_secs(15);

/// One stream's state.
#[derive(Debug)]
pub(super) struct Session {
    opener: Arc<StreamKey>,
    clock: SharedClock,
    filling: Option<Filling>,
    renewals: VecDeque<(u64, BootTime)>,
    next_renewal: u64,
    /// A lease that stands on an epoch which is still to come.
    waiting: Option<(BootTime, u64, Terms)>,
}

#[derive(Debug, Default)]
struct Filling {
    epoch: Option<u64>,
    times: Times,
    sets: Vec<KeySetSpec>,
    tokens: Vec<TokensSpec>,
}

impl Session {
    pub(super) fn new(opener: Arc<StreamKey>, clock: SharedClock) -> Self {
        Self {
            opener,
            clock,
            filling: Some(Filling::default()),
            renewals: VecDeque::new(),
            next_renewal: 1,
            waiting: None,
        }
    }

    /// Whether the snapshot is applied.
    pub(super) fn is_following(&self) -> bool {
        self.filling.is_none()
    }

    /// Takes a message in; what comes back is to be sent in this order.
    pub(super) fn receive(
        &mut self,
        writer: &mut KeysWriter,
        message: Down,
    ) -> Result<Vec<Up>, FeedError> {
        match message {
            Down::Welcome(_) => Err(FeedError::Protocol("a second welcome")),
            Down::Snapshot(chunk) => self.chunk(writer, chunk),
            Down::Delta(delta) => self.delta(writer, delta),
            Down::Lease(lease) => self.lease(writer, &lease).map(|()| Vec::new()),
        }
    }

    /// Asks for a lease from now on.
    pub(super) fn renew(&mut self, writer: &KeysWriter) -> Result<Up, FeedError> {
        let now = self.clock.boot();
        if self
            .renewals
            .front()
            .is_some_and(|(_, sent)| now.saturating_since(*sent) > LONGEST_SILENCE)
        {
            return Err(FeedError::Silent);
        }
        let id = self.next_renewal;
        self.next_renewal += 1;
        self.renewals.push_back((id, now));
        let (high_water, in_flight_kids, invocations) = report(writer.usage().report());
        Ok(Up::Renewal(proto::Renewal {
            id,
            epoch: writer.epoch(),
            clock: Some(self.wall()),
            high_water,
            in_flight_kids,
            invocations,
        }))
    }

    fn chunk(
        &mut self,
        writer: &mut KeysWriter,
        chunk: proto::SnapshotChunk,
    ) -> Result<Vec<Up>, FeedError> {
        // A snapshot in the middle of a stream begins anew: the key-manager may resend everything.
        let filling = self.filling.get_or_insert_default();
        if *filling.epoch.get_or_insert(chunk.epoch) != chunk.epoch {
            return Err(FeedError::Protocol("chunks of two snapshots"));
        }
        if chunk.times.is_some() {
            filling.times = times(chunk.times);
        }
        let decoder = Decoder {
            opener: &self.opener,
            epoch: chunk.epoch,
        };
        filling.sets.extend(decoder.sets(chunk.key_sets)?);
        filling.tokens.extend(tokens(chunk.revocations)?);
        if !chunk.last {
            return Ok(Vec::new());
        }
        let issued = chunk
            .issued
            .map(|keys| IssuedKeys::receive(keys, &self.opener, chunk.epoch))
            .transpose()?;
        let complete = self.filling.take().unwrap_or_default();
        let Filling {
            times,
            sets,
            tokens,
            ..
        } = complete;
        // Before the sets that may ask for it.
        writer.record_with(issued);
        writer.replace_all(chunk.epoch, times, sets, tokens)?;
        let ack = self.applied(writer);
        Ok(vec![ack, self.renew(writer)?])
    }

    fn delta(
        &mut self,
        writer: &mut KeysWriter,
        delta: proto::Delta,
    ) -> Result<Vec<Up>, FeedError> {
        if !self.is_following() {
            return Err(FeedError::Protocol("a delta before the snapshot"));
        }
        let changed = Decoder {
            opener: &self.opener,
            epoch: delta.epoch,
        }
        .sets(delta.changed)?;
        let removed: Vec<_> = delta
            .removed
            .into_iter()
            .map(|set| (set.tenant, set.name))
            .collect();
        writer.apply_all(Delta {
            from: delta.from_epoch,
            epoch: delta.epoch,
            changed,
            removed,
            tokens: tokens(delta.revocations)?,
            forgotten: forgotten(delta.revocations_forgotten),
        })?;
        Ok(vec![self.applied(writer)])
    }

    /// An epoch is in place: a lease that waited for it counts, and the key-manager hears of it.
    fn applied(&mut self, writer: &mut KeysWriter) -> Up {
        if let Some((asked_at, _, terms)) = self
            .waiting
            .take_if(|(_, epoch, _)| *epoch <= writer.epoch())
        {
            writer.grant(asked_at, terms);
        }
        let (high_water, in_flight_kids, invocations) = report(writer.usage().report());
        Up::Ack(proto::Ack {
            epoch: writer.epoch(),
            clock: Some(self.wall()),
            high_water,
            in_flight_kids,
            invocations,
        })
    }

    fn lease(&mut self, writer: &mut KeysWriter, lease: &proto::Lease) -> Result<(), FeedError> {
        let asked_at = self
            .answered(lease.id)
            .ok_or(FeedError::Protocol("a lease that nobody asked for"))?;
        let part = |value: Option<prost_types::Duration>| {
            value.and_then(duration).unwrap_or(Duration::ZERO)
        };
        let terms = Terms {
            sign_for: part(lease.sign_for),
            verify_for: part(lease.verify_for),
        };
        if lease.epoch <= writer.epoch() {
            writer.grant(asked_at, terms);
        } else {
            self.waiting = Some((asked_at, lease.epoch, terms));
        }
        Ok(())
    }

    /// When the renewal of that number was sent. Those before it will not be answered any more.
    fn answered(&mut self, id: u64) -> Option<BootTime> {
        while let Some((sent, at)) = self.renewals.pop_front() {
            if sent == id {
                return Some(at);
            }
        }
        None
    }

    fn wall(&self) -> prost_types::Timestamp {
        prost_types::Timestamp::from(self.clock.wall())
    }
}

type Told = (Vec<proto::HighWater>, Vec<String>, Vec<proto::Invocations>);

fn report(report: Report) -> Told {
    let made = |made: Invoked| proto::Invocations {
        tenant: made.tenant.to_string(),
        kid: made.kid.to_string(),
        used: made.used,
    };
    let mark = |mark: HighWater| proto::HighWater {
        tenant: mark.tenant.to_string(),
        kid: mark.kid.to_string(),
        expires_at: Some(prost_types::Timestamp {
            seconds: i64::try_from(mark.exp).unwrap_or(i64::MAX),
            nanos: 0,
        }),
    };
    (
        report.high_water.into_iter().map(mark).collect(),
        report.in_flight.iter().map(ToString::to_string).collect(),
        report.invoked.into_iter().map(made).collect(),
    )
}

#[cfg(test)]
mod tests;
