//! The keys that are held, as of one event of the stream: an immutable value that each event replaces.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crypto_proto::jwks::v1::{TrustJwks, TrustKey, TrustKeySet, TrustState, TrustTokenRevocations};
use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose::jwk::PublicJwk;
use jose::jwt::{Claims, KeyState, Lookup, Profile, Standing, Trust, TrustedKey, Verifier};
use jose::provider::{Provider as _, Verify};
use jose_ring::Ring;

use super::lease::Lease;
use super::tokens::{Malformed, Tokens};
use crate::request::from_wire;

/// Keys, revocations and the lease under which they count.
#[derive(Clone, Default)]
pub(super) struct View {
    sets: Arc<BTreeMap<String, Arc<KeySet>>>,
    /// Which set holds a kid.
    homes: Arc<HashMap<String, Arc<KeySet>>>,
    /// Revoked kids, and the set of each where it is known. Only ever grows: an instance that lags behind must not bring a
    /// revoked key back.
    revoked: Arc<HashMap<String, Option<String>>>,
    tokens: Tokens,
    lease: Lease,
}

struct KeySet {
    name: String,
    issuer: Option<String>,
    profile: Profile,
    keys: HashMap<String, Key>,
}

struct Key {
    algorithm: Option<JwsAlgorithm>,
    state: KeyState,
    /// `None`: only the service can verify with it.
    verifier: Option<Arc<dyn Verify>>,
}

impl View {
    pub(super) fn holds(&self, key_set: &str) -> bool {
        self.sets.contains_key(key_set)
    }

    pub(super) fn covers(&self, now: Duration) -> bool {
        self.lease.covers(now)
    }

    pub(super) fn lease(&self) -> Lease {
        self.lease
    }

    pub(super) fn agrees_on_revocations(&self, earlier: &Self) -> bool {
        self.revoked.len() == earlier.revoked.len() && self.tokens.is_same(&earlier.tokens)
    }

    pub(super) fn with_lease(&self, lease: Lease) -> Self {
        Self {
            lease: self.lease.followed_by(lease),
            ..self.clone()
        }
    }

    /// As [`Tokens::with`].
    pub(super) fn with_tokens(
        &self,
        event: TrustTokenRevocations,
        now: Duration,
    ) -> Result<Self, Malformed> {
        Ok(Self {
            tokens: self.tokens.with(event, now.as_secs())?,
            ..self.clone()
        })
    }

    /// As [`Tokens::only`].
    pub(super) fn with_only_tokens_of(&self, mentioned: &HashSet<String>, epoch: u64) -> Self {
        Self {
            tokens: self.tokens.only(mentioned, epoch),
            ..self.clone()
        }
    }

    pub(super) fn with_revoked(&self, kids: impl IntoIterator<Item = String>) -> Self {
        let home = |kid: &String| self.homes.get(kid).map(|set| set.name.clone());
        self.with_revoked_of(kids.into_iter().map(|kid| {
            let key_set = home(&kid);
            (kid, key_set)
        }))
    }

    fn with_revoked_of(&self, kids: impl IntoIterator<Item = (String, Option<String>)>) -> Self {
        let mut revoked = (*self.revoked).clone();
        for (kid, key_set) in kids {
            let known = revoked.entry(kid).or_default();
            *known = key_set.or_else(|| known.take());
        }
        Self {
            revoked: Arc::new(revoked),
            ..self.clone()
        }
    }

    pub(super) fn with_keys(&self, event: TrustJwks) -> Self {
        let mut sets = if event.complete {
            BTreeMap::new()
        } else {
            (*self.sets).clone()
        };
        event
            .removed_key_sets
            .iter()
            .for_each(|name| drop(sets.remove(name)));
        let revoked: Vec<_> = event.key_sets.iter().flat_map(revoked_kids).collect();
        sets.extend(
            event
                .key_sets
                .into_iter()
                .map(|set| (set.name.clone(), Arc::new(KeySet::from(set)))),
        );
        let homes = sets
            .values()
            .flat_map(|set| set.keys.keys().map(|kid| (kid.clone(), Arc::clone(set))))
            .collect();
        Self {
            sets: Arc::new(sets),
            homes: Arc::new(homes),
            ..self.with_revoked_of(revoked)
        }
    }
}

