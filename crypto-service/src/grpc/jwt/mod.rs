//! `crypto.jwt.v1.JwtService`.

mod batch;
mod sign;
mod stream;
mod verify;

use crypto_proto::jwt::v1 as proto;
use proto::jwt_service_server::JwtService;
use service_kit::layers::Deadline;
use service_kit::shutdown::Shutdown;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::batch::Arrival;
use super::stream::serve;
use super::{status, verify_batch};
use crate::usecase::DataPlane;
use sign::{expires_at, sign_request, sign_response, sign_then_encrypt_command};
use verify::{decrypt_then_verify_command, nested_rejected, verify_command};
pub(super) use verify::{demands, rejected, valid};

/// The service over the use cases.
#[derive(Clone, Debug)]
pub(crate) struct Jwt {
    pub(crate) plane: DataPlane,
    /// Ends the streams.
    pub(crate) shutdown: Shutdown,
}

#[tonic::async_trait]
impl JwtService for Jwt {
    async fn sign(
        &self,
        request: Request<proto::SignRequest>,
    ) -> Result<Response<proto::SignResponse>, Status> {
        let caller = status::caller(&request)?;
        let deadline = Deadline::of(&request).map(Deadline::instant);
        let command = sign_request(request.into_inner())?;
        let signed = self.plane.sign(&caller, command, deadline).await?;
        Ok(Response::new(sign_response(signed)))
    }

    async fn verify(
        &self,
        request: Request<proto::VerifyRequest>,
    ) -> Result<Response<proto::VerifyResponse>, Status> {
        let caller = status::caller(&request)?;
        let deadline = Deadline::of(&request).map(Deadline::instant);
        let command = verify_command(request.into_inner())?;
        let verdict = match self.plane.verify(&caller, command, deadline).await? {
            Ok(claims) => proto::verify_response::Verdict::Valid(valid(claims)),
            Err(reason) => proto::verify_response::Verdict::Rejected(rejected(reason)),
        };
        Ok(Response::new(proto::VerifyResponse {
            verdict: Some(verdict),
        }))
    }

    async fn verify_batch(
        &self,
        request: Request<proto::VerifyBatchRequest>,
    ) -> Result<Response<proto::VerifyBatchResponse>, Status> {
        let caller = status::caller(&request)?;
        verify_batch::answer(&self.plane, &caller, request).await
    }

    async fn verify_stream(
        &self,
        request: Request<Streaming<proto::VerifyStreamRequest>>,
    ) -> Result<Response<BoxStream<proto::VerifyStreamResponse>>, Status> {
        let caller = status::caller(&request)?;
        let work = verify_batch::Verifying::new(self.plane.clone(), caller);
        let answers = serve(request.into_inner(), work, &self.shutdown);
        Ok(Response::new(answers))
    }

    async fn sign_then_encrypt(
        &self,
        request: Request<proto::SignThenEncryptRequest>,
    ) -> Result<Response<proto::SignThenEncryptResponse>, Status> {
        let caller = status::caller(&request)?;
        let deadline = Deadline::of(&request).map(Deadline::instant);
        let command = sign_then_encrypt_command(request.into_inner())?;
        let nested = self
            .plane
            .sign_then_encrypt(&caller, command, deadline)
            .await?;
        Ok(Response::new(proto::SignThenEncryptResponse {
            token: nested.outer.token,
            kid: nested.inner.kid.to_string(),
            expires_at: expires_at(&nested.inner),
            jti: nested.inner.jti.unwrap_or_default(),
            encryption_kid: nested.outer.kid.unwrap_or_default(),
        }))
    }

    async fn decrypt_then_verify(
        &self,
        request: Request<proto::DecryptThenVerifyRequest>,
    ) -> Result<Response<proto::DecryptThenVerifyResponse>, Status> {
        let caller = status::caller(&request)?;
        let deadline = Deadline::of(&request).map(Deadline::instant);
        let command = decrypt_then_verify_command(request.into_inner())?;
        let verdict = match self
            .plane
            .decrypt_then_verify(&caller, command, deadline)
            .await?
        {
            Ok(claims) => proto::decrypt_then_verify_response::Verdict::Valid(valid(claims)),
            Err(reason) => {
                proto::decrypt_then_verify_response::Verdict::Rejected(nested_rejected(reason))
            }
        };
        Ok(Response::new(proto::DecryptThenVerifyResponse {
            verdict: Some(verdict),
        }))
    }

    async fn sign_batch(
        &self,
        request: Request<proto::SignBatchRequest>,
    ) -> Result<Response<proto::SignBatchResponse>, Status> {
        let caller = status::caller(&request)?;
        let arrival = Arrival::of(&request);
        let answer = batch::sign_batch(&self.plane, &caller, arrival, request.into_inner());
        Ok(Response::new(answer.await?))
    }

    async fn sign_stream(
        &self,
        request: Request<Streaming<proto::SignStreamRequest>>,
    ) -> Result<Response<BoxStream<proto::SignStreamResponse>>, Status> {
        let caller = status::caller(&request)?;
        let plane = self.plane.clone();
        let work = stream::SignWork { plane, caller };
        let answers = serve(request.into_inner(), work, &self.shutdown);
        Ok(Response::new(answers))
    }
}
