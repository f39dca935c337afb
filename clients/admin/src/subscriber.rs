//! Instances of the crypto-service, as an operator reads them.

use std::time::SystemTime;

use client_core::{Error, request::time_from_wire};
use crypto_proto::keys::v1 as proto;

/// One start of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// The identity of its certificate, `#`, and 128 random bits made at its start.
    pub name: String,
    /// The identity of its certificate.
    pub caller: String,
    /// The key sets that it is fed, as `tenant/glob`.
    pub scope: Vec<String>,
    /// The highest epoch that it has acknowledged; 0 = none.
    pub acked_epoch: u64,
    /// Until when it may verify and serve JWK Sets.
    pub lease_end: Option<SystemTime>,
    /// Whether the lease has not run out.
    pub live: bool,
    /// Whether it has a stream to the key-manager that answered.
    pub connected: bool,
    /// Its clock minus the key-manager's at its last ack, in milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// When it was evicted.
    pub evicted_at: Option<SystemTime>,
    /// Whether its lease was ended with force.
    pub evicted_by_force: bool,
}

/// An evicted instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evicted {
    /// As stored.
    pub subscriber: Subscriber,
    /// What this may break, a sentence each.
    pub may_have_broken: Vec<String>,
}

impl From<proto::Subscriber> for Subscriber {
    fn from(wire: proto::Subscriber) -> Self {
        let offset = |offset: prost_types::Duration| {
            let millis = offset.seconds.saturating_mul(1_000);
            millis.saturating_add(i64::from(offset.nanos / 1_000_000))
        };
        Self {
            name: wire.name,
            caller: wire.caller,
            scope: wire.scope,
            acked_epoch: wire.acked_epoch,
            lease_end: wire.lease_end.map(time_from_wire),
            live: wire.live,
            connected: wire.connected,
            clock_offset_ms: wire.clock_offset.map(offset),
            evicted_at: wire.evicted_at.map(time_from_wire),
            evicted_by_force: wire.evicted_by_force,
        }
    }
}

impl Evicted {
    pub(crate) fn read(wire: proto::EvictSubscriberResponse) -> Result<Self, Error> {
        let subscriber = wire.subscriber.map(Subscriber::from);
        Ok(Self {
            subscriber: subscriber.ok_or_else(|| Error::answer("subscriber"))?,
            may_have_broken: wire.may_have_broken,
        })
    }
}
