//! The key feed: snapshots, deltas and leases for the instances of the crypto-service.
//!
//! ```text
//! hello --checked--> welcome --> snapshot --ack--> following: deltas, acks, renewals, leases --goodbye--> ended
//! ```
//!
//! - An ack counts once it is stored, and a lease is stored before it is granted.
//! - A lease names the present epoch, and the next is held back until that one is acknowledged.
//! - Deltas follow the order of writes without gaps. Who is too slow is disconnected, and begins anew with a snapshot.

mod fed;
mod handshake;
mod issued;
mod session;
mod tokens;
mod wrapping;

use std::{sync::Arc, time::Duration};

use keyring::Time;
use service_kit::{grants::PolicyHandle, identity::Caller, shutdown::Shutdown, tls::Credentials};
use tokio::sync::mpsc;

use crate::{issued::IssuedError, lifecycle::Lifecycle, vault::VaultError};

pub use fed::{FedSet, FedVersion};
pub use handshake::{Hello, Welcome};
pub use issued::FedIssued;
pub use tokens::FedTokens;
pub use wrapping::StreamKey;

/// Messages that wait to be sent on a stream. With the bound on a message this bounds its memory.
pub const OUTBOX: usize = 4;

/// For the first message of a stream.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a stream may take nothing before it is given up.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// What an instance reports with each ack and renewal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The epoch that it has applied.
    pub epoch: u64,
    /// Its wall clock.
    pub clock: Time,
    /// Tenant, kid and the highest `exp` signed.
    pub high_water: Vec<(String, String, Time)>,
    /// Keys with a signature still being made.
    pub in_flight: Vec<String>,
    /// Tenant, kid and how many encryptions were made so far.
    pub invocations: Vec<(String, String, u64)>,
}

/// From an instance.
#[derive(Clone, Debug)]
pub enum Up {
    /// Who is here.
    Hello(Hello),
    /// An epoch is applied.
    Ack(Report),
    /// Asks for a lease.
    Renewal {
        /// Names the renewal.
        id: u64,
        /// What comes with it.
        report: Report,
    },
    /// The instance has stopped serving.
    Goodbye,
}

/// To an instance.
#[derive(Clone, Debug)]
pub enum Down {
    /// The other half of the key agreement.
    Welcome(Welcome),
    /// A part of the whole state.
    Snapshot {
        /// The epoch that the whole snapshot shows.
        epoch: u64,
        /// Some of the key sets.
        sets: Vec<FedSet>,
        /// Some of the revocations of tokens.
        tokens: Vec<FedTokens>,
        /// What records of issued tokens are sealed with; on the last part.
        issued: Option<FedIssued>,
        /// Whether this is the last part.
        last: bool,
    },
    /// A change.
    Delta {
        /// The epoch that it applies to.
        from: u64,
        /// The epoch that it leads to.
        epoch: u64,
        /// Key sets as they now are.
        changed: Vec<FedSet>,
        /// Revocations of tokens that were added.
        tokens: Vec<FedTokens>,
        /// Up to when revocations are forgotten after that, in seconds since 1970.
        forgotten: Option<u32>,
    },
    /// A lease.
    Lease {
        /// The renewal that it answers.
        id: u64,
        /// The epoch that it stands on.
        epoch: u64,
    },
}

/// Why a stream ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FeedError {
    /// The caller is fed nothing.
    #[error("no key set is granted to this caller for feed")]
    NotGranted,
    /// The hello is not signed by the caller's own certificate.
    #[error("the hello is not signed with the key of the caller's certificate: {0}")]
    Signature(Arc<str>),
    /// The protocol was not kept.
    #[error("{field}: {problem}")]
    Protocol {
        /// The field of the message.
        field: &'static str,
        /// What is wrong, and what would be right.
        problem: &'static str,
    },
    /// The instance has seen a later epoch than the store has.
    #[error(
        "the instance has seen epoch {seen}, the store is at {present}: an older store was put in place"
    )]
    RolledBack {
        /// What the instance has seen.
        seen: u64,
        /// What the store has.
        present: u64,
    },
    /// The subscriber has been evicted.
    #[error("the subscriber has been evicted: restart the instance")]
    Evicted,
    /// The caller has as many records as it may have.
    #[error(
        "the caller has too many records of instances: they go a day after their leases; restart less often"
    )]
    TooManyRecords,
    /// The instance does not keep up.
    #[error("the instance does not keep up: connect again")]
    Slow,
    /// The grants have changed.
    #[error("the grants have changed: connect again")]
    Regranted,
    /// The key-manager drains.
    #[error("the key-manager drains: connect again")]
    Draining,
    /// The stream was broken off.
    #[error("the stream was broken off")]
    Broken,
    /// Our own half of the handshake failed.
    #[error("the key agreement failed")]
    Agreement,
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// This key-manager keeps no records of issued tokens.
    #[error("this key-manager keeps no records of issued tokens: its settings have no issued.path")]
    NoRecords,
    /// The records failed.
    #[error(transparent)]
    Issued(#[from] IssuedError),
}

/// The feed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed {
    lifecycle: Lifecycle,
    credentials: Credentials,
    policy: PolicyHandle,
    shutdown: Shutdown,
}

impl Feed {
    /// A feed of the sets in the lifecycle's vault.
    #[must_use]
    pub fn new(
        lifecycle: Lifecycle,
        credentials: Credentials,
        policy: PolicyHandle,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            lifecycle,
            credentials,
            policy,
            shutdown,
        }
    }

    /// The times that hold for every set.
    #[must_use]
    pub fn times(&self) -> &keyring::Times {
        self.lifecycle.times()
    }

    /// Whether the caller is fed anything.
    ///
    /// # Errors
    /// [`FeedError::NotGranted`].
    pub fn admit(&self, caller: &Caller) -> Result<(), FeedError> {
        match self.scope(caller).is_empty() {
            true => Err(FeedError::NotGranted),
            false => Ok(()),
        }
    }

    /// Follows one stream to its end. `up` gives `None` when the instance has closed its side.
    pub async fn follow(
        self,
        caller: Caller,
        up: mpsc::Receiver<Result<Up, FeedError>>,
        down: mpsc::Sender<Result<Down, FeedError>>,
    ) {
        let ended = session::run(&self, &caller, up, &down).await;
        if let Err(error) = ended {
            tracing::info!(caller = caller.name(), %error, "the feed of an instance ended");
            // Where the stream takes nothing any more its end says enough.
            let _ = tokio::time::timeout(Duration::from_secs(1), down.send(Err(error))).await;
        }
    }
}
