//! Ends this process by kill -9 at a chosen step of its store: between two writes, before a sync, before a delete.
//!
//! The choice comes from outside, by a file that holds a number: the step behind so many more is the last. Only the harness's own
//! program has this; no build of the key-manager does.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicI64, Ordering},
};

use rustix::process::{Signal, getpid, kill_process};

use crate::vfs::{Refused, Step, Watcher};

/// Waits for the file, then counts down.
#[derive(Debug)]
pub struct Countdown {
    file: PathBuf,
    /// Steps left; negative = not armed.
    left: AtomicI64,
}

impl Countdown {
    /// One that is armed when `file` is there.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Self {
            file,
            left: AtomicI64::new(-1),
        }
    }

    fn arm(&self) -> Option<i64> {
        let text = fs::read_to_string(&self.file).ok()?;
        let steps = text.trim().parse().ok()?;
        // read once: whoever starts this program again begins unarmed
        let _gone = fs::remove_file(&self.file);
        self.left.store(steps, Ordering::SeqCst);
        Some(steps)
    }
}

impl Watcher for Countdown {
    fn before(&self, _step: Step<'_>) -> Result<(), Refused> {
        let left = match self.left.load(Ordering::SeqCst) {
            unarmed if unarmed < 0 => match self.arm() {
                Some(armed) => armed,
                None => return Ok(()),
            },
            armed => armed,
        };
        if left > 0 {
            self.left.store(left - 1, Ordering::SeqCst);
            return Ok(());
        }
        // nothing is drained, flushed or said; there is no process left to see an error of this
        let _killed = kill_process(getpid(), Signal::KILL);
        Err(Refused)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn nothing_is_counted_before_the_file_is_there_and_it_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let arm = folder.path().join("arm");
        let countdown = Countdown::new(arm.clone());
        let step = Step::Sync {
            file: Path::new("keys.db"),
        };
        assert!((0..10).all(|_| countdown.before(step).is_ok()));
        fs::write(&arm, "3\n").unwrap();
        assert!((0..3).all(|_| countdown.before(step).is_ok()));
        assert!(!arm.exists());
        assert_eq!(
            countdown.left.load(Ordering::SeqCst),
            0,
            "the next is the last"
        );
    }
}
