//! The segments on the disk: how far each is flushed, how far a key-manager has it, and up to when everything is there.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use issued_log::HEADER_LEN;

use super::folder::Found;

/// Where the frames of a segment begin.
pub(super) const BEGINNING: u64 = {
    #[expect(clippy::as_conversions, reason = "a constant of 77")]
    {
        HEADER_LEN as u64
    }
};

#[derive(Debug, Default)]
pub(super) struct Catalog(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    segments: BTreeMap<u64, Segment>,
    next: u64,
    /// Up to when everything of this process is with a key-manager.
    confirmed: u64,
}

#[derive(Clone, Debug)]
struct Segment {
    path: PathBuf,
    process: String,
    header: Vec<u8>,
    own: bool,
    /// Nothing is added any more.
    closed: bool,
    /// Written.
    len: u64,
    /// Flushed: what is not is not shipped, so that nothing is shipped that a crash takes back.
    synced: u64,
    /// With a key-manager.
    acked: u64,
    acked_frames: u32,
    /// Up to where the file was when everything up to a time was in it.
    marks: VecDeque<(u64, u64)>,
    refused: bool,
}

/// What is to be shipped next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) process: String,
    pub(super) header: Vec<u8>,
    pub(super) own: bool,
    pub(super) from: u64,
    pub(super) until: u64,
    pub(super) first_frame: u32,
}

impl Catalog {
    /// A segment of an earlier process.
    pub(super) fn found(&self, found: Found) {
        let segment = Segment {
            path: found.path,
            process: found.process,
            header: found.header,
            own: false,
            closed: true,
            len: found.len,
            synced: found.len,
            acked: BEGINNING,
            acked_frames: 0,
            marks: VecDeque::new(),
            refused: false,
        };
        self.lock().add(segment);
    }

    /// A segment of this process, with its header on the disk. Gives its number.
    pub(super) fn begun(&self, path: PathBuf, process: &str, header: Vec<u8>) -> u64 {
        let segment = Segment {
            path,
            process: process.to_owned(),
            header,
            own: true,
            closed: false,
            len: BEGINNING,
            synced: BEGINNING,
            acked: BEGINNING,
            acked_frames: 0,
            marks: VecDeque::new(),
            refused: false,
        };
        self.lock().add(segment)
    }

    /// Frames were written up to `len`; with them everything up to `boundary` is in the file.
    pub(super) fn written(&self, number: u64, len: u64, boundary: u64) {
        self.with(number, |segment| {
            segment.len = len;
            segment.marks.push_back((len, boundary));
        });
    }

    /// The file is flushed up to there.
    pub(super) fn synced(&self, number: u64, len: u64) {
        self.with(number, |segment| segment.synced = segment.synced.max(len));
    }

    /// The last frame is written and flushed.
    pub(super) fn closed(&self, number: u64, len: u64) {
        self.with(number, |segment| {
            (segment.len, segment.synced, segment.closed) = (len, len, true);
        });
    }

    /// The file is gone, or unreadable from where it was shipped to. Gives the bytes that are lost.
    pub(super) fn lost(&self, number: u64) -> u64 {
        let mut inner = self.lock();
        let lost = inner.segments.remove(&number);
        lost.map_or(0, |segment| segment.len.saturating_sub(segment.acked))
    }

    /// The bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.lock()
            .segments
            .values()
            .map(|segment| segment.len)
            .sum()
    }

    /// The oldest segment with something to ship, behind those that were refused a moment ago.
    pub(super) fn due(&self) -> Option<Due> {
        let inner = self.lock();
        let mut segments = inner.segments.iter();
        let (number, segment) =
            segments.find(|(_, segment)| !segment.refused && segment.acked < segment.synced)?;
        Some(Due {
            number: *number,
            path: segment.path.clone(),
            process: segment.process.clone(),
            header: segment.header.clone(),
            own: segment.own,
            from: segment.acked,
            until: segment.synced,
            first_frame: segment.acked_frames,
        })
    }

    /// A key-manager has the frames up to there. Gives the file to remove, where that was all of it.
    pub(super) fn acked(&self, number: u64, end: u64, frames: u32) -> Option<PathBuf> {
        let mut inner = self.lock();
        let segment = inner.segments.get_mut(&number)?;
        segment.acked = end;
        segment.acked_frames = segment.acked_frames.saturating_add(frames);
        inner.confirm();
        let segment = inner.segments.get(&number)?;
        if segment.closed && segment.acked >= segment.len {
            return inner.segments.remove(&number).map(|gone| gone.path);
        }
        None
    }

    /// A key-manager refuses the segment: others go first, until [`Catalog::try_again`].
    pub(super) fn refused(&self, number: u64) {
        self.with(number, |segment| segment.refused = true);
    }

    pub(super) fn try_again(&self) {
        for segment in self.lock().segments.values_mut() {
            segment.refused = false;
        }
    }

    /// Whether nothing of the process is left here.
    pub(super) fn is_free_of(&self, process: &str) -> bool {
        let inner = self.lock();
        let mut segments = inner.segments.values();
        !segments.any(|segment| segment.process == process && segment.acked < segment.len)
    }

    /// Up to when everything of this process is with a key-manager, once the frames up to `end` are. `nothing_since` is asked where
    /// all that was written is there: then what counts is whether anything waits.
    pub(super) fn reach(
        &self,
        shipped: Option<(u64, u64)>,
        nothing_since: impl FnOnce() -> Option<u64>,
    ) -> u64 {
        let mut inner = self.lock();
        let (reach, all) = inner.reach(shipped);
        let reach = match all.then(nothing_since).flatten() {
            Some(since) => reach.max(since),
            None => reach,
        };
        if shipped.is_none() {
            inner.confirmed = reach;
        }
        reach
    }

    fn with(&self, number: u64, change: impl FnOnce(&mut Segment)) {
        if let Some(segment) = self.lock().segments.get_mut(&number) {
            change(segment);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, segment: Segment) -> u64 {
        let number = self.next;
        self.next = number.saturating_add(1);
        self.segments.insert(number, segment);
        number
    }

    /// The time, and whether all that was written is with a key-manager.
    fn reach(&self, shipped: Option<(u64, u64)>) -> (u64, bool) {
        let mut reach = self.confirmed;
        for (number, segment) in self.segments.iter().filter(|(_, segment)| segment.own) {
            let acked = match shipped {
                Some((shipped, end)) if shipped == *number => end.max(segment.acked),
                _ => segment.acked,
            };
            let there = segment.marks.iter().take_while(|(end, _)| *end <= acked);
            reach = there.fold(reach, |reach, (_, boundary)| reach.max(*boundary));
            if acked < segment.len {
                return (reach, false);
            }
        }
        (reach, true)
    }

    fn confirm(&mut self) {
        self.confirmed = self.reach(None).0;
        for segment in self.segments.values_mut() {
            let acked = segment.acked;
            segment.marks.retain(|(end, _)| *end > acked);
        }
    }
}
