//! Entries, and how those of a frame are written: names once, then by their number.

use std::collections::HashMap;

use crate::Subject;

/// The longest name in a frame, in bytes: a caller's name has up to 2,048.
pub const MAX_NAME: usize = 4_096;

/// One issued token, to be written.
#[derive(Clone, Copy, Debug)]
pub struct EntryRef<'a> {
    /// When it was issued, in milliseconds since 1970.
    pub at: u64,
    /// The tenant.
    pub tenant: &'a str,
    /// The key set.
    pub key_set: &'a str,
    /// The key.
    pub kid: &'a str,
    /// Who asked for it.
    pub caller: &'a str,
    /// Its `jti`.
    pub jti: &'a str,
    /// The digest of its `sub`, where it has one.
    pub subject: Option<Subject>,
    /// Its `exp`, in seconds since 1970, where it has one.
    pub expires_at: Option<u64>,
}

/// One issued token, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was issued, in milliseconds since 1970.
    pub at: u64,
    /// The tenant.
    pub tenant: String,
    /// The key set.
    pub key_set: String,
    /// The key.
    pub kid: String,
    /// Who asked for it.
    pub caller: String,
    /// Its `jti`.
    pub jti: String,
    /// The digest of its `sub`, where it has one.
    pub subject: Option<Subject>,
    /// Its `exp`, in seconds since 1970, where it has one.
    pub expires_at: Option<u64>,
}

/// A frame's text is none that was ever written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entries of a frame are malformed")]
pub struct Malformed;

/// Tenant, key set and number of a key.
type KnownKey = (Box<str>, Box<str>, u16);

/// The text of a frame under construction.
#[derive(Debug, Default)]
pub struct FrameBuilder {
    text: Vec<u8>,
    entries: usize,
    /// By kid.
    keys: HashMap<Box<str>, Vec<KnownKey>>,
    callers: HashMap<Box<str>, u16>,
    next_key: u16,
}

impl FrameBuilder {
    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether there is no entry yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Adds an entry. A text longer than 64 KiB is cut: no name and no `jti` that is permitted comes near it.
    pub fn push(&mut self, entry: &EntryRef<'_>) {
        self.text.extend(entry.at.to_be_bytes());
        self.text
            .extend(entry.expires_at.unwrap_or_default().to_be_bytes());
        self.push_key(entry);
        self.push_caller(entry.caller);
        match entry.subject {
            Some(subject) => {
                self.text.push(1);
                self.text.extend(subject);
            }
            None => self.text.push(0),
        }
        self.push_text(entry.jti);
        self.entries += 1;
    }

    /// The text. The builder begins anew.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self).text
    }

    fn push_key(&mut self, entry: &EntryRef<'_>) {
        let known = self.keys.get(entry.kid).and_then(|keys| {
            keys.iter()
                .find(|(tenant, set, _)| **tenant == *entry.tenant && **set == *entry.key_set)
        });
        if let Some((_, _, number)) = known {
            self.text.extend(number.to_be_bytes());
            return;
        }
        let number = self.next_key;
        self.text.extend(number.to_be_bytes());
        for name in [entry.tenant, entry.key_set, entry.kid] {
            self.push_text(name);
        }
        let names = (entry.tenant.into(), entry.key_set.into(), number);
        self.keys.entry(entry.kid.into()).or_default().push(names);
        self.next_key = number.saturating_add(1);
    }

    fn push_caller(&mut self, caller: &str) {
        if let Some(number) = self.callers.get(caller) {
            self.text.extend(number.to_be_bytes());
            return;
        }
        let number = u16::try_from(self.callers.len()).unwrap_or(u16::MAX);
        self.text.extend(number.to_be_bytes());
        self.push_text(caller);
        self.callers.insert(caller.into(), number);
    }

    fn push_text(&mut self, text: &str) {
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.text.extend(length.to_be_bytes());
        let kept = text.as_bytes().get(..usize::from(length));
        self.text.extend(kept.unwrap_or_default());
    }
}

/// Reads the entries of a frame's text.
///
/// # Errors
/// [`Malformed`].
pub fn read_entries(text: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let mut reader = Reader(text);
    let mut keys: Vec<[String; 3]> = Vec::new();
    let mut callers: Vec<String> = Vec::new();
    let mut entries = Vec::new();
    while !reader.0.is_empty() {
        let at = u64::from_be_bytes(reader.array()?);
        let expires_at = u64::from_be_bytes(reader.array()?);
        let key = usize::from(reader.short()?);
        if key == keys.len() {
            keys.push([reader.text()?, reader.text()?, reader.text()?]);
        }
        let caller = usize::from(reader.short()?);
        if caller == callers.len() {
            callers.push(reader.text()?);
        }
        let subject = match reader.array::<1>()? {
            [0] => None,
            [1] => Some(reader.array()?),
            _ => return Err(Malformed),
        };
        let [tenant, key_set, kid] = keys.get(key).cloned().ok_or(Malformed)?;
        entries.push(Entry {
            at,
            tenant,
            key_set,
            kid,
            caller: callers.get(caller).cloned().ok_or(Malformed)?,
            jti: reader.text()?,
            subject,
            expires_at: Some(expires_at).filter(|at| *at != 0),
        });
    }
    Ok(entries)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    fn short(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = usize::from(self.short()?);
        let (text, rest): (&'a [u8], &'a [u8]) =
            self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        let text = std::str::from_utf8(text).map_err(|_binary| Malformed)?;
        match text.len() <= MAX_NAME {
            true => Ok(text.to_owned()),
            false => Err(Malformed),
        }
    }
}
