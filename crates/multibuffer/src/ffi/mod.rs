//! The library's functions with types that cannot be misused: a lane that is `None` is not computed, slices have the
//! length of the class or the lane is dropped, and only who holds a [`Proof`] gets here.

#[cfg(not(all(feature = "crypto-mb", target_arch = "x86_64", target_os = "linux")))]
mod absent;
#[cfg(all(feature = "crypto-mb", target_arch = "x86_64", target_os = "linux"))]
#[expect(
    unsafe_code,
    reason = "the one place that calls the library; each block states why it holds"
)]
mod linked;

#[cfg(not(all(feature = "crypto-mb", target_arch = "x86_64", target_os = "linux")))]
pub(crate) use absent::*;
#[cfg(all(feature = "crypto-mb", target_arch = "x86_64", target_os = "linux"))]
pub(crate) use linked::*;

use crate::LANES;

/// One input a lane.
pub(crate) type Lanes<'a, T> = [Option<&'a T>; LANES];

/// A big-endian number of an RSA class, in its first bytes.
pub(crate) type Block = [u8; 512];

/// The private half of an RSA key as the library wants it.
#[derive(Clone, Copy)]
pub(crate) struct CrtKey<'a> {
    pub(crate) p: &'a [u64],
    pub(crate) q: &'a [u64],
    pub(crate) dp: &'a [u64],
    pub(crate) dq: &'a [u64],
    pub(crate) qi: &'a [u64],
}

impl CrtKey<'_> {
    #[cfg_attr(
        not(all(feature = "crypto-mb", target_arch = "x86_64", target_os = "linux")),
        expect(dead_code, reason = "only the library wants it")
    )]
    fn has_words(&self, words: usize) -> bool {
        [self.p, self.q, self.dp, self.dq, self.qi]
            .iter()
            .all(|part| part.len() == words)
    }
}

/// What the library says of each lane: four bits, zero where all went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(u32);

impl Status {
    /// Whether the lane was computed.
    pub(crate) fn is_ok(self, lane: usize) -> bool {
        #[cfg(test)]
        if crate::fault::fails(lane) {
            return false;
        }
        lane < LANES && (self.0 >> (4 * lane)) & 0xF == 0
    }
}
