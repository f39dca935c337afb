//! `JweService`.

use std::time::Duration;

use crypto_proto::jwe::v1::encrypt_request::Recipient;
use crypto_proto::jwe::v1::jwe_service_server::JweService;
use crypto_proto::jwe::v1::{
    DecryptBatchItem, DecryptBatchRequest, DecryptBatchResponse, DecryptBatchResult,
    DecryptRequest, DecryptResponse, DecryptedToken, EncryptBatchItem, EncryptBatchRequest,
    EncryptBatchResponse, EncryptBatchResult, EncryptRequest, EncryptResponse,
    decrypt_batch_result, decrypt_response, encrypt_batch_result,
};
use tonic::{Request, Response, Status};

use super::{Asked, Batcher, header, timeout, told};

fn encrypted(request: &EncryptRequest) -> EncryptResponse {
    EncryptResponse {
        token: format!("{}.b.c.d.e", header(&encrypt_asked(request, None).mark)),
        kid: request.request_id.clone(),
    }
}

fn decrypted(request: &DecryptRequest) -> DecryptedToken {
    DecryptedToken {
        kid: request.request_id.clone(),
        ..DecryptedToken::default()
    }
}

fn encrypt_asked(encrypt: &EncryptRequest, timeout: Option<Duration>) -> Asked {
    let mark = match encrypt.recipient.clone().unwrap() {
        Recipient::KeySet(name) => name,
        Recipient::RecipientJwk(jwk) => jwk,
        Recipient::ClientId(id) => id,
    };
    Asked {
        id: encrypt.request_id.clone(),
        mark,
        timeout,
    }
}

fn decrypt_asked(decrypt: &DecryptRequest, timeout: Option<Duration>) -> Asked {
    Asked {
        id: decrypt.request_id.clone(),
        mark: decrypt.token.clone(),
        timeout,
    }
}

impl Batcher {
    fn encrypt_item(&self, item: &EncryptBatchItem) -> EncryptBatchResult {
        use encrypt_batch_result::Result as Wire;
        let encrypt = item.encrypt.clone().unwrap();
        let result = match self.refusal(&encrypt.request_id) {
            Some(refusal) => Wire::Error(refusal.item("encrypt")),
            None => Wire::Encrypted(encrypted(&encrypt)),
        };
        EncryptBatchResult {
            result: Some(result),
        }
    }

    fn decrypt_item(&self, item: &DecryptBatchItem) -> DecryptBatchResult {
        use decrypt_batch_result::Result as Wire;
        let decrypt = item.decrypt.clone().unwrap();
        let result = match self.refusal(&decrypt.request_id) {
            Some(refusal) => Wire::Error(refusal.item("decrypt")),
            None => Wire::Decrypted(decrypted(&decrypt)),
        };
        DecryptBatchResult {
            result: Some(result),
        }
    }
}

#[tonic::async_trait]
impl JweService for Batcher {
    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        let (told, encrypt) = (told(&request), request.into_inner());
        self.arrived("encrypt", told, vec![encrypt_asked(&encrypt, None)])
            .await;
        match self.refusal(&encrypt.request_id) {
            Some(refusal) => Err(refusal.status()),
            None => Ok(Response::new(encrypted(&encrypt))),
        }
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        let (told, decrypt) = (told(&request), request.into_inner());
        self.arrived("decrypt", told, vec![decrypt_asked(&decrypt, None)])
            .await;
        match self.refusal(&decrypt.request_id) {
            Some(refusal) => Err(refusal.status()),
            None => Ok(Response::new(DecryptResponse {
                verdict: Some(decrypt_response::Verdict::Decrypted(decrypted(&decrypt))),
            })),
        }
    }

    async fn encrypt_batch(
        &self,
        request: Request<EncryptBatchRequest>,
    ) -> Result<Response<EncryptBatchResponse>, Status> {
        let (told, items) = (told(&request), request.into_inner().items);
        let asked = |item: &EncryptBatchItem| {
            encrypt_asked(item.encrypt.as_ref().unwrap(), timeout(item.timeout))
        };
        self.arrived("encrypt_batch", told, items.iter().map(asked).collect())
            .await;
        self.batch_refusal()?;
        let results = items.iter().map(|item| self.encrypt_item(item)).collect();
        Ok(Response::new(EncryptBatchResponse {
            results: self.results(results),
        }))
    }

    async fn decrypt_batch(
        &self,
        request: Request<DecryptBatchRequest>,
    ) -> Result<Response<DecryptBatchResponse>, Status> {
        let (told, items) = (told(&request), request.into_inner().items);
        let asked = |item: &DecryptBatchItem| {
            decrypt_asked(item.decrypt.as_ref().unwrap(), timeout(item.timeout))
        };
        self.arrived("decrypt_batch", told, items.iter().map(asked).collect())
            .await;
        self.batch_refusal()?;
        let results = items.iter().map(|item| self.decrypt_item(item)).collect();
        Ok(Response::new(DecryptBatchResponse {
            results: self.results(results),
        }))
    }
}
