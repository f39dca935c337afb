//! What a verifier knows about keys: the seam between the rules and a service's or a client's own view.

use std::sync::Arc;

use super::claims::Claims;
use crate::algorithm::JwsAlgorithm;
use crate::provider::Verify;

/// A view of the keys, as of one moment, that holds what verifies.
pub trait Trust {
    /// The key called `kid`.
    fn key(&self, kid: &str) -> Lookup<'_>;

    /// For a token without `kid`: the key of `key_set` for `algorithm`, if exactly one of the versions that are
    /// Active or Retiring has that algorithm. Otherwise [`Lookup::Unknown`].
    fn only_key(&self, key_set: &str, algorithm: JwsAlgorithm) -> Lookup<'_>;

    /// Whether the token itself was revoked. Asked last, of tokens that are good otherwise.
    fn standing(&self, _claims: &Claims) -> Standing {
        Standing::Stands
    }
}

/// A view of the keys, as of one moment, whose keys check signatures in a way of their own: [`super::begin`] only hands
/// them on. What it finds lives for `'t`, so that it can wait for the outcome. Every [`Trust`] is one.
pub trait View<'t> {
    /// What checks a signature.
    type Key;

    /// As [`Trust::key`].
    fn key(&self, kid: &str) -> Lookup<'t, Self::Key>;

    /// As [`Trust::only_key`].
    fn only_key(&self, key_set: &str, algorithm: JwsAlgorithm) -> Lookup<'t, Self::Key>;

    /// The one algorithm of a key; `None` where this view cannot check with it and the service can.
    fn algorithm(key: &Self::Key) -> Option<JwsAlgorithm>;

    /// As [`Trust::standing`].
    fn standing(&self, _claims: &Claims) -> Standing {
        Standing::Stands
    }
}

impl<'t, T: Trust + ?Sized> View<'t> for &'t T {
    type Key = Verifier<'t>;

    fn key(&self, kid: &str) -> Lookup<'t> {
        (**self).key(kid)
    }

    fn only_key(&self, key_set: &str, algorithm: JwsAlgorithm) -> Lookup<'t> {
        (**self).only_key(key_set, algorithm)
    }

    fn algorithm(key: &Verifier<'t>) -> Option<JwsAlgorithm> {
        match key {
            Verifier::Held(key) => Some(key.algorithm()),
            Verifier::Shared(key) => Some(key.algorithm()),
            Verifier::AskService => None,
        }
    }

    fn standing(&self, claims: &Claims) -> Standing {
        (**self).standing(claims)
    }
}

/// What a view says about a token that is good otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was not revoked.
    Stands,
    /// It was revoked.
    Revoked,
    /// This view does not know, and the service does.
    AskService,
}

/// What a view says about a key; `K` checks signatures.
#[derive(Debug)]
pub enum Lookup<'t, K = Verifier<'t>> {
    /// There is no such key, and this view is the one that would know.
    Unknown,
    /// This view does not know, and the service may.
    AskService,
    /// The key was revoked.
    Revoked {
        /// The name of its key set: a caller that accepts other sets only is told no more than of an unknown key.
        key_set: &'t str,
    },
    /// The key.
    Found(TrustedKey<'t, K>),
}

/// A key and what its set says about the tokens that it signs.
#[derive(Debug)]
pub struct TrustedKey<'t, K = Verifier<'t>> {
    /// The key's identifier.
    pub kid: &'t str,
    /// The key set's name.
    pub key_set: &'t str,
    /// The set's issuer, where it has one: every token of the set must name it.
    pub issuer: Option<&'t str>,
    /// The set's profile.
    pub profile: &'t Profile,
    /// Where the key is in its life.
    pub state: KeyState,
    /// The key's algorithm.
    pub algorithm: JwsAlgorithm,
    /// What verifies.
    pub verifier: K,
}

/// What verifies a signature.
#[derive(Debug)]
pub enum Verifier<'t> {
    /// A parsed key inside the view.
    Held(&'t dyn Verify),
    /// A parsed key out of a cache.
    Shared(Arc<dyn Verify>),
    /// A key that only the service can verify with (ES512, HS*).
    AskService,
}

/// Where a key is in its life; keys that were revoked are [`Lookup::Revoked`], destroyed ones are unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Published, and about to sign: a view may lag behind the promotion.
    Prepared,
    /// Signs.
    Active,
    /// Signs no more, verifies what it signed.
    Retiring,
    /// Verifies hints only.
    Retired,
}

/// What the tokens of a key set look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The values of `typ` that are accepted; the first is the one that is written.
    pub types: Vec<String>,
    /// Whether a token may have no `exp`.
    pub expiry_optional: bool,
    /// How long after its expiry a token still serves as a hint, in seconds.
    pub hint_window: u64,
    /// The longest lifetime, in seconds.
    pub max_lifetime: u64,
}
