//! What operations cost, and what may be computed together.

use std::time::Duration;

use multibuffer::{Class as LaneClass, LANES};

/// What an operation costs, and so where it runs and what it waits behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// RSA private operations above 3072 bits.
    Rsa4096,
    /// RSA private operations above 2048 bits.
    Rsa3072,
    /// RSA private operations.
    Rsa2048,
    /// RSA public operations: verification, and encryption to an RSA key.
    RsaPublic,
    /// NIST curves: signatures, verification, key agreement.
    Ec,
    /// Ed25519 and X25519.
    Ed25519,
    /// AES and HMAC.
    Symmetric,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 7] = [
        Self::Rsa4096,
        Self::Rsa3072,
        Self::Rsa2048,
        Self::RsaPublic,
        Self::Ec,
        Self::Ed25519,
        Self::Symmetric,
    ];

    /// The private operation of an RSA key with that modulus.
    #[must_use]
    pub const fn of_modulus(bits: usize) -> Self {
        match bits {
            ..=2048 => Self::Rsa2048,
            2049..=3072 => Self::Rsa3072,
            _ => Self::Rsa4096,
        }
    }

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa4096 => "rsa-4096",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa2048 => "rsa-2048",
            Self::RsaPublic => "rsa-public",
            Self::Ec => "ec",
            Self::Ed25519 => "ed25519",
            Self::Symmetric => "symmetric",
        }
    }

    /// Whether it takes so long that a thread which serves connections cannot afford it.
    pub(super) const fn is_slow(self) -> bool {
        matches!(self, Self::Rsa4096 | Self::Rsa3072 | Self::Rsa2048)
    }

    const fn index(self) -> usize {
        match self {
            Self::Rsa4096 => 0,
            Self::Rsa3072 => 1,
            Self::Rsa2048 => 2,
            Self::RsaPublic => 3,
            Self::Ec => 4,
            Self::Ed25519 => 5,
            Self::Symmetric => 6,
        }
    }
}

/// What lanes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Sign,
    Verify,
}

/// What waits in one line: operations that lanes compute together, or that are computed one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Up to eight at once.
    Lanes(Operation, LaneClass),
    /// What begins with a key agreement on P-256; the agreements are made up to eight at once.
    Agree,
    /// One at a time.
    One(Class),
}

/// Threads of their own, so that a flood of what is slow does not delay what is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PoolId {
    Rsa2048,
    /// Computed at the lowest priority: eight signatures of RSA-4096 take 7 ms.
    LargeRsa,
    /// Batches of what a thread that serves connections does itself, one by one.
    Cheap,
}

impl PoolId {
    pub(super) const ALL: [Self; 3] = [Self::Rsa2048, Self::LargeRsa, Self::Cheap];

    /// The place in [`PoolId::ALL`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Rsa2048 => 0,
            Self::LargeRsa => 1,
            Self::Cheap => 2,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-2048",
            Self::LargeRsa => "rsa-large",
            Self::Cheap => "cheap",
        }
    }
}

impl Kind {
    pub(super) const COUNT: usize = 18;

    pub(super) fn all() -> impl Iterator<Item = Self> {
        let operations = [Operation::Sign, Operation::Verify].into_iter();
        let lanes = operations
            .flat_map(|operation| LaneClass::ALL.map(|class| Self::Lanes(operation, class)));
        lanes.chain(Class::ALL.map(Self::One)).chain([Self::Agree])
    }

