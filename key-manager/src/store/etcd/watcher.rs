//! Follows what is committed, whoever commits it.
//!
//! ```text
//! connect --watch from the next revision--> following --stream ends--> another member, from where it was
//!                                               |--history compacted--> tell the present revision, and go on from there
//! ```
//!
//! Who follows reads the state, never the history: where a part of the history is gone, one rise of the number says that there is
//! something to read, and nothing is missed.

use std::{sync::Arc, time::Duration};

use etcd_client::{GetOptions, WatchOptions, WatchResponse, WatchStream};
use tokio::{sync::watch, time::sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{cluster::Cluster, raise, read};
use crate::store::StoreError;

/// Before the next member is tried.
const PAUSE: Duration = Duration::from_millis(200);

/// Tells every commit below `prefix` to `commits`, until the handle is dropped.
pub(super) fn run(
    cluster: Arc<Cluster>,
    prefix: Vec<u8>,
    commits: watch::Sender<u64>,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut next = commits.borrow().saturating_add(1);
        loop {
            let ended = follow(&cluster, &prefix, &commits, &mut next).await;
            match ended {
                Ok(()) => tracing::debug!("the watch of the store ended; it is opened again"),
                Err(error) => tracing::warn!(%error, "the store is not followed; trying again"),
            }
            sleep(PAUSE).await;
        }
    }))
}

async fn follow(
    cluster: &Cluster,
    prefix: &[u8],
    commits: &watch::Sender<u64>,
    next: &mut u64,
) -> Result<(), StoreError> {
    let (client, index) = cluster.preferred().await?;
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(i64::try_from(*next).unwrap_or(i64::MAX));
    let opened = client.watch_client().watch(prefix, Some(options)).await;
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(error) => {
            cluster.give_up(index).await;
            return Err(super::cluster::classify(&error));
        }
    };
    let ended = drain(&mut stream, commits, next).await;
    match ended {
        Ok(End::Compacted) => {
            let (_, present) = read(
                cluster,
                prefix.to_vec(),
                GetOptions::new().with_count_only(),
            )
            .await?;
            tracing::info!(
                revision = present,
                "the history of the store was compacted; reading what is"
            );
            raise(commits, present);
            *next = present.saturating_add(1);
            Ok(())
        }
        Ok(End::Closed) => {
            cluster.give_up(index).await;
            Ok(())
        }
        Err(error) => {
            cluster.give_up(index).await;
            Err(error)
        }
    }
}

enum End {
    Closed,
    Compacted,
}

async fn drain(
    stream: &mut WatchStream,
    commits: &watch::Sender<u64>,
    next: &mut u64,
) -> Result<End, StoreError> {
    loop {
        let message = stream.message().await;
        let Some(answer) = message.map_err(|error| super::cluster::classify(&error))? else {
            return Ok(End::Closed);
        };
        if let Some(newest) = newest(&answer) {
            *next = newest.saturating_add(1);
            raise(commits, newest);
        }
        if answer.compact_revision() > 0 {
            return Ok(End::Compacted);
        }
        if answer.canceled() {
            return Err(StoreError::Unavailable(
                format!("etcd ended the watch: {}", answer.cancel_reason()).into(),
            ));
        }
    }
}

fn newest(answer: &WatchResponse) -> Option<u64> {
    let revisions = answer.events().iter().filter_map(|event| event.kv());
    revisions
        .filter_map(|kv| u64::try_from(kv.mod_revision()).ok())
        .max()
}
