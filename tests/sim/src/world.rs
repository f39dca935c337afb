//! Worlds: shapes of a deployment, and what happens to it. The seed chooses one.

use keyring::{Span, Times};

use crate::dice::Dice;

/// From, to; the end included.
pub(crate) type Range = (u64, u64);

/// How often faults of a kind begin, on average, in minutes of virtual time while there is trouble; 0 = never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Troubles {
    /// The line between an instance and a key-manager is cut, or that to all of them, for up to 20 minutes.
    pub(crate) cut: u64,
    /// A key-manager dies and is started again.
    pub(crate) crash: u64,
    /// An instance dies and is started again.
    pub(crate) restart: u64,
    /// A machine with an instance stands still.
    pub(crate) pause: u64,
    /// The store cannot be reached.
    pub(crate) outage: u64,
    /// A key-manager's clock drifts away and is set right.
    pub(crate) drift: u64,
    /// An instance's clock is set wrong, then right.
    pub(crate) wrong_clock: u64,
    /// A key-manager's clock is set ahead while no instance is connected to it.
    pub(crate) lonely: u64,
    /// An older store is put in place, then the right one again.
    pub(crate) rollback: u64,
    /// Of a thousand writes, those whose answer is lost.
    pub(crate) lost_answers: u64,
    /// Of a thousand messages to an instance, those that a broken middlebox loses within a stream.
    pub(crate) lost_messages: u64,
}

/// What operators do, on average every so many minutes; 0 = never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operators {
    pub(crate) rotate: u64,
    pub(crate) force: u64,
    pub(crate) revoke_key: u64,
    pub(crate) revoke_tokens: u64,
}

/// The shape of a deployment.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) name: &'static str,
    pub(crate) replicas: usize,
    pub(crate) instances: usize,
    pub(crate) times: Times,
    /// How long keys stay Active, in minutes.
    pub(crate) cryptoperiod: Range,
    /// How long a message is on the way, in milliseconds.
    pub(crate) delay: Range,
    /// How long a read or write of the store takes, half of the way, in milliseconds.
    pub(crate) store: Range,
    /// Between rounds of a key-manager's driver, in milliseconds.
    pub(crate) round: u64,
    /// Between renewals, in milliseconds.
    pub(crate) renewal: u64,
    /// Between calls of clients, in milliseconds.
    pub(crate) call: u64,
    pub(crate) troubles: Troubles,
    pub(crate) operators: Operators,
}

impl World {
    /// The worlds' names.
    pub(crate) const NAMES: [&'static str; 8] = [
        "quiet", "one", "three", "slow", "clocks", "apart", "lossy", "rollback",
    ];

    /// The world that the seed chooses.
    pub(crate) fn of(seed: u64) -> Self {
        let worlds = u64::try_from(Self::NAMES.len()).unwrap_or(1);
        let index = usize::try_from(seed % worlds).unwrap_or_default();
        Self::named(Self::NAMES.get(index).copied().unwrap_or("quiet"), seed)
    }

    pub(crate) fn named(name: &str, seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x0077_6f72_6c64);
        let base = Self::base(&mut dice);
        match name {
            "one" => base.one(),
            "three" => base.three(),
            "slow" => base.slow(),
            "clocks" => base.clocks(),
            "apart" => base.apart(),
            "lossy" => base.lossy(),
            "rollback" => base.rollback(),
            _ => base,
        }
    }

    /// One key-manager, and no trouble.
    fn base(dice: &mut Dice) -> Self {
        let hurried = dice.below(3) > 0;
        Self {
            name: "quiet",
            replicas: 1,
            instances: 2 + dice.index(2),
            times: Times {
                client_lease: Span::from_minutes(5),
                ..Times::DEFAULT
            },
            cryptoperiod: if hurried { (16, 45) } else { (60, 240) },
            delay: (5, 120),
            store: (1, 8),
            round: dice.within((5_000, 20_000)),
            renewal: 60_000,
            call: dice.within((1_500, 4_000)),
            troubles: Troubles::default(),
            operators: Operators {
                rotate: 90,
                force: 0,
                revoke_key: 400,
                revoke_tokens: 20,
            },
        }
    }

    fn one(self) -> Self {
        Self {
            name: "one",
            troubles: Troubles {
                cut: 25,
                crash: 90,
                restart: 60,
                pause: 30,
                outage: 120,
                lost_answers: 3,
                ..Troubles::default()
            },
            operators: Operators {
                force: 200,
                revoke_key: 120,
                ..self.operators
            },
            ..self
        }
    }

    fn three(self) -> Self {
        Self {
            name: "three",
            replicas: 3,
            instances: 3,
            round: 6_000,
            store: (2, 60),
            troubles: Troubles {
                cut: 25,
                crash: 40,
                restart: 90,
                pause: 60,
                outage: 200,
                lost_answers: 5,
                ..Troubles::default()
            },
            operators: Operators {
                rotate: 45,
                force: 150,
                revoke_key: 150,
                ..self.operators
            },
            ..self
        }
    }

    /// Messages take seconds, and instances are cut off for as long as their leases.
    fn slow(self) -> Self {
        Self {
            name: "slow",
            replicas: 2,
            delay: (200, 6_000),
            cryptoperiod: (16, 30),
            troubles: Troubles {
                cut: 12,
                pause: 40,
                restart: 90,
                ..Troubles::default()
            },
            ..self
        }
    }

    fn clocks(self) -> Self {
        Self {
            name: "clocks",
            cryptoperiod: (16, 60),
            troubles: Troubles {
                cut: 90,
                drift: 100,
                wrong_clock: 150,
                ..Troubles::default()
            },
            ..self
        }
    }

    /// Key-managers that share a store, of which one is wrong about the time and has nobody to tell it.
    fn apart(self) -> Self {
        Self {
            name: "apart",
            replicas: 3,
            round: 6_000,
            cryptoperiod: (16, 45),
            troubles: Troubles {
                cut: 90,
                crash: 120,
                lonely: 60,
                ..Troubles::default()
            },
            ..self
        }
    }

    fn lossy(self) -> Self {
        Self {
            name: "lossy",
            replicas: 2,
            troubles: Troubles {
                cut: 60,
                crash: 200,
                lost_messages: 60,
                ..Troubles::default()
            },
            operators: Operators {
                rotate: 40,
                revoke_key: 60,
                revoke_tokens: 6,
                ..self.operators
            },
            ..self
        }
    }

    fn rollback(self) -> Self {
        Self {
            name: "rollback",
            troubles: Troubles {
                cut: 60,
                rollback: 60,
                ..Troubles::default()
            },
            ..self
        }
    }
}
