//! Whether the lanes are there.

use std::fmt;

use crate::ffi;

/// Why there are no lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The library was not linked: this was built without the feature `crypto-mb`.
    #[error("built without the multi-buffer library")]
    NotBuilt,
    /// The CPU lacks the instructions.
    #[error("the CPU has no AVX-512 IFMA")]
    Cpu,
}

/// Proof that the library is linked and the CPU has the instructions.
#[derive(Clone, Copy)]
pub struct Engine(ffi::Proof);

impl Engine {
    /// Asks the build and the CPU; the answer never changes within a process.
    ///
    /// # Errors
    /// [`Unavailable`] says which of the two is missing.
    pub fn detect() -> Result<Self, Unavailable> {
        ffi::detect().map(Self)
    }

    pub(crate) const fn proof(self) -> ffi::Proof {
        self.0
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine(crypto_mb)")
    }
}
