//! `KeyAdminService`: decode -> grant -> record -> use case -> encode.

mod audit;
mod backup;
mod destroy;
mod import;
mod issued;
mod sealing;
mod service;
mod subscribers;

use crypto_proto::keys::v1 as proto;
use prost::Message;
use service_kit::{
    grants::{Operation, PolicyHandle},
    identity::Caller,
};
use tonic::Request;
use zeroize::Zeroizing;

pub use backup::Backups;

use super::{
    decode::{self, in_key_set, renamed},
    encode,
    fields::Fields,
    status::Failure,
    trail::Trail,
    update::{records, update},
};
use crate::{
    lifecycle::{Lifecycle, Mutation},
    vault::SetName,
};

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;

/// The service.
#[derive(Clone, Debug)]
pub struct Admin {
    lifecycle: Lifecycle,
    policy: PolicyHandle,
    backups: Backups,
}

impl Admin {
    /// A service over these use cases, for callers with the grant `administer`.
    #[must_use]
    pub fn new(lifecycle: Lifecycle, policy: PolicyHandle) -> Self {
        Self {
            lifecycle,
            policy,
            backups: Backups::default(),
        }
    }

    /// The same service, with what backups and restores need.
    #[must_use]
    pub fn with_backups(mut self, backups: Backups) -> Self {
        self.backups = backups;
        self
    }

    /// Before anything is looked up, so that nobody can probe for names.
    fn grant(&self, caller: &Caller, name: &SetName) -> Result<(), Failure> {
        match self
            .policy
            .current()
            .allows(caller, Operation::Administer, &name.tenant, &name.name)
        {
            true => Ok(()),
            false => Err(not_granted(caller, &name.tenant, &name.name)),
        }
    }

    async fn create(
        &self,
        caller: &Caller,
        message: proto::CreateKeySetRequest,
        trail: &Trail,
    ) -> Result<proto::CreateKeySetResponse, Failure> {
        let content = content("create", &message);
        let mut fields = Fields::default();
        let request_id = fields.request_id(&message.request_id);
        let new = decode::new_key_set(&mut fields, message.key_set);
        let Some(new) = fields.finish(new)? else {
            return Err(Failure::field("key_set", "is required"));
        };
        self.grant(
            caller,
            &SetName::new(new.tenant.as_str(), new.name.as_str()),
        )?;
        self.can_record(new.profile.record_issued)?;
        trail.begin().await?;
        let mutation = mutation(caller, request_id, content, 0);
        let entry = self
            .lifecycle
            .create(new, &mutation)
            .await
            .map_err(|error| renamed(error.into(), in_key_set))?;
        Ok(proto::CreateKeySetResponse {
            key_set: Some(encode::key_set(&entry)),
        })
    }

    fn get(
        &self,
        caller: &Caller,
        message: &proto::GetKeySetRequest,
    ) -> Result<proto::GetKeySetResponse, Failure> {
        let mut fields = Fields::default();
        let name = fields.key_set(&message.tenant, &message.key_set);
        let name = fields.finish(name)?;
        self.grant(caller, &name)?;
        let shown = self.lifecycle.show(&name)?;
        let holding = shown
            .holding
            .as_deref()
            .map_or_else(encode::not_due, encode::holdings);
        Ok(proto::GetKeySetResponse {
            key_set: Some(encode::key_set(&shown.entry)),
            holding,
        })
    }

    fn list(
        &self,
        caller: &Caller,
        message: &proto::ListKeySetsRequest,
    ) -> Result<proto::ListKeySetsResponse, Failure> {
        let mut fields = Fields::default();
        let tenant = fields.tenant("tenant", &message.tenant);
        let (size, after) = page(&mut fields, message.page_size, &message.page_token);
        let after = fields.finish(after)?;
        let policy = self.policy.current();
        if !policy.allows_any(caller, Operation::Administer, &tenant) {
            return Err(not_granted(caller, &tenant, "*"));
        }
        let granted = policy.matcher(caller, Operation::Administer, &tenant);
        let mut page =
            self.lifecycle
                .vault()
                .page(&tenant, &after, size.saturating_add(1), |name| {
                    granted.matches(&name.name)
                });
        let more = page.len() > size;
        page.truncate(size);
        let last = page.last().filter(|_| more);
        let next_page_token = last
            .map(|entry| jose::base64url::encode(&entry.set.name))
            .unwrap_or_default();
        Ok(proto::ListKeySetsResponse {
            key_sets: page.iter().map(|entry| encode::key_set(entry)).collect(),
            next_page_token,
        })
    }

