//! What instances really serve and sign, which the records that the plan reads can only tell in part.

use std::collections::BTreeMap;

use keyring::{
    Action, ImportAs, KeySet, Profile, Publish, Span, State, Subscriber, Time, Times, Update,
    Usage, Use, clock_guard, due, invariants, plan,
};

use crate::{
    history::Step,
    world::{World, new_set, secs, spec},
};

/// How far the clocks of the model may be off, at most; tokens are judged with that much less leeway.
const SLACK: Span = Span::from_secs(10);

/// What one instance really holds and does.
struct Instance {
    name: String,
    offset: i64,
    applied: KeySet,
    /// When it last asked for a renewal that was granted.
    renewed: Time,
    stopped: bool,
    /// When it last served a JWKS, or verified, without each kid that it did not hold, and its snapshot then.
    served: Vec<(Time, KeySet, Span)>,
    unreported: Vec<(String, Time)>,
}

impl Instance {
    fn serves_until(&self, times: &Times) -> Time {
        self.renewed + times.max_verify_staleness
    }
}

pub(crate) struct History {
    world: World,
    instances: Vec<Instance>,
    /// kid and true expiry of every token.
    tokens: Vec<(String, Time)>,
    pub(crate) promotions: usize,
    pub(crate) early: usize,
    pub(crate) destroyed: usize,
    /// When each key is to be destroyed, by what was asked for and not called off.
    dates: BTreeMap<String, Time>,
}

impl History {
    pub(crate) fn new(key_use: Use, algorithm: &str, publish: Publish) -> Self {
        let world = World::of(new_set(key_use, algorithm, publish));
        Self {
            world,
            instances: Vec::new(),
            tokens: Vec::new(),
            promotions: 0,
            early: 0,
            destroyed: 0,
            dates: BTreeMap::new(),
        }
    }

    /// An instance that still serves; none where nobody does.
    fn pick(&self, who: usize) -> Option<usize> {
        let (now, times) = (self.world.now, &self.world.times);
        let serving = |i: &&Instance| !i.stopped && now < i.serves_until(times);
        let names: Vec<_> = self
            .instances
            .iter()
            .filter(serving)
            .map(|i| &i.name)
            .collect();
        let name = names.get(who.checked_rem(names.len())?)?;
        self.instances.iter().position(|i| &i.name == *name)
    }

    pub(crate) fn run(&mut self, step: &Step) {
        match step {
            Step::Pass(seconds) => self.world.pass(secs(*seconds)),
            Step::Connect(offset) => self.connect(*offset),
            Step::Deliver(who) => self.deliver(*who, true),
            Step::DeliverAndLoseTheAck(who) => self.deliver(*who, false),
            Step::Sign(who, lifetime) => self.sign(*who, secs(*lifetime)),
            Step::Drain(who) => self.drain(*who),
            Step::Rotate { force } => self.world.rotate(*force).unwrap(),
            Step::Revoke(which) => self.revoke(*which),
            Step::Destroy(which, wait) => self.destroy(*which, secs(*wait)),
            Step::Keep(which) => self.keep(*which),
            Step::ImportPrepared => self.import(ImportAs::Prepared),
            Step::ImportRetiring(seconds) => {
                self.import(ImportAs::Retiring {
                    end: self.world.now + secs(*seconds),
                });
            }
            Step::ImportActive => self.import(ImportAs::Active),
            Step::MaxLifetime(seconds) => {
                let profile = Profile {
                    max_lifetime: secs(*seconds),
                    ..Profile::default()
                };
                self.world
                    .update(Update {
                        profile: Some(profile),
                        ..Update::default()
                    })
                    .unwrap();
            }
            Step::JwksCap(seconds) => {
                let lead = secs(*seconds).max(Times::DEFAULT.publication_lead);
                self.world.times = Times {
                    jwks_cap: secs(*seconds),
                    publication_lead: lead,
                    ..Times::DEFAULT
                };
            }
            Step::Algorithm(other) => self.change_algorithm(*other),
        }
        self.forget();
        self.settle();
        self.judge();
    }

    fn connect(&mut self, offset: i64) {
        let name = format!("instance-{}", self.instances.len());
        let (now, lease) = (self.world.now, self.world.times.max_verify_staleness);
        self.world
            .subscribers
            .push(Subscriber::new(name.clone(), self.world.epoch, now + lease));
        self.world.report(&name, offset, &[]);
        self.instances.push(Instance {
            name,
            offset,
            applied: self.world.set.clone(),
            renewed: now,
            stopped: false,
            served: Vec::new(),
            unreported: Vec::new(),
        });
    }

