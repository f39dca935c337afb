//! A store of one key set and its subscribers, with a clock that the tests turn.

use keyring::{
    Ack, Action, Algorithm, Context, Holding, Import, ImportAs, KeySet, KeySpec, NewKey, NewKeySet,
    Peers, Policy, Profile, Publish, Refusal, Span, State, Subscriber, Time, Times, Update, Usage,
    Use, Wait, apply, cancel_destruction, create, holding, import, invariants, plan,
    request_rotation, revoke, schedule_destruction, update,
};

pub(crate) const START: Time = Time::from_millis(1_800_000_000_000);
pub(crate) const MS: Span = Span::from_millis(1);

pub(crate) struct World {
    pub(crate) now: Time,
    /// The epoch of the last write.
    pub(crate) epoch: u64,
    pub(crate) times: Times,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) peers: Peers,
    pub(crate) set: KeySet,
    keys_made: u32,
}

pub(crate) fn secs(secs: u64) -> Span {
    Span::from_secs(secs)
}

pub(crate) fn minutes(minutes: u64) -> Span {
    Span::from_minutes(minutes)
}

pub(crate) fn spec(algorithm: &str) -> KeySpec {
    KeySpec::of(Algorithm::new(algorithm).unwrap())
}

pub(crate) fn new_set(key_use: Use, algorithm: &str, publish: Publish) -> NewKeySet {
    NewKeySet {
        tenant: "default".to_owned(),
        name: "op/access-token".to_owned(),
        key_use,
        issuer: Some("https://op.example.com".to_owned()),
        publish,
        profile: Profile::default(),
        policy: Policy {
            cryptoperiod: None,
            ..Policy::new(spec(algorithm))
        },
    }
}

impl World {
    pub(crate) fn of(new: NewKeySet) -> Self {
        let times = Times::DEFAULT;
        let ctx = Context {
            now: START,
            epoch: 1,
            times: &times,
            subscribers: &[],
            peers: Peers::NONE,
        };
        let set = create(new, &ctx).unwrap();
        let mut world = Self {
            now: START,
            epoch: 1,
            times,
            subscribers: Vec::new(),
            peers: Peers::default(),
            set,
            keys_made: 0,
        };
        world.settle();
        world
    }

    pub(crate) fn signing() -> Self {
        Self::of(new_set(Use::Sign, "ES256", Publish::Public))
    }

    pub(crate) fn symmetric() -> Self {
        Self::of(new_set(Use::Sign, "HS256", Publish::None))
    }

    pub(crate) fn encryption() -> Self {
        Self::of(new_set(Use::Encrypt, "RSA-OAEP-256", Publish::Public))
    }

    /// With key 1 Active by force, key 2 its standby, and the given instances up to date.
    pub(crate) fn serving(mut self, names: &[&str]) -> Self {
        self.rotate(true).unwrap();
        self.settle();
        names.iter().for_each(|name| self.connect(name));
        self.settle();
        self
    }

