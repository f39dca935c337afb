//! The audit log, as an operator reads it.

use std::time::SystemTime;

use client_core::request::time_from_wire;
use crypto_proto::keys::v1 as proto;

/// What came of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuditOutcome {
    /// It was granted and is about to be done.
    Begun,
    /// It was done.
    Done,
    /// Fields, grant or lifecycle forbid it.
    Refused,
    /// It failed.
    Failed,
    /// A read was granted.
    Read,
    /// An outcome that this client does not know.
    Unknown,
}

/// Which entries to read. What is empty matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// The tenant.
    pub tenant: String,
    /// The key set.
    pub key_set: String,
    /// Who acted.
    pub caller: String,
    /// What was done: the name of the rpc, or `Promote`, `Retire`, `Destroy` for planned steps.
    pub act: String,
    /// What came of it.
    pub outcome: Option<AuditOutcome>,
    /// Not before.
    pub from: Option<SystemTime>,
    /// Before.
    pub until: Option<SystemTime>,
    /// At most so many in one page; 0 = 100.
    pub page_size: i32,
    /// From the page before; empty = from the start.
    pub page_token: String,
}

/// A page of entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// Oldest first.
    pub entries: Vec<AuditEntry>,
    /// Empty = this was the last page. A page may hold no entries while there are more pages.
    pub next_page_token: String,
    /// The newest signed checkpoint of each chain that the store knows.
    pub checkpoints: Vec<AuditCheckpoint>,
    /// The public JWK that verifies them.
    pub public_jwk: String,
}

/// A signed statement about a chain of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditCheckpoint {
    /// The chain.
    pub chain: String,
    /// The number of its last entry that this covers.
    pub seq: u64,
    /// The statement, a JWS in compact form.
    pub jws: String,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// The chain that it stands in.
    pub chain: String,
    /// Its number in the chain.
    pub seq: u64,
    /// When it was written.
    pub at: Option<SystemTime>,
    /// Who acted.
    pub caller: String,
    /// What was done.
    pub act: String,
    /// The tenant; empty where the act is on none.
    pub tenant: String,
    /// The key set; empty where the act is on none.
    pub key_set: String,
    /// The key, or the instance, that it was about.
    pub subject: String,
    /// The request's id.
    pub request_id: String,
    /// Whether waits or checks were skipped.
    pub force: bool,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// The reason of a refusal or failure.
    pub reason: String,
    /// The fields that were refused.
    pub fields: Vec<String>,
    /// The number of the entry that began the act; 0 = none.
    pub of: u64,
}

impl From<i32> for AuditOutcome {
    fn from(wire: i32) -> Self {
        match proto::AuditOutcome::try_from(wire) {
            Ok(proto::AuditOutcome::Begun) => Self::Begun,
            Ok(proto::AuditOutcome::Done) => Self::Done,
            Ok(proto::AuditOutcome::Refused) => Self::Refused,
            Ok(proto::AuditOutcome::Failed) => Self::Failed,
            Ok(proto::AuditOutcome::Read) => Self::Read,
            Ok(proto::AuditOutcome::Unspecified) | Err(_) => Self::Unknown,
        }
    }
}

fn outcome_to_wire(outcome: AuditOutcome) -> i32 {
    let wire = match outcome {
        AuditOutcome::Begun => proto::AuditOutcome::Begun,
        AuditOutcome::Done => proto::AuditOutcome::Done,
        AuditOutcome::Refused => proto::AuditOutcome::Refused,
        AuditOutcome::Failed => proto::AuditOutcome::Failed,
        AuditOutcome::Read => proto::AuditOutcome::Read,
        AuditOutcome::Unknown => proto::AuditOutcome::Unspecified,
    };
    wire.into()
}

impl From<&AuditQuery> for proto::QueryAuditRequest {
    fn from(query: &AuditQuery) -> Self {
        let query = query.clone();
        Self {
            tenant: query.tenant,
            key_set: query.key_set,
            caller: query.caller,
            act: query.act,
            outcome: query.outcome.map_or(0, outcome_to_wire),
            from: query.from.map(SystemTime::into),
            until: query.until.map(SystemTime::into),
            page_size: query.page_size,
            page_token: query.page_token,
        }
    }
}

impl From<proto::QueryAuditResponse> for AuditPage {
    fn from(wire: proto::QueryAuditResponse) -> Self {
        let checkpoint = |wire: proto::AuditCheckpoint| AuditCheckpoint {
            chain: wire.chain,
            seq: wire.seq,
            jws: wire.jws,
        };
        Self {
            entries: wire.entries.into_iter().map(AuditEntry::from).collect(),
            next_page_token: wire.next_page_token,
            checkpoints: wire.checkpoints.into_iter().map(checkpoint).collect(),
            public_jwk: wire.public_jwk,
        }
    }
}

impl From<proto::AuditEntry> for AuditEntry {
    fn from(wire: proto::AuditEntry) -> Self {
        Self {
            chain: wire.chain,
            seq: wire.seq,
            at: wire.at.map(time_from_wire),
            caller: wire.caller,
            act: wire.act,
            tenant: wire.tenant,
            key_set: wire.key_set,
            subject: wire.subject,
            request_id: wire.request_id,
            force: wire.force,
            outcome: wire.outcome.into(),
            reason: wire.reason,
            fields: wire.fields,
            of: wire.of,
        }
    }
}
