//! What a restore takes back: the difference between what is and what a backup holds, as far as it goes backwards.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jose::revocation::Table;
use keyring::{KeySet, State, Time, Version};

use crate::vault::{SetEntry, SetName, Vault};

/// Names that the text of a refusal shows.
const SHOWN: usize = 3;

/// What a restore undoes; empty where it only adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// By name; only sets of which something is undone.
    pub sets: Vec<UndoneSet>,
}

/// What it undoes of one key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoneSet {
    /// The set.
    pub name: SetName,
    /// The backup does not have it.
    pub vanishes: bool,
    /// Keys that vanish, or whose state goes back.
    pub keys: Vec<UndoneKey>,
    /// Issuer, publication, profile or policy are those of an earlier write.
    pub settings: bool,
    /// Revocations of tokens that the backup does not have, or has weaker.
    pub tokens: usize,
    /// Keys of which fewer encryptions count as granted than were.
    pub budgets: usize,
}

/// A key that vanishes, or whose state goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoneKey {
    /// Its kid.
    pub kid: String,
    /// Its state now.
    pub now: State,
    /// Its state then; `None` = it vanishes.
    pub then: Option<State>,
}

impl Undone {
    /// Whether nothing is undone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Key sets that vanish.
    #[must_use]
    pub fn vanishing_sets(&self) -> usize {
        self.sets.iter().filter(|set| set.vanishes).count()
    }

    /// Key sets whose settings go back.
    #[must_use]
    pub fn settings(&self) -> usize {
        self.sets.iter().filter(|set| set.settings).count()
    }

    /// Revocations of tokens that are undone.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.sets.iter().map(|set| set.tokens).sum()
    }

    /// Keys of which fewer encryptions count as granted than were.
    #[must_use]
    pub fn budgets(&self) -> usize {
        self.sets.iter().map(|set| set.budgets).sum()
    }

    /// Keys that satisfy `wanted`.
    #[must_use]
    pub fn keys(&self, wanted: impl Fn(&UndoneKey) -> bool) -> usize {
        let keys = self.sets.iter().flat_map(|set| &set.keys);
        keys.filter(|key| wanted(key)).count()
    }
}

impl UndoneKey {
    /// The backup does not have it.
    #[must_use]
    pub fn vanishes(&self) -> bool {
        self.then.is_none()
    }

    /// It was revoked, and would not be any more.
    #[must_use]
    pub fn is_unrevoked(&self) -> bool {
        self.now == State::Revoked && self.then.is_some()
    }

    /// Its private material was destroyed, and would come back.
    #[must_use]
    pub fn comes_back(&self) -> bool {
        self.now == State::Destroyed && self.then.is_some()
    }
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.vanishing_sets(), "key sets vanish"),
            (self.keys(UndoneKey::vanishes), "keys vanish"),
            (self.keys(|key| !key.vanishes()), "states of keys go back"),
            (
                self.keys(UndoneKey::is_unrevoked),
                "revoked keys are accepted again",
            ),
            (self.keys(UndoneKey::comes_back), "destroyed keys come back"),
            (self.settings(), "key sets get earlier settings"),
            (self.tokens(), "revocations of tokens are undone"),
            (self.budgets(), "keys may encrypt too often"),
        ];
        let said = counts.iter().filter(|(count, _)| *count > 0);
        let said: Vec<String> = said
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let names = self.sets.iter().take(SHOWN);
        let names: Vec<String> = names
            .map(|set| format!("{}/{}", set.name.tenant, set.name.name))
            .collect();
        let more = self.sets.len().saturating_sub(SHOWN);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        write!(f, "{} (in {}{more})", said.join(", "), names.join(", "))
    }
}

