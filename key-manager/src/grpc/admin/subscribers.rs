//! `ListSubscribers` and `EvictSubscriber`.
//!
//! Instances have no owner below the tenant, as issuers have none: who administers some key set in each tenant that an instance is fed sees it.

use crypto_proto::keys::v1 as proto;
use service_kit::{grants::Operation, identity::Caller};

use super::{Admin, not_granted, page};
use crate::{
    grpc::{encode, fields::Fields, status::Failure, trail::Trail},
    vault::Instance,
};

/// The longest name of an instance: an identity and its nonce.
const MAX_NAME: usize = 2_048;

impl Admin {
    pub(super) fn list_instances(
        &self,
        caller: &Caller,
        message: &proto::ListSubscribersRequest,
    ) -> Result<proto::ListSubscribersResponse, Failure> {
        let mut fields = Fields::default();
        let (size, after) = page(&mut fields, message.page_size, &message.page_token);
        let after = fields.finish(after)?;
        self.administers_something(caller)?;
        let now = self.lifecycle.now();
        let instances = self.lifecycle.vault().instances();
        let mut behind = instances.iter().filter(|instance| {
            instance.subscriber.name > after
                && self.sees(caller, instance)
                && (!message.live_only || instance.subscriber.is_live(now))
        });
        let subscribers: Vec<_> = behind
            .by_ref()
            .take(size)
            .map(|instance| self.shown(instance))
            .collect();
        let more = behind.next().is_some();
        let last = subscribers.last().filter(|_| more);
        Ok(proto::ListSubscribersResponse {
            next_page_token: last
                .map(|last| jose::base64url::encode(&last.name))
                .unwrap_or_default(),
            subscribers,
        })
    }

    pub(super) async fn evict(
        &self,
        caller: &Caller,
        message: proto::EvictSubscriberRequest,
        trail: &Trail,
    ) -> Result<proto::EvictSubscriberResponse, Failure> {
        let mut fields = Fields::default();
        if message.subscriber.is_empty() || message.subscriber.len() > MAX_NAME {
            fields.wrong("subscriber", "must be the name that ListSubscribers gives");
        }
        fields.finish(())?;
        self.administers_something(caller)?;
        let known = self.lifecycle.vault().instance(&message.subscriber);
        known
            .filter(|instance| self.sees(caller, instance))
            .ok_or(Failure::NoSubscriber)?;
        trail.begin().await?;
        let evicted = self.lifecycle.evict(&message.subscriber, message.force);
        let evicted = evicted.await?.ok_or(Failure::NoSubscriber)?;
        let may_have_broken = evicted.was_live.then(|| {
            "If the instance is alive, it signs and verifies with what it holds until its lease ends: it may lack keys that are promoted meanwhile, and accept keys that are revoked.".to_owned()
        });
        Ok(proto::EvictSubscriberResponse {
            subscriber: Some(self.shown(&evicted.instance)),
            may_have_broken: may_have_broken
                .filter(|_| message.force)
                .into_iter()
                .collect(),
        })
    }

    /// Before anything is looked up.
    pub(super) fn administers_something(&self, caller: &Caller) -> Result<(), Failure> {
        let policy = self.policy.current();
        match policy.tenants(caller, Operation::Administer).is_empty() {
            true => Err(not_granted(caller, "*", "*")),
            false => Ok(()),
        }
    }

    pub(super) fn sees(&self, caller: &Caller, instance: &Instance) -> bool {
        let policy = self.policy.current();
        let administers = |tenant: &str| policy.allows_any(caller, Operation::Administer, tenant);
        !instance.scope.is_empty() && instance.scope.tenants().all(administers)
    }

    fn shown(&self, instance: &Instance) -> proto::Subscriber {
        let now = self.lifecycle.now();
        let connected = self.lifecycle.is_connected(&instance.subscriber.name);
        encode::subscriber(instance, now, connected)
    }
}
