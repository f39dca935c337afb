//! What a version has to wait for before it is used: acks, leases, caches and clocks.

use crate::{
    Context, Holding, KeySet, MAX_CLOCK_SPREAD, Mark, Span, Subscriber, Time, Version, Wait,
};

/// What the fresh offsets say about the clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockGuard {
    /// The lowest fresh offset, in milliseconds, and at most 0: the decider's own clock counts too.
    pub lowest_ms: i64,
    /// How far the clocks are apart, the decider's own included.
    pub spread: Span,
    /// The subscribers and peers whose clocks are the lowest and the highest.
    pub extremes: Vec<String>,
    /// The decider does not know yet who else is there.
    pub listening: bool,
}

impl ClockGuard {
    /// True where the clocks disagree so much that nothing may happen by date.
    #[must_use]
    pub fn halts(&self) -> bool {
        self.listening || self.is_spread()
    }

    fn is_spread(&self) -> bool {
        self.spread > MAX_CLOCK_SPREAD
    }
}

/// Compares the clocks of all live subscribers, and of the other deciders, with the decider's own.
///
/// A subscriber's offset is from whoever received its ack, which may be another decider. So the two kinds are not compared
/// with each other: sound clocks would look twice as far apart as they are.
#[must_use]
pub fn clock_guard(ctx: &Context<'_>) -> ClockGuard {
    let live = ctx
        .subscribers
        .iter()
        .filter(|subscriber| subscriber.is_live(ctx.now));
    let acks = live.filter_map(|s| s.clock_offset_ms.map(|offset| (offset, s.name.as_str())));
    let peers = ctx.peers.clocks.iter();
    let peers = peers.map(|peer| (peer.offset_ms, peer.name.as_str()));
    let (acks, peers) = (Offsets::of(acks), Offsets::of(peers));
    let lowest_ms = acks.lowest.min(peers.lowest);
    let widest = match peers.spread() > acks.spread() {
        true => peers,
        false => acks,
    };
    ClockGuard {
        lowest_ms,
        spread: widest.spread(),
        extremes: widest.extremes(),
        listening: ctx.peers.listening,
    }
}

/// Offsets that are compared with each other, and with 0.
struct Offsets<'a> {
    of: Vec<(i64, &'a str)>,
    lowest: i64,
    highest: i64,
}

