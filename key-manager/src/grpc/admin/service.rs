//! The rpcs: each with its trail in the audit log. Whatever changes something runs to its end, also when the caller has gone.

use std::sync::Arc;

use crypto_proto::keys::v1::{self as proto, key_admin_service_server::KeyAdminService};
use tonic::{Request, Response, Status, Streaming, codegen::BoxStream};
use tracing::Instrument as _;

use super::{Admin, caller};
use crate::grpc::{status::Failure, trail::Trail};

impl Admin {
    /// Runs a call that changes something, and records what came of it.
    async fn run<T: Send + 'static, F>(
        &self,
        trail: Trail,
        work: impl FnOnce(Self, Arc<Trail>) -> F,
    ) -> Result<Response<T>, Status>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let trail = Arc::new(trail);
        let work = work(self.clone(), Arc::clone(&trail));
        let recorded = async move {
            let result = work.await;
            trail.end(result).await
        };
        match tokio::spawn(recorded.in_current_span()).await {
            Ok(result) => Ok(Response::new(result?)),
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_ended) => Err(Failure::NotReady("the key-manager ends".to_owned()).into()),
            },
        }
    }
}

#[tonic::async_trait]
impl KeyAdminService for Admin {
    async fn create_key_set(
        &self,
        request: Request<proto::CreateKeySetRequest>,
    ) -> Result<Response<proto::CreateKeySetResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let (tenant, name) = message
            .key_set
            .as_ref()
            .map_or(("", ""), |set| (set.tenant.as_str(), set.name.as_str()));
        let trail = self
            .trail(&caller, "CreateKeySet")
            .on(tenant, name)
            .request(&message.request_id);
        self.run(trail, |this, trail| async move {
            this.create(&caller, message, &trail).await
        })
        .await
    }

    async fn get_key_set(
        &self,
        request: Request<proto::GetKeySetRequest>,
    ) -> Result<Response<proto::GetKeySetResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.get_ref();
        let trail = self
            .trail(&caller, "GetKeySet")
            .on(&message.tenant, &message.key_set);
        let shown = trail.end(self.get(&caller, message)).await?;
        Ok(Response::new(shown))
    }

    async fn list_key_sets(
        &self,
        request: Request<proto::ListKeySetsRequest>,
    ) -> Result<Response<proto::ListKeySetsResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.get_ref();
        let trail = self.trail(&caller, "ListKeySets").on(&message.tenant, "");
        let listed = trail.end(self.list(&caller, message)).await?;
        Ok(Response::new(listed))
    }

    async fn update_key_set(
        &self,
        request: Request<proto::UpdateKeySetRequest>,
    ) -> Result<Response<proto::UpdateKeySetResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let (tenant, name) = message
            .key_set
            .as_ref()
            .map_or(("", ""), |set| (set.tenant.as_str(), set.name.as_str()));
        let trail = self
            .trail(&caller, "UpdateKeySet")
            .on(tenant, name)
            .request(&message.request_id);
        self.run(trail, |this, trail| async move {
            this.update(&caller, message, &trail).await
        })
        .await
    }

    async fn rotate_key_set(
        &self,
        request: Request<proto::RotateKeySetRequest>,
    ) -> Result<Response<proto::RotateKeySetResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let trail = self
            .trail(&caller, "RotateKeySet")
            .on(&message.tenant, &message.key_set)
            .request(&message.request_id)
            .force(message.force);
        self.run(trail, |this, trail| async move {
            this.rotate(&caller, message, &trail).await
        })
        .await
    }

    async fn import_key(
        &self,
        request: Request<proto::ImportKeyRequest>,
    ) -> Result<Response<proto::ImportKeyResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let trail = self
            .trail(&caller, "ImportKey")
            .on(&message.tenant, &message.key_set)
            .request(&message.request_id)
            .force(message.force);
        self.run(trail, |this, trail| async move {
            this.import(&caller, message, &trail).await
        })
        .await
    }

    async fn revoke_key(
        &self,
        request: Request<proto::RevokeKeyRequest>,
    ) -> Result<Response<proto::RevokeKeyResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let trail = self
            .trail(&caller, "RevokeKey")
            .on(&message.tenant, &message.key_set)
            .about(&message.kid)
            .request(&message.request_id);
        self.run(trail, |this, trail| async move {
            this.revoke(&caller, message, &trail).await
        })
        .await
    }

    async fn destroy_key(
        &self,
        request: Request<proto::DestroyKeyRequest>,
    ) -> Result<Response<proto::DestroyKeyResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let act = if message.cancel {
            "DestroyKey/cancel"
        } else {
            "DestroyKey"
        };
        let trail = self
            .trail(&caller, act)
            .on(&message.tenant, &message.key_set)
            .about(&message.kid)
            .request(&message.request_id);
        self.run(trail, |this, trail| async move {
            this.destroy(&caller, message, &trail).await
        })
        .await
    }

    async fn list_subscribers(
        &self,
        request: Request<proto::ListSubscribersRequest>,
    ) -> Result<Response<proto::ListSubscribersResponse>, Status> {
        let caller = caller(&request)?;
        let trail = self.trail(&caller, "ListSubscribers");
        let listed = self.list_instances(&caller, request.get_ref());
        Ok(Response::new(trail.end(listed).await?))
    }

    async fn evict_subscriber(
        &self,
        request: Request<proto::EvictSubscriberRequest>,
    ) -> Result<Response<proto::EvictSubscriberResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let trail = self
            .trail(&caller, "EvictSubscriber")
            .about(&message.subscriber)
            .force(message.force);
        self.run(trail, |this, trail| async move {
            this.evict(&caller, message, &trail).await
        })
        .await
    }

    async fn rotate_data_key(
        &self,
        request: Request<proto::RotateDataKeyRequest>,
    ) -> Result<Response<proto::RotateDataKeyResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let trail = self.trail(&caller, "RotateDataKey");
        let trail = match message.root {
            true => trail.about("root"),
            false => trail.on(&message.tenant, ""),
        };
        let trail = trail.request(&message.request_id);
        self.run(trail, |this, trail| async move {
            this.rotate_data_key(&caller, message, &trail).await
        })
        .await
    }

    async fn get_sealing(
        &self,
        request: Request<proto::GetSealingRequest>,
    ) -> Result<Response<proto::GetSealingResponse>, Status> {
        let caller = caller(&request)?;
        let trail = self.trail(&caller, "GetSealing");
        let shown = self.sealing(&caller, request.get_ref()).await;
        Ok(Response::new(trail.end(shown).await?))
    }

    async fn query_audit(
        &self,
        request: Request<proto::QueryAuditRequest>,
    ) -> Result<Response<proto::QueryAuditResponse>, Status> {
        let caller = caller(&request)?;
        let trail = self.trail(&caller, "QueryAudit");
        let page = self.query(&caller, request.into_inner()).await;
        Ok(Response::new(trail.end(page).await?))
    }

    async fn list_issued(
        &self,
        request: Request<proto::ListIssuedRequest>,
    ) -> Result<Response<proto::ListIssuedResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let trail = self
            .trail(&caller, "ListIssued")
            .on(&message.tenant, &message.key_set)
            .about(&message.kid);
        let page = self.list_issued(&caller, message).await;
        Ok(Response::new(trail.end(page).await?))
    }

    async fn backup(
        &self,
        request: Request<proto::BackupRequest>,
    ) -> Result<Response<BoxStream<proto::BackupResponse>>, Status> {
        let caller = caller(&request)?;
        let trail = self.trail(&caller, "Backup");
        self.take_backup(&caller, trail).await
    }

    async fn restore(
        &self,
        request: Request<Streaming<proto::RestoreRequest>>,
    ) -> Result<Response<BoxStream<proto::RestoreResponse>>, Status> {
        let caller = caller(&request)?;
        Ok(self.receive_restore(caller, request.into_inner()))
    }
}