impl Vault {
    /// What would be undone where this vault became `then`.
    pub(super) fn undone_by(&self, then: &Self, now: Time) -> Undone {
        let (present, coming) = (self.whole(), then.whole());
        let coming_sets: BTreeMap<SetName, Arc<SetEntry>> = coming
            .sets
            .into_iter()
            .map(|entry| (SetName::of(&entry.set), entry))
            .collect();
        let mut tokens = undone_tokens(&present.tokens, &coming.tokens, now);
        let compared = present.sets.iter().map(|entry| {
            let name = SetName::of(&entry.set);
            let then = coming_sets.get(&name).map(|entry| &entry.set);
            UndoneSet {
                vanishes: then.is_none(),
                keys: undone_keys(&entry.set, then),
                settings: then.is_some_and(|then| settings_go_back(&entry.set, then)),
                tokens: tokens.remove(&name).unwrap_or_default(),
                budgets: then.map_or(0, |then| budgets_go_back(&entry.set, then)),
                name,
            }
        });
        let undone = |set: &UndoneSet| {
            let kept = set.keys.is_empty() && set.tokens == 0 && set.budgets == 0;
            set.vanishes || set.settings || !kept
        };
        Undone {
            sets: compared.filter(undone).collect(),
        }
    }
}

fn undone_keys(now: &KeySet, then: Option<&KeySet>) -> Vec<UndoneKey> {
    let undone = now.versions.iter().filter_map(|version| {
        let other = then.and_then(|then| then.version(&version.kid));
        let same = other.filter(|other| is_same_key(version, other));
        let goes_on = same.is_some_and(|same| leads_to(version.state, same.state));
        (!goes_on).then(|| UndoneKey {
            kid: version.kid.clone(),
            now: version.state,
            then: same.map(|same| same.state),
        })
    });
    undone.collect()
}

/// A kid never names two keys: another key of that kid is another one.
fn is_same_key(one: &Version, other: &Version) -> bool {
    (&one.material, &one.algorithm) == (&other.material, &other.algorithm)
}

/// Whether a key in the state `from` may come into the state `to` in any number of steps.
fn leads_to(from: State, to: State) -> bool {
    let all = [
        State::Prepared,
        State::Active,
        State::Retiring,
        State::Retired,
        State::Revoked,
        State::Destroyed,
    ];
    from == to
        || all
            .into_iter()
            .any(|next| from.may_become(next) && leads_to(next, to))
}

/// Grants were given out since: a key that counts them from before would allow more than its mode does.
fn budgets_go_back(now: &KeySet, then: &KeySet) -> usize {
    let back = now.versions.iter().filter(|version| {
        then.version(&version.kid).is_some_and(|other| {
            is_same_key(version, other) && version.invocations_granted > other.invocations_granted
        })
    });
    back.count()
}

fn settings_go_back(now: &KeySet, then: &KeySet) -> bool {
    let settings = |set: &KeySet| {
        let given = (set.issuer.clone(), set.publish);
        (given, set.profile.clone(), set.policy.clone())
    };
    now.revision > then.revision && settings(now) != settings(then)
}

/// By key set. What is forgotten by now does not count.
fn undone_tokens(
    now: &[(SetName, Table)],
    then: &[(SetName, Table)],
    at: Time,
) -> BTreeMap<SetName, usize> {
    let then: BTreeMap<&SetName, &Table> = then.iter().map(|(name, table)| (name, table)).collect();
    let seconds = at.as_millis() / 1_000;
    let compared = now.iter().map(|(name, table)| {
        let kept = then.get(name);
        let undone = table.iter().filter(|entry| {
            let live = u64::from(entry.forget_at) > seconds;
            let kept = kept
                .and_then(|kept| kept.get(&entry.id))
                .is_some_and(|kept| {
                    kept.issued_before >= entry.issued_before && kept.forget_at >= entry.forget_at
                });
            live && !kept
        });
        (name.clone(), undone.count())
    });
    compared.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_leads_on_and_never_back() {
        for (from, to, leads) in [
            (State::Active, State::Active, true),
            (State::Prepared, State::Destroyed, true),
            (State::Active, State::Retired, true),
            (State::Retiring, State::Revoked, true),
            (State::Active, State::Prepared, false),
            (State::Revoked, State::Active, false),
            (State::Revoked, State::Retired, false),
            (State::Destroyed, State::Retired, false),
            (State::Retired, State::Retiring, false),
        ] {
            assert_eq!(leads_to(from, to), leads, "{from:?} {to:?}");
        }
    }
}
