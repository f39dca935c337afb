//! The planted bugs: one rule broken at a time, so that the simulation shows that it would notice.
//!
//! All of them live in this package. Those of the key-manager's decisions stand in [`crate::rules`], those of the store in
//! [`crate::store`], those of an instance where [`crate::instance`] and [`crate::serve`] hand messages and answers on.

use std::fmt;
use std::str::FromStr;

macro_rules! bugs {
    ($($bug:ident $name:literal $about:literal)*) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $about] $bug,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$bug,)*];

            /// As `--bug` takes it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$bug => $name,)* }
            }

            /// What is wrong, in a line.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Self::$bug => $about,)* }
            }
        }
    };
}

bugs! {
    PromotionBeforeLead "promotion-before-lead" "A key is promoted before it was published for the lead."
    PromotionBeforeAck "promotion-before-ack" "A key is promoted before every live instance has acknowledged it."
    ParallelWaits "parallel-waits" "The lead runs beside the acks instead of after them."
    DeadLease "dead-lease" "An instance that is not heard of is taken for dead while its lease lives."
    RetirementUnheard "retirement-unheard" "A key is retired by the highest expiry reported, though an instance has not reported."
    StalenessFromReceipt "staleness-from-receipt" "A lease counts from its receipt instead of from the asking."
    LeaseNotRechecked "lease-not-rechecked" "A result leaves after a pause without another look at the lease."
    MaxAgeBeyondLease "max-age-beyond-lease" "A JWKS may be kept for longer than the instance's lease."
    NoCompareAndSwap "no-compare-and-swap" "A record is written without comparing what it replaces."
    AckInMemory "ack-in-memory" "Acks and leases are kept in the memory of one key-manager."
    ClockGuardOff "clock-guard-off" "Nobody compares clocks."
    NoStandbyAtRevoke "no-standby-at-revoke" "The Active key is revoked and nothing takes its place."
    RevokedKeyRecached "revoked-key-recached" "A call in flight puts a revoked key back into a cache that is asked about state."
    DeltaOverGap "delta-over-gap" "A change is applied though those before it are missing."
    OlderSnapshot "older-snapshot" "A snapshot is accepted that is older than the epoch that was seen."
    ForceNotRecorded "force-not-recorded" "A forced promotion leaves no record."
    EncryptionBeforeAck "encryption-before-ack" "An encryption key is published before every instance holds its private half."
    RetiringEncryptionPublished "retiring-encryption-published" "An encryption key that retires is still published."
    TokenRevocationLost "token-revocation-lost" "Revocations of tokens are lost with a new stream."
    IatInRevokedSecond "iat-in-revoked-second" "A token is issued with an `iat` within a revocation's second."
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBug(String);

impl fmt::Display for UnknownBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        write!(
            f,
            "there is no bug `{}`: there are {}",
            self.0,
            names.join(", ")
        )
    }
}

impl std::error::Error for UnknownBug {}

impl FromStr for Bug {
    type Err = UnknownBug;

    fn from_str(name: &str) -> Result<Self, UnknownBug> {
        let found = Self::ALL.iter().find(|bug| bug.name() == name);
        found.copied().ok_or_else(|| UnknownBug(name.to_owned()))
    }
}
