//! The key-manager, called.

use std::time::Duration;

use client_core::{Channel, Error, Repeat};
use crypto_proto::keys::v1::key_admin_service_client::KeyAdminServiceClient;
use crypto_proto::keys::v1::{
    EvictSubscriberRequest, GetKeySetRequest, GetSealingRequest, ListKeySetsRequest,
    ListKeySetsResponse, ListSubscribersRequest,
};

use crate::audit::{AuditPage, AuditQuery};
use crate::destroy::DestroyKey;
use crate::issued::{IssuedPage, IssuedQuery};
use crate::key_set::{Described, Destruction, KeySet, Revoked, Rotated};
use crate::request::{CreateKeySet, ImportKey, RevokeKey, RotateKeySet, UpdateKeySet};
use crate::sealing::{DataKey, RotateDataKey, Sealing};
use crate::subscriber::{Evicted, Subscriber};
use crate::wire::key_set;

/// The pages of [`AdminClient::list`].
const PAGE: i32 = 100;

/// Administers key sets. Every call needs the grant `administer` on the key set. Cheap to clone.
///
/// All calls may be repeated: mutations carry a request id, and the key-manager does not act twice on one.
#[derive(Debug, Clone)]
pub struct AdminClient {
    pub(crate) channel: Channel,
}

/// An rpc; the message is made anew for each attempt, with the same request id.
macro_rules! call {
    ($self:ident.$method:ident($message:expr)) => {
        $self.channel.call(Repeat::Harmless, |attempt| {
            let request = attempt.request($message);
            async move {
                KeyAdminServiceClient::new(attempt.connection())
                    .$method(request)
                    .await
            }
        })
    };
}