fn revoked_kids(set: &TrustKeySet) -> impl Iterator<Item = (String, Option<String>)> + '_ {
    set.keys
        .iter()
        .filter(|key| key.state() == TrustState::Revoked)
        .map(|key| (key.kid.clone(), Some(set.name.clone())))
}

impl Trust for View {
    fn key(&self, kid: &str) -> Lookup<'_> {
        match self.revoked.get(kid) {
            Some(Some(key_set)) => return Lookup::Revoked { key_set },
            // Which set it was of decides the reason, and only the service knows. It is accepted in no case.
            Some(None) => return Lookup::AskService,
            None => {}
        }
        let found = self.homes.get(kid).and_then(|set| set.lookup(kid));
        found.map_or(Lookup::AskService, Lookup::Found)
    }

    /// The stream does not say which of two keys of an algorithm signs.
    fn only_key(&self, _key_set: &str, _algorithm: JwsAlgorithm) -> Lookup<'_> {
        Lookup::AskService
    }

    fn standing(&self, claims: &Claims) -> Standing {
        self.tokens.standing(claims)
    }
}

impl KeySet {
    fn lookup(&self, kid: &str) -> Option<TrustedKey<'_>> {
        let (kid, key) = self.keys.get_key_value(kid)?;
        Some(TrustedKey {
            kid,
            key_set: &self.name,
            issuer: self.issuer.as_deref(),
            profile: &self.profile,
            state: key.state,
            algorithm: key.algorithm?,
            verifier: key
                .verifier
                .as_deref()
                .map_or(Verifier::AskService, Verifier::Held),
        })
    }
}

impl From<TrustKeySet> for KeySet {
    fn from(wire: TrustKeySet) -> Self {
        let typ = if wire.typ.is_empty() {
            "JWT".to_owned()
        } else {
            wire.typ
        };
        let seconds = |duration: Option<_>| duration.map(from_wire).unwrap_or_default().as_secs();
        let profile = Profile {
            types: vec![typ],
            expiry_optional: wire.expiry_optional,
            hint_window: seconds(wire.hint_window),
            max_lifetime: seconds(wire.max_lifetime),
        };
        let keys = wire
            .keys
            .into_iter()
            .filter_map(|key| Some((key.kid.clone(), Key::read(&key)?)))
            .collect();
        Self {
            name: wire.name,
            issuer: Some(wire.issuer).filter(|issuer| !issuer.is_empty()),
            profile,
            keys,
        }
    }
}

impl Key {
    /// `None` for a state that verifies nothing, or that this client does not know.
    fn read(wire: &TrustKey) -> Option<Self> {
        let state = match wire.state() {
            TrustState::Verifies => KeyState::Active,
            TrustState::HintOnly => KeyState::Retired,
            TrustState::Revoked | TrustState::Unspecified => return None,
        };
        let algorithm = JwsAlgorithm::parse(&wire.algorithm).ok();
        Some(Self {
            algorithm,
            state,
            verifier: algorithm.and_then(|algorithm| verifier(algorithm, &wire.jwk)),
        })
    }
}

/// What cannot be read here is left to the service; a key is never dropped as if it did not exist.
fn verifier(algorithm: JwsAlgorithm, jwk: &str) -> Option<Arc<dyn Verify>> {
    let jwk = PublicJwk::parse(jwk.as_bytes()).ok()?;
    jwk.algorithm
        .is_none_or(|named| named == Algorithm::Jws(algorithm))
        .then_some(())?;
    Ring.verifying_key(algorithm, &jwk.key).ok()
}

/// What is held, without the keys.
impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("key_sets", &self.sets.keys().collect::<Vec<_>>())
            .field("kids", &self.homes.len())
            .field("revoked", &self.revoked.len())
            .field("revoked_tokens", &self.tokens.len())
            .field("lease", &self.lease)
            .finish()
    }
}
