//! What a `request_id` did, so that a retry does not act twice.

use std::sync::atomic::{AtomicUsize, Ordering};

use keyring::{Span, Time};
use serde::{Deserialize, Serialize};

use super::{PAGE, Vault, VaultError, envelope, rings::ROOT_OWNER};
use crate::{
    seal::{RecordBinding, Ring},
    store::{Batch, Entry, Pair, Precondition},
};

/// How long a request is remembered.
const KEPT: Span = Span::from_days(1);

/// How many are remembered at most; the oldest go first.
pub const MAX_REQUESTS: usize = 100_000;

/// How many old ones a write clears away, so that no write is slow.
const CLEARED: usize = 16;

/// How many are remembered.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicUsize);

/// A mutation that carries a `request_id`.
#[derive(Clone, Debug)]
pub struct Request {
    id: String,
    fingerprint: String,
    at: Time,
    kid: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    at: Time,
    fingerprint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
}

/// What is known of a request that was executed before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// It is new.
    New,
    /// It was executed; for imports, with that kid.
    Done(Option<String>),
    /// Its id was used for something else.
    Different,
}

impl Request {
    /// The key that it brings in.
    #[must_use]
    pub fn with_kid(mut self, kid: &str) -> Self {
        self.kid = Some(kid.to_owned());
        self
    }
}

impl Vault {
    /// A request by its caller, its id and everything that it says.
    #[must_use]
    pub fn request(&self, caller: &str, id: &str, content: &[u8], at: Time) -> Request {
        let bound = crate::seal::bind(
            "crypto-service/request/v1",
            &[caller.as_bytes(), id.as_bytes()],
        );
        let root = self.root();
        Request {
            id: root.ring.material(&bound),
            fingerprint: root.ring.material(content),
            at,
            kid: None,
        }
    }

    /// Looks a request up.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn recall(&self, request: &Request) -> Result<Remembered, VaultError> {
        let Some(entry) = self.store.get(&by_id(&request.id)).await? else {
            return Ok(Remembered::New);
        };
        let record = self.read_request(&entry).await?;
        match record.fingerprint == request.fingerprint {
            _ if record.at + KEPT < request.at => Ok(Remembered::New),
            true => Ok(Remembered::Done(record.kid)),
            false => Ok(Remembered::Different),
        }
    }

    /// Adds the memory of `request` to a write, and forgets what is old.
    pub(super) async fn remember(
        &self,
        batch: Batch,
        request: &Request,
    ) -> Result<Batch, VaultError> {
        let root = self.root();
        let bytes = record_under(&root.ring, request)?;
        let batch = Self::under(batch, &root);
        let key = by_id(&request.id);
        let mut cleared = 0;
        let (mut batch, mut expired) = (batch, None);
        match self.store.get(&key).await? {
            None => batch = batch.check(&key, Precondition::Absent),
            Some(entry) => {
                let old = self.read_request(&entry).await?;
                if old.at + KEPT >= request.at {
                    return Err(VaultError::RequestDone);
                }
                // Its index entry goes with it, or a later sweep would take the new record for the old one.
                let index = by_time(old.at, &request.id);
                batch = batch
                    .check(&key, Precondition::Revision(entry.revision))
                    .delete(&index);
                cleared = 1;
                expired = Some(index);
            }
        }
        let count = self.requests.0.load(Ordering::Relaxed);
        for old in self.store.scan("request-at/", None, CLEARED).await? {
            let Some((at, id)) = old
                .key
                .strip_prefix("request-at/")
                .and_then(|rest| rest.split_once('/'))
            else {
                continue;
            };
            let at = Time::from_millis(at.parse().unwrap_or_default());
            if at + KEPT >= request.at && count.saturating_sub(cleared) < MAX_REQUESTS {
                break;
            }
            if expired.as_ref() != Some(&old.key) {
                batch = batch.delete(&old.key).delete(by_id(id));
                cleared += 1;
            }
        }
        self.requests.0.store(
            count.saturating_sub(cleared).saturating_add(1),
            Ordering::Relaxed,
        );
        Ok(batch
            .put(&key, bytes)
            .put(by_time(request.at, &request.id), ""))
    }

    async fn read_request(&self, entry: &Entry) -> Result<Record, VaultError> {
        let read = self.opened(ROOT_OWNER, entry, |rings, entry| {
            envelope::read(
                rings.root,
                place(id_of(entry)),
                |_: &Record| 0,
                &entry.value,
            )
        });
        read.await.map(|(record, _)| record)
    }

    /// The entries of a store that remembers this request, which was made for this vault.
    pub(super) fn request_entries(&self, request: &Request) -> Result<Vec<Pair>, VaultError> {
        Ok(vec![
            (
                by_id(&request.id),
                record_under(&self.root().ring, request)?,
            ),
            (by_time(request.at, &request.id), Vec::new()),
        ])
    }

    pub(super) async fn count_requests(&self) -> Result<(), VaultError> {
        let (mut count, mut after) = (0, None::<String>);
        loop {
            let page = self
                .store
                .scan("request-at/", after.as_deref(), PAGE)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            count += page.len();
        }
        self.requests.0.store(count, Ordering::Relaxed);
        Ok(())
    }
}

fn record_under(root: &Ring, request: &Request) -> Result<Vec<u8>, VaultError> {
    let record = Record {
        at: request.at,
        fingerprint: request.fingerprint.clone(),
        kid: request.kid.clone(),
    };
    envelope::write(root, place(&request.id), &record).map(|(bytes, _)| bytes)
}

/// The record under the present generation.
pub(super) fn reseal(root: &Ring, entry: &Entry) -> Result<Option<Vec<u8>>, VaultError> {
    envelope::reseal(root, place(id_of(entry)), |_: &Record| 0, &entry.value)
}

fn id_of(entry: &Entry) -> &str {
    entry.key.strip_prefix("request/").unwrap_or_default()
}

fn by_id(id: &str) -> String {
    format!("request/{id}")
}

fn by_time(at: Time, id: &str) -> String {
    format!("request-at/{:020}/{id}", at.as_millis())
}

fn place(id: &str) -> RecordBinding<'_> {
    RecordBinding {
        kind: "request",
        tenant: "",
        name: id,
        revision: 0,
    }
}