    pub(crate) fn ctx(&self) -> Context<'_> {
        Context {
            now: self.now,
            epoch: self.epoch + 1,
            times: &self.times,
            subscribers: &self.subscribers,
            peers: &self.peers,
        }
    }

    pub(crate) fn pass(&mut self, span: Span) {
        self.now = self.now + span;
    }

    pub(crate) fn at(&mut self, time: Time) {
        assert!(time >= self.now, "tests do not turn the clock back");
        self.now = time;
    }

    pub(crate) fn key(&mut self, algorithm: &str) -> NewKey {
        self.keys_made += 1;
        NewKey {
            kid: format!("key-{}", self.keys_made),
            enc: spec(algorithm).enc,
            algorithm: Algorithm::new(algorithm).unwrap(),
            material: format!("material-{}", self.keys_made),
            public_only: false,
        }
    }

    /// Executes the plan until nothing is left and gives back what was done.
    pub(crate) fn settle(&mut self) -> Vec<Action> {
        let mut done = Vec::new();
        loop {
            let actions = plan(&self.set, &self.ctx());
            let Some(action) = actions.into_iter().next() else {
                return done;
            };
            let key = match &action {
                Action::GenerateStandby { spec } => Some(self.key(spec.algorithm.as_str())),
                _ => None,
            };
            let next = apply(&self.set, &action, key, &self.ctx());
            self.write(next)
                .unwrap_or_else(|refusal| panic!("{action:?}: {refusal}"));
            done.push(action);
            assert!(done.len() < 50, "the plan never ends: {done:?}");
        }
    }

    pub(crate) fn write(&mut self, next: Result<KeySet, Refusal>) -> Result<(), Refusal> {
        let next = next?;
        let broken = invariants::check_step(&self.set, &next, &self.ctx());
        assert_eq!(broken, [], "{:#?}", self.set);
        self.epoch = self.epoch.max(next.epoch);
        self.set = next;
        Ok(())
    }

    /// Runs a command; where it needs a key, again with one.
    fn command(
        &mut self,
        run: impl Fn(&KeySet, Option<NewKey>, &Context<'_>) -> Result<KeySet, Refusal>,
    ) -> Result<(), Refusal> {
        let next = match run(&self.set, None, &self.ctx()) {
            Err(Refusal::KeyNeeded(spec)) => {
                let key = self.key(spec.algorithm.as_str());
                run(&self.set, Some(key), &self.ctx())
            }
            other => other,
        };
        self.write(next)
    }

    pub(crate) fn rotate(&mut self, force: bool) -> Result<(), Refusal> {
        self.command(|set, key, ctx| request_rotation(set, force, key, ctx))
    }

    pub(crate) fn revoke(&mut self, kid: &str) -> Result<(), Refusal> {
        self.command(|set, key, ctx| revoke(set, kid, key, ctx))
    }

    pub(crate) fn destroy(&mut self, kid: &str, wait: Span) -> Result<(), Refusal> {
        self.command(|set, _, ctx| schedule_destruction(set, kid, wait, ctx))
    }

    pub(crate) fn keep(&mut self, kid: &str) -> Result<(), Refusal> {
        self.command(|set, _, ctx| cancel_destruction(set, kid, ctx))
    }

    pub(crate) fn update(&mut self, change: Update) -> Result<(), Refusal> {
        self.command(|set, _, ctx| update(set, change.clone(), ctx))
    }

    pub(crate) fn import(
        &mut self,
        key: NewKey,
        enters: ImportAs,
        force: bool,
    ) -> Result<(), Refusal> {
        self.command(|set, _, ctx| {
            import(
                set,
                Import {
                    key: key.clone(),
                    enters,
                    force,
                },
                ctx,
            )
        })
    }

    /// A new instance takes its first snapshot and acks it.
    pub(crate) fn connect(&mut self, name: &str) {
        let lease_end = self.now + self.times.max_verify_staleness;
        self.subscribers
            .push(Subscriber::new(name, self.epoch, lease_end));
        self.ack(name);
    }

    pub(crate) fn subscriber(&mut self, name: &str) -> &mut Subscriber {
        self.subscribers
            .iter_mut()
            .find(|subscriber| subscriber.name == name)
            .unwrap()
    }

    /// Acks the present epoch, and renews the lease.
    pub(crate) fn ack(&mut self, name: &str) {
        self.report(name, 0, &[]);
    }

    pub(crate) fn report(&mut self, name: &str, clock_offset_ms: i64, usage: &[(&str, Usage)]) {
        let (now, epoch, lease) = (self.now, self.epoch, self.times.max_verify_staleness);
        let tenant = self.set.tenant.clone();
        let usage = usage
            .iter()
            .map(|(kid, usage)| (tenant.clone(), (*kid).to_owned(), *usage))
            .collect();
        let subscriber = self.subscriber(name);
        subscriber.ack(Ack {
            epoch,
            at: now,
            clock_offset_ms,
            usage,
        });
        subscriber.renew(epoch, now + lease).unwrap();
    }

    pub(crate) fn state(&self, kid: &str) -> State {
        self.set
            .version(kid)
            .unwrap_or_else(|| panic!("no {kid}"))
            .state
    }

    pub(crate) fn active(&self) -> Option<&str> {
        self.set.active().map(|version| version.kid.as_str())
    }

    pub(crate) fn standby(&self) -> Option<&str> {
        self.set.standby().map(|version| version.kid.as_str())
    }

    pub(crate) fn holding(&self) -> Vec<Holding> {
        holding(&self.set, &self.ctx())
    }

    pub(crate) fn waits(&self) -> Vec<Wait> {
        self.holding()
            .into_iter()
            .map(|holding| holding.wait)
            .collect()
    }

    /// Moves to 1 ms before `time` and asserts that the plan leaves `kid` in `before`; then to `time`, and
    /// that it brings it to `after`.
    #[track_caller]
    pub(crate) fn turns_exactly_at(&mut self, time: Time, kid: &str, before: State, after: State) {
        self.at(Time::from_millis(time.as_millis() - 1));
        self.settle();
        assert_eq!(
            self.state(kid),
            before,
            "{kid} 1 ms early: {:?}",
            self.holding()
        );
        self.pass(MS);
        self.settle();
        assert_eq!(
            self.state(kid),
            after,
            "{kid} on time: {:?}",
            self.holding()
        );
    }
}
