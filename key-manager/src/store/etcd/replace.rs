//! The replacement of everything, in a cluster whose transactions are small.
//!
//! ```text
//! staging: parts below `staged/` --> decided: one transaction, if what it stands on still holds
//!     --> a part after the other becomes entries, older entries go --> the mark goes: done
//! ```
//!
//! - Until it is decided no entry is touched: who is killed before leaves staged parts, and the next replacement clears them away.
//! - Once it is decided it happens, whoever dies: every transaction of everybody compares that there is no such mark, and who is refused, or opens
//!   the store, brings it to its end. Each step is compared with the mark, so any number may do that at once.

use aws_lc_rs::rand;
use etcd_client::{
    Compare, CompareOp, DeleteOptions, GetOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};

use super::{Cluster, Names, end_of, read, revision_of, txn::compare};
use crate::store::{MOVED, Pair, Precondition, Replacement, StoreError};

/// Staged entries that become entries in one transaction: two operations each.
const PAGE: usize = 40;

/// Bytes of those at most.
const BYTES: usize = 1024 * 1024;

/// Old entries that one transaction deletes.
const DELETED: usize = 100;

/// How often a replacement begins anew because an earlier one had to be brought to its end first.
const TRIES: usize = 4;

pub(super) async fn replace(
    cluster: &Cluster,
    names: &Names,
    mut replacement: Replacement,
) -> Result<u64, StoreError> {
    let mut id = [0; 16];
    rand::fill(&mut id)
        .map_err(|_failed| StoreError::Unavailable("no random numbers can be had".into()))?;
    begin(cluster, names, id).await?;
    while let Some(part) = replacement.next().await? {
        stage(cluster, names, id, part).await?;
    }
    decide(cluster, names, id, &replacement.checks).await?;
    match settle(cluster, names).await? {
        Some(commit) => Ok(commit),
        // Another key-manager has brought it to its end.
        None => read(cluster, names.staging(), GetOptions::new())
            .await
            .map(|(_, revision)| revision),
    }
}

/// Takes the staging over: whoever staged before can decide nothing any more.
pub(super) async fn begin(
    cluster: &Cluster,
    names: &Names,
    id: [u8; 16],
) -> Result<(), StoreError> {
    for _ in 0..TRIES {
        let staged = names.staged("");
        let clear = DeleteOptions::new().with_range(end_of(&staged));
        let transaction = Txn::new().when([absent(names.replacing())]).and_then([
            TxnOp::delete(staged, Some(clear)),
            TxnOp::put(names.staging(), id, None),
        ]);
        if send(cluster, &transaction).await?.succeeded() {
            return Ok(());
        }
        settle(cluster, names).await?;
    }
    Err(taken_over())
}

pub(super) async fn stage(
    cluster: &Cluster,
    names: &Names,
    id: [u8; 16],
    part: Vec<Pair>,
) -> Result<(), StoreError> {
    let puts: Vec<TxnOp> = part
        .into_iter()
        .map(|(key, value)| TxnOp::put(names.staged(&key), value, None))
        .collect();
    let transaction = Txn::new().when([ours(names, id)]).and_then(puts);
    match send(cluster, &transaction).await?.succeeded() {
        true => Ok(()),
        false => Err(taken_over()),
    }
}

pub(super) async fn decide(
    cluster: &Cluster,
    names: &Names,
    id: [u8; 16],
    checks: &[(String, Precondition)],
) -> Result<(), StoreError> {
    let mut compares = vec![
        ours(names, id),
        absent(names.replacing()),
        compare(names, MOVED, Precondition::Absent),
    ];
    let checked = checks
        .iter()
        .map(|(key, precondition)| compare(names, key, *precondition));
    compares.extend(checked);
    let keys_only = || Some(GetOptions::new().with_keys_only());
    let mut reads = vec![
        TxnOp::get(names.replacing(), None),
        TxnOp::get(names.staging(), None),
        TxnOp::get(names.entry(MOVED), keys_only()),
    ];
    let checked = checks.iter().map(|(key, _)| names.entry(key));
    reads.extend(checked.map(|key| TxnOp::get(key, keys_only())));
    let transaction = Txn::new()
        .when(compares)
        .and_then([TxnOp::put(names.replacing(), id, None)])
        .or_else(reads);
    let answer = send(cluster, &transaction).await?;
    if answer.succeeded() {
        return Ok(());
    }
    let mut found = answer
        .op_responses()
        .into_iter()
        .map(|answer| match answer {
            TxnOpResponse::Get(mut found) => found.take_kvs().into_iter().next(),
            _ => None,
        });
    let is_id = |kv: &etcd_client::KeyValue| kv.value() == id.as_slice();
    // An earlier try was committed, and its answer was lost.
    if found.next().flatten().as_ref().is_some_and(is_id) {
        return Ok(());
    }
    if !found.next().flatten().as_ref().is_some_and(is_id) {
        return Err(taken_over());
    }
    if found.next().flatten().is_some() {
        return Err(StoreError::Moved);
    }
    let failed = checks.iter().zip(found).find(|((_, precondition), found)| {
        let revision = found
            .as_ref()
            .and_then(|kv| u64::try_from(kv.mod_revision()).ok());
        !precondition.holds(revision)
    });
    let key = failed.map_or_else(String::new, |((key, _), _)| key.clone());
    Err(StoreError::Conflict { key })
}

