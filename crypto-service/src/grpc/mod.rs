//! The edge: one file per service, each decode -> use case -> encode. Proto types end here.

mod batch;
mod fields;
mod jwe;
mod jwe_batch;
mod jwks;
mod jwt;
mod limit;
mod places;
mod services;
mod status;
mod stream;
mod structure;
mod verify_batch;
mod watch;

use std::sync::Arc;

use crypto_proto::FILE_DESCRIPTOR_SET;
use crypto_proto::jwe::v1::jwe_service_server::JweServiceServer;
use crypto_proto::jwks::v1::jwks_service_server::JwksServiceServer;
use crypto_proto::jwt::v1::jwt_service_server::JwtServiceServer;
use service_kit::layers::{GrpcService, Refusals};
use service_kit::shutdown::Shutdown;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};

pub use status::DOMAIN;

use self::services::Services;
use crate::refusal::Refusal;
use crate::usecase::DataPlane;

/// One request, whatever the rpc.
const LARGEST_REQUEST: usize = 1024 * 1024;
/// One answer.
const LARGEST_ANSWER: usize = 4 * 1024 * 1024;

/// The rpcs, by their full names, for metrics.
pub(crate) const RPCS: [&str; 14] = [
    "crypto.jwt.v1.JwtService/Sign",
    "crypto.jwt.v1.JwtService/Verify",
    "crypto.jwt.v1.JwtService/SignThenEncrypt",
    "crypto.jwt.v1.JwtService/DecryptThenVerify",
    "crypto.jwt.v1.JwtService/SignBatch",
    "crypto.jwt.v1.JwtService/VerifyBatch",
    "crypto.jwt.v1.JwtService/SignStream",
    "crypto.jwt.v1.JwtService/VerifyStream",
    "crypto.jwe.v1.JweService/Encrypt",
    "crypto.jwe.v1.JweService/Decrypt",
    "crypto.jwe.v1.JweService/EncryptBatch",
    "crypto.jwe.v1.JweService/DecryptBatch",
    "crypto.jwks.v1.JwksService/GetJwks",
    "crypto.jwks.v1.JwksService/WatchTrust",
];

/// The names under which health is asked for.
pub(crate) const SERVICES: [&str; 4] = [
    "",
    "crypto.jwt.v1.JwtService",
    "crypto.jwe.v1.JweService",
    "crypto.jwks.v1.JwksService",
];

/// The name under which health says whether the instance may sign: that ends sooner than the rest.
pub(crate) const SIGNING: &str = "crypto.jwt.v1.JwtService/Sign";

/// Every service, with its limits. `shutdown` ends the streams.
pub(crate) fn routes<H: Health>(
    plane: &DataPlane,
    health: HealthServer<H>,
    shutdown: Shutdown,
    max_followers: usize,
) -> Result<impl GrpcService, tonic_reflection::server::Error> {
    let jwt = JwtServiceServer::new(jwt::Jwt {
        plane: plane.clone(),
        shutdown: shutdown.clone(),
    })
    .max_decoding_message_size(LARGEST_REQUEST)
    .max_encoding_message_size(LARGEST_ANSWER);
    let jwe = JweServiceServer::new(jwe::Jwe(plane.clone()))
        .max_decoding_message_size(LARGEST_REQUEST)
        .max_encoding_message_size(LARGEST_ANSWER);
    let jwks = JwksServiceServer::new(jwks::Jwks {
        plane: plane.clone(),
        shutdown,
        followers: Arc::new(Semaphore::new(max_followers)),
    })
    .max_decoding_message_size(LARGEST_REQUEST)
    .max_encoding_message_size(LARGEST_ANSWER);
    let routes = Routes::new(jwks).add_service(health);
    // grpcurl 1.8 knows v1alpha only. What is listed is what is served: the descriptors hold the whole contract.
    let reflection = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        let named = SERVICES.iter().filter(|name| !name.is_empty());
        named.fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let routes = routes
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(limit::worded(Services {
        jwt,
        jwe,
        others: routes.prepare(),
    }))
}

/// How the layers word their refusals.
pub(crate) fn refusals() -> Refusals {
    Refusals {
        overloaded: Arc::new(|| Status::from(Refusal::Overloaded { retry_in: None })),
        ..Refusals::default()
    }
}