    async fn update(
        &self,
        caller: &Caller,
        message: proto::UpdateKeySetRequest,
        trail: &Trail,
    ) -> Result<proto::UpdateKeySetResponse, Failure> {
        let content = content("update", &message);
        let mut fields = Fields::default();
        let request_id = fields.request_id(&message.request_id);
        let set = message.key_set.unwrap_or_default();
        let tenant = fields.tenant("key_set.tenant", &set.tenant);
        let name = SetName::new(tenant, fields.set_name("key_set.name", &set.name));
        let update = update(&mut fields, &set, message.update_mask.as_ref());
        let update = fields.finish(update)?;
        self.grant(caller, &name)?;
        self.can_record(records(&set, message.update_mask.as_ref()))?;
        trail.begin().await?;
        let mutation = mutation(caller, request_id, content, message.expected_revision);
        let entry = self
            .lifecycle
            .update(&name, update, &mutation)
            .await
            .map_err(|error| renamed(error.into(), in_key_set))?;
        Ok(proto::UpdateKeySetResponse {
            key_set: Some(encode::key_set(&entry)),
        })
    }

    async fn rotate(
        &self,
        caller: &Caller,
        message: proto::RotateKeySetRequest,
        trail: &Trail,
    ) -> Result<proto::RotateKeySetResponse, Failure> {
        let content = content("rotate", &message);
        let mut fields = Fields::default();
        let request_id = fields.request_id(&message.request_id);
        let name = fields.key_set(&message.tenant, &message.key_set);
        let name = fields.finish(name)?;
        self.grant(caller, &name)?;
        trail.begin().await?;
        let mutation = mutation(caller, request_id, content, message.expected_revision);
        let rotated = self
            .lifecycle
            .rotate(&name, message.force, &mutation)
            .await?;
        Ok(proto::RotateKeySetResponse {
            key_set: Some(encode::key_set(&rotated.entry)),
            holding: encode::holdings(&rotated.holding),
            stragglers: rotated.stragglers,
            may_have_broken: encode::may_have_broken(&rotated.skipped),
        })
    }

    async fn revoke(
        &self,
        caller: &Caller,
        message: proto::RevokeKeyRequest,
        trail: &Trail,
    ) -> Result<proto::RevokeKeyResponse, Failure> {
        let content = content("revoke", &message);
        let mut fields = Fields::default();
        let request_id = fields.request_id(&message.request_id);
        let name = fields.key_set(&message.tenant, &message.key_set);
        if !jose::key::is_kid(&message.kid) {
            fields.wrong("kid", "must be 1 to 128 printable ASCII characters");
        }
        let name = fields.finish(name)?;
        self.grant(caller, &name)?;
        trail.begin().await?;
        let mutation = mutation(caller, request_id, content, message.expected_revision);
        let revoked = self
            .lifecycle
            .revoke(&name, &message.kid, &mutation)
            .await?;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(proto::RevokeKeyResponse {
            key_set: Some(encode::key_set(&revoked.entry)),
            acked: count(revoked.progress.acked),
            total: count(revoked.progress.total),
            stragglers: revoked.progress.stragglers,
            elapsed: prost_types::Duration::try_from(revoked.elapsed).ok(),
        })
    }
}

/// The size of a page, and where it begins.
fn page(fields: &mut Fields, size: i32, token: &str) -> (usize, String) {
    let size = match usize::try_from(size) {
        Ok(0) => DEFAULT_PAGE,
        Ok(size) if size <= MAX_PAGE => size,
        _ => {
            fields.wrong("page_size", "must be 0 to 1000");
            0
        }
    };
    let after = jose::base64url::decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    if after.is_none() {
        fields.wrong("page_token", "must be empty, or that of the answer before");
    }
    (size, after.unwrap_or_default())
}

fn not_granted(caller: &Caller, tenant: &str, key_set: &str) -> Failure {
    Failure::NotGranted(format!(
        "{caller} has no grant `administer` on {tenant}/{key_set}"
    ))
}

pub(super) fn mutation(
    caller: &Caller,
    request_id: String,
    content: Zeroizing<Vec<u8>>,
    expected_revision: u64,
) -> Mutation {
    Mutation {
        caller: caller.name().to_owned(),
        request_id,
        content,
        expected_revision,
    }
}

/// The whole request under the name of its rpc. Sized once: growing would leave copies of an imported key behind.
pub(super) fn content(rpc: &str, message: &impl Message) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(rpc.len() + message.encoded_len() + 16));
    bytes.extend_from_slice(rpc.as_bytes());
    // A Vec takes whatever is encoded into it.
    let _always = message.encode(&mut *bytes);
    bytes
}

pub(super) fn caller<T>(request: &Request<T>) -> Result<Caller, Failure> {
    Ok(Caller::of(request)?.clone())
}
