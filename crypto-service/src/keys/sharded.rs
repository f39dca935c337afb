//! A map whose copy with one entry changed costs one shard, not the whole.
//!
//! A snapshot never changes, so each delta makes a new one. With 100,000 key sets a plain map would copy 100,000
//! entries for one changed set; here it copies the 64 shard pointers and the entries of one shard.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use foldhash::quality::FixedState;

const SHARDS: usize = 64;

/// Each request looks up several names. Who could choose names that collide is an administrator: a caller only asks for them.
type Shard<V> = HashMap<Arc<str>, V, FixedState>;

/// A map from names to cheap values (`Arc`s), shared shard by shard between copies.
pub(crate) struct ShardedMap<V> {
    shards: Vec<Arc<Shard<V>>>,
    len: usize,
}

impl<V: Clone> ShardedMap<V> {
    /// The value under `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.shards.get(shard_of(name))?.get(name)
    }

    /// Puts `value` under `name`; returns what was there.
    pub(crate) fn insert(&mut self, name: Arc<str>, value: V) -> Option<V> {
        let before = self
            .shard_mut(&name)
            .and_then(|shard| shard.insert(name, value));
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes out what is under `name`.
    pub(crate) fn remove(&mut self, name: &str) -> Option<V> {
        // An absent name must not copy its shard.
        self.get(name)?;
        let before = self.shard_mut(name).and_then(|shard| shard.remove(name));
        self.len -= usize::from(before.is_some());
        before
    }

    /// Every name and its value, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// Every value, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn shard_mut(&mut self, name: &str) -> Option<&mut Shard<V>> {
        self.shards.get_mut(shard_of(name)).map(Arc::make_mut)
    }
}

impl<V> Default for ShardedMap<V> {
    fn default() -> Self {
        let empty = Arc::new(Shard::with_hasher(hasher()));
        Self {
            shards: vec![empty; SHARDS],
            len: 0,
        }
    }
}

impl<V> Clone for ShardedMap<V> {
    fn clone(&self) -> Self {
        Self {
            shards: self.shards.clone(),
            len: self.len,
        }
    }
}

impl<V> fmt::Debug for ShardedMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardedMap")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// The same for every map, so that copies agree; the maps inside have seeds of their own.
fn shard_of(name: &str) -> usize {
    let shards = u64::try_from(SHARDS).unwrap_or(1);
    let hash = FixedState::default().hash_one(name);
    usize::try_from(hash % shards).unwrap_or_default()
}

/// A hasher whose seed is the system's randomness: foldhash's own are addresses and counters, which a program in which all else
/// repeats would not repeat.
pub(super) fn hasher() -> FixedState {
    FixedState::with_seed(RandomState::new().hash_one(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_every_shard_but_the_one_that_changed() {
        let mut map = ShardedMap::default();
        for number in 0..10_000 {
            assert_eq!(map.insert(format!("set/{number}").into(), number), None);
        }
        let before = map.clone();
        assert_eq!(map.insert("set/7".into(), 70), Some(7));
        let copied = map
            .shards
            .iter()
            .zip(&before.shards)
            .filter(|(new, old)| !Arc::ptr_eq(new, old));
        assert_eq!(copied.count(), 1);
        assert_eq!(
            (before.get("set/7"), map.get("set/7")),
            (Some(&7), Some(&70))
        );
        let fullest = map.shards.iter().map(|shard| shard.len()).max();
        assert!(fullest.is_some_and(|entries| entries < 500), "{fullest:?}");
    }

    #[test]
    fn removal_counts_and_leaves_copies_alone() {
        let mut map = ShardedMap::default();
        map.insert("a".into(), 1);
        let before = map.clone();
        assert_eq!(
            (map.remove("a"), map.remove("a"), map.len(), before.len()),
            (Some(1), None, 0, 1)
        );
        assert_eq!(before.values().copied().collect::<Vec<_>>(), [1]);
    }
}