    /// The instance takes the present record; with its ack, usage is reported and the lease renewed.
    fn deliver(&mut self, who: usize, ack_arrives: bool) {
        let Some(index) = self.pick(who) else { return };
        let now = self.world.now;
        let instance = &mut self.instances[index];
        instance.served.push((
            now,
            instance.applied.clone(),
            instance.applied.jwks_cap.current,
        ));
        instance.applied = self.world.set.clone();
        if !ack_arrives {
            return;
        }
        let signed: Vec<_> = instance.unreported.drain(..).collect();
        instance.renewed = now;
        let (name, offset) = (instance.name.clone(), instance.offset);
        let usage: Vec<(&str, Usage)> = signed
            .iter()
            .map(|(kid, exp)| {
                (
                    kid.as_str(),
                    Usage {
                        highest_exp: Some(*exp),
                        in_flight: false,
                    },
                )
            })
            .collect();
        self.world.report(&name, offset, &usage);
        // What the marks do not ask for is dropped all the time.
        let epochs: Vec<u64> = self.world.set.watched_epochs().collect();
        self.world.subscriber(&name).compact(epochs, |_, _| true);
    }

    fn sign(&mut self, who: usize, lifetime: Span) {
        let Some(index) = self.pick(who) else { return };
        let (now, staleness) = (self.world.now, self.world.times.max_sign_staleness);
        let instance = &mut self.instances[index];
        let Some(active) = instance.applied.active() else {
            return;
        };
        if now >= instance.renewed + staleness || !instance.applied.may_sign(active) {
            return;
        }
        let lifetime = lifetime.min(instance.applied.profile.max_lifetime);
        let expires = now + lifetime;
        instance
            .unreported
            .push((active.kid.clone(), expires.shifted(instance.offset)));
        self.tokens.push((active.kid.clone(), expires));
    }

    fn drain(&mut self, who: usize) {
        let Some(index) = self.pick(who) else { return };
        let now = self.world.now;
        let instance = &mut self.instances[index];
        instance.stopped = true;
        instance.served.push((
            now,
            instance.applied.clone(),
            instance.applied.jwks_cap.current,
        ));
        let name = instance.name.clone();
        self.world.subscriber(&name).drained(now);
    }

    fn revoke(&mut self, which: usize) {
        let index = which % self.world.set.versions.len();
        let (kid, state) = self.version(index);
        let revoked = self.world.revoke(&kid);
        assert_eq!(
            revoked.is_ok(),
            state != State::Destroyed,
            "{kid} {state:?}"
        );
    }

    /// The place of the Active.
    pub(crate) fn active(&self) -> usize {
        let versions = &self.world.set.versions;
        versions
            .iter()
            .position(|v| v.state == State::Active)
            .unwrap()
    }

    pub(crate) fn versions(&self) -> usize {
        self.world.set.versions.len()
    }

    pub(crate) fn is_revoked(&self, index: usize) -> bool {
        self.version(index).1 == State::Revoked
    }

    fn version(&self, index: usize) -> (String, State) {
        let version = &self.world.set.versions[index];
        (version.kid.clone(), version.state)
    }

    fn destroy(&mut self, which: usize, wait: Span) {
        let (kid, state) = self.version(which % self.world.set.versions.len());
        let out_of_use = matches!(state, State::Retired | State::Revoked | State::Destroyed);
        assert_eq!(
            self.world.destroy(&kid, wait).is_ok(),
            out_of_use,
            "{kid} {state:?}"
        );
        if matches!(state, State::Retired | State::Revoked) {
            self.dates.insert(kid, self.world.now + wait);
        }
    }

    fn keep(&mut self, which: usize) {
        let (kid, state) = self.version(which % self.world.set.versions.len());
        let kept = self.world.keep(&kid).is_ok();
        assert_eq!(
            kept,
            matches!(state, State::Retired | State::Revoked),
            "{kid} {state:?}"
        );
        if kept {
            self.dates.remove(&kid);
        }
    }

    fn import(&mut self, enters: ImportAs) {
        let algorithm = self.world.set.policy.key.algorithm.clone();
        let key = self.world.key(algorithm.as_str());
        self.world.import(key, enters, true).unwrap();
    }

    fn change_algorithm(&mut self, other: bool) {
        let (key_use, publish) = (self.world.set.key_use, self.world.set.publish);
        let (one, two) = match (key_use, publish) {
            (Use::Encrypt, _) => ("RSA-OAEP-256", "ECDH-ES+A256KW"),
            (_, Publish::None) => ("HS256", "HS512"),
            _ => ("ES256", "RS256"),
        };
        let mut policy = self.world.set.policy.clone();
        policy.key = spec(if other { two } else { one });
        self.world
            .update(Update {
                policy: Some(policy),
                ..Update::default()
            })
            .unwrap();
    }

