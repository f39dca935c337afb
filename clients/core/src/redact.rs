//! What `Debug` shows of a token, of claims or of a plaintext: how long it is.

use std::fmt;

/// Stands for a value that must not be shown.
pub(crate) struct Redacted(usize);

impl Redacted {
    pub(crate) fn of(value: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        Self(value.as_ref().len())
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0)
    }
}
