//! JSON written: flat objects, member by member.

use std::fmt::Write as _;

use zeroize::Zeroizing;

/// Appends `text` as a JSON string, quotes included.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    // almost no text has anything to escape
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push_str(text);
        out.push('"');
        return;
    }
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' => {
                // writing into a String cannot fail
                let _ = write!(out, "\\u{:04x}", u32::from(char));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Writes one object. The caller gives each name once.
///
/// The buffer is zeroised on drop and is never moved while it has the capacity it was made with,
/// so that private keys may be written through it.
pub struct ObjectWriter {
    out: Zeroizing<String>,
}

impl ObjectWriter {
    /// Starts an object; `capacity` is the length in bytes to expect.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let mut out = Zeroizing::new(String::with_capacity(capacity));
        out.push('{');
        Self { out }
    }

    /// Adds a string.
    pub fn string(&mut self, name: &str, value: &str) -> &mut Self {
        self.name(name);
        write_string(value, &mut self.out);
        self
    }

    /// Adds bytes as base64url.
    pub fn base64url(&mut self, name: &str, bytes: &[u8]) -> &mut Self {
        self.name(name);
        self.out.push('"');
        crate::base64url::encode_into(bytes, &mut self.out);
        self.out.push('"');
        self
    }

    /// Adds a whole number.
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.name(name);
        let _ = write!(self.out, "{value}");
        self
    }

    /// Adds a value that is JSON already.
    pub fn raw(&mut self, name: &str, json: &str) -> &mut Self {
        self.name(name);
        self.out.push_str(json);
        self
    }

    /// Ends the object and gives its text.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.out.push('}');
        std::mem::take(&mut self.out)
    }

    /// As [`ObjectWriter::finish`], for text that holds a secret.
    #[must_use]
    pub fn finish_secret(mut self) -> Zeroizing<String> {
        self.out.push('}');
        self.out
    }

    fn name(&mut self, name: &str) {
        if self.out.len() > 1 {
            self.out.push(',');
        }
        write_string(name, &mut self.out);
        self.out.push(':');
    }
}

impl std::fmt::Debug for ObjectWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectWriter").finish_non_exhaustive()
    }
}
