//! `[issued]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use service_kit::config::{Mistake, Span};

/// `[issued]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IssuedSettings {
    /// Where segments are written; empty = nowhere, and tokens of key sets that record what they issue are not signed.
    pub folder: PathBuf,
    /// Tokens that are signed or wait to be written, at once.
    pub queue: usize,
    /// How long entries are gathered before they are written.
    pub write_interval: Span,
    /// How often what was written is flushed to the disk.
    pub sync_interval: Span,
    /// What may be lost when the process is killed.
    pub max_unwritten: Span,
    /// What may be lost when the machine loses its power.
    pub max_unsynced: Span,
    /// A segment is ended when it has grown to this, in bytes.
    pub segment_bytes: u64,
    /// What all segments together may take, in bytes.
    pub max_bytes: u64,
    /// What is done with tokens that cannot be recorded.
    pub when_unrecordable: WhenUnrecordable,
}

/// What is done with tokens that cannot be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenUnrecordable {
    /// They are not signed.
    #[default]
    Refuse,
    /// They are signed, and counted.
    Sign,
}

impl Default for IssuedSettings {
    fn default() -> Self {
        Self {
            folder: PathBuf::new(),
            queue: 65_536,
            write_interval: Span::millis(200),
            sync_interval: Span::secs(1),
            max_unwritten: Span::secs(1),
            max_unsynced: Span::secs(5),
            segment_bytes: 8 * 1024 * 1024,
            max_bytes: 1024 * 1024 * 1024,
            when_unrecordable: WhenUnrecordable::Refuse,
        }
    }
}

impl IssuedSettings {
    pub(crate) fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, problem: &str| {
            mistakes.push(Mistake::new(format!("issued.{key}"), problem.to_owned()));
        };
        if self.queue == 0 {
            wrong("queue", "must be at least 1");
        }
        if self.write_interval.get().is_zero() {
            wrong("write_interval", "must be longer than nothing");
        }
        if self.sync_interval.get().is_zero() {
            wrong("sync_interval", "must be longer than nothing");
        }
        if self.max_unwritten.get() < self.write_interval.get().saturating_mul(2) {
            let problem = "must be at least twice issued.write_interval: what is gathered for that long is then still to be written";
            wrong("max_unwritten", problem);
        }
        let both = self
            .write_interval
            .get()
            .saturating_add(self.sync_interval.get());
        if self.max_unsynced.get() < both.saturating_mul(2) {
            let problem =
                "must be at least twice issued.write_interval and issued.sync_interval together";
            wrong("max_unsynced", problem);
        }
        if !(4_096..=256 * 1024 * 1024).contains(&self.segment_bytes) {
            wrong("segment_bytes", "must be 4096 to 268435456");
        }
        if self.max_bytes < self.segment_bytes {
            wrong("max_bytes", "must not be below issued.segment_bytes");
        }
        mistakes
    }
}
