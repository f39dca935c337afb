//! A disk that forgets what was not synced, as a machine does when its power is cut.
//!
//! What it promises is what POSIX promises: the bytes of a file are there after a sync of that file, its name after a sync of the folder. Of
//! what was written since, a cut keeps nothing, everything, the first so many writes, or any sectors of 512 bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    dice::Dice,
    vfs::{Refused, Step, Watcher},
};

/// What a disk writes whole.
const SECTOR: u64 = 512;

/// The disk. Give it to [`crate::vfs::watch`].
#[derive(Debug, Default)]
pub struct Disk(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Steps until the power is cut; `None` = it is not.
    left: Option<u64>,
    steps: u64,
    dead: bool,
    next: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    files: BTreeMap<u64, File>,
}

#[derive(Debug, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
    syncs_folder: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: u64, data: Vec<u8> },
    Truncate(u64),
}

impl Disk {
    /// A disk with its power on.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Cuts the power at the step behind the next `steps`: it does not happen, or only in part, and nothing after it does.
    pub fn cut_after(&self, steps: u64) {
        let mut state = self.state();
        (state.left, state.steps) = (Some(steps), 0);
    }

    /// Lets the power on, and counts the steps from here.
    pub fn stay_on(&self) {
        let mut state = self.state();
        (state.left, state.steps) = (None, 0);
    }

