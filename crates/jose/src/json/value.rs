//! One value inside a checked text.

use std::borrow::Cow;

/// A JSON value as written; its text is part of a text that has been checked whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value<'o> {
    text: &'o str,
}

/// What a [`Value`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{...}`
    Object,
    /// `[...]`
    Array,
    /// `"..."`
    String,
    /// A number of any size.
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

impl<'o> Value<'o> {
    pub(super) fn new(text: &'o str) -> Self {
        Self { text }
    }

    /// The value, as written.
    #[must_use]
    pub fn raw(&self) -> &'o str {
        self.text
    }

    /// What the value is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.text.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// The string, with escapes resolved; `None` for anything that is not one.
    #[must_use]
    pub fn as_str(&self) -> Option<Cow<'o, str>> {
        let inner = self.text.strip_prefix('"')?.strip_suffix('"')?;
        Some(unescape(inner))
    }

    /// The boolean; `None` for anything that is not one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The elements of an array; `None` for anything that is not one.
    #[must_use]
    pub fn elements(&self) -> Option<Elements<'o>> {
        let inner = self.text.strip_prefix('[')?.strip_suffix(']')?;
        Some(Elements {
            rest: inner.trim_ascii(),
        })
    }

    /// The strings of an array that holds nothing else; `None` for any other value.
    #[must_use]
    pub fn strings(&self) -> Option<Vec<Cow<'o, str>>> {
        self.elements()?.map(|element| element.as_str()).collect()
    }
}

/// Shows what the value is and not what it says: it may be a claim or a secret.
impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Value").field(&self.kind()).finish()
    }
}

/// Iterator over the elements of an array.
#[derive(Clone)]
pub struct Elements<'o> {
    rest: &'o str,
}

impl std::fmt::Debug for Elements<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Elements").finish_non_exhaustive()
    }
}

impl<'o> Iterator for Elements<'o> {
    type Item = Value<'o>;

    fn next(&mut self) -> Option<Value<'o>> {
        if self.rest.is_empty() {
            return None;
        }
        let end = element_end(self.rest.as_bytes());
        let element = self.rest.get(..end).unwrap_or_default();
        self.rest = self
            .rest
            .get(end + 1..)
            .unwrap_or_default()
            .trim_ascii_start();
        Some(Value::new(element.trim_ascii_end()))
    }
}

/// Where the first comma stands that is in no string and no nested value. The text has been checked before.
fn element_end(bytes: &[u8]) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match (byte, in_string) {
            (_, true) if escaped => escaped = false,
            (b'\\', true) => escaped = true,
            (b'"', _) => in_string = !in_string,
            (_, true) => {}
            (b'[' | b'{', false) => depth += 1,
            (b']' | b'}', false) => depth = depth.saturating_sub(1),
            (b',', false) if depth == 0 => return at,
            _ => {}
        }
    }
    bytes.len()
}

/// Resolves the escapes of a checked string; borrows where there are none.
pub(super) fn unescape(inner: &str) -> Cow<'_, str> {
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        out.push(if char == '\\' {
            escaped(&mut chars)
        } else {
            char
        });
    }
    Cow::Owned(out)
}

fn escaped(chars: &mut std::str::Chars<'_>) -> char {
    match chars.next() {
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('u') => unicode(chars),
        Some(other) => other,
        None => char::REPLACEMENT_CHARACTER,
    }
}

fn unicode(chars: &mut std::str::Chars<'_>) -> char {
    let unit = hex4(chars);
    if !(0xD800..0xDC00).contains(&unit) {
        return char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
    }
    // the scanner has made sure that `\u` and a low surrogate follow
    chars.next();
    chars.next();
    let low = hex4(chars);
    char::from_u32(0x10000 + ((unit & 0x3FF) << 10) + (low & 0x3FF))
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn hex4(chars: &mut std::str::Chars<'_>) -> u32 {
    (0..4).fold(0, |value, _digit| {
        value * 16 + chars.next().and_then(|char| char.to_digit(16)).unwrap_or(0)
    })
}
