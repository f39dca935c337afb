//! The first, cheap look at a token: five segments and a header.

use super::{DecryptionFailed, Fault, JweHeader};
use crate::limits;

/// A token whose length, form and header are in order. Nothing in it is authentic yet.
#[derive(Clone)]
pub struct JweView<'a> {
    header: JweHeader,
    pub(super) segments: Segments<'a>,
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
pub fn peek(token: &str) -> Result<JweView<'_>, DecryptionFailed> {
    let segments = split(token)?;
    let header = JweHeader::parse(segments.protected)?;
    Ok(JweView { header, segments })
}

impl JweView<'_> {
    /// The protected header, as claimed.
    #[must_use]
    pub const fn header(&self) -> &JweHeader {
        &self.header
    }

    /// The key that the token names, as claimed.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.header.kid()
    }

    pub(super) fn into_header(self) -> JweHeader {
        self.header
    }
}

impl std::fmt::Debug for JweView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JweView")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// Length first, then dots, then slices: a hostile token costs no allocation.
fn split(token: &str) -> Result<Segments<'_>, Fault> {
    if token.len() > limits::ENCRYPTED_TOKEN {
        return Err(Fault::TooLarge);
    }
    if memchr::memchr_iter(b'.', token.as_bytes()).count() != 4 {
        return Err(Fault::Malformed);
    }
    let mut segments = token.split('.');
    let mut next = || segments.next().ok_or(Fault::Malformed);
    Ok(Segments {
        protected: next()?,
        encrypted_key: next()?,
        iv: next()?,
        ciphertext: next()?,
        tag: next()?,
    })
}
