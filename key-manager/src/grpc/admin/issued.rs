//! `ListIssued`.

use crypto_proto::keys::v1 as proto;
use service_kit::{grants::Operation, identity::Caller};

use super::{Admin, not_granted, page};
use crate::{
    grpc::{fields::Fields, issued, status::Failure},
    issued::Query,
    vault::SetName,
};

/// The longest name of a caller, and the longest subject that can be asked for.
const MAX_CALLER: usize = 2_048;
const MAX_SUB: usize = 4_096;

impl Admin {
    pub(super) async fn list_issued(
        &self,
        caller: &Caller,
        message: proto::ListIssuedRequest,
    ) -> Result<proto::ListIssuedResponse, Failure> {
        let mut fields = Fields::default();
        let query = query(&mut fields, message);
        let query = fields.finish(query)?;
        self.may_list(caller, &query)?;
        let issued = self.lifecycle.issued().ok_or_else(no_records)?;
        let (policy, asking) = (self.policy.current(), caller.clone());
        let (tenant, caller) = (query.tenant.clone(), asking.clone());
        let visible =
            move |key_set: &str| policy.allows(&caller, Operation::Administer, &tenant, key_set);
        let mut listed = issued.list(query, visible).await?;
        for behind in &mut listed.behind {
            if !self.may_name(&asking, &behind.subscriber) {
                behind.subscriber.clear();
            }
        }
        Ok(issued::page(listed))
    }

    /// Of one key set, or of whatever the caller administers in the tenant.
    fn may_list(&self, caller: &Caller, query: &Query) -> Result<(), Failure> {
        if query.key_set.is_empty() {
            let policy = self.policy.current();
            return match policy.allows_any(caller, Operation::Administer, &query.tenant) {
                true => Ok(()),
                false => Err(not_granted(caller, &query.tenant, "*")),
            };
        }
        let name = SetName::new(query.tenant.as_str(), query.key_set.as_str());
        self.grant(caller, &name)?;
        match self.lifecycle.vault().get(&name) {
            Some(_) => Ok(()),
            None => Err(Failure::NotFound),
        }
    }

    /// Instances of other tenants are nobody's business. One that is forgotten by now is named: only its records are left.
    fn may_name(&self, caller: &Caller, subscriber: &str) -> bool {
        let known = self.lifecycle.vault().instance(subscriber);
        known.is_none_or(|instance| self.sees(caller, &instance))
    }

    /// A set whose tokens are to be recorded wants a key-manager that keeps the records.
    pub(super) fn can_record(&self, wanted: bool) -> Result<(), Failure> {
        if !wanted || self.lifecycle.issued().is_some() {
            return Ok(());
        }
        let problem = "this key-manager keeps no records: its settings have no issued.path";
        Err(Failure::field("key_set.profile.record_issued", problem))
    }
}

fn no_records() -> Failure {
    Failure::NotReady(
        "this key-manager keeps no records of issued tokens: its settings have no issued.path"
            .to_owned(),
    )
}

fn query(fields: &mut Fields, message: proto::ListIssuedRequest) -> Query {
    let (limit, token) = page(fields, message.page_size, &message.page_token);
    let after = issued::place(fields, &token);
    let tenant = fields.tenant("tenant", &message.tenant);
    if !message.key_set.is_empty() {
        fields.set_name("key_set", &message.key_set);
    }
    if !message.kid.is_empty() && !jose::key::is_kid(&message.kid) {
        fields.wrong("kid", "must be 1 to 128 printable ASCII characters");
    }
    if message.caller.len() > MAX_CALLER {
        fields.wrong("caller", "must be at most 2048 bytes");
    }
    if message.sub.len() > MAX_SUB {
        fields.wrong("sub", "must be at most 4096 bytes");
    }
    Query {
        tenant,
        key_set: message.key_set,
        kid: message.kid,
        caller: message.caller,
        sub: message.sub,
        from: fields.time("issued_after", message.issued_after),
        until: fields.time("issued_before", message.issued_before),
        limit: if message.count_only { 0 } else { limit },
        after,
    }
}
