//! Reading the log: from a place onward, what fits, a page at a time.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use audit_log::{Act, Body, Entry, Outcome, parse_file_name};
use serde::Deserialize;

use super::{AuditError, recover::segments};

/// What a page reads at most, in bytes, so that no question keeps a thread for long.
const MAX_READ: u64 = 32 * 1024 * 1024;

/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 64 * 1024;

/// Which entries are wanted. Empty members match everything.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The tenant.
    pub tenant: String,
    /// The key set.
    pub key_set: String,
    /// Who acted.
    pub caller: String,
    /// What was done.
    pub act: String,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// Not before, in milliseconds since the Unix epoch.
    pub from: Option<u64>,
    /// Before.
    pub until: Option<u64>,
    /// At most so many.
    pub limit: usize,
    /// Where to go on; the start where there is none.
    pub cursor: Option<Cursor>,
}

/// A place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The file's name.
    pub file: String,
    /// The byte at which an entry begins.
    pub offset: u64,
}

/// A page of entries with their chains.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Chain, number, time and act, oldest first.
    pub entries: Vec<(String, u64, u64, Act)>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

impl Query {
    fn matches(&self, at: u64, act: &Act) -> bool {
        let fits = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        fits(&self.tenant, &act.tenant)
            && fits(&self.key_set, &act.key_set)
            && fits(&self.caller, &act.caller)
            && fits(&self.act, &act.act)
            && self.outcome.is_none_or(|wanted| wanted == act.outcome)
            && self.from.is_none_or(|from| from <= at)
            && self.until.is_none_or(|until| at < until)
    }
}

pub(super) fn read(
    folder: &Path,
    query: &Query,
    visible: &dyn Fn(&Act) -> bool,
) -> Result<Page, AuditError> {
    let (mut page, mut read) = (Page::default(), 0_u64);
    let mut start = query.cursor.clone();
    for name in segments(folder)? {
        if start.as_ref().is_some_and(|start| name < start.file) {
            continue;
        }
        let offset = start
            .take_if(|start| start.file == name)
            .map_or(0, |start| start.offset);
        let path = folder.join(&name);
        let file = File::open(&path).map_err(AuditError::at(&path))?;
        let mut reader = seek(file, offset).map_err(|error| match error {
            Some(error) => AuditError::disk(&path, error),
            None => AuditError::Cursor,
        })?;
        let mut at = offset;
        loop {
            if page.entries.len() >= query.limit || read >= MAX_READ {
                let (file, offset) = (name, at);
                page.next = Some(Cursor { file, offset });
                return Ok(page);
            }
            let mut line = Vec::new();
            let mut limited = (&mut reader).take(MAX_LINE);
            limited
                .read_until(b'\n', &mut line)
                .map_err(AuditError::at(&path))?;
            if line.last() != Some(&b'\n') {
                // The end, or an entry that is being written.
                break;
            }
            let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
            (at, read) = (at.saturating_add(length), read.saturating_add(length));
            take(&mut page, query, &name, &line, visible);
        }
    }
    Ok(page)
}

/// What cannot be read is no entry; the verifier says so, a query passes it over.
fn take(page: &mut Page, query: &Query, name: &str, line: &[u8], visible: &dyn Fn(&Act) -> bool) {
    #[derive(Deserialize)]
    struct Line {
        entry: Entry,
    }
    let Ok(Line { entry }) = serde_json::from_slice(line) else {
        return;
    };
    if let Body::Act(act) = entry.body
        && query.matches(entry.at, &act)
        && visible(&act)
    {
        let chain = parse_file_name(name).map_or("", |(chain, _)| chain);
        page.entries
            .push((chain.to_owned(), entry.seq, entry.at, *act));
    }
}

/// An entry begins at the start of a file, or behind the end of another.
fn seek(mut file: File, offset: u64) -> Result<BufReader<File>, Option<std::io::Error>> {
    let Some(before) = offset.checked_sub(1) else {
        return Ok(BufReader::new(file));
    };
    file.seek(SeekFrom::Start(before)).map_err(Some)?;
    let mut reader = BufReader::new(file);
    let mut byte = [0];
    match reader.read_exact(&mut byte) {
        Ok(()) if byte == *b"\n" => Ok(reader),
        _ => Err(None),
    }
}
