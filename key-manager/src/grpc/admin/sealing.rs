//! `RotateDataKey` and `GetSealing`.
//!
//! A data key has no owner below the tenant, as instances have none: who administers some key set of a tenant rotates and sees its data
//! key. The root's is rotated by who administers some key set of every tenant.

use crypto_proto::keys::v1 as proto;
use service_kit::{grants::Operation, identity::Caller};

use super::{Admin, content, mutation, not_granted, page};
use crate::{
    grpc::{encode, fields::Fields, status::Failure, trail::Trail},
    vault::{DataKeys, Owner},
};

impl Admin {
    pub(super) async fn rotate_data_key(
        &self,
        caller: &Caller,
        message: proto::RotateDataKeyRequest,
        trail: &Trail,
    ) -> Result<proto::RotateDataKeyResponse, Failure> {
        let content = content("rotate-data-key", &message);
        let mut fields = Fields::default();
        let request_id = fields.request_id(&message.request_id);
        if message.root && !message.tenant.is_empty() {
            fields.wrong("tenant", "must be empty with root");
        }
        let tenant = fields.tenant("tenant", &message.tenant);
        let tenant = fields.finish(tenant)?;
        let owner = match message.root {
            true => Owner::Root,
            false => Owner::Tenant(tenant),
        };
        self.grant_data_key(caller, &owner)?;
        trail.begin().await?;
        let mutation = mutation(caller, request_id, content, 0);
        self.lifecycle.rotate_data_key(&owner, &mutation).await?;
        let wanted = |tenant: &str| owner == Owner::Tenant(tenant.to_owned());
        let shown = self.lifecycle.sealing(("", 1), wanted).await?;
        let rotated = match &owner {
            Owner::Root => Some(&shown.root),
            Owner::Tenant(_) => shown.tenants.first(),
        };
        Ok(proto::RotateDataKeyResponse {
            sealing: rotated.map(data_keys),
        })
    }

    pub(super) async fn sealing(
        &self,
        caller: &Caller,
        message: &proto::GetSealingRequest,
    ) -> Result<proto::GetSealingResponse, Failure> {
        let mut fields = Fields::default();
        let (size, after) = page(&mut fields, message.page_size, &message.page_token);
        if !message.tenant.is_empty() {
            fields.tenant("tenant", &message.tenant);
        }
        let after = fields.finish(after)?;
        self.administers_something(caller)?;
        let policy = self.policy.current();
        let only = &message.tenant;
        if !only.is_empty() && !policy.allows_any(caller, Operation::Administer, only) {
            return Err(not_granted(caller, only, "*"));
        }
        let wanted = |tenant: &str| {
            (only.is_empty() || tenant == only)
                && policy.allows_any(caller, Operation::Administer, tenant)
        };
        let page = (after.as_str(), size.saturating_add(1));
        let mut shown = self.lifecycle.sealing(page, wanted).await?;
        let more = shown.tenants.len() > size;
        shown.tenants.truncate(size);
        let last = shown.tenants.last().filter(|_| more);
        let keks = shown.keks;
        Ok(proto::GetSealingResponse {
            root: Some(data_keys(&shown.root)),
            next_page_token: last
                .map(|last| jose::base64url::encode(tenant(last)))
                .unwrap_or_default(),
            tenants: shown.tenants.iter().map(data_keys).collect(),
            kek_id: keks.present,
            previous_removable: keks.previous.is_some() && keks.left == 0,
            previous_kek_id: keks.previous.unwrap_or_default(),
            data_keys_left: u64::try_from(keks.left).unwrap_or(u64::MAX),
        })
    }

    /// Before anything is looked up.
    fn grant_data_key(&self, caller: &Caller, owner: &Owner) -> Result<(), Failure> {
        self.administers_something(caller)?;
        let policy = self.policy.current();
        let refused = |tenant: &str| !policy.allows_any(caller, Operation::Administer, tenant);
        let refused = match owner {
            Owner::Tenant(tenant) => Some(tenant.clone()).filter(|tenant| refused(tenant)),
            Owner::Root => {
                let tenants = self.lifecycle.vault().tenants();
                tenants.into_iter().find(|tenant| refused(tenant))
            }
        };
        match refused {
            // Whoever may not administer a tenant is not told that there is one.
            Some(_) if *owner == Owner::Root => Err(not_granted(caller, "*", "*")),
            Some(tenant) => Err(not_granted(caller, &tenant, "*")),
            None => Ok(()),
        }
    }
}

fn tenant(keys: &DataKeys) -> &str {
    match &keys.owner {
        Owner::Root => "",
        Owner::Tenant(tenant) => tenant,
    }
}

fn data_keys(keys: &DataKeys) -> proto::DataKeySealing {
    let generations = keys.generations.iter();
    proto::DataKeySealing {
        tenant: tenant(keys).to_owned(),
        generation: keys.present,
        generations: generations
            .map(|one| proto::DataKeyGeneration {
                generation: one.generation,
                records: one.records,
                keys: one.keys,
                kek_id: one.kek.clone(),
            })
            .collect(),
        left: keys.left(),
        began: keys.began.map(encode::timestamp),
        ended: keys.ended.map(encode::timestamp),
        counted_at: Some(encode::timestamp(keys.counted_at)),
    }
}
