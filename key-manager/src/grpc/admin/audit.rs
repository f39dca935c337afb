//! `QueryAudit`.

use audit_log::{Act, Outcome};
use crypto_proto::keys::v1 as proto;
use keyring::Time;
use service_kit::{grants::Operation, identity::Caller};

use super::{Admin, page};
use crate::{
    audit::{Cursor, Query},
    grpc::{encode, fields::Fields, status::Failure, trail::Trail},
};

impl Admin {
    pub(super) fn trail(&self, caller: &Caller, act: &str) -> Trail {
        Trail::new(self.lifecycle.audit(), caller, act)
    }

    pub(super) async fn query(
        &self,
        caller: &Caller,
        message: proto::QueryAuditRequest,
    ) -> Result<proto::QueryAuditResponse, Failure> {
        let mut fields = Fields::default();
        let query = query(&mut fields, message);
        let query = fields.finish(query)?;
        self.administers_something(caller)?;
        let Some(audit) = self.lifecycle.audit() else {
            return Err(Failure::NotReady("there is no audit log".to_owned()));
        };
        let (policy, caller) = (self.policy.current(), caller.clone());
        let visible = move |act: &Act| match (act.tenant.as_str(), act.key_set.as_str()) {
            ("", _) => true,
            (tenant, "") => policy.allows_any(&caller, Operation::Administer, tenant),
            (tenant, set) => policy.allows(&caller, Operation::Administer, tenant, set),
        };
        let page = audit.query(query, visible).await?;
        let checkpoints = audit.checkpoints().await?;
        Ok(proto::QueryAuditResponse {
            entries: page.entries.into_iter().map(entry).collect(),
            next_page_token: page.next.map(token).unwrap_or_default(),
            checkpoints: checkpoints
                .into_iter()
                .map(|anchor| proto::AuditCheckpoint {
                    chain: anchor.statement.chain,
                    seq: anchor.statement.seq,
                    jws: anchor.jws,
                })
                .collect(),
            public_jwk: audit.public_jwk().to_owned(),
        })
    }
}

fn query(fields: &mut Fields, message: proto::QueryAuditRequest) -> Query {
    let (limit, token) = page(fields, message.page_size, &message.page_token);
    let cursor = cursor(&token);
    if cursor.is_none() && !token.is_empty() {
        fields.wrong("page_token", "must be empty, or that of the answer before");
    }
    let outcome = match proto::AuditOutcome::try_from(message.outcome) {
        Ok(proto::AuditOutcome::Unspecified) => None,
        Ok(proto::AuditOutcome::Begun) => Some(Outcome::Begun),
        Ok(proto::AuditOutcome::Done) => Some(Outcome::Done),
        Ok(proto::AuditOutcome::Refused) => Some(Outcome::Refused),
        Ok(proto::AuditOutcome::Failed) => Some(Outcome::Failed),
        Ok(proto::AuditOutcome::Read) => Some(Outcome::Read),
        Err(_) => {
            fields.wrong("outcome", "must be BEGUN, DONE, REFUSED, FAILED or READ");
            None
        }
    };
    let from = fields.time("from", message.from).map(Time::as_millis);
    let until = fields.time("until", message.until).map(Time::as_millis);
    Query {
        tenant: message.tenant,
        key_set: message.key_set,
        caller: message.caller,
        act: message.act,
        outcome,
        from,
        until,
        limit,
        cursor,
    }
}

fn cursor(token: &str) -> Option<Cursor> {
    let (file, offset) = token.split_once('|')?;
    let offset = offset.parse().ok()?;
    audit_log::parse_file_name(file)?;
    Some(Cursor {
        file: file.to_owned(),
        offset,
    })
}

fn token(cursor: Cursor) -> String {
    jose::base64url::encode(format!("{}|{}", cursor.file, cursor.offset))
}

fn entry((chain, seq, at, act): (String, u64, u64, Act)) -> proto::AuditEntry {
    let outcome = match act.outcome {
        Outcome::Begun => proto::AuditOutcome::Begun,
        Outcome::Done => proto::AuditOutcome::Done,
        Outcome::Refused => proto::AuditOutcome::Refused,
        Outcome::Failed => proto::AuditOutcome::Failed,
        Outcome::Read => proto::AuditOutcome::Read,
    };
    proto::AuditEntry {
        chain,
        seq,
        at: Some(encode::timestamp(Time::from_millis(at))),
        caller: act.caller,
        act: act.act,
        tenant: act.tenant,
        key_set: act.key_set,
        subject: act.subject,
        request_id: act.request_id,
        force: act.force,
        outcome: i32::from(outcome),
        reason: act.reason,
        fields: act.fields,
        of: act.of,
    }
}
