//! `crypto.jwks.v1.JwksService`.

use std::sync::Arc;

use crypto_proto::jwks::v1 as proto;
use proto::jwks_service_server::JwksService;
use service_kit::grants::Operation;
use service_kit::shutdown::Shutdown;
use tokio::sync::Semaphore;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::fields::Fields;
use super::status;
use super::watch::Follower;
use crate::refusal::Refusal;
use crate::usecase::{DataPlane, JwksQuery};

/// One answer is 4 MiB at most; the rest is for the other fields.
const LARGEST_DOCUMENT: usize = 4 * 1024 * 1024 - 1024;

/// Revocations of one set's tokens that a client takes one by one: where it does not say, and at most. So many are one message.
const TOKENS: usize = 10_000;
const MOST_TOKENS: usize = 100_000;

/// The service over the use cases.
#[derive(Clone, Debug)]
pub(crate) struct Jwks {
    pub(crate) plane: DataPlane,
    pub(crate) shutdown: Shutdown,
    /// A place for each stream of `WatchTrust`.
    pub(crate) followers: Arc<Semaphore>,
}

#[tonic::async_trait]
impl JwksService for Jwks {
    async fn get_jwks(
        &self,
        request: Request<proto::GetJwksRequest>,
    ) -> Result<Response<proto::GetJwksResponse>, Status> {
        let caller = status::caller(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::default();
        let (tenant, issuer) = (fields.tenant(request.tenant), fields.issuer(request.issuer));
        let (tenant, issuer) = fields.finish(Some((tenant, issuer)))?;
        let answer = self.plane.jwks(
            &caller,
            JwksQuery {
                tenant: &tenant,
                issuer: &issuer,
            },
        )?;
        if answer.document.json.len() > LARGEST_DOCUMENT {
            return Err(Refusal::TooLarge(
                "the JWK Set is larger than an answer may be: name an issuer",
            )
            .into());
        }
        let jwks_json = std::str::from_utf8(&answer.document.json)
            .unwrap_or_default()
            .to_owned();
        Ok(Response::new(proto::GetJwksResponse {
            jwks_json,
            etag: answer.document.etag.clone(),
            max_age: prost_types::Duration::try_from(answer.max_age).ok(),
        }))
    }

    async fn watch_trust(
        &self,
        request: Request<proto::WatchTrustRequest>,
    ) -> Result<Response<BoxStream<proto::WatchTrustResponse>>, Status> {
        let caller = status::caller(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::default();
        let tenant = fields.tenant(request.tenant);
        let key_sets = fields.key_sets("key_sets", request.key_sets);
        let max_tokens = max_tokens(&mut fields, request.max_token_revocations);
        let (tenant, key_sets) = fields.finish(Some((tenant, key_sets)))?;
        self.plane
            .access()
            .require_all(&caller, Operation::Verify, &tenant, &key_sets)
            .map_err(Refusal::from)?;
        self.plane.demand_sign_sets(&tenant, &key_sets)?;
        let place = Arc::clone(&self.followers)
            .try_acquire_owned()
            .map_err(|_all_taken| Refusal::Overloaded { retry_in: None })?;
        let follower = Follower::new(self.plane.clone(), caller, tenant, key_sets, max_tokens);
        let events = follower.follow(place, self.shutdown.clone());
        Ok(Response::new(Box::pin(events)))
    }
}

fn max_tokens(fields: &mut Fields, asked: u32) -> usize {
    match usize::try_from(asked) {
        Ok(0) => TOKENS,
        Ok(asked) if asked <= MOST_TOKENS => asked,
        _ => {
            fields.violation("max_token_revocations", "must be at most 100000");
            TOKENS
        }
    }
}
