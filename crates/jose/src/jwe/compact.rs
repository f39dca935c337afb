//! The first, cheap look at a token: five segments and a header.

use super::{DecryptionFailed, Fault, JweHeader};
use crate::limits;

/// A token whose length, form and header are in order. Nothing in it is authentic yet. Over a `String` it can be handed to
/// another thread.
#[derive(Clone)]
pub struct JweView<T> {
    header: JweHeader,
    token: T,
    dots: [usize; 4],
}

/// The five segments, still encoded.
#[derive(Clone, Copy)]
pub(super) struct Segments<'a> {
    pub(super) protected: &'a str,
    pub(super) encrypted_key: &'a str,
    pub(super) iv: &'a str,
    pub(super) ciphertext: &'a str,
    pub(super) tag: &'a str,
}

/// Reads the header of a token, so that the caller can choose a key by `kid`.
///
/// # Errors
/// [`DecryptionFailed`] for a token over 384 KiB, another number of segments, or a header that is refused.
pub fn peek<T: AsRef<str>>(token: T) -> Result<JweView<T>, DecryptionFailed> {
    let text = token.as_ref();
    let dots = dots(text)?;
    let header = JweHeader::parse(segments(text, dots).protected)?;
    Ok(JweView {
        header,
        token,
        dots,
    })
}

impl<T> JweView<T> {
    /// The protected header, as claimed.
    #[must_use]
    pub const fn header(&self) -> &JweHeader {
        &self.header
    }

    /// The protected header alone; authentic once the token has been opened.
    #[must_use]
    pub fn into_header(self) -> JweHeader {
        self.header
    }

    /// The key that the token names, as claimed.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.header.kid()
    }
}

impl<T: AsRef<str>> JweView<T> {
    pub(super) fn segments(&self) -> Segments<'_> {
        segments(self.token.as_ref(), self.dots)
    }
}

impl<T> std::fmt::Debug for JweView<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JweView")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// Length first, then dots: a hostile token costs no allocation.
fn dots(token: &str) -> Result<[usize; 4], Fault> {
    if token.len() > limits::ENCRYPTED_TOKEN {
        return Err(Fault::TooLarge);
    }
    let mut found = memchr::memchr_iter(b'.', token.as_bytes());
    let mut dots = [0; 4];
    for dot in &mut dots {
        *dot = found.next().ok_or(Fault::Malformed)?;
    }
    match found.next() {
        None => Ok(dots),
        Some(_fifth) => Err(Fault::Malformed),
    }
}

fn segments(token: &str, [first, second, third, fourth]: [usize; 4]) -> Segments<'_> {
    let between = |start, end| token.get(start..end).unwrap_or_default();
    Segments {
        protected: between(0, first),
        encrypted_key: between(first + 1, second),
        iv: between(second + 1, third),
        ciphertext: between(third + 1, fourth),
        tag: between(fourth + 1, token.len()),
    }
}
