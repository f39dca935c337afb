//! A batch as an etcd transaction, and what its answer means.

use std::collections::BTreeMap;

use aws_lc_rs::rand;
use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse, TxnResponse,
};

use super::{Names, revision_of};
use crate::store::{Batch, MOVED, Precondition, StoreError};

/// Comparisons, or writes, or reads of one transaction at most: etcd's `--max-txn-ops`.
const MAX_OPS: usize = 128;

/// Bytes of one transaction at most: etcd's `--max-request-bytes`, less what it wraps around each operation.
const MAX_BYTES: usize = 1536 * 1024;
const BYTES_PER_OP: usize = 48;

/// Names of commits that are kept.
const SLOTS: u16 = 1024;

pub(super) enum Outcome {
    Committed(u64),
    Refused(StoreError),
    /// Everything is being replaced; nothing was written.
    Replacing,
}

/// A batch that may be sent more than once and is committed once.
pub(super) struct Transaction {
    checks: Vec<(String, Precondition)>,
    compares: Vec<Compare>,
    writes: Vec<TxnOp>,
    reads: Vec<TxnOp>,
    name: [u8; 16],
}

impl Transaction {
    pub(super) fn new(names: &Names, batch: Batch) -> Result<Self, StoreError> {
        let mut random = [0; 18];
        rand::fill(&mut random)
            .map_err(|_failed| StoreError::Unavailable("no random numbers can be had".into()))?;
        let [high, low, name @ ..] = random;
        let slot = names.slot(u16::from_be_bytes([high, low]) % SLOTS);
        checked_size(names, &batch)?;
        let moves = batch.checks.iter().any(|(key, _)| key == MOVED);
        let mut compares: Vec<Compare> = batch
            .checks
            .iter()
            .map(|(key, precondition)| compare(names, key, *precondition))
            .collect();
        if !moves {
            compares.push(compare(names, MOVED, Precondition::Absent));
        }
        compares.push(Compare::version(names.replacing(), CompareOp::Equal, 0));
        let keys_only = || Some(GetOptions::new().with_keys_only());
        let mut reads = vec![
            TxnOp::get(slot.clone(), None),
            TxnOp::get(names.entry(MOVED), keys_only()),
            TxnOp::get(names.replacing(), keys_only()),
        ];
        let checked = batch.checks.iter().map(|(key, _)| names.entry(key));
        reads.extend(checked.map(|key| TxnOp::get(key, keys_only())));
        let mut writes = vec![TxnOp::put(slot, name, None)];
        writes.extend(self::writes(names, batch.puts, batch.deletes));
        Ok(Self {
            checks: batch.checks,
            compares,
            writes,
            reads,
            name,
        })
    }

    pub(super) fn txn(&self) -> Txn {
        Txn::new()
            .when(self.compares.clone())
            .and_then(self.writes.clone())
            .or_else(self.reads.clone())
    }

    /// What the answer of the cluster means. All its reads show one moment.
    pub(super) fn outcome(
        &self,
        names: &Names,
        answer: &TxnResponse,
    ) -> Result<Outcome, StoreError> {
        if answer.succeeded() {
            return revision_of(answer.header()).map(Outcome::Committed);
        }
        let mut answers = answer
            .op_responses()
            .into_iter()
            .map(|answer| match answer {
                TxnOpResponse::Get(mut found) => found.take_kvs().into_iter().next(),
                _ => None,
            });
        let revision =
            |found: Option<KeyValue>| found.and_then(|kv| u64::try_from(kv.mod_revision()).ok());
        if let Some(slot) = answers.next().flatten()
            && slot.value() == self.name.as_slice()
        {
            // An earlier try was committed, and its answer was lost.
            return Ok(Outcome::Committed(revision(Some(slot)).unwrap_or_default()));
        }
        let moved = answers.next().flatten().is_some();
        if moved && !self.checks.iter().any(|(key, _)| key == MOVED) {
            return Ok(Outcome::Refused(StoreError::Moved));
        }
        if answers.next().flatten().is_some() {
            return Ok(Outcome::Replacing);
        }
        let failed = self
            .checks
            .iter()
            .zip(answers)
            .find(|((_, precondition), found)| !precondition.holds(revision(found.clone())));
        let key = failed.map_or_else(
            || String::from_utf8_lossy(&names.entries()).into_owned(),
            |((key, _), _)| key.clone(),
        );
        Ok(Outcome::Refused(StoreError::Conflict { key }))
    }
}

pub(super) fn compare(names: &Names, key: &str, precondition: Precondition) -> Compare {
    let key = names.entry(key);
    match precondition {
        Precondition::Absent => Compare::version(key, CompareOp::Equal, 0),
        Precondition::Revision(revision) => {
            // No commit has a number so large.
            let revision = i64::try_from(revision).unwrap_or(i64::MAX);
            Compare::mod_revision(key, CompareOp::Equal, revision)
        }
    }
}

/// etcd refuses a key that is written twice in a transaction: the last put wins, and a put wins over a delete.
fn writes(names: &Names, puts: Vec<(String, Vec<u8>)>, deletes: Vec<String>) -> Vec<TxnOp> {
    let mut last: BTreeMap<String, Option<Vec<u8>>> =
        deletes.into_iter().map(|key| (key, None)).collect();
    last.extend(puts.into_iter().map(|(key, value)| (key, Some(value))));
    let op = |(key, value): (String, Option<Vec<u8>>)| match value {
        Some(value) => TxnOp::put(names.entry(&key), value, None),
        None => TxnOp::delete(names.entry(&key), None),
    };
    last.into_iter().map(op).collect()
}

fn checked_size(names: &Names, batch: &Batch) -> Result<(), StoreError> {
    let refused = |what: String| Err(StoreError::Refused(what.into()));
    let most = batch
        .puts
        .len()
        .saturating_add(batch.deletes.len())
        .max(batch.checks.len());
    // The commit's name, the mark of a store that was moved and that of one that is being replaced take three.
    if most > MAX_OPS - 3 {
        return refused(format!(
            "{most} operations are more than the {} that etcd takes in one transaction",
            MAX_OPS - 3
        ));
    }
    let each = names.entries().len() + BYTES_PER_OP;
    // A key that is checked is sent twice: to be compared, and to be read where the comparison fails.
    let checks = batch.checks.iter().map(|(key, _)| 2 * (key.len() + each));
    let puts = batch
        .puts
        .iter()
        .map(|(key, value)| key.len() + value.len() + each);
    let deletes = batch.deletes.iter().map(|key| key.len() + each);
    let bytes: usize = checks.chain(puts).chain(deletes).sum::<usize>() + 8 * each;
    match bytes > MAX_BYTES {
        true => refused(format!(
            "{bytes} bytes are more than the {MAX_BYTES} that etcd takes in one transaction"
        )),
        false => Ok(()),
    }
}
