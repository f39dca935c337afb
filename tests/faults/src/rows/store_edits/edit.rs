//! Edits of a store.

use std::fmt;

use rusqlite::{Connection, params};

use super::store::{Entries, Store};
use crate::{Fault, dice::Dice};

/// Entries that are no part of a key set's record: they are not covered by epoch and heads, on purpose.
const OUTSIDE: [&str; 5] = [
    "changed/",
    "material/",
    "request",
    "subscriber/",
    "data-key/",
];

/// One edit.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    /// A bit of an entry's value is flipped.
    Flip { key: String, byte: usize, bit: u8 },
    /// A bit of the file is flipped.
    FlipFile { byte: usize, bit: u8 },
    /// Two entries change places.
    Swap(String, String),
    /// An entry is what it was at an earlier moment, or not there.
    Replay {
        key: String,
        value: Option<Vec<u8>>,
        moment: usize,
    },
    /// An entry stands under another name too.
    Copy { from: String, to: String },
    /// The file is cut to so many bytes.
    Truncate(usize),
    /// The whole file is what it was at an earlier moment.
    RollBack(usize),
}

impl Edit {
    pub(super) fn whole_store_at(moment: usize) -> Self {
        Self::RollBack(moment)
    }

    /// Makes it in an open copy of the store.
    pub(super) fn make(&self, connection: &Connection) -> rusqlite::Result<()> {
        let value = |key: &str| -> rusqlite::Result<Vec<u8>> {
            let sql = "SELECT value FROM entries WHERE key = ?1";
            connection.query_row(sql, [key], |row| row.get(0))
        };
        let put = |key: &str, value: &[u8]| {
            let sql = "INSERT INTO entries (key, value, revision) VALUES (?1, ?2, 1)
                ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            connection.execute(sql, params![key, value]).map(drop)
        };
        match self {
            Self::Flip { key, byte, bit } => {
                let mut bytes = value(key)?;
                flip(&mut bytes, *byte, *bit);
                put(key, &bytes)
            }
            Self::Swap(a, b) => {
                let (first, second) = (value(a)?, value(b)?);
                put(a, &second).and_then(|()| put(b, &first))
            }
            Self::Replay {
                key,
                value: Some(old),
                ..
            } => put(key, old),
            Self::Replay {
                key, value: None, ..
            } => {
                let sql = "DELETE FROM entries WHERE key = ?1";
                connection.execute(sql, [key]).map(drop)
            }
            Self::Copy { from, to } => put(to, &value(from)?),
            Self::FlipFile { .. } | Self::Truncate(_) | Self::RollBack(_) => Ok(()),
        }
    }

    /// The file as the edit leaves it, where it is one of the whole file.
    pub(super) fn of_file(&self, file: &[u8], moments: &[Vec<u8>]) -> Option<Vec<u8>> {
        match self {
            Self::FlipFile { byte, bit } => {
                let mut bytes = file.to_vec();
                flip(&mut bytes, *byte, *bit);
                Some(bytes)
            }
            Self::Truncate(size) => file.get(..*size).map(<[u8]>::to_vec),
            Self::RollBack(moment) => moments.get(*moment).cloned(),
            _ => None,
        }
    }
}

fn flip(bytes: &mut [u8], byte: usize, bit: u8) {
    if let Some(byte) = bytes.get_mut(byte) {
        *byte ^= 1 << (bit % 8);
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flip { key, byte, bit } => write!(f, "bit {bit} of byte {byte} of {key} flipped"),
            Self::FlipFile { byte, bit } => {
                write!(f, "bit {bit} of byte {byte} of the file flipped")
            }
            Self::Swap(a, b) => write!(f, "{a} and {b} swapped"),
            Self::Replay {
                key,
                value: Some(_),
                moment,
            } => {
                write!(f, "{key} put back to moment {moment}")
            }
            Self::Replay { key, .. } => write!(f, "{key} deleted"),
            Self::Copy { from, to } => write!(f, "{from} copied to {to}"),
            Self::Truncate(size) => write!(f, "file cut to {size} bytes"),
            Self::RollBack(moment) => write!(f, "file rolled back to moment {moment}"),
        }
    }
}