/// Brings what was decided to its end, and gives the commit that did; `None` where nothing was, or somebody else was faster.
pub(super) async fn settle(cluster: &Cluster, names: &Names) -> Result<Option<u64>, StoreError> {
    let (marks, _) = read(cluster, names.replacing(), GetOptions::new()).await?;
    let Some(decided) = marks.first().map(etcd_client::KeyValue::mod_revision) else {
        return Ok(None);
    };
    let step = Step {
        cluster,
        names,
        decided,
    };
    if !(step.unstage().await? && step.delete_old().await?) {
        return Ok(None);
    }
    let done = [
        TxnOp::delete(names.replacing(), None),
        TxnOp::delete(names.staging(), None),
    ];
    let answer = step.send(done.into()).await?;
    match answer.succeeded() {
        true => revision_of(answer.header()).map(Some),
        false => Ok(None),
    }
}

/// The steps of a replacement that was decided in a commit.
struct Step<'a> {
    cluster: &'a Cluster,
    names: &'a Names,
    decided: i64,
}

impl Step<'_> {
    /// False where somebody else has brought it to its end.
    async fn unstage(&self) -> Result<bool, StoreError> {
        let start = self.names.staged("");
        let end = end_of(&start);
        loop {
            let options = GetOptions::new()
                .with_range(end.clone())
                .with_limit(i64::try_from(PAGE).unwrap_or(i64::MAX));
            let (page, _) = read(self.cluster, start.clone(), options).await?;
            if page.is_empty() {
                return Ok(true);
            }
            let (mut steps, mut bytes) = (Vec::new(), 0);
            for kv in &page {
                bytes += kv.key().len() + kv.value().len();
                if bytes > BYTES && !steps.is_empty() {
                    break;
                }
                let key = kv.key().strip_prefix(start.as_slice()).unwrap_or_default();
                let entry = [self.names.entries().as_slice(), key].concat();
                steps.push(TxnOp::put(entry, kv.value(), None));
                steps.push(TxnOp::delete(kv.key(), None));
            }
            if !self.send(steps).await?.succeeded() {
                return Ok(false);
            }
        }
    }

    /// What was written before the decision and not since is no part of the replacement.
    async fn delete_old(&self) -> Result<bool, StoreError> {
        let start = self.names.entries();
        let end = end_of(&start);
        loop {
            let options = GetOptions::new()
                .with_range(end.clone())
                .with_keys_only()
                .with_max_mod_revision(self.decided.saturating_sub(1))
                .with_limit(i64::try_from(DELETED).unwrap_or(i64::MAX));
            let (page, _) = read(self.cluster, start.clone(), options).await?;
            if page.is_empty() {
                return Ok(true);
            }
            let steps = page.iter().map(|kv| TxnOp::delete(kv.key(), None));
            if !self.send(steps.collect()).await?.succeeded() {
                return Ok(false);
            }
        }
    }

    async fn send(&self, steps: Vec<TxnOp>) -> Result<TxnResponse, StoreError> {
        let mark = Compare::mod_revision(self.names.replacing(), CompareOp::Equal, self.decided);
        send(self.cluster, &Txn::new().when([mark]).and_then(steps)).await
    }
}

async fn send(cluster: &Cluster, transaction: &Txn) -> Result<TxnResponse, StoreError> {
    cluster
        .call(|client| {
            let transaction = transaction.clone();
            async move { client.kv_client().txn(transaction).await }
        })
        .await
}

fn absent(key: Vec<u8>) -> Compare {
    Compare::version(key, CompareOp::Equal, 0)
}

fn ours(names: &Names, id: [u8; 16]) -> Compare {
    Compare::value(names.staging(), CompareOp::Equal, id)
}

fn taken_over() -> StoreError {
    StoreError::Unavailable("another restore has taken over".into())
}
