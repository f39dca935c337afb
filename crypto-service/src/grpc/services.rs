//! Which service a call goes to.
//!
//! tonic's routes are axum's: a look-up by pattern, a box around each body and each future. The two services that carry
//! the load are told by the first part of their path; everything else goes that way.

use std::convert::Infallible;
use std::task::{Context, Poll};

use crypto_proto::jwe::v1::jwe_service_server::{JweServiceServer, SERVICE_NAME as JWE};
use crypto_proto::jwt::v1::jwt_service_server::{JwtServiceServer, SERVICE_NAME as JWT};
use service_kit::layers::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::service::Routes;

use super::jwe::Jwe;
use super::jwt::Jwt;

/// Every service.
#[derive(Clone, Debug)]
pub(super) struct Services {
    pub(super) jwt: JwtServiceServer<Jwt>,
    pub(super) jwe: JweServiceServer<Jwe>,
    pub(super) others: Routes,
}

impl Service<Request> for Services {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<Response, Infallible>;

    /// None of them makes a caller wait here: what is too much has been refused in the layers.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match service(request.uri().path()) {
            JWT => self.jwt.call(request),
            JWE => self.jwe.call(request),
            _ => Box::pin(Service::call(&mut self.others, request)),
        }
    }
}

/// `package.Service` of `/package.Service/Method`.
fn service(path: &str) -> &str {
    let named = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    named.map_or("", |(service, _method)| service)
}
