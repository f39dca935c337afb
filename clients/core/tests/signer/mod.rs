//! A fake signer that fails as it is told.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client_core::request::{Sign, SignedToken};
use client_core::{Claims, CryptoClient, Error, Options};
use crypto_proto::jwt::v1::jwt_service_server::{JwtService, JwtServiceServer};
use crypto_proto::jwt::v1::{
    DecryptThenVerifyRequest, DecryptThenVerifyResponse, RejectedToken, SignRequest, SignResponse,
    SignThenEncryptRequest, SignThenEncryptResponse, VerifyRequest, VerifyResponse,
    verify_response,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::serve::{Pki, Served};

/// Signs nothing: answers what the script says, then success.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) name: &'static str,
    pub(crate) script: Mutex<VecDeque<Status>>,
    pub(crate) calls: AtomicUsize,
    pub(crate) delay: Mutex<Duration>,
    pub(crate) seen: Mutex<Vec<SignRequest>>,
    pub(crate) told_deadline: Mutex<Option<String>>,
}

impl Fake {
    pub(crate) fn named(name: &'static str, script: impl IntoIterator<Item = Status>) -> Arc<Self> {
        Arc::new(Self {
            name,
            script: Mutex::new(script.into_iter().collect()),
            ..Self::default()
        })
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn routes(self: &Arc<Self>) -> Routes {
        Routes::new(JwtServiceServer::from_arc(Arc::clone(self)))
    }

    pub(crate) async fn serve(self: &Arc<Self>, pki: &Pki) -> Served {
        pki.serve("127.0.0.1:0", self.routes()).await
    }
}

#[tonic::async_trait]
impl JwtService for Fake {
    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let deadline = request
            .metadata()
            .get("grpc-timeout")
            .map(|value| value.to_str().unwrap().to_owned());
        *self.told_deadline.lock().unwrap() = deadline;
        self.seen.lock().unwrap().push(request.into_inner());
        let (delay, next) = (
            *self.delay.lock().unwrap(),
            self.script.lock().unwrap().pop_front(),
        );
        tokio::time::sleep(delay).await;
        match next {
            Some(status) => Err(status),
            None => Ok(Response::new(SignResponse {
                token: "a.b.c".into(),
                kid: self.name.into(),
                jti: "j".into(),
                expires_at: Some(prost_types::Timestamp {
                    seconds: 1_800_000_000,
                    nanos: 0,
                }),
            })),
        }
    }

    async fn verify(
        &self,
        _request: Request<VerifyRequest>,
    ) -> Result<Response<VerifyResponse>, Status> {
        let rejected = RejectedToken { reason: 99 };
        Ok(Response::new(VerifyResponse {
            verdict: Some(verify_response::Verdict::Rejected(rejected)),
        }))
    }

    async fn sign_then_encrypt(
        &self,
        _: Request<SignThenEncryptRequest>,
    ) -> Result<Response<SignThenEncryptResponse>, Status> {
        Ok(Response::new(SignThenEncryptResponse::default()))
    }

    async fn decrypt_then_verify(
        &self,
        _: Request<DecryptThenVerifyRequest>,
    ) -> Result<Response<DecryptThenVerifyResponse>, Status> {
        Ok(Response::new(DecryptThenVerifyResponse::default()))
    }
}

pub(crate) fn claims() -> Claims {
    Claims::new().with("sub", "alice").unwrap()
}

pub(crate) fn client(options: Options) -> CryptoClient {
    CryptoClient::new(options.channel().unwrap())
}

pub(crate) async fn sign(client: &CryptoClient) -> Result<SignedToken, Error> {
    client.sign(&Sign::new("op/access-token", &claims())).await
}
