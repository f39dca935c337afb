//! The scanner: one pass over the text, grammar of RFC 8259, without building a tree.

use std::ops::Range;

use super::value::unescape;
use super::{JsonError, Span};

/// Room that spares most objects a second allocation.
const USUAL_MEMBERS: usize = 16;

/// Checks that `text` is one object within `depth` levels and returns its top-level members.
pub(super) fn object(text: &str, depth: usize) -> Result<Vec<Span>, JsonError> {
    let mut scanner = Scanner {
        text,
        bytes: text.as_bytes(),
        at: 0,
        depth,
        names: Vec::with_capacity(USUAL_MEMBERS),
    };
    scanner.space();
    if scanner.peek() != Some(b'{') {
        return Err(scanner.not_an_object());
    }
    let mut members = Vec::with_capacity(USUAL_MEMBERS);
    scanner.members(|span| members.push(span))?;
    scanner.end()?;
    Ok(members)
}

struct Scanner<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    /// Levels that may still be opened.
    depth: usize,
    /// Names seen in the objects that are open now; each object owns the tail from where it began.
    names: Vec<Range<usize>>,
}

impl<'t> Scanner<'t> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(JsonError::Syntax)
        }
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(JsonError::Syntax)
        }
    }

    /// Another JSON value is said to be one, anything else is a syntax error.
    fn not_an_object(mut self) -> JsonError {
        match self.value().and_then(|()| self.end()) {
            Ok(()) => JsonError::NotAnObject,
            Err(error) => error,
        }
    }

    fn open(&mut self) -> Result<(), JsonError> {
        self.depth = self.depth.checked_sub(1).ok_or(JsonError::TooDeep)?;
        self.at += 1;
        self.space();
        Ok(())
    }

    fn close(&mut self) {
        self.depth += 1;
    }

    fn members(&mut self, mut found: impl FnMut(Span)) -> Result<(), JsonError> {
        self.open()?;
        let first = self.names.len();
        if !self.take(b'}') {
            loop {
                self.space();
                found(self.one_member()?);
                self.space();
                if self.take(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        self.refuse_duplicates(first)?;
        self.names.truncate(first);
        self.close();
        Ok(())
    }

    fn one_member(&mut self) -> Result<Span, JsonError> {
        let name = self.string()?;
        self.names.push(name.clone());
        self.space();
        self.expect(b':')?;
        self.space();
        let start = self.at;
        self.value()?;
        Ok(Span {
            name,
            value: start..self.at,
        })
    }

    fn elements(&mut self) -> Result<(), JsonError> {
        self.open()?;
        if !self.take(b']') {
            loop {
                self.space();
                self.value()?;
                self.space();
                if self.take(b']') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        self.close();
        Ok(())
    }

    fn value(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'{') => self.members(|_nested| ()),
            Some(b'[') => self.elements(),
            Some(b'"') => self.string().map(|_range| ()),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => self.number(),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(JsonError::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            Err(JsonError::Syntax)
        } else {
            Ok(())
        }
    }

    /// Returns where the string stands, without its quotes.
    fn string(&mut self) -> Result<Range<usize>, JsonError> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            self.at += self.plain_bytes();
            match self.peek() {
                Some(b'"') => {
                    let range = start..self.at;
                    self.at += 1;
                    return Ok(range);
                }
                Some(b'\\') => self.escape()?,
                Some(_) | None => return Err(JsonError::Syntax),
            }
        }
    }

    /// How many bytes from here on stand for themselves in a string.
    fn plain_bytes(&self) -> usize {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20);
        rest.iter().position(special).unwrap_or(rest.len())
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => self.unicode()?,
            _ => return Err(JsonError::Syntax),
        }
        Ok(())
    }

    /// A lone surrogate names no character, so two parsers may read it differently: refused.
    fn unicode(&mut self) -> Result<(), JsonError> {
        match self.hex4()? {
            0xD800..=0xDBFF => {
                self.expect(b'\\')?;
                match self.hex4()? {
                    0xDC00..=0xDFFF => Ok(()),
                    _ => Err(JsonError::Syntax),
                }
            }
            0xDC00..=0xDFFF => Err(JsonError::Syntax),
            _ => Ok(()),
        }
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        self.expect(b'u')?;
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .filter(|four| four.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = digits
            .and_then(|four| u32::from_str_radix(four, 16).ok())
            .ok_or(JsonError::Syntax)?;
        self.at += 4;
        Ok(unit)
    }

    /// Few names are compared pairwise, many are sorted: no input makes this quadratic.
    fn refuse_duplicates(&mut self, first: usize) -> Result<(), JsonError> {
        let text = self.text;
        let raw = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
        let name = |range: &Range<usize>| unescape(raw(range));
        let names = self.names.get_mut(first..).unwrap_or_default();
        if names.len() > 16 {
            names.sort_by_cached_key(&name);
            if names
                .windows(2)
                .any(|pair| matches!(pair, [a, b] if name(a) == name(b)))
            {
                return Err(JsonError::Duplicate);
            }
            return Ok(());
        }
        let as_written = !names.iter().any(|one| raw(one).contains('\\'));
        let same = |a, b| raw(a) == raw(b) || (!as_written && name(a) == name(b));
        let mut rest: &[Range<usize>] = names;
        while let Some((one, others)) = rest.split_first() {
            if others.iter().any(|other| same(one, other)) {
                return Err(JsonError::Duplicate);
            }
            rest = others;
        }
        Ok(())
    }
}