    /// Steps since then.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Whether the power is cut.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Puts what survived into the files, and the power on. The store is closed before.
    ///
    /// # Errors
    /// Where the files cannot be written.
    pub fn restore(&self, dice: &mut Dice) -> io::Result<()> {
        let state = std::mem::take(&mut *self.state());
        let paths: BTreeSet<&PathBuf> = state
            .names
            .keys()
            .chain(state.durable_names.keys())
            .collect();
        for path in paths {
            let (durable, present) = (state.durable_names.get(path), state.names.get(path));
            let kept = if dice.once_in(2) { durable } else { present };
            match kept.and_then(|file| state.files.get(file)) {
                Some(file) => fs::write(path, file.survivor(dice))?,
                None => remove(path)?,
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Disk {
    fn before(&self, step: Step<'_>) -> Result<(), Refused> {
        let mut state = self.state();
        if state.dead {
            return Err(Refused);
        }
        state.steps += 1;
        if state.left == Some(0) {
            state.dead = true;
            // of the write that the cut hits, some sectors may be on disk
            if let Step::Write { .. } = step {
                state.take(step);
            }
            return Err(Refused);
        }
        state.left = state.left.map(|left| left.saturating_sub(1));
        state.take(step);
        Ok(())
    }
}

impl State {
    fn take(&mut self, step: Step<'_>) {
        match step {
            Step::Open { file, syncs_folder } => self.open(file, syncs_folder),
            Step::Write { file, at, data } => self.change(
                file,
                Change::Write {
                    at,
                    data: data.to_vec(),
                },
            ),
            Step::Truncate { file, size } => self.change(file, Change::Truncate(size)),
            Step::Sync { file } => self.sync(file),
            Step::Delete { file, syncs_folder } => {
                self.names.remove(file);
                if syncs_folder {
                    self.sync_folder();
                }
            }
        }
    }

    /// A file that is there and was never opened has been synced long ago; an empty one was just made.
    fn open(&mut self, path: &Path, syncs_folder: bool) {
        if self.names.contains_key(path) {
            return;
        }
        let durable = fs::read(path).unwrap_or_default();
        self.next += 1;
        if !durable.is_empty() {
            self.durable_names.insert(path.to_owned(), self.next);
        }
        self.names.insert(path.to_owned(), self.next);
        let file = File {
            durable,
            pending: Vec::new(),
            syncs_folder,
        };
        self.files.insert(self.next, file);
    }

    fn file(&mut self, path: &Path) -> Option<&mut File> {
        let id = self.names.get(path)?;
        self.files.get_mut(id)
    }

    fn change(&mut self, path: &Path, change: Change) {
        if let Some(file) = self.file(path) {
            file.pending.push(change);
        }
    }

    fn sync(&mut self, path: &Path) {
        let Some(file) = self.file(path) else { return };
        for change in std::mem::take(&mut file.pending) {
            change.apply(&mut file.durable);
        }
        if std::mem::take(&mut file.syncs_folder) {
            self.sync_folder();
        }
    }

    fn sync_folder(&mut self) {
        self.durable_names.clone_from(&self.names);
    }
}

impl File {
    /// What a cut leaves of it.
    fn survivor(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let (all, how) = (self.pending.len(), dice.below(4));
        let first = match how {
            0 => 0,
            1 => all,
            _ => dice.index(all + 1),
        };
        for (index, change) in self.pending.iter().enumerate() {
            match how {
                0..=2 if index < first => change.apply(&mut bytes),
                0..=2 => break,
                _ => change.apply_parts(&mut bytes, dice),
            }
        }
        bytes
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { at, data } => put(bytes, *at, data),
            Self::Truncate(size) => bytes.resize(usize::try_from(*size).unwrap_or_default(), 0),
        }
    }

    /// Any sectors of it.
    fn apply_parts(&self, bytes: &mut Vec<u8>, dice: &mut Dice) {
        let Self::Write { at, data } = self else {
            if dice.once_in(2) {
                self.apply(bytes);
            }
            return;
        };
        let (mut at, mut rest) = (*at, data.as_slice());
        while !rest.is_empty() {
            let room = usize::try_from(SECTOR - at % SECTOR).unwrap_or(rest.len());
            let (part, behind) = rest.split_at(room.min(rest.len()));
            if dice.once_in(2) {
                put(bytes, at, part);
            }
            at += u64::try_from(part.len()).unwrap_or_default();
            rest = behind;
        }
    }
}

fn put(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let at = usize::try_from(at).unwrap_or_default();
    let end = at + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(at..end) {
        place.copy_from_slice(data);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::vfs;

    /// Commits rows until the power is cut, and counts those that were acknowledged and those that are there afterwards.
    fn acknowledged_and_kept(synchronous: &str, seed: u64) -> (i64, i64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.db");
        let disk = Disk::new();
        vfs::watch(disk.clone()).unwrap();
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE rows (n INTEGER)")
            .unwrap();
        connection
            .pragma_update(None, "synchronous", synchronous)
            .unwrap();
        let mut dice = Dice::new(seed, "disk");
        disk.cut_after(40 + dice.below(40));
        let mut acknowledged = 0;
        while connection
            .execute("INSERT INTO rows VALUES (1)", [])
            .is_ok()
        {
            acknowledged += 1;
        }
        assert!(disk.is_dead() && acknowledged > 2, "{acknowledged}");
        drop(connection);
        disk.restore(&mut dice).unwrap();
        let connection = Connection::open(&path).unwrap();
        let kept = connection.query_row("SELECT count(*) FROM rows", [], |row| row.get(0));
        (acknowledged, kept.unwrap_or(0))
    }

    #[test]
    fn what_was_synced_is_kept_and_what_was_not_is_lost() {
        // one test: the VFS has one watcher for the whole process
        for seed in 0..20 {
            let (acknowledged, kept) = acknowledged_and_kept("FULL", seed);
            assert!(kept >= acknowledged, "seed {seed}: {acknowledged} {kept}");
        }
        let lost = (0..20).filter(|seed| {
            let (acknowledged, kept) = acknowledged_and_kept("OFF", *seed);
            kept < acknowledged
        });
        assert!(lost.count() > 5, "a disk that forgets would show it");
        made_files_need_a_sync_of_the_folder();
    }

    fn made_files_need_a_sync_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let (mut gone, mut dice) = (0, Dice::new(1, "names"));
        for _ in 0..20 {
            let disk = Disk::default();
            let step = |step| disk.before(step).unwrap();
            step(Step::Open {
                file: &path,
                syncs_folder: false,
            });
            step(Step::Write {
                file: &path,
                at: 0,
                data: b"x",
            });
            step(Step::Sync { file: &path });
            disk.restore(&mut dice).unwrap();
            gone += usize::from(!path.exists());
            remove(&path).unwrap();
        }
        assert!((1..20).contains(&gone), "{gone}");
    }
}
