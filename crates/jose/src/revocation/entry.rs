//! One revocation, and its form on the wire.

use super::{Claim, Id, TokenFacts};

/// Bytes of an entry, in memory and on the wire.
pub const ENTRY_LEN: usize = 24;

/// The time of what is never forgotten.
pub const NEVER: u32 = u32::MAX;

/// The largest leeway, and the clocks' skew: what a token outlives its `exp` by.
const GRACE: u64 = crate::jwt::MAX_LEEWAY + crate::jwt::IAT_SKEW;

/// One revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// What it names.
    pub id: Id,
    /// The last `iat` that is revoked; 0 for one by `jti`.
    pub issued_before: u32,
    /// From when on it is not needed: every token that it names has expired by then; [`NEVER`] = no end is known.
    pub forget_at: u32,
}

impl Entry {
    /// Whether it revokes a token whose claims give its id.
    #[must_use]
    pub fn covers(&self, token: &TokenFacts<'_>) -> bool {
        self.id.claim() == Claim::JTI
            || token
                .issued_at()
                .is_none_or(|iat| iat <= u64::from(self.issued_before))
    }

    /// Both: neither takes anything back.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        Self {
            id: self.id,
            issued_before: self.issued_before.max(other.issued_before),
            forget_at: self.forget_at.max(other.forget_at),
        }
    }

    fn to_bytes(self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        let times = [
            self.issued_before.to_be_bytes(),
            self.forget_at.to_be_bytes(),
        ];
        let from = self.id.bytes().iter().chain(times.as_flattened());
        bytes
            .iter_mut()
            .zip(from)
            .for_each(|(to, from)| *to = *from);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, times) = bytes.split_first_chunk::<16>()?;
        let (issued_before, rest) = times.split_first_chunk::<4>()?;
        let (forget_at, []) = rest.split_first_chunk::<4>()? else {
            return None;
        };
        Some(Self {
            id: Id::from_bytes(*id)?,
            issued_before: u32::from_be_bytes(*issued_before),
            forget_at: u32::from_be_bytes(*forget_at),
        })
    }
}

/// From when on a revocation may be forgotten whose last token ends at `last_exp` and passes as a hint for `hint_window` seconds longer.
#[must_use]
pub fn forget_at(last_exp: u64, hint_window: u64) -> u32 {
    let end = last_exp.saturating_add(hint_window).saturating_add(GRACE);
    u32::try_from(end).unwrap_or(NEVER)
}

/// What was received is no list of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revocations are entries of 24 bytes, of known claims")]
pub struct MalformedEntries;

/// Entries one behind the other.
#[must_use]
pub fn encode(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let entries = entries.into_iter();
    let mut bytes = Vec::with_capacity(entries.size_hint().0.saturating_mul(ENTRY_LEN));
    entries.for_each(|entry| bytes.extend_from_slice(&entry.to_bytes()));
    bytes
}

/// Entries as [`encode`] wrote them.
///
/// # Errors
/// [`MalformedEntries`].
pub fn decode(bytes: &[u8]) -> Result<Vec<Entry>, MalformedEntries> {
    let entries = bytes.chunks(ENTRY_LEN).map(Entry::from_bytes);
    entries.collect::<Option<_>>().ok_or(MalformedEntries)
}
