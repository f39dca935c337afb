//! The revocations of one key set.

use std::fmt;
use std::sync::Arc;

use super::{Claim, Entry, Id, NEVER, TokenFacts};
use crate::provider::Digest;

/// Entries in a bucket on average, at most.
const FULL: usize = 256;

/// The revocations of one key set: sorted buckets, found by the first bits of an id, so that a look-up costs the same however many
/// there are, and a copy with one entry more copies one bucket and the pointers to the others.
///
/// A million entries take 24.1 MB: 24 bytes for each entry and 32 for each bucket of 128 to 256.
#[derive(Clone)]
pub struct Table {
    /// 2^`bits` of them.
    buckets: Vec<Arc<[Entry]>>,
    bits: u32,
    len: usize,
    /// How many entries compare which claims.
    claims: [usize; Claim::ALL.len()],
    latest: u32,
    next_end: u32,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            buckets: vec![Arc::from([])],
            bits: 0,
            len: 0,
            claims: [0; _],
            latest: 0,
            next_end: NEVER,
        }
    }
}

impl Table {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The latest `iat` that any entry revokes: a token with a later one is revoked by its `jti` at most.
    #[must_use]
    pub fn latest(&self) -> u32 {
        self.latest
    }

    /// None is to be forgotten before this; [`NEVER`] where none is to be at all.
    #[must_use]
    pub fn next_end(&self) -> u32 {
        self.next_end
    }

    /// Every entry, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.buckets.iter().flat_map(|bucket| bucket.iter())
    }

    /// Bytes of memory, without what the allocator adds.
    #[must_use]
    pub fn memory(&self) -> usize {
        let per_bucket = size_of::<Arc<[Entry]>>() + 2 * size_of::<usize>();
        size_of::<Self>() + self.buckets.len() * per_bucket + self.len * size_of::<Entry>()
    }

    /// The entry of that id.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&Entry> {
        let bucket = self.buckets.get(self.bucket_of(id))?;
        let place = bucket.binary_search_by(|entry| entry.id.cmp(id)).ok()?;
        bucket.get(place)
    }

    /// Whether the token is revoked.
    #[must_use]
    pub fn revokes(&self, token: &TokenFacts<'_>, digest: &dyn Digest) -> bool {
        let found = |claim: &Claim| {
            let id = token.id(*claim, digest)?;
            self.get(&id).filter(|entry| entry.covers(token))
        };
        self.compared().any(|claim| found(&claim).is_some())
    }

    /// The first `iat`, `now` or later, at which a token of these claims is not revoked as soon as it is issued.
    #[must_use]
    pub fn first_free(&self, token: &TokenFacts<'_>, now: u64, digest: &dyn Digest) -> u64 {
        if u64::from(self.latest) < now {
            return now;
        }
        let last = self
            .compared()
            .filter(|claim| claim.is_bound_in_time())
            .filter_map(|claim| self.get(&token.id(claim, digest)?))
            .map(|entry| u64::from(entry.issued_before))
            .max();
        last.map_or(now, |last| now.max(last.saturating_add(1)))
    }

    /// The claims that some entry compares.
    pub fn compared(&self) -> impl Iterator<Item = Claim> {
        let counted = Claim::ALL.into_iter().zip(self.claims);
        counted
            .filter(|(_, count)| *count > 0)
            .map(|(claim, _)| claim)
    }

    /// Adds entries. One of an id that is there already takes nothing back of it.
    pub fn extend(&mut self, entries: impl IntoIterator<Item = Entry>) {
        let mut added: Vec<Entry> = entries.into_iter().collect();
        // By place, which is the order of the ids.
        added.sort_unstable();
        added.dedup_by(|later, kept| {
            let same = later.id == kept.id;
            if same {
                *kept = kept.joined(*later);
            }
            same
        });
        self.make_room(added.len());
        let mut rest = added.as_slice();
        while let Some(first) = rest.first() {
            let bucket = self.bucket_of(&first.id);
            let end = rest.partition_point(|entry| self.bucket_of(&entry.id) == bucket);
            let (these, others) = rest.split_at(end);
            self.merge(bucket, these);
            rest = others;
        }
    }

    /// Forgets what is not needed from `until` on; gives back how many that were.
    pub fn forget(&mut self, until: u32) -> usize {
        if until < self.next_end || self.next_end == NEVER {
            return 0;
        }
        let kept: Vec<Entry> = self
            .iter()
            .filter(|entry| entry.forget_at > until)
            .copied()
            .collect();
        let forgotten = self.len - kept.len();
        *self = Self::default();
        self.extend(kept);
        forgotten
    }

    /// In the order of the ids; the first bits of an id.
    fn bucket_of(&self, id: &Id) -> usize {
        let (first, _) = id.halves();
        first
            .checked_shr(u64::BITS - self.bits)
            .map_or(0, |place| usize::try_from(place).unwrap_or_default())
    }

    /// A table of twice as many buckets for each time that it would be too full.
    fn make_room(&mut self, more: usize) {
        let mut bits = self.bits;
        while self.len.saturating_add(more) > FULL << bits && bits < 24 {
            bits += 1;
        }
        if bits == self.bits {
            return;
        }
        let entries: Vec<Entry> = self.iter().copied().collect();
        self.bits = bits;
        self.buckets = Vec::with_capacity(1 << bits);
        let mut rest = entries.as_slice();
        for bucket in 0..1 << bits {
            let end = rest.partition_point(|entry| self.bucket_of(&entry.id) == bucket);
            let (these, others) = rest.split_at(end);
            self.buckets.push(these.into());
            rest = others;
        }
    }

    fn merge(&mut self, bucket: usize, added: &[Entry]) {
        let Some(present) = self.buckets.get(bucket).cloned() else {
            return;
        };
        let mut merged = Vec::with_capacity(present.len() + added.len());
        let mut old = present.iter().copied().peekable();
        for entry in added {
            while let Some(before) = old.next_if(|old| old.id < entry.id) {
                merged.push(before);
            }
            let same = old.next_if(|old| old.id == entry.id);
            if same.is_none() {
                self.count(entry);
            }
            let entry = same.map_or(*entry, |same| same.joined(*entry));
            self.latest = self.latest.max(entry.issued_before);
            self.next_end = self.next_end.min(entry.forget_at);
            merged.push(entry);
        }
        merged.extend(old);
        if let Some(place) = self.buckets.get_mut(bucket) {
            *place = merged.into();
        }
    }

    fn count(&mut self, entry: &Entry) {
        self.len += 1;
        if let Some(count) = self.claims.get_mut(entry.id.claim().index()) {
            *count += 1;
        }
    }
}

impl FromIterator<Entry> for Table {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut table = Self::default();
        table.extend(entries);
        table
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
