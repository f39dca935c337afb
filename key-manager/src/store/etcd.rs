//! Entries in an etcd cluster: the store that several key-managers share.
//!
//! | key below the prefix | what it holds |
//! | --- | --- |
//! | `entry/<key>` | an entry; its revision is etcd's own count of commits (`mod_revision`) |
//! | `commit/<slot>` | the name of the last commit that used the slot |
//! | `replace/staging`, `staged/<key>` | a replacement of everything that is being written, and its name |
//! | `replace/decided` | the replacement that was decided: nobody writes until it is brought to its end |
//!
//! - **A batch is one etcd transaction.** Preconditions are its comparisons, so a stale write is refused by the cluster, not by us.
//! - **A commit happens once.** An answer may be lost after the cluster has committed, with the member that held it. The transaction
//!   also writes its own random name into one of a thousand slots; sent again, it finds its name there and is known to be done.
//! - **Where the outcome stays unknown** until the time is up, the call says [`StoreError::Unavailable`]: read again before deciding.
//! - **Nobody writes to a store that has been moved**: each transaction also compares that there is no entry [`MOVED`].
//! - **Reads are linearizable**: they go through the quorum, and fail where there is none.
//!
//! etcd's own limits hold: 128 operations and 1.5 MiB in a transaction. What is larger is refused before it is sent.

mod cluster;
mod replace;
mod txn;
mod watcher;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use etcd_client::{GetOptions, KeyValue, ResponseHeader};
use service_kit::{shutdown::Shutdown, tls::Credentials};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use super::{
    Batch, Entry, KeyStore, Newer, Replacement, Snapshot, StoreError, checked_batch, checked_key,
};
use cluster::Cluster;
use txn::Outcome;

#[cfg(doc)]
use super::MOVED;

/// Entries in one answer. An entry is at most 1.5 MiB, which bounds the answer.
const PAGE: usize = 64;

/// How often a read begins anew because the history that it reads was compacted away.
const TRIES: usize = 8;

/// Where the cluster is, and how to speak to it.
#[derive(Clone)]
pub struct EtcdOptions {
    /// `http://host:port` or `https://host:port`, one or more.
    pub endpoints: Vec<String>,
    /// What every key begins with.
    pub prefix: String,
    /// The longest time of one call, through all members that are tried.
    pub timeout: Duration,
    /// For https endpoints: our certificate, its key, and the authorities of the members.
    pub credentials: Option<Credentials>,
    /// Name and password, where the cluster asks for them.
    pub user: Option<(String, Zeroizing<String>)>,
}

impl fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdOptions")
            .field("endpoints", &self.endpoints)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// A store in an etcd cluster.
pub struct EtcdStore {
    cluster: Arc<Cluster>,
    names: Names,
    commits: watch::Sender<u64>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl EtcdStore {
    /// Connects to the first member that answers, and follows what is committed from then on. Nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where no member answers in time or the cluster has no quorum, [`StoreError::Denied`] where
    /// it does not let us in.
    pub async fn connect(options: EtcdOptions) -> Result<Self, StoreError> {
        let names = Names(options.prefix.clone());
        let follow = options.credentials.clone();
        let cluster = Arc::new(Cluster::new(options)?);
        let (_, present) = read(
            &cluster,
            names.entries(),
            GetOptions::new().with_count_only(),
        )
        .await?;
        let commits = watch::Sender::new(present);
        let mut tasks = vec![watcher::run(
            Arc::clone(&cluster),
            names.entries(),
            commits.clone(),
        )];
        tasks.extend(follow.map(|credentials| {
            // Ends with the store, like the other task.
            AbortOnDropHandle::new(tokio::spawn(credentials.watch(Shutdown::new())))
        }));
        Ok(Self {
            cluster,
            names,
            commits,
            _tasks: tasks,
        })
    }

    fn told(&self, commit: u64) {
        raise(&self.commits, commit);
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EtcdStore({}, {})", self.cluster, self.names.0)
    }
}

#[async_trait]
impl KeyStore for EtcdStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        checked_key(key)?;
        let (kvs, _) = read(&self.cluster, self.names.entry(key), GetOptions::new()).await?;
        kvs.first().map(|kv| self.names.read(kv)).transpose()
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let start = self.names.entry(prefix);
        let end = end_of(&start);
        let from = match after {
            Some(after) if after >= prefix => [self.names.entry(after).as_slice(), &[0]].concat(),
            _ => start,
        };
        for _ in 0..TRIES {
            match range(&self.cluster, &self.names, from.clone(), &end, limit, None).await {
                Err(StoreError::Compacted) => {}
                done => return done,
            }
        }
        Err(StoreError::Unavailable(
            "the history is compacted faster than it is read".into(),
        ))
    }

    async fn newer(&self, prefix: &str, since: u64) -> Result<Newer, StoreError> {
        let start = self.names.entry(prefix);
        let from = i64::try_from(since.saturating_add(1)).unwrap_or(i64::MAX);
        let options = GetOptions::new()
            .with_range(end_of(&start))
            .with_min_mod_revision(from);
        let (kvs, commit) = read(&self.cluster, start, options).await?;
        let entries = kvs.iter().map(|kv| self.names.read(kv));
        Ok(Newer {
            entries: entries.collect::<Result<_, _>>()?,
            commit,
        })
    }

    async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        checked_batch(&batch)?;
        let transaction = txn::Transaction::new(&self.names, batch)?;
        let answer = self
            .cluster
            .call(|client| {
                let txn = transaction.txn();
                async move { client.kv_client().txn(txn).await }
            })
            .await?;
        match transaction.outcome(&self.names, &answer)? {
            Outcome::Committed(commit) => {
                self.told(commit);
                Ok(commit)
            }
            Outcome::Refused(error) => Err(error),
            // Whoever decided it may be gone.
            Outcome::Replacing => {
                self.settle().await?;
                Err(StoreError::Unavailable("it was being restored".into()))
            }
        }
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let count = GetOptions::new().with_count_only();
        let (_, revision) = read(&self.cluster, self.names.entries(), count).await?;
        Ok(Box::new(EtcdSnapshot {
            cluster: Arc::clone(&self.cluster),
            names: self.names.clone(),
            revision: i64::try_from(revision).unwrap_or(i64::MAX),
        }))
    }

    async fn replace(&self, replacement: Replacement) -> Result<u64, StoreError> {
        let commit = replace::replace(&self.cluster, &self.names, replacement).await?;
        self.told(commit);
        Ok(commit)
    }

    async fn settle(&self) -> Result<(), StoreError> {
        if let Some(commit) = replace::settle(&self.cluster, &self.names).await? {
            self.told(commit);
        }
        Ok(())
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Everything at one revision of the cluster.
struct EtcdSnapshot {
    cluster: Arc<Cluster>,
    names: Names,
    revision: i64,
}

impl fmt::Debug for EtcdSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EtcdSnapshot(revision {})", self.revision)
    }
}

