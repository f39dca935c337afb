//! As much DER (X.690) as keys need: written into buffers that are zeroised, read without copying.

use zeroize::Zeroizing;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0]` and `[1]`, constructed
pub(super) const CONTEXT_0: u8 = 0xA0;
pub(super) const CONTEXT_1: u8 = 0xA1;
/// `[1]`, primitive
pub(super) const CONTEXT_1_PRIMITIVE: u8 = 0x81;

type Secret = Zeroizing<Vec<u8>>;

/// One element: tag, length, and the parts as its content.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Secret {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(len + 6));
    out.push(tag);
    push_length(len, &mut out);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// An unsigned integer, from big-endian bytes without leading zeros.
pub(super) fn unsigned(value: &[u8]) -> Secret {
    let high = value.first().is_none_or(|first| first & 0x80 != 0);
    let sign: &[u8] = if high { &[0] } else { &[] };
    element(INTEGER, &[sign, value])
}

/// A bit string of whole bytes.
pub(super) fn bit_string(tag: u8, value: &[u8]) -> Secret {
    element(tag, &[&[0], value])
}

fn push_length(len: usize, out: &mut Vec<u8>) {
    let bytes = len.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let short = bytes.get(zeros..).unwrap_or_default();
    if len >= 0x80 {
        out.push(0x80 | u8::try_from(short.len()).unwrap_or(u8::MAX));
    }
    out.extend_from_slice(if len == 0 { &[0] } else { short });
}

/// Reads elements one after the other; `None` is anything that is not DER.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The content of the next element, which must have this tag.
    pub(super) fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_first()?;
        if *first != tag {
            return None;
        }
        let (len, rest) = length(rest)?;
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some(content)
    }

    pub(super) fn nested(&mut self, tag: u8) -> Option<Self> {
        self.element(tag).map(Self)
    }

    /// An unsigned integer without its sign byte; zero is one zero byte.
    pub(super) fn unsigned(&mut self) -> Option<&'a [u8]> {
        match self.element(INTEGER)? {
            [0] => Some(&[0]),
            [0, rest @ ..] => rest
                .first()
                .filter(|first| **first & 0x80 != 0)
                .map(|_minimal| rest),
            positive => positive
                .first()
                .filter(|first| **first & 0x80 == 0)
                .map(|_positive| positive),
        }
    }

    /// A bit string of whole bytes.
    pub(super) fn bit_string(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.element(tag)?.strip_prefix(&[0])
    }

    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    pub(super) fn skip_if(&mut self, tag: u8) {
        let _ = self.element(tag);
    }
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [short @ 0..=0x7F, rest @ ..] => Some((usize::from(*short), rest)),
        [0x81, len @ 0x80..=0xFF, rest @ ..] => Some((usize::from(*len), rest)),
        [0x82, high @ 1..=0xFF, low, rest @ ..] => {
            Some((usize::from(*high) << 8 | usize::from(*low), rest))
        }
        _ => None,
    }
}
