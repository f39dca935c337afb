//! Revoked tokens, as the stream says.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crypto_proto::jwks::v1::TrustTokenRevocations;
use jose::jwt::{Claims, Standing};
use jose::revocation::{Filter, Table, TokenFacts, decode};
use jose_ring::Ring;

/// An event that is none. The stream that brought it is given up: what it revokes must not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Revocations by key set. Cheap to clone: an event copies what it changes.
#[derive(Clone, Default)]
pub(super) struct Tokens(Arc<HashMap<String, OfSet>>);

/// The revocations of one set: those that are held, and a filter for those that were too many to be sent.
#[derive(Clone, Default)]
struct OfSet {
    /// The epoch up to which these are all.
    epoch: u64,
    table: Table,
    filter: Option<Arc<Filter>>,
}

impl Tokens {
    /// Whether a token was revoked. What a filter hits is the service's to tell.
    pub(super) fn standing(&self, claims: &Claims) -> Standing {
        let Some(of_set) = self.0.get(claims.key_set()) else {
            return Standing::Stands;
        };
        let token = TokenFacts::of(claims);
        if of_set.table.revokes(&token, &Ring) {
            return Standing::Revoked;
        }
        let filter = of_set.filter.as_ref();
        match filter.is_some_and(|filter| filter.may_revoke(&token, &Ring)) {
            true => Standing::AskService,
            false => Standing::Stands,
        }
    }

    /// What is held after an event, at `now` (seconds since 1970). What an instance sends whole that lags behind is left aside: it may
    /// lack what is known here.
    pub(super) fn with(&self, event: TrustTokenRevocations, now: u64) -> Result<Self, Malformed> {
        let entries = decode(&event.entries).map_err(|_malformed| Malformed)?;
        let filter = event
            .filter
            .map(|wire| Filter::from_parts(wire.bits, wire.kinds));
        let filter = filter.transpose().map_err(|_malformed| Malformed)?;
        let held = self.0.get(&event.key_set);
        let mut next = match held {
            Some(held) if event.complete && event.epoch < held.epoch => return Ok(self.clone()),
            Some(held) if !event.complete => held.clone(),
            _ => OfSet::default(),
        };
        next.epoch = next.epoch.max(event.epoch);
        next.filter = filter.map(Arc::new).or(next.filter);
        next.table.extend(entries);
        next.table
            .forget(u32::try_from(now).unwrap_or(u32::MAX - 1));
        let mut all = HashMap::clone(&self.0);
        all.insert(event.key_set, next);
        Ok(Self(Arc::new(all)))
    }

    /// What is held after the first events of a stream, which told of everything up to `epoch`: sets that they did not mention have no
    /// revocations any more.
    pub(super) fn only(&self, mentioned: &HashSet<String>, epoch: u64) -> Self {
        let stays = |name: &str, held: &OfSet| mentioned.contains(name) || held.epoch > epoch;
        if self.0.iter().all(|(name, held)| stays(name, held)) {
            return self.clone();
        }
        let mut all = HashMap::clone(&self.0);
        all.retain(|name, held| stays(name, held));
        Self(Arc::new(all))
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How many are held one by one.
    pub(super) fn len(&self) -> usize {
        self.0.values().map(|of_set| of_set.table.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use crypto_proto::jwks::v1::TokenFilter;
    use jose::revocation::{Entry, Id, NEVER, encode};

    use super::*;

    fn entry(jti: &str, forget_at: u32) -> Entry {
        Entry {
            id: Id::of_jti(jti, &Ring),
            issued_before: 0,
            forget_at,
        }
    }

    fn event(epoch: u64, complete: bool, jtis: &[&str]) -> TrustTokenRevocations {
        TrustTokenRevocations {
            key_set: "op/a".to_owned(),
            epoch,
            complete,
            entries: encode(jtis.iter().map(|jti| entry(jti, NEVER))),
            filter: None,
        }
    }

    fn holds(tokens: &Tokens, jti: &str) -> bool {
        let of_set = tokens.0.get("op/a");
        of_set.is_some_and(|of_set| of_set.table.get(&Id::of_jti(jti, &Ring)).is_some())
    }

    #[test]
    fn what_a_lagging_instance_sends_whole_takes_nothing_back() {
        let tokens = Tokens::default().with(event(5, true, &["a"]), 0).unwrap();
        let tokens = tokens.with(event(7, false, &["b"]), 0).unwrap();
        let lagging = tokens.with(event(6, true, &["a"]), 0).unwrap();
        assert!(holds(&lagging, "a") && holds(&lagging, "b"));
        let level = tokens.with(event(7, true, &["b"]), 0).unwrap();
        assert!(
            !holds(&level, "a") && holds(&level, "b"),
            "as new, it is all there is"
        );
        let more = lagging.with(event(6, false, &["c"]), 0).unwrap();
        assert!(
            holds(&more, "b") && holds(&more, "c"),
            "what comes on top always counts"
        );
        assert_eq!(more.len(), 3);
    }

    #[test]
    fn sets_that_a_new_stream_does_not_mention_have_none_unless_it_lags() {
        let tokens = Tokens::default().with(event(5, true, &["a"]), 0).unwrap();
        assert!(holds(&tokens.only(&HashSet::new(), 4), "a"));
        assert!(!holds(&tokens.only(&HashSet::new(), 5), "a"));
        assert!(holds(
            &tokens.only(&HashSet::from(["op/a".to_owned()]), 5),
            "a"
        ));
    }

    #[test]
    fn what_is_over_is_dropped_with_the_next_event() {
        let mut first = event(5, true, &[]);
        first.entries = encode([entry("a", 100), entry("b", 101)]);
        let tokens = Tokens::default().with(first, 50).unwrap();
        let tokens = tokens.with(event(6, false, &["c"]), 100).unwrap();
        assert!(!holds(&tokens, "a") && holds(&tokens, "b") && holds(&tokens, "c"));
    }

    #[test]
    fn an_event_that_is_none_changes_nothing_and_says_so() {
        let mut broken = event(5, true, &["a"]);
        broken.entries.pop();
        assert_eq!(Tokens::default().with(broken, 0).err(), Some(Malformed));
        let mut broken = event(5, true, &[]);
        broken.filter = Some(TokenFilter {
            bits: Vec::new(),
            kinds: 1,
        });
        assert_eq!(Tokens::default().with(broken, 0).err(), Some(Malformed));
    }
}