    fn forget(&mut self) {
        let (now, times) = (self.world.now, self.world.times);
        let lifetime = self.world.set.largest_lifetime();
        self.world
            .subscribers
            .retain(|s| now < s.forget_at(lifetime, Span::ZERO, &times));
    }

    /// Runs the plan; each promotion in it is judged by what the instances really served.
    fn settle(&mut self) {
        let before = self.world.set.clone();
        let halted = clock_guard(&self.world.ctx()).halts();
        let was_due = due(&before, &self.world.ctx()).is_some();
        for action in self.world.settle() {
            match &action {
                Action::Promote { kid } => {
                    assert!(
                        was_due && !halted,
                        "promoted {kid} without cause, or with clocks apart"
                    );
                    self.judge_promotion(kid);
                    self.promotions += 1;
                }
                Action::Retire { kid } => {
                    assert!(!halted, "retired {kid} with clocks apart");
                    self.early +=
                        usize::from(before.version(kid).unwrap().retire_by > Some(self.world.now));
                }
                Action::Destroy { kid } => {
                    assert!(!halted, "destroyed {kid} with clocks apart");
                    let date = self.dates[kid];
                    assert!(date <= self.world.now, "destroyed {kid} before {date:?}");
                    self.destroyed += 1;
                }
                _ => {}
            }
        }
        assert_eq!(
            plan(&self.world.set, &self.world.ctx()),
            [],
            "the plan is idempotent"
        );
    }

    /// Every instance that served without the version since it was made stopped doing so one wait ago, and
    /// every JWKS that it gave out has run out.
    fn judge_promotion(&self, kid: &str) {
        let (set, times, now) = (&self.world.set, &self.world.times, self.world.now);
        let version = set.version(kid).unwrap();
        assert_eq!(version.forced, None, "the plan forces nothing");
        let published = version.published_at.unwrap();
        let waits = !version.is_symmetric() && !set.encrypts();
        let lead = if waits {
            times.publication_lead
        } else {
            Span::ZERO
        };
        assert!(
            published + lead <= now,
            "{kid} promoted {lead} after its first ack at the earliest"
        );
        for instance in &self.instances {
            for (until, served, max_age) in self.servings(instance) {
                if served.version(kid).is_some() || until < version.created_at {
                    continue;
                }
                let wait = if waits {
                    lead.max(max_age + times.skew)
                } else {
                    Span::ZERO
                };
                assert!(
                    until + wait <= now,
                    "{} served without {kid} until {until:?}, now {now:?}",
                    instance.name
                );
            }
        }
    }

    /// What the instance served and until when, the present snapshot included.
    fn servings<'a>(&self, instance: &'a Instance) -> Vec<(Time, &'a KeySet, Span)> {
        let past = instance
            .served
            .iter()
            .map(|(until, set, cap)| (*until, set, *cap));
        let present = (!instance.stopped).then(|| {
            let until = instance.serves_until(&self.world.times);
            (until, &instance.applied, instance.applied.jwks_cap.current)
        });
        past.chain(present).collect()
    }

    fn judge(&self) {
        let (set, now) = (&self.world.set, self.world.now);
        assert_eq!(invariants::check(set), []);
        assert_eq!(
            set.in_state(State::Prepared).count(),
            1,
            "exactly one standby"
        );
        let ever = set
            .versions
            .iter()
            .any(|version| version.activated_at.is_some());
        assert_eq!(
            set.active().is_some(),
            ever,
            "once in use, a set always has an Active"
        );
        if !set.encrypts() {
            let tokens = self
                .tokens
                .iter()
                .map(|(kid, exp)| (kid.as_str(), earlier(*exp, SLACK)));
            assert_eq!(invariants::check_live_tokens(set, tokens, now), []);
        }
        let overdue = |end: Time| end.shifted(6_000) < now;
        let destroyed: Vec<_> = set.in_state(State::Destroyed).map(|v| &v.kid).collect();
        assert!(
            destroyed.iter().all(|kid| self.dates.contains_key(*kid)),
            "{destroyed:?}"
        );
        for retiring in set.in_state(State::Retiring) {
            let late =
                retiring.retire_by.is_some_and(overdue) && !clock_guard(&self.world.ctx()).halts();
            assert!(!late, "{} is past its end", retiring.kid);
        }
        let stored = serde_json::to_string(set).unwrap();
        assert_eq!(
            &serde_json::from_str::<KeySet>(&stored).unwrap(),
            set,
            "{stored}"
        );
    }
}

fn earlier(time: Time, span: Span) -> Time {
    Time::from_millis(time.as_millis() - span.as_millis())
}
