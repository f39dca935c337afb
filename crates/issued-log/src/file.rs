//! Frames in a file: where each begins, and where a crash has torn it.

use aws_lc_rs::digest::{SHA256, digest};

use crate::segment::is_last;

/// Length and check.
const PREFIX: usize = 8;

/// A body as it stands in the file.
#[must_use]
pub fn pack(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), check(body).as_slice(), body].concat()
}

/// The whole frames at the beginning of some bytes.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
    whole: usize,
    ended: bool,
}

impl<'a> Frames<'a> {
    /// The frames of what stands behind a header, or behind another frame.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            whole: 0,
            ended: false,
        }
    }

    /// The bytes of the frames that were given so far.
    #[must_use]
    pub fn whole(&self) -> usize {
        self.whole
    }

    /// Whether the last frame that was given says that none follows.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended
    }
}

/// Gives bodies, up to the first frame that is not whole.
impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let (kept, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (body, rest) = rest.split_at_checked(length)?;
        if check(body) != *kept {
            return None;
        }
        self.rest = rest;
        self.whole = self.whole.saturating_add(PREFIX).saturating_add(length);
        self.ended = is_last(body);
        Some(body)
    }
}

fn check(body: &[u8]) -> [u8; 4] {
    let digest = digest(&SHA256, body);
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}