impl<'a> Offsets<'a> {
    fn of(offsets: impl Iterator<Item = (i64, &'a str)>) -> Self {
        let of: Vec<_> = offsets.collect();
        let all = || of.iter().map(|(offset, _)| *offset);
        let (lowest, highest) = (all().fold(0, i64::min), all().fold(0, i64::max));
        Self {
            of,
            lowest,
            highest,
        }
    }

    fn spread(&self) -> Span {
        Span::from_millis(self.lowest.abs_diff(self.highest))
    }

    fn extremes(&self) -> Vec<String> {
        let extreme =
            |offset: i64| offset != 0 && (offset == self.lowest || offset == self.highest);
        let names = self.of.iter().filter(|(offset, _)| extreme(*offset));
        names.map(|(_, name)| (*name).to_owned()).collect()
    }
}

/// The time that dates are compared with; `None` while the clocks halt what happens by date.
#[must_use]
pub fn date(ctx: &Context<'_>) -> Option<Time> {
    let guard = clock_guard(ctx);
    (!guard.halts()).then(|| ctx.now.shifted(guard.lowest_ms))
}

/// The time that dates are compared with: the slowest clock among the fresh ones and our own.
pub(crate) fn cautious_now(ctx: &Context<'_>) -> Time {
    ctx.now.shifted(clock_guard(ctx).lowest_ms)
}

/// True where the subscriber may have served without the write: it was live since, and its first
/// snapshot did not hold it.
fn may_lack(subscriber: &Subscriber, mark: Mark) -> bool {
    subscriber.first_epoch < mark.epoch && subscriber.lease_end >= mark.at
}

/// When the last subscriber stopped serving without the write: the latest of the first acks and, where
/// there is none, of the lease ends.
fn settled_at(mark: Mark, ctx: &Context<'_>) -> Time {
    let lacking = ctx
        .subscribers
        .iter()
        .filter(|subscriber| may_lack(subscriber, mark));
    lacking
        .map(|s| s.first_ack_covering(mark.epoch).unwrap_or(s.lease_end))
        .fold(mark.at, Time::max)
}

/// The first ack of the version by any instance, recorded or just received.
pub(crate) fn published_at(version: &Version, ctx: &Context<'_>) -> Option<Time> {
    let acks = ctx
        .subscribers
        .iter()
        .filter_map(|s| s.first_ack_covering(version.made.epoch));
    version.published_at.or_else(|| acks.min())
}

/// The longest max-age of a JWKS that a verifier may hold now: the cap, or a higher former one until
/// it has run out.
#[must_use]
pub fn longest_max_age(set: &KeySet, ctx: &Context<'_>) -> Span {
    let now = cautious_now(ctx);
    let former = set.jwks_cap.former.iter();
    let in_caches = former.filter(|former| now < settled_at(former.lowered, ctx) + former.cap);
    in_caches
        .map(|former| former.cap)
        .fold(set.jwks_cap.current.max(ctx.times.jwks_cap), Span::max)
}

/// How long the version waits after the last instance served without it. Symmetric keys have nothing to
/// publish, and encryption keys are published by their promotion: these wait for the instances alone.
fn publication_wait(set: &KeySet, version: &Version, ctx: &Context<'_>) -> Span {
    if version.is_symmetric() || set.encrypts() {
        return Span::ZERO;
    }
    let lead = set
        .policy
        .publication_lead
        .unwrap_or(ctx.times.publication_lead);
    lead.max(longest_max_age(set, ctx) + ctx.times.skew)
}

/// What the promotion of the standby waits for; empty when it may happen now.
#[must_use]
pub fn holding(set: &KeySet, ctx: &Context<'_>) -> Vec<Holding> {
    set.standby().map_or_else(
        || {
            vec![Holding {
                wait: Wait::Standby,
                subscribers: Vec::new(),
                until: None,
            }]
        },
        |standby| holding_of(set, standby, ctx),
    )
}

/// What the promotion of that version waits for.
pub(crate) fn holding_of(set: &KeySet, version: &Version, ctx: &Context<'_>) -> Vec<Holding> {
    let acks = held_by_acks(version, ctx);
    let published = published_at(version, ctx);
    let first_ack = published.is_none().then(|| {
        let waiting = Holding {
            wait: Wait::FirstAck,
            subscribers: Vec::new(),
            until: None,
        };
        vec![waiting]
    });
    let lead =
        published.and_then(|published| held_by_lead(set, version, published, acks.is_some(), ctx));
    let mut held = first_ack.unwrap_or_default();
    held.extend(acks.into_iter().chain(lead).chain(held_by_clocks(ctx)));
    held
}

fn held_by_acks(version: &Version, ctx: &Context<'_>) -> Option<Holding> {
    let late = |s: &&Subscriber| {
        may_lack(s, version.made)
            && s.is_live(ctx.now)
            && s.first_ack_covering(version.made.epoch).is_none()
    };
    let late: Vec<&Subscriber> = ctx.subscribers.iter().filter(late).collect();
    let until = late.iter().map(|s| s.lease_end).max()?;
    let subscribers = late.iter().map(|s| s.name.clone()).collect();
    Some(Holding {
        wait: Wait::Acks,
        subscribers,
        until: Some(until),
    })
}

/// The wait for caches; where there is none, for the slowest clock to pass the last ack, unless acks
/// are missing anyway.
fn held_by_lead(
    set: &KeySet,
    version: &Version,
    published: Time,
    acks_missing: bool,
    ctx: &Context<'_>,
) -> Option<Holding> {
    let wait = publication_wait(set, version, ctx);
    let over = published.max(settled_at(version.made, ctx)) + wait;
    let guard = clock_guard(ctx);
    let waits = ctx.now.shifted(guard.lowest_ms) < over && !(wait.is_zero() && acks_missing);
    // `over` is in cautious time; the reader's clock is ahead of that by `-lowest`.
    let until = over.shifted(guard.lowest_ms.saturating_neg());
    waits.then(|| Holding {
        wait: Wait::Lead { wait },
        subscribers: Vec::new(),
        until: Some(until),
    })
}

fn held_by_clocks(ctx: &Context<'_>) -> Option<Holding> {
    let guard = clock_guard(ctx);
    let (wait, subscribers) = match guard.is_spread() {
        true => (
            Wait::Clocks {
                spread: guard.spread,
            },
            guard.extremes,
        ),
        false if guard.listening => (Wait::Peers, Vec::new()),
        false => return None,
    };
    Some(Holding {
        wait,
        subscribers,
        until: None,
    })
}

/// When the standby may be promoted at the latest, as far as that is known: absent while no instance has
/// acked it, or clocks disagree. For a set without an Active this is when it begins to serve.
#[must_use]
pub fn expected_at(set: &KeySet, ctx: &Context<'_>) -> Option<Time> {
    let held = holding(set, ctx);
    held.into_iter().try_fold(ctx.now, |latest, holding| {
        holding.until.map(|until| until.max(latest))
    })
}
