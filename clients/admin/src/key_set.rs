//! Key sets as an operator reads them.

use std::time::{Duration, SystemTime};

/// What the keys of a set are for. The uses are walls: no rpc of one use touches keys of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyUse {
    /// JWTs.
    Sign,
    /// JWEs.
    Encrypt,
    /// Bytes.
    RawSign,
    /// Challenges and nonces: symmetric, never published.
    Seal,
    /// A use that this client does not know.
    Unknown,
}

/// Who sees the public keys of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Publish {
    /// Nobody.
    None,
    /// Callers with a grant.
    Internal,
    /// Everybody, in the JWK Set over HTTP.
    Public,
    /// An audience that this client does not know.
    Unknown,
}

/// Where a key stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// Made, and on its way to every instance and verifier.
    Prepared,
    /// Signs, or is encrypted to.
    Active,
    /// Verifies, or decrypts, what is still alive.
    Retiring,
    /// Verifies hints only; decrypts nothing.
    Retired,
    /// Compromised: good for nothing.
    Revoked,
    /// Its material is erased.
    Destroyed,
    /// A state that this client does not know.
    Unknown,
}

/// Why a promotion has not happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HoldingReason {
    /// Nothing asks for a promotion.
    NotDue,
    /// There is no Prepared key yet.
    NoStandby,
    /// No instance has acknowledged the key.
    NotPublished,
    /// A live instance has not acknowledged the key.
    Ack,
    /// The publication lead runs.
    Lead,
    /// The clocks of instances and key-manager are too far apart.
    Clock,
    /// A reason that this client does not know.
    Unknown,
}

/// A named set of keys with one purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    /// The tenant.
    pub tenant: String,
    /// The name, such as `op/access-token`.
    pub name: String,
    /// What it is for.
    pub key_use: KeyUse,
    /// The `iss` of its tokens; empty = none.
    pub issuer: String,
    /// Who sees its public keys.
    pub publish: Publish,
    /// The rules of its tokens.
    pub profile: Profile,
    /// How its next key is made, and when.
    pub policy: Policy,
    /// Counts the writes of this set.
    pub revision: u64,
    /// Its keys, oldest first.
    pub versions: Vec<KeyVersion>,
    /// What was forced in this set, oldest first.
    pub forced: Vec<ForcedAct>,
}

impl KeySet {
    /// The key that signs, or is encrypted to.
    #[must_use]
    pub fn active(&self) -> Option<&KeyVersion> {
        self.in_state(KeyState::Active)
    }

    /// The key that is next.
    #[must_use]
    pub fn standby(&self) -> Option<&KeyVersion> {
        self.in_state(KeyState::Prepared)
    }

    fn in_state(&self, state: KeyState) -> Option<&KeyVersion> {
        self.versions.iter().find(|version| version.state == state)
    }
}

/// The rules of a set's tokens. `None` and empty stand for the key-manager's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// The `typ` that is written, and accepted when the verifier names none. Empty = `JWT`.
    pub typ: String,
    /// Lifetime when the caller names none. Default 300 s.
    pub default_lifetime: Option<Duration>,
    /// Longest lifetime. Default 1 h; at most 366 d.
    pub max_lifetime: Option<Duration>,
    /// Tokens may lack `exp`.
    pub expiry_optional: bool,
    /// `jti` is not added when absent.
    pub jti_optional: bool,
    /// How long after `exp` a token passes as an `id_token_hint`. Default none.
    pub hint_window: Option<Duration>,
    /// Each token that is issued is recorded, for [`AdminClient::issued`](crate::AdminClient::issued); what cannot be recorded is not signed.
    pub record_issued: bool,
}

/// How a set's next key is made, and when. `None`, 0 and empty stand for the key-manager's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// The algorithm (JWA) of the next key. Required.
    pub algorithm: String,
    /// RSA modulus: 2048, 3072 or 4096. 0 = 2048.
    pub rsa_bits: u32,
    /// Curve for ECDH-ES: P-256, P-384, P-521 or X25519. Empty = P-256.
    pub curve: String,
    /// Content encryption that `dir` is fixed to. Empty = A256GCM.
    pub enc: String,
    /// How long a key is Active. Default 90 d.
    pub cryptoperiod: Option<Duration>,
    /// How long a key is published before it signs.
    pub publication_lead: Option<Duration>,
    /// How old a ciphertext may get. Default 1 d.
    pub max_ciphertext_age: Option<Duration>,
    /// The set holds imported public keys only and generates none.
    pub public_only: bool,
}

/// One key of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVersion {
    /// Its key id.
    pub kid: String,
    /// Its algorithm (JWA): one key, one algorithm.
    pub algorithm: String,
    /// Where it stands.
    pub state: KeyState,
    /// When it was made or imported.
    pub created_at: Option<SystemTime>,
    /// When the first instance acknowledged it.
    pub published_at: Option<SystemTime>,
    /// When it was promoted.
    pub activated_at: Option<SystemTime>,
    /// When it was demoted.
    pub retiring_at: Option<SystemTime>,
    /// When it was retired.
    pub retired_at: Option<SystemTime>,
    /// When it was revoked.
    pub revoked_at: Option<SystemTime>,
    /// The public JWK; empty for symmetric keys.
    pub public_jwk: String,
    /// When its material is to be erased; none = no destruction is scheduled.
    pub destroy_at: Option<SystemTime>,
    /// When its material was erased.
    pub destroyed_at: Option<SystemTime>,
    /// How many encryptions its instances have been granted, of 2^32; 0 for keys without such a budget.
    pub invocations_granted: u64,
}

/// A step that skipped its waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForcedAct {
    /// When.
    pub at: Option<SystemTime>,
    /// The key that was promoted.
    pub kid: String,
    /// Who did it.
    pub caller: String,
    /// What it may have broken, a sentence each.
    pub may_have_broken: Vec<String>,
}

/// One thing that a promotion waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// What kind.
    pub reason: HoldingReason,
    /// The same as a sentence.
    pub description: String,
    /// The instance that it waits for, where it is one; else empty.
    pub subscriber: String,
    /// When it ends by itself, where that is known.
    pub until: Option<SystemTime>,
}

/// A key set, and what its next promotion waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// As stored.
    pub key_set: KeySet,
    /// What the next promotion waits for.
    pub holding: Vec<Holding>,
}

/// What a rotation has done so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// As stored.
    pub key_set: KeySet,
    /// What the promotion still waits for; empty when it has happened.
    pub holding: Vec<Holding>,
    /// With force: connected instances that did not acknowledge within 1 s.
    pub stragglers: Vec<String>,
    /// With force: what skipping the waits may have broken, a sentence each.
    pub may_have_broken: Vec<String>,
}

/// A scheduled, called off or executed destruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destruction {
    /// As stored.
    pub key_set: KeySet,
    /// When the material is erased; none where it is not to be, or is already.
    pub destroy_at: Option<SystemTime>,
    /// Where copies of the sealed material stay after that, a sentence each.
    pub remains: Vec<String>,
}

/// How far a revocation has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// As stored.
    pub key_set: KeySet,
    /// Instances that have acknowledged it.
    pub acked: u32,
    /// Live instances.
    pub total: u32,
    /// Live instances that have not acknowledged within 1 s; the key counts there until their lease ends.
    pub stragglers: Vec<String>,
    /// From the request to the last acknowledgement, or to the answer.
    pub elapsed: Duration,
}
