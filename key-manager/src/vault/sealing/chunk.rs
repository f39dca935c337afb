//! What one write re-seals.

use super::super::{SetEntry, SetName, Vault, held::Held};
use crate::store::{Batch, Precondition};

/// Operations and bytes of one write at most, so that every engine takes it and nobody waits for it for long.
const CHUNK: (usize, usize) = (60, 256 * 1024);

/// What one write re-seals.
pub(super) struct Chunk {
    pub(super) batch: Batch,
    pub(super) operations: usize,
    bytes: usize,
    pub(super) sets: Vec<(SetName, SetEntry)>,
    pub(super) moved: Vec<Moved>,
}

/// What has come to stand under the newest generation: where from, records and keys. `None` = the root's did not key it before.
pub(super) struct Moved {
    pub(super) root: bool,
    pub(super) from: Option<u32>,
    pub(super) records: u64,
    pub(super) keys: u64,
}

impl Chunk {
    pub(super) fn new(root: &Held) -> Self {
        Self {
            batch: Vault::under(Batch::new(), root),
            operations: 0,
            bytes: 0,
            sets: Vec::new(),
            moved: Vec::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.operations >= CHUNK.0 || self.bytes >= CHUNK.1
    }

    pub(super) fn put(&mut self, key: &str, value: Vec<u8>) {
        self.operations += 1;
        self.bytes += key.len() + value.len();
        self.batch = std::mem::take(&mut self.batch).put(key, value);
    }

    pub(super) fn check(&mut self, key: &str, revision: u64) {
        let batch = std::mem::take(&mut self.batch);
        self.batch = batch.check(key, Precondition::Revision(revision));
    }

    pub(super) fn under(&mut self, held: &Held) {
        self.batch = Vault::under(std::mem::take(&mut self.batch), held);
    }
}
