//! The planted bugs of the key-manager's decisions.
//!
//! Each asks the real rules with one fact made up, or forgets one thing of what they decided. That is the narrowest form in which such a bug
//! can be written, and it needs no switch in `keyring`.

use key_manager::lifecycle::Rules;
use keyring::{
    Action, Context, KeySet, NewKey, Peers, Refusal, Span, State, Subscriber, Time, Times,
};

use crate::bug::Bug;

/// Who has not been heard of for so long is dead, thinks the bug.
const SILENT: Span = Span::from_secs(100);

/// The rules with one of them broken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken(pub(crate) Bug);

/// What the rules are told.
struct Told {
    times: Times,
    subscribers: Vec<Subscriber>,
    peers: Peers,
}

impl Broken {
    fn tell(self, set: &KeySet, ctx: &Context<'_>) -> Told {
        let mut told = Told {
            times: *ctx.times,
            subscribers: ctx.subscribers.to_vec(),
            peers: ctx.peers.clone(),
        };
        match self.0 {
            Bug::PromotionBeforeLead => told.times.publication_lead = Span::ZERO,
            Bug::PromotionBeforeAck if !set.encrypts() => acked_at_once(set, &mut told),
            Bug::EncryptionBeforeAck if set.encrypts() => acked_at_once(set, &mut told),
            Bug::ParallelWaits => acked_with_the_first(set, &mut told),
            Bug::DeadLease => {
                let bound = ctx.times.max_verify_staleness;
                let heard = |s: &Subscriber| s.lease_end + SILENT >= ctx.now + bound;
                told.subscribers.retain(|s| !s.is_live(ctx.now) || heard(s));
            }
            Bug::RetirementUnheard => {
                let demoted = set.in_state(State::Retiring);
                let epochs: Vec<u64> = demoted.filter_map(|one| one.demoted_epoch).collect();
                let heard = |s: &Subscriber| {
                    epochs
                        .iter()
                        .all(|epoch| s.first_ack_covering(*epoch).is_some())
                };
                if set.standby().is_some_and(|one| one.published_at.is_some()) {
                    told.subscribers.retain(heard);
                }
            }
            Bug::ClockGuardOff => {
                told.peers = Peers::default();
                for subscriber in &mut told.subscribers {
                    subscriber.clock_offset_ms = None;
                }
            }
            _ => {}
        }
        told
    }

    fn with<T>(self, set: &KeySet, ctx: &Context<'_>, ask: impl FnOnce(&Context<'_>) -> T) -> T {
        let told = self.tell(set, ctx);
        ask(&Context {
            now: ctx.now,
            epoch: ctx.epoch,
            times: &told.times,
            subscribers: &told.subscribers,
            peers: &told.peers,
        })
    }
}

/// Every instance has acknowledged the standby the moment it was made.
fn acked_at_once(set: &KeySet, told: &mut Told) {
    let Some(standby) = set.standby() else { return };
    for subscriber in &mut told.subscribers {
        subscriber.acks.insert(standby.made.epoch, standby.made.at);
    }
}

/// Those that have acknowledged the standby did so when the first of them did.
fn acked_with_the_first(set: &KeySet, told: &mut Told) {
    let Some(standby) = set.standby() else { return };
    let epoch = standby.made.epoch;
    let acks = told.subscribers.iter();
    let first: Option<Time> = acks.filter_map(|s| s.first_ack_covering(epoch)).min();
    let Some(first) = first else { return };
    for subscriber in &mut told.subscribers {
        if subscriber.first_ack_covering(epoch).is_some() {
            subscriber.acks.insert(epoch, first);
        }
    }
}

impl Rules for Broken {
    fn plan(&self, set: &KeySet, ctx: &Context<'_>) -> Vec<Action> {
        self.with(set, ctx, |ctx| keyring::plan(set, ctx))
    }

    fn apply(
        &self,
        set: &KeySet,
        action: &Action,
        generated: Option<NewKey>,
        ctx: &Context<'_>,
    ) -> Result<KeySet, Refusal> {
        self.with(set, ctx, |ctx| keyring::apply(set, action, generated, ctx))
    }

    fn date(&self, ctx: &Context<'_>) -> Option<Time> {
        match self.0 {
            Bug::ClockGuardOff => Some(ctx.now),
            _ => keyring::date(ctx),
        }
    }

    fn request_rotation(
        &self,
        set: &KeySet,
        force: bool,
        generated: Option<NewKey>,
        ctx: &Context<'_>,
    ) -> Result<KeySet, Refusal> {
        let mut next = keyring::request_rotation(set, force, generated, ctx)?;
        if self.0 == Bug::ForceNotRecorded {
            let active = next.versions.iter_mut();
            active
                .filter(|one| one.state == State::Active)
                .for_each(|one| one.forced = None);
        }
        Ok(next)
    }

    fn revoke(
        &self,
        set: &KeySet,
        kid: &str,
        generated: Option<NewKey>,
        ctx: &Context<'_>,
    ) -> Result<KeySet, Refusal> {
        let mut next = keyring::revoke(set, kid, generated, ctx)?;
        if self.0 == Bug::NoStandbyAtRevoke {
            for version in &mut next.versions {
                let was = set.version(&version.kid);
                if let Some(was) = was.filter(|was| was.kid != kid) {
                    *version = was.clone();
                }
            }
        }
        Ok(next)
    }
}