    /// The place in [`Kind::all`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Lanes(Operation::Sign, class) => lane_index(class),
            Self::Lanes(Operation::Verify, class) => 5 + lane_index(class),
            Self::One(class) => 10 + class.index(),
            Self::Agree => 17,
        }
    }

    pub(super) const fn class(self) -> Class {
        match self {
            Self::One(class) => class,
            Self::Agree => Class::Ec,
            Self::Lanes(Operation::Sign, LaneClass::Rsa2048) => Class::Rsa2048,
            Self::Lanes(Operation::Sign, LaneClass::Rsa3072) => Class::Rsa3072,
            Self::Lanes(Operation::Sign, LaneClass::Rsa4096) => Class::Rsa4096,
            Self::Lanes(
                Operation::Verify,
                LaneClass::Rsa2048 | LaneClass::Rsa3072 | LaneClass::Rsa4096,
            ) => Class::RsaPublic,
            Self::Lanes(_, LaneClass::P256) => Class::Ec,
            Self::Lanes(_, LaneClass::Ed25519) => Class::Ed25519,
        }
    }

    /// The name in metrics.
    pub(super) const fn operation(self) -> &'static str {
        match self {
            Self::Lanes(Operation::Sign, _) => "sign",
            Self::Lanes(Operation::Verify, _) => "verify",
            Self::Agree => "agree",
            Self::One(_) => "single",
        }
    }

    pub(super) const fn pool(self) -> PoolId {
        match self.class() {
            Class::Rsa2048 => PoolId::Rsa2048,
            Class::Rsa3072 | Class::Rsa4096 => PoolId::LargeRsa,
            _ => PoolId::Cheap,
        }
    }

    /// How many a thread takes out of a line in which so many wait for so many threads: a filling of the lanes, or one where there are
    /// none, so that other threads share what is slow. Of a deep line it takes more before it answers: each answer wakes a thread that
    /// serves connections, and RSA-2048 is quick enough for that to be a good part of its cost.
    pub(super) fn turn(self, waiting: usize, threads: u64) -> usize {
        let filling = match self {
            Self::One(class) if class.is_slow() => 1,
            _ => LANES,
        };
        match self.class() {
            Class::Rsa2048 => {
                let threads = usize::try_from(threads).unwrap_or(usize::MAX).max(1);
                (waiting / threads / 4).clamp(filling, 2 * LANES)
            }
            _ => filling,
        }
    }

    /// What one takes before any has been measured.
    pub(super) const fn usual_cost(self) -> Duration {
        Duration::from_nanos(match self {
            Self::Lanes(Operation::Sign, LaneClass::Rsa2048) => 93_000,
            Self::Lanes(Operation::Sign, LaneClass::Rsa3072) => 851_000,
            Self::Lanes(Operation::Sign, LaneClass::Rsa4096) => 921_000,
            Self::Lanes(Operation::Sign, LaneClass::P256 | LaneClass::Ed25519) => 4_700,
            Self::Lanes(Operation::Verify, LaneClass::Rsa2048) => 5_000,
            Self::Lanes(Operation::Verify, LaneClass::P256) => 16_000,
            Self::Lanes(Operation::Verify, _) => 10_000,
            Self::One(Class::Rsa4096) => 1_759_000,
            Self::One(Class::Rsa3072) => 842_000,
            Self::One(Class::Rsa2048) => 280_000,
            Self::One(Class::RsaPublic) => 15_000,
            Self::One(Class::Ec) | Self::Agree => 40_000,
            Self::One(Class::Ed25519) => 25_000,
            Self::One(Class::Symmetric) => 2_000,
        })
    }
}

const fn lane_index(class: LaneClass) -> usize {
    match class {
        LaneClass::Rsa2048 => 0,
        LaneClass::Rsa3072 => 1,
        LaneClass::Rsa4096 => 2,
        LaneClass::P256 => 3,
        LaneClass::Ed25519 => 4,
    }
}

/// One value a kind.
#[derive(Debug)]
pub(super) struct PerKind<T>([T; Kind::COUNT]);

impl<T> PerKind<T> {
    pub(super) fn new(mut value: impl FnMut(Kind) -> T) -> Self {
        let mut kinds = Kind::all();
        Self(std::array::from_fn(|_index| {
            value(kinds.next().unwrap_or(Kind::One(Class::Ec)))
        }))
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the index of a kind is below their count; a test walks through all"
    )]
    pub(super) const fn of(&self, kind: Kind) -> &T {
        &self.0[kind.index()]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the index of a kind is below their count; a test walks through all"
    )]
    pub(super) const fn of_mut(&mut self, kind: Kind) -> &mut T {
        &mut self.0[kind.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_line_of_quick_rsa_is_taken_in_larger_turns() {
        let lanes = Kind::Lanes(Operation::Sign, LaneClass::Rsa2048);
        let one = Kind::One(Class::Rsa2048);
        for (waiting, in_lanes, singly) in [(1, 8, 1), (16, 8, 2), (64, 8, 8), (256, 16, 16)] {
            let turns = (lanes.turn(waiting, 2), one.turn(waiting, 2));
            assert_eq!(turns, (in_lanes, singly), "{waiting}");
        }
        assert_eq!(Kind::One(Class::Rsa4096).turn(1_000, 2), 1);
        assert_eq!(
            Kind::Lanes(Operation::Sign, LaneClass::Rsa4096).turn(1_000, 2),
            8
        );
    }

    #[test]
    fn every_kind_has_a_place_of_its_own() {
        let places: Vec<_> = Kind::all().map(Kind::index).collect();
        assert_eq!(places, (0..Kind::COUNT).collect::<Vec<_>>());
    }
}
