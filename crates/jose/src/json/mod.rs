//! JSON read strictly and left as it is written.
//!
//! An [`Object`] is checked whole (grammar of RFC 8259, UTF-8, depth, no duplicate member at any level, also
//! when spelled with escapes, no lone surrogate) and then only indexed: members are slices of the text, so that
//! claims are carried over byte by byte and a number is never rewritten.

mod scan;
mod value;
mod write;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

pub use value::{Kind, Value};
pub use write::{ObjectWriter, write_string};

/// How large and how deep a text may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest text, in bytes.
    pub bytes: usize,
    /// Deepest nesting; a flat object has depth 1.
    pub depth: usize,
}

/// Why a text is not accepted as a JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Longer than [`Limits::bytes`].
    #[error("the text is too long")]
    TooLarge,
    /// Nested deeper than [`Limits::depth`].
    #[error("nested too deeply")]
    TooDeep,
    /// Two members of one object have the same name.
    #[error("an object has two members with one name")]
    Duplicate,
    /// The text is JSON but not an object.
    #[error("not an object")]
    NotAnObject,
    /// Not JSON, or not UTF-8.
    #[error("not JSON")]
    Syntax,
}

/// A checked JSON object over borrowed or owned text.
#[derive(Clone)]
pub struct Object<'a> {
    text: Cow<'a, str>,
    members: Vec<Span>,
}

/// Where a member stands in the text: its name without the quotes, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    name: Range<usize>,
    value: Range<usize>,
}

/// One member of an [`Object`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'o> {
    raw_name: &'o str,
    /// The value, as written.
    pub value: Value<'o>,
}

impl<'a> Object<'a> {
    /// Checks `bytes` and indexes the top-level members.
    ///
    /// # Errors
    /// [`JsonError`]; the length is judged first.
    pub fn parse(bytes: &'a [u8], limits: Limits) -> Result<Self, JsonError> {
        check_length(bytes, limits)?;
        let text = std::str::from_utf8(bytes).map_err(|_not_utf8| JsonError::Syntax)?;
        let members = scan::object(text, limits.depth)?;
        Ok(Self {
            text: Cow::Borrowed(text),
            members,
        })
    }

    /// As [`Object::parse`], for text that the object shall own.
    ///
    /// # Errors
    /// As [`Object::parse`].
    pub fn from_vec(bytes: Vec<u8>, limits: Limits) -> Result<Object<'static>, JsonError> {
        check_length(&bytes, limits)?;
        let text = String::from_utf8(bytes).map_err(|_not_utf8| JsonError::Syntax)?;
        let members = scan::object(&text, limits.depth)?;
        Ok(Object {
            text: Cow::Owned(text),
            members,
        })
    }

    /// The text, as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text, as written, without a copy where it is owned.
    #[must_use]
    pub fn into_text(self) -> Cow<'a, str> {
        self.text
    }

    /// The members in the order in which they are written.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.members.iter().map(|span| self.member(span))
    }

    /// The value of the member called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        self.members()
            .find(|member| member.is(name))
            .map(|member| member.value)
    }

    /// Whether the object has no member at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn member(&self, span: &Span) -> Member<'_> {
        Member {
            raw_name: self.slice(&span.name),
            value: Value::new(self.slice(&span.value)),
        }
    }

    fn slice(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }
}

/// Shows the number of members and nothing of the text: claims and private keys pass through here.
impl fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("members", &self.members.len())
            .finish_non_exhaustive()
    }
}

impl<'o> Member<'o> {
    /// The name, with escapes resolved.
    #[must_use]
    pub fn name(&self) -> Cow<'o, str> {
        value::unescape(self.raw_name)
    }

    fn is(&self, name: &str) -> bool {
        self.raw_name == name || (self.raw_name.contains('\\') && self.name() == name)
    }
}

fn check_length(bytes: &[u8], limits: Limits) -> Result<(), JsonError> {
    if bytes.len() > limits.bytes {
        Err(JsonError::TooLarge)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