impl AdminClient {
    /// Calls the key-manager over `channel`.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// The same client with another deadline for each call.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            channel: self.channel.within(deadline),
        }
    }

    /// Creates a key set and its first key, which signs after its waits, or at once by a forced rotation.
    ///
    /// # Errors
    /// ABORTED (CONFLICT) where the name is taken; else as every call.
    pub async fn create(&self, create: &CreateKeySet) -> Result<KeySet, Error> {
        let answer = call!(self.create_key_set(create.into())).await?;
        key_set(answer.key_set)
    }

    /// Shows a key set of a tenant (empty = `default`) and what its next promotion waits for.
    ///
    /// # Errors
    /// NOT_FOUND (KEY_SET_NOT_FOUND); else as every call.
    pub async fn get(&self, tenant: &str, key_set: &str) -> Result<Described, Error> {
        let request = GetKeySetRequest {
            tenant: tenant.to_owned(),
            key_set: key_set.to_owned(),
        };
        let answer = call!(self.get_key_set(request.clone())).await?;
        Described::read(answer)
    }

    /// All key sets of a tenant (empty = `default`) that the caller administers, by name. The deadline is that of each page.
    ///
    /// # Errors
    /// As every call.
    pub async fn list(&self, tenant: &str) -> Result<Vec<KeySet>, Error> {
        let mut key_sets = Vec::new();
        let mut page_token = String::new();
        loop {
            let page = self.page(tenant, &page_token).await?;
            key_sets.extend(page.key_sets.into_iter().map(KeySet::from));
            if page.next_page_token.is_empty() {
                return Ok(key_sets);
            }
            if page.next_page_token == page_token {
                return Err(Error::answer("next page: its token repeats"));
            }
            page_token = page.next_page_token;
        }
    }

    async fn page(&self, tenant: &str, token: &str) -> Result<ListKeySetsResponse, Error> {
        let request = ListKeySetsRequest {
            tenant: tenant.to_owned(),
            page_size: PAGE,
            page_token: token.to_owned(),
        };
        call!(self.list_key_sets(request.clone())).await
    }

    /// Changes a key set.
    ///
    /// # Errors
    /// ABORTED (CONFLICT) where the revision is not the expected one; else as every call.
    pub async fn update(&self, update: &UpdateKeySet) -> Result<KeySet, Error> {
        let answer = call!(self.update_key_set(update.into())).await?;
        key_set(answer.key_set)
    }

    /// Schedules the promotion of the Prepared key, or forces it. A forced rotation is answered within about 1 s.
    ///
    /// # Errors
    /// ABORTED (CONFLICT) where the revision is not the expected one; else as every call.
    pub async fn rotate(&self, rotate: &RotateKeySet) -> Result<Rotated, Error> {
        let answer = call!(self.rotate_key_set(rotate.into())).await?;
        Rotated::read(answer)
    }

    /// Imports a key from outside, and says its id.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a key that is weak, of the wrong kind or held already; else as every call.
    pub async fn import(&self, import: &ImportKey) -> Result<(KeySet, String), Error> {
        let answer = call!(self.import_key(import.into())).await?;
        Ok((key_set(answer.key_set)?, answer.kid))
    }

    /// Revokes a compromised key, and says how far that has come. It is answered within about 1 s.
    ///
    /// # Errors
    /// As every call.
    pub async fn revoke(&self, revoke: &RevokeKey) -> Result<Revoked, Error> {
        let answer = call!(self.revoke_key(revoke.into())).await?;
        Revoked::read(answer)
    }

    /// Schedules the destruction of a Retired or Revoked key, or calls it off.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a key that is in use; else as every call.
    pub async fn destroy(&self, destroy: &DestroyKey) -> Result<Destruction, Error> {
        let answer = call!(self.destroy_key(destroy.into())).await?;
        Destruction::read(answer)
    }

    /// All instances of the crypto-service that the caller may see, by name; with `live_only` those whose lease has not run out.
    ///
    /// # Errors
    /// As every call.
    pub async fn subscribers(&self, live_only: bool) -> Result<Vec<Subscriber>, Error> {
        let mut subscribers = Vec::new();
        let mut request = ListSubscribersRequest {
            page_size: PAGE,
            page_token: String::new(),
            live_only,
        };
        loop {
            let page = call!(self.list_subscribers(request.clone())).await?;
            subscribers.extend(page.subscribers.into_iter().map(Subscriber::from));
            if page.next_page_token.is_empty() {
                return Ok(subscribers);
            }
            if page.next_page_token == request.page_token {
                return Err(Error::answer("next page: its token repeats"));
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Refuses an instance further leases; with `force` its lease ends at once, which says that it is dead.
    ///
    /// # Errors
    /// NOT_FOUND (SUBSCRIBER_NOT_FOUND); else as every call.
    pub async fn evict(&self, subscriber: &str, force: bool) -> Result<Evicted, Error> {
        let request = EvictSubscriberRequest {
            subscriber: subscriber.to_owned(),
            force,
        };
        let answer = call!(self.evict_subscriber(request.clone())).await?;
        Evicted::read(answer)
    }

    /// Makes a new generation of a data key. It seals whatever is written from then on; the rest is re-sealed in the background.
    ///
    /// # Errors
    /// NOT_FOUND (TENANT_NOT_FOUND) where the tenant has no data key, RESOURCE_EXHAUSTED where re-sealing is far behind; else as every call.
    pub async fn rotate_data_key(&self, rotate: &RotateDataKey) -> Result<DataKey, Error> {
        let answer = call!(self.rotate_data_key(rotate.into())).await?;
        DataKey::read(answer.sealing)
    }

    /// How the store is sealed: the root's data key, and those of a tenant or, where it is empty, of every tenant that the caller
    /// administers.
    ///
    /// # Errors
    /// As every call.
    pub async fn sealing(&self, tenant: &str) -> Result<Sealing, Error> {
        let mut request = GetSealingRequest {
            tenant: tenant.to_owned(),
            page_size: PAGE,
            page_token: String::new(),
        };
        let mut shown: Option<Sealing> = None;
        loop {
            let page = call!(self.get_sealing(request.clone())).await?;
            let next = page.next_page_token.clone();
            let page = Sealing::read(page)?;
            let shown = match &mut shown {
                None => shown.insert(page),
                Some(shown) => {
                    shown.tenants.extend(page.tenants);
                    shown
                }
            };
            if next.is_empty() {
                return Ok(shown.clone());
            }
            if next == request.page_token {
                return Err(Error::answer("next page: its token repeats"));
            }
            request.page_token = next;
        }
    }

    /// A page of the audit log of the key-manager that answers.
    ///
    /// # Errors
    /// As every call.
    pub async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, Error> {
        let answer = call!(self.query_audit(query.into())).await?;
        Ok(answer.into())
    }

    /// A page of what key sets have issued that record it, as far as it was shipped to the key-manager that answers.
    ///
    /// # Errors
    /// UNAVAILABLE (NOT_READY) where it keeps no records; else as every call.
    pub async fn issued(&self, query: &IssuedQuery) -> Result<IssuedPage, Error> {
        let answer = call!(self.list_issued(query.into())).await?;
        Ok(answer.into())
    }
}
