//! What every decision takes in besides the record: the time, the bounds and the subscribers.

use serde::{Deserialize, Serialize};

use crate::{Refusal, Span, Subscriber, Time};

/// The largest leeway that a verification may ask for; it covers the skew of clocks.
pub const MAX_LEEWAY: Span = Span::from_secs(60);

/// Offsets spread wider than this halt promotion, retirement and destruction.
pub const MAX_CLOCK_SPREAD: Span = Span::from_secs(5);

/// The bounds that hold for a whole deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// The longest max-age of a JWKS answer.
    pub jwks_cap: Span,
    /// How long a key is published before it signs. Never below `jwks_cap`.
    pub publication_lead: Span,
    /// How far apart clocks may be while nothing is wrong.
    pub skew: Span,
    /// How long an instance signs without a renewal.
    pub max_sign_staleness: Span,
    /// How long an instance verifies and serves JWKS without a renewal.
    pub max_verify_staleness: Span,
    /// How long a thin client verifies without hearing from its instance.
    pub client_lease: Span,
}

impl Times {
    /// The bounds for production.
    pub const DEFAULT: Self = Self {
        jwks_cap: Span::from_secs(300),
        publication_lead: Span::from_minutes(15),
        skew: Span::from_secs(5),
        max_sign_staleness: Span::from_minutes(5),
        max_verify_staleness: Span::from_minutes(15),
        client_lease: Span::from_minutes(5),
    };

    /// The bounds for a developer's machine, where nobody wants to wait.
    pub const DEVELOPMENT: Self = Self {
        jwks_cap: Span::from_secs(5),
        publication_lead: Span::from_secs(5),
        max_sign_staleness: Span::from_secs(30),
        max_verify_staleness: Span::from_secs(60),
        ..Self::DEFAULT
    };

    /// These bounds, where they fit together.
    ///
    /// # Errors
    /// [`Refusal::Fields`] for a lead shorter than the JWKS cap, or signing that outlasts verifying.
    pub fn checked(self) -> Result<Self, Refusal> {
        let mut problems = Vec::new();
        if self.publication_lead < self.jwks_cap {
            let problem = format!(
                "{} is shorter than the JWKS cap of {}",
                self.publication_lead, self.jwks_cap
            );
            problems.push(Refusal::field("publication_lead", problem));
        }
        if self.max_verify_staleness < self.max_sign_staleness {
            let problem = "an instance must not sign for longer than it verifies";
            problems.push(Refusal::field("max_verify_staleness", problem));
        }
        Refusal::unless_empty(problems).map(|()| self)
    }
}

impl Default for Times {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a decider knows of the clocks of the others that share its store.
///
/// Acks compare a decider's clock with those of its instances. One to which no instance is connected has none: it
/// would take every lease for ended and believe itself, however wrong its clock is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// The others that were heard lately, and how far their clocks are from the decider's own.
    pub clocks: Vec<PeerClock>,
    /// The decider has not listened for long enough to know who is there: nothing happens by date.
    pub listening: bool,
}

impl Peers {
    /// Nobody else shares the store.
    pub const NONE: &'static Self = &Self {
        clocks: Vec::new(),
        listening: false,
    };
}

/// The clock of another decider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerClock {
    /// Its name.
    pub name: String,
    /// Its clock minus the decider's own, in milliseconds.
    pub offset_ms: i64,
}

/// The moment of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The decider's own clock.
    pub now: Time,
    /// The epoch that a write made in this moment carries: the store's present one plus 1.
    pub epoch: u64,
    /// The bounds in force.
    pub times: &'a Times,
    /// The records of every instance that is fed this set, those whose lease has run out included
    /// until [`Subscriber::forget_at`].
    pub subscribers: &'a [Subscriber],
    /// The clocks of the other deciders.
    pub peers: &'a Peers,
}