#[async_trait]
impl Snapshot for EtcdSnapshot {
    async fn page(&self, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let start = self.names.entries();
        let end = end_of(&start);
        let from = match after {
            Some(after) => [self.names.entry(after).as_slice(), &[0]].concat(),
            None => start,
        };
        let (cluster, at) = (&self.cluster, Some(self.revision));
        range(cluster, &self.names, from, &end, limit, at).await
    }
}

/// Entries from the key `from` up to `end`, all as they stood at one revision: that one, or the one of the first answer.
async fn range(
    cluster: &Cluster,
    names: &Names,
    from: Vec<u8>,
    end: &[u8],
    limit: usize,
    mut at: Option<i64>,
) -> Result<Vec<Entry>, StoreError> {
    let (mut found, mut from) = (Vec::new(), from);
    while found.len() < limit && from.as_slice() < end {
        let page = PAGE.min(limit.saturating_sub(found.len()));
        let mut options = GetOptions::new()
            .with_range(end)
            .with_limit(i64::try_from(page).unwrap_or(i64::MAX));
        if let Some(at) = at {
            options = options.with_revision(at);
        }
        let (kvs, revision) = read(cluster, from.clone(), options).await?;
        at.get_or_insert_with(|| i64::try_from(revision).unwrap_or(i64::MAX));
        let last = kvs.len() < page;
        if let Some(kv) = kvs.last() {
            from = [kv.key(), &[0]].concat();
        }
        for kv in kvs {
            found.push(names.read(&kv)?);
        }
        if last {
            break;
        }
    }
    Ok(found)
}

/// Key-values, and the revision that they show.
async fn read(
    cluster: &Cluster,
    key: Vec<u8>,
    options: GetOptions,
) -> Result<(Vec<KeyValue>, u64), StoreError> {
    let mut answer = cluster
        .call(|client| {
            let (key, options) = (key.clone(), options.clone());
            async move {
                client
                    .kv_client()
                    .max_decoding_message_size(cluster::MAX_ANSWER)
                    .get(key, Some(options))
                    .await
            }
        })
        .await?;
    let revision = revision_of(answer.header())?;
    Ok((answer.take_kvs(), revision))
}

fn revision_of(header: Option<&ResponseHeader>) -> Result<u64, StoreError> {
    let revision = header.and_then(|header| u64::try_from(header.revision()).ok());
    revision.ok_or_else(|| StoreError::Unavailable("etcd answered without a revision".into()))
}

fn raise(commits: &watch::Sender<u64>, commit: u64) {
    commits.send_if_modified(|last| {
        let newer = commit > *last;
        *last = (*last).max(commit);
        newer
    });
}

/// The keys of the cluster that are ours.
#[derive(Clone)]
struct Names(String);

impl Names {
    fn entries(&self) -> Vec<u8> {
        self.entry("")
    }

    fn entry(&self, key: &str) -> Vec<u8> {
        format!("{}entry/{key}", self.0).into_bytes()
    }

    fn slot(&self, slot: u16) -> Vec<u8> {
        format!("{}commit/{slot:04}", self.0).into_bytes()
    }

    fn replacing(&self) -> Vec<u8> {
        format!("{}replace/decided", self.0).into_bytes()
    }

    fn staging(&self) -> Vec<u8> {
        format!("{}replace/staging", self.0).into_bytes()
    }

    fn staged(&self, key: &str) -> Vec<u8> {
        format!("{}staged/{key}", self.0).into_bytes()
    }

    fn read(&self, kv: &KeyValue) -> Result<Entry, StoreError> {
        let odd =
            || StoreError::Damaged("etcd holds a key below our prefix that is not ours".into());
        let key = kv
            .key()
            .strip_prefix(self.entries().as_slice())
            .ok_or_else(odd)?;
        Ok(Entry {
            key: String::from_utf8(key.to_vec()).map_err(|_not_text| odd())?,
            value: kv.value().to_vec(),
            revision: u64::try_from(kv.mod_revision()).map_err(|_negative| odd())?,
        })
    }
}

/// The first key behind all that begin with `prefix`, which is text and so never ends in 0xff.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}
