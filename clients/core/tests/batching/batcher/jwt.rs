//! `JwtService`.

use std::time::Duration;

use crypto_proto::jwt::v1::jwt_service_server::JwtService;
use crypto_proto::jwt::v1::{
    DecryptThenVerifyRequest, DecryptThenVerifyResponse, SignBatchItem, SignBatchRequest,
    SignBatchResponse, SignBatchResult, SignRequest, SignResponse, SignThenEncryptRequest,
    SignThenEncryptResponse, ValidToken, VerifyBatchItem, VerifyBatchRequest, VerifyBatchResponse,
    VerifyBatchResult, VerifyRequest, VerifyResponse, sign_batch_result, verify_batch_result,
    verify_response,
};
use tonic::{Request, Response, Status};

use super::{Asked, Batcher, header, timeout, told};

pub(crate) fn signed(request: &SignRequest) -> SignResponse {
    SignResponse {
        token: format!("{}.of.it", header(&request.key_set)),
        kid: request.key_set.clone(),
        jti: request.request_id.clone(),
        expires_at: None,
    }
}

pub(crate) fn valid(request: &VerifyRequest) -> ValidToken {
    ValidToken {
        kid: request.request_id.clone(),
        ..ValidToken::default()
    }
}

fn sign_asked(sign: &SignRequest, timeout: Option<Duration>) -> Asked {
    Asked {
        id: sign.request_id.clone(),
        mark: sign.key_set.clone(),
        timeout,
    }
}

fn verify_asked(verify: &VerifyRequest, timeout: Option<Duration>) -> Asked {
    Asked {
        id: verify.request_id.clone(),
        mark: verify.token.clone(),
        timeout,
    }
}

impl Batcher {
    fn sign_item(&self, item: &SignBatchItem) -> SignBatchResult {
        use sign_batch_result::Result as Wire;
        let sign = item.sign.clone().unwrap_or_default();
        let result = match self.refusal(&sign.request_id) {
            Some(refusal) => Wire::Error(refusal.item("sign")),
            None => Wire::Signed(signed(&sign)),
        };
        SignBatchResult {
            result: Some(result),
            encryption_kid: item
                .encrypt_to
                .as_ref()
                .map(|_| "recipient".into())
                .unwrap_or_default(),
        }
    }

    fn verify_item(&self, item: &VerifyBatchItem) -> VerifyBatchResult {
        use verify_batch_result::Result as Wire;
        let verify = item.verify.clone().unwrap();
        let result = match self.refusal(&verify.request_id) {
            Some(refusal) => Wire::Error(refusal.item("verify")),
            None => Wire::Valid(valid(&verify)),
        };
        VerifyBatchResult {
            result: Some(result),
        }
    }
}

#[tonic::async_trait]
impl JwtService for Batcher {
    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let (told, sign) = (told(&request), request.into_inner());
        self.arrived("sign", told, vec![sign_asked(&sign, None)])
            .await;
        match self.refusal(&sign.request_id) {
            Some(refusal) => Err(refusal.status()),
            None => Ok(Response::new(signed(&sign))),
        }
    }

    async fn verify(
        &self,
        request: Request<VerifyRequest>,
    ) -> Result<Response<VerifyResponse>, Status> {
        let (told, verify) = (told(&request), request.into_inner());
        self.arrived("verify", told, vec![verify_asked(&verify, None)])
            .await;
        match self.refusal(&verify.request_id) {
            Some(refusal) => Err(refusal.status()),
            None => Ok(Response::new(VerifyResponse {
                verdict: Some(verify_response::Verdict::Valid(valid(&verify))),
            })),
        }
    }

    async fn sign_then_encrypt(
        &self,
        _: Request<SignThenEncryptRequest>,
    ) -> Result<Response<SignThenEncryptResponse>, Status> {
        Err(Status::unimplemented("sign_then_encrypt"))
    }

    async fn decrypt_then_verify(
        &self,
        _: Request<DecryptThenVerifyRequest>,
    ) -> Result<Response<DecryptThenVerifyResponse>, Status> {
        Err(Status::unimplemented("decrypt_then_verify"))
    }

    async fn sign_batch(
        &self,
        request: Request<SignBatchRequest>,
    ) -> Result<Response<SignBatchResponse>, Status> {
        let (told, items) = (told(&request), request.into_inner().items);
        let asked = |item: &SignBatchItem| {
            sign_asked(
                &item.sign.clone().unwrap_or_default(),
                timeout(item.timeout),
            )
        };
        self.arrived("sign_batch", told, items.iter().map(asked).collect())
            .await;
        self.batch_refusal()?;
        let results = items.iter().map(|item| self.sign_item(item)).collect();
        Ok(Response::new(SignBatchResponse {
            results: self.results(results),
        }))
    }

    async fn verify_batch(
        &self,
        request: Request<VerifyBatchRequest>,
    ) -> Result<Response<VerifyBatchResponse>, Status> {
        let (told, items) = (told(&request), request.into_inner().items);
        let asked = |item: &VerifyBatchItem| {
            verify_asked(item.verify.as_ref().unwrap(), timeout(item.timeout))
        };
        self.arrived("verify_batch", told, items.iter().map(asked).collect())
            .await;
        self.batch_refusal()?;
        let results = items.iter().map(|item| self.verify_item(item)).collect();
        Ok(Response::new(VerifyBatchResponse {
            results: self.results(results),
        }))
    }
}
