//! What happened: counted, hashed, and the last of it kept.
//!
//! Lines name keys by their place in their set, never by kid, so that two runs of one seed say the same.

use std::collections::VecDeque;
use std::fmt;

const KEPT: usize = 40;

/// The trace of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) steps: u64,
    digest: u64,
    last: VecDeque<String>,
}

impl Trace {
    pub(crate) const fn new() -> Self {
        Self {
            steps: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            last: VecDeque::new(),
        }
    }

    /// One step more.
    pub(crate) fn step(&mut self, at: u64, what: fmt::Arguments<'_>) {
        self.steps += 1;
        let mut line = if self.last.len() < KEPT {
            String::new()
        } else {
            self.last.pop_front().unwrap_or_default()
        };
        line.clear();
        // a string takes everything
        let _written = fmt::write(&mut line, format_args!("{} {what}", Stamp(at)));
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.last.push_back(line);
    }

    pub(crate) const fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn last(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }
}

/// Virtual time: days, then hours, minutes, seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp(pub(crate) u64);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0 / 1_000, self.0 % 1_000);
        let (minutes, hours) = (seconds / 60, seconds / 3_600);
        write!(
            f,
            "{}d {:02}:{:02}:{:02}.{millis:03}",
            hours / 24,
            hours % 24,
            minutes % 60,
            seconds % 60
        )
    }
}
