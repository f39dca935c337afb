//! What must hold after each step.

use std::fmt;

macro_rules! invariants {
    ($($name:ident $about:literal)*) => {
        /// What must hold after each step.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Invariant {
            $(#[doc = $about] $name,)*
        }

        impl fmt::Display for Invariant {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $about,)* })
            }
        }
    };
}

invariants! {
    Record "what is written breaks no invariant of keyring, by what the store held when it was decided"
    KeepsActive "a set that generates its keys keeps an Active one"
    EpochRises "the epoch never goes down, at any observer"
    Gapless "an instance that is at an epoch knows what was written up to it"
    AckedWrite "a write that was answered is never lost"
    LeaseStored "no instance relies on a lease that is not stored"
    LeaseHeld "nothing leaves an instance after its lease"
    LongPublished "no key signs that somebody may not have seen published for the lead"
    GoodToken "no good token is refused because of a rotation"
    RevokedKey "a revoked key is good for nothing, from the next message on and after the lease at the latest"
    RevokedToken "a revoked token is refused, from the next message on and after the lease at the latest"
    BornRevoked "no token is issued that is revoked already"
    LiveToken "what a live token needs is not retired"
    JwksInLease "no JWKS may be kept beyond the lease of who served it"
    EncryptionEverywhere "an encryption key is published once every instance holds its private half"
    EncryptionActive "only the Active encryption key is published"
    Decrypts "what was encrypted to a published key is decrypted within the ciphertext age"
    Progress "what is due is done once faults have stopped"
}

/// What broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which of them.
    pub invariant: Invariant,
    /// How.
    pub what: String,
    /// When, in milliseconds of virtual time.
    pub at: u64,
}
