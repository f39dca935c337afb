//! What key sets have issued, as an operator reads it.

use std::fmt;
use std::time::SystemTime;

use client_core::request::time_from_wire;
use crypto_proto::keys::v1 as proto;

/// Which issued tokens to list. What is empty matches everything.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct IssuedQuery {
    /// The tenant; empty = `default`.
    pub tenant: String,
    /// The key set.
    pub key_set: String,
    /// The key.
    pub kid: String,
    /// Who asked for the token.
    pub caller: String,
    /// The `sub` of the token.
    pub sub: String,
    /// Not before.
    pub issued_after: Option<SystemTime>,
    /// Before.
    pub issued_before: Option<SystemTime>,
    /// At most so many in one page, up to 1,000; 0 = 100.
    pub page_size: i32,
    /// From the page before; empty = from the start.
    pub page_token: String,
    /// No entries, only counts.
    pub count_only: bool,
}

/// The `sub` is not shown.
impl fmt::Debug for IssuedQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedQuery")
            .field("tenant", &self.tenant)
            .field("key_set", &self.key_set)
            .field("kid", &self.kid)
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

/// A page of issued tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IssuedPage {
    /// Oldest first.
    pub entries: Vec<IssuedEntry>,
    /// Empty = this was the last page.
    pub next_page_token: String,
    /// How many match, over all pages, by key. Only on a first page.
    pub counts: Vec<IssuedCount>,
    /// The sum of them.
    pub total_count: u64,
    /// There are more: counting stopped.
    pub count_capped: bool,
    /// What was issued up to then is here, as far as instances ship to this key-manager.
    pub complete_until: Option<SystemTime>,
    /// Processes of instances that hold that up.
    pub behind: Vec<IssuedBehind>,
    /// Tokens that instances have signed without a record, over all key sets.
    pub unrecorded: u64,
    /// Names the records that answered.
    pub store: String,
}

/// An issued token, without the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedEntry {
    /// Names the record: the same in every replica that has it.
    pub id: String,
    /// When it was issued.
    pub issued_at: Option<SystemTime>,
    /// The tenant.
    pub tenant: String,
    /// The key set.
    pub key_set: String,
    /// The key that signed it.
    pub kid: String,
    /// Who asked for it.
    pub caller: String,
    /// Its `jti`.
    pub jti: String,
    /// A keyed digest of its `sub`, in hex; empty = it has none.
    pub subject: String,
    /// Its `exp`; `None` = it has none.
    pub expires_at: Option<SystemTime>,
}

/// How many tokens of a key match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCount {
    /// The key set.
    pub key_set: String,
    /// The key.
    pub kid: String,
    /// How many.
    pub count: u64,
}

/// A process of an instance whose records may not all be here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedBehind {
    /// Its name, as [`AdminClient::subscribers`](crate::AdminClient::subscribers) gives it.
    pub subscriber: String,
    /// What it issued up to then is shipped.
    pub complete_until: Option<SystemTime>,
}

impl From<&IssuedQuery> for proto::ListIssuedRequest {
    fn from(query: &IssuedQuery) -> Self {
        let query = query.clone();
        Self {
            tenant: query.tenant,
            key_set: query.key_set,
            kid: query.kid,
            caller: query.caller,
            sub: query.sub,
            issued_after: query.issued_after.map(SystemTime::into),
            issued_before: query.issued_before.map(SystemTime::into),
            page_size: query.page_size,
            page_token: query.page_token,
            count_only: query.count_only,
        }
    }
}

impl From<proto::ListIssuedResponse> for IssuedPage {
    fn from(wire: proto::ListIssuedResponse) -> Self {
        let count = |wire: proto::IssuedCount| IssuedCount {
            key_set: wire.key_set,
            kid: wire.kid,
            count: wire.count,
        };
        let behind = |wire: proto::IssuedBehind| IssuedBehind {
            subscriber: wire.subscriber,
            complete_until: wire.complete_until.map(time_from_wire),
        };
        Self {
            entries: wire.entries.into_iter().map(IssuedEntry::from).collect(),
            next_page_token: wire.next_page_token,
            counts: wire.counts.into_iter().map(count).collect(),
            total_count: wire.total_count,
            count_capped: wire.count_capped,
            complete_until: wire.complete_until.map(time_from_wire),
            behind: wire.behind.into_iter().map(behind).collect(),
            unrecorded: wire.unrecorded,
            store: wire.store,
        }
    }
}

impl From<proto::IssuedEntry> for IssuedEntry {
    fn from(wire: proto::IssuedEntry) -> Self {
        Self {
            id: wire.id,
            issued_at: wire.issued_at.map(time_from_wire),
            tenant: wire.tenant,
            key_set: wire.key_set,
            kid: wire.kid,
            caller: wire.caller,
            jti: wire.jti,
            subject: wire.subject,
            expires_at: wire.expires_at.map(time_from_wire),
        }
    }
}
