//! A Bloom filter over ids.

use std::fmt;

use super::{Claim, Id, Table, TokenFacts};
use crate::provider::Digest;

/// Bits for each entry. With seven probes one in 120 ids that are not in it hits.
const BITS_PER_ENTRY: usize = 10;
const PROBES: u64 = 7;

/// Stands for a [`Table`]: an id of the table always hits, another one with a probability of 0.8 %. A million entries take 1.25 MB.
#[derive(Clone, PartialEq, Eq)]
pub struct Filter {
    bits: Vec<u8>,
    /// A bit for each [`Claim`] that an entry compares.
    claims: u8,
}

/// What was received is no filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a filter has at least one byte, and claims below 256")]
pub struct MalformedFilter;

impl Filter {
    /// The filter of a table.
    #[must_use]
    pub fn of(table: &Table) -> Self {
        let bytes = (table.len() * BITS_PER_ENTRY).div_ceil(8).max(1);
        let claims = table
            .compared()
            .fold(0, |all, claim| all | 1 << claim.number());
        let mut filter = Self {
            bits: vec![0; bytes],
            claims,
        };
        table.iter().for_each(|entry| filter.add(&entry.id));
        filter
    }

    /// A filter as it was received.
    ///
    /// # Errors
    /// [`MalformedFilter`].
    pub fn from_parts(bits: Vec<u8>, claims: u32) -> Result<Self, MalformedFilter> {
        let claims = u8::try_from(claims).map_err(|_too_large| MalformedFilter)?;
        if bits.is_empty() {
            return Err(MalformedFilter);
        }
        Ok(Self { bits, claims })
    }

    /// The bits, eight in a byte from the lowest.
    #[must_use]
    pub fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// A bit for each [`Claim`] that an entry compares.
    #[must_use]
    pub fn claims(&self) -> u32 {
        self.claims.into()
    }

    /// False only where no entry of the table names the token.
    #[must_use]
    pub fn may_revoke(&self, token: &TokenFacts<'_>, digest: &dyn Digest) -> bool {
        let compared = Claim::ALL
            .into_iter()
            .filter(|claim| self.claims & 1 << claim.number() != 0);
        compared
            .filter_map(|claim| token.id(claim, digest))
            .any(|id| self.hits(&id))
    }

    /// Whether an id hits.
    #[must_use]
    pub fn hits(&self, id: &Id) -> bool {
        self.places(id)
            .all(|(byte, bit)| self.bits.get(byte).is_some_and(|byte| byte & bit != 0))
    }

    fn add(&mut self, id: &Id) {
        for (byte, bit) in self.places(id) {
            if let Some(byte) = self.bits.get_mut(byte) {
                *byte |= bit;
            }
        }
    }

    /// Byte and bit of each probe: an id is as good as random, so its halves are the two hashes (Kirsch and Mitzenmacher).
    fn places(&self, id: &Id) -> impl Iterator<Item = (usize, u8)> + use<> {
        let (start, step) = id.halves();
        let count = u64::try_from(self.bits.len())
            .unwrap_or(u64::MAX)
            .saturating_mul(8);
        (0..PROBES).map(move |probe| {
            let place = start.wrapping_add(probe.wrapping_mul(step | 1)) % count.max(1);
            (
                usize::try_from(place / 8).unwrap_or_default(),
                1 << (place % 8),
            )
        })
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("bytes", &self.bits.len())
            .finish_non_exhaustive()
    }
}
