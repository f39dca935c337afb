//! How much stands under which generation: of tenants from memory, of the root by reading the store.

use std::{
    collections::BTreeMap,
    sync::{MutexGuard, PoisonError},
};

use keyring::Time;

use super::{
    super::{PAGE, Vault, VaultError, held::Held},
    work,
};

/// Entries by generation: records, and keys.
pub(super) type Counts = BTreeMap<u32, (u64, u64)>;

/// So long the count of the root's entries is given again, in milliseconds: each takes a read of the store from end to end.
const COUNT_AGE: u64 = 10_000;

impl Vault {
    /// Records and keys that stand under older generations, as far as that is known without reading the store, and data keys that
    /// the present key-encryption key does not wrap.
    #[must_use]
    pub fn sealing_left(&self) -> (u64, u64, usize) {
        let (mut records, mut keys) = (0_u64, 0_u64);
        let mut add = |held: &Held, counts: &Counts| {
            let mut counts = kept(held, counts);
            counts.remove(&held.ring.present());
            for (more, sealed) in counts.into_values() {
                records = records.saturating_add(more);
                keys = keys.saturating_add(sealed);
            }
        };
        let root = self.root();
        if root.is_resealing()
            && let Some((_, counts)) = &*self.root_count()
        {
            add(&root, counts);
        }
        let known = self.known_owners();
        if known.iter().any(|held| held.is_resealing()) {
            let counts = self.count_tenants();
            for held in known.iter().filter(|held| held.is_resealing()) {
                counts
                    .get(held.owner.as_str())
                    .into_iter()
                    .for_each(|counts| add(held, counts));
            }
        }
        let wrapped = known.iter().chain([&root]);
        let wrapped = wrapped.map(|held| held.not_under(self.keks.id())).sum();
        (records, keys, wrapped)
    }

    /// Sets and sealed keys of every tenant by generation, from what is known in memory.
    pub(super) fn count_tenants(&self) -> BTreeMap<String, Counts> {
        let mut all: BTreeMap<String, Counts> = BTreeMap::new();
        for entry in self.all().1 {
            if !all.contains_key(&entry.set.tenant) {
                all.insert(entry.set.tenant.clone(), Counts::new());
            }
            let Some(counts) = all.get_mut(&entry.set.tenant) else {
                continue;
            };
            counts.entry(entry.sealed.generation).or_default().0 += 1;
            for generation in entry.keys.values().filter_map(|facts| facts.sealed_under()) {
                counts.entry(generation).or_default().1 += 1;
            }
        }
        all
    }

    /// The entries under the root's data key by generation, and when they were counted.
    pub(super) async fn count_root(&self, now: Time) -> Result<(Time, Counts), VaultError> {
        let young = |at: Time| now.as_millis().saturating_sub(at.as_millis()) < COUNT_AGE;
        let _one = self.sealing.counting.lock().await;
        let known = self.root_count().clone();
        if let Some((at, counts)) = known.filter(|(at, _)| young(*at)) {
            return Ok((at, counts));
        }
        let counts = self.read_root_counts().await?;
        *self.root_count() = Some((now, counts.clone()));
        Ok((now, counts))
    }

    async fn read_root_counts(&self) -> Result<Counts, VaultError> {
        let mut counts = Counts::new();
        if self.epoch() > 0 {
            // The entry `epoch`, which each rotation writes anew.
            counts.entry(self.view().heads.tokens_under).or_default().0 += 1;
        }
        for entry in self.all().1 {
            if let Some(generation) = entry.sealed.root {
                counts.entry(generation).or_default().0 += 1;
            }
        }
        for kind in work::of_the_root() {
            let mut after: Option<String> = None;
            loop {
                let page = self.store.scan(kind.name, after.as_deref(), PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.key.clone());
                for entry in page.iter().filter(|entry| kind.covers(&entry.key)) {
                    let Some(generation) = work::generation(kind, entry) else {
                        continue;
                    };
                    let count = counts.entry(generation).or_default();
                    match kind.keyed {
                        work::Keyed::RootKey(_) => count.1 += 1,
                        _ => count.0 += 1,
                    }
                }
            }
        }
        Ok(counts)
    }

    pub(super) fn root_count(&self) -> MutexGuard<'_, Option<(Time, Counts)>> {
        let known = self.sealing.root.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counts by generations that are kept. What is known here to stand under one that was removed has been re-sealed by another
/// replica: only then it goes.
pub(super) fn kept(held: &Held, counts: &Counts) -> Counts {
    let mut kept = Counts::new();
    for (generation, (records, keys)) in counts {
        let is_kept = held
            .record
            .keys
            .iter()
            .any(|key| key.generation == *generation);
        let under = if is_kept {
            *generation
        } else {
            held.ring.present()
        };
        let count = kept.entry(under).or_default();
        *count = (
            count.0.saturating_add(*records),
            count.1.saturating_add(*keys),
        );
    }
    kept
}