fn is_outside(key: &str) -> bool {
    OUTSIDE.iter().any(|prefix| key.starts_with(prefix))
}

/// Everything that has to be found or to change nothing; of bytes, each `stride`-th.
pub(super) fn all_edits(store: &Store, stride: usize, dice: &mut Dice) -> Result<Vec<Edit>, Fault> {
    let mut edits = Vec::new();
    for (key, value) in &store.entries {
        let first = dice.index(stride);
        edits.extend((first..value.len()).step_by(stride).map(|byte| Edit::Flip {
            key: key.clone(),
            byte,
            bit: u8::try_from(dice.below(8)).unwrap_or_default(),
        }));
    }
    edits.extend(moved(&store.entries));
    edits.extend(replayed(store));
    // three bytes in four of a file are no entry: page headers, pointers, free space
    let file_stride = stride.saturating_mul(4);
    for byte in (dice.index(file_stride)..store.file.len()).step_by(file_stride) {
        let bit = u8::try_from(dice.below(8)).unwrap_or_default();
        edits.push(Edit::FlipFile { byte, bit });
    }
    edits.extend((0..store.file.len()).step_by(512).map(Edit::Truncate));
    edits.extend((0..store.moments.len().saturating_sub(1)).map(Edit::RollBack));
    Ok(edits)
}

/// Entries of one kind swapped, and copied to names that are free.
fn moved(entries: &Entries) -> Vec<Edit> {
    let kind = |key: &str| key.split('/').next().unwrap_or_default().to_owned();
    let keys: Vec<&String> = entries.keys().collect();
    let mut edits = Vec::new();
    for (index, a) in keys.iter().enumerate() {
        for b in keys.iter().skip(index + 1) {
            if kind(a) == kind(b) && entries.get(*a) != entries.get(*b) {
                edits.push(Edit::Swap((*a).clone(), (*b).clone()));
            }
        }
        if a.starts_with("set/") {
            let to = format!("{a}-copy");
            edits.push(Edit::Copy {
                from: (*a).clone(),
                to,
            });
        }
    }
    edits
}

/// Each entry of a record as it was at each earlier moment, and gone.
fn replayed(store: &Store) -> Vec<Edit> {
    let inside = store.entries.iter().filter(|(key, _)| !is_outside(key));
    let mut edits = Vec::new();
    for (key, present) in inside {
        edits.push(Edit::Replay {
            key: key.clone(),
            value: None,
            moment: 0,
        });
        for (moment, old) in store.histories.iter().enumerate() {
            let Some(value) = old.get(key).filter(|value| *value != present) else {
                continue;
            };
            edits.push(Edit::Replay {
                key: key.clone(),
                value: Some(value.clone()),
                moment,
            });
        }
    }
    edits
}

/// What nobody can find at rest, and what it is: entries outside the records of key sets.
pub(super) fn outside_the_record(store: &Store) -> Result<Vec<Edit>, Fault> {
    let gone = |key: &String| Edit::Replay {
        key: key.clone(),
        value: None,
        moment: 0,
    };
    let mut edits = Vec::new();
    for prefix in ["changed/", "material/", "request/", "subscriber/"] {
        let key = store.entries.keys().find(|key| key.starts_with(prefix));
        edits.push(gone(
            key.ok_or_else(|| format!("the store has no {prefix}"))?,
        ));
    }
    let subscriber = store
        .entries
        .keys()
        .find(|key| key.starts_with("subscriber/"));
    let old = subscriber.and_then(|key| {
        let older = store.histories.iter().find_map(|history| history.get(key));
        let value = older.filter(|old| store.entries.get(key) != Some(*old))?;
        Some(Edit::Replay {
            key: key.clone(),
            value: Some(value.clone()),
            moment: 0,
        })
    });
    edits.push(old.ok_or("the subscriber never changed")?);
    Ok(edits)
}
