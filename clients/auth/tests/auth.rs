//! What clients send, against a fake service.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../core/tests/serve/mod.rs"]
mod serve;

use std::sync::{Arc, Mutex};

use client_auth::AuthClient;
use client_core::CryptoClient;
use client_core::request::{Decryption, RejectReason, Verdict, Verify};
use crypto_proto::jwe::v1 as jwe;
use crypto_proto::jwe::v1::jwe_service_server::{JweService, JweServiceServer};
use crypto_proto::jwt::v1 as jwt;
use crypto_proto::jwt::v1::jwt_service_server::{JwtService, JwtServiceServer};
use serve::Pki;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

#[derive(Default)]
struct Fake {
    verified: Mutex<Vec<jwt::VerifyRequest>>,
    opened: Mutex<Vec<jwt::DecryptThenVerifyRequest>>,
}

fn valid() -> jwt::ValidToken {
    jwt::ValidToken {
        claims_json: r#"{"sub":"alice"}"#.into(),
        ..jwt::ValidToken::default()
    }
}

#[tonic::async_trait]
impl JwtService for Fake {
    async fn sign(
        &self,
        _: Request<jwt::SignRequest>,
    ) -> Result<Response<jwt::SignResponse>, Status> {
        Err(Status::unimplemented("sign"))
    }

    async fn verify(
        &self,
        request: Request<jwt::VerifyRequest>,
    ) -> Result<Response<jwt::VerifyResponse>, Status> {
        self.verified.lock().unwrap().push(request.into_inner());
        Ok(Response::new(jwt::VerifyResponse {
            verdict: Some(jwt::verify_response::Verdict::Valid(valid())),
        }))
    }

    async fn sign_then_encrypt(
        &self,
        _: Request<jwt::SignThenEncryptRequest>,
    ) -> Result<Response<jwt::SignThenEncryptResponse>, Status> {
        Err(Status::unimplemented("sign_then_encrypt"))
    }

    async fn decrypt_then_verify(
        &self,
        request: Request<jwt::DecryptThenVerifyRequest>,
    ) -> Result<Response<jwt::DecryptThenVerifyResponse>, Status> {
        use jwt::decrypt_then_verify_response::Verdict as Wire;
        let request = request.into_inner();
        let verdict = match request.verify.as_ref().unwrap().token.as_str() {
            "good" => Wire::Valid(valid()),
            _ => Wire::Rejected(jwt::RejectedToken {
                reason: jwt::RejectReason::DecryptionFailed.into(),
            }),
        };
        self.opened.lock().unwrap().push(request);
        Ok(Response::new(jwt::DecryptThenVerifyResponse {
            verdict: Some(verdict),
        }))
    }
}

#[tonic::async_trait]
impl JweService for Fake {
    async fn encrypt(
        &self,
        _: Request<jwe::EncryptRequest>,
    ) -> Result<Response<jwe::EncryptResponse>, Status> {
        Err(Status::unimplemented("encrypt"))
    }

    async fn decrypt(
        &self,
        request: Request<jwe::DecryptRequest>,
    ) -> Result<Response<jwe::DecryptResponse>, Status> {
        use jwe::decrypt_response::Verdict as Wire;
        let request = request.into_inner();
        let verdict = match (request.token.as_str(), request.key_sets.as_slice()) {
            ("good", [set]) if set == "op/encryption" => Wire::Decrypted(jwe::DecryptedToken {
                payload: b"plain".to_vec(),
                ..jwe::DecryptedToken::default()
            }),
            _ => Wire::Rejected(jwe::RejectedToken {
                reason: jwe::RejectReason::DecryptionFailed.into(),
            }),
        };
        Ok(Response::new(jwe::DecryptResponse {
            verdict: Some(verdict),
        }))
    }
}

#[tokio::test]
async fn what_clients_send_is_checked_as_what_it_is() {
    let (pki, fake) = (Pki::new(), Arc::new(Fake::default()));
    let routes = Routes::new(JwtServiceServer::from_arc(Arc::clone(&fake)))
        .add_service(JweServiceServer::from_arc(Arc::clone(&fake)));
    let served = pki.serve("127.0.0.1:0", routes).await;
    let crypto = CryptoClient::new(pki.options(&served).channel().unwrap());
    let auth = AuthClient::new(crypto.clone(), crypto);

    let hint = auth.id_token_hint("a.b.c", "web").await.unwrap();
    assert!(matches!(hint, Verdict::Valid(_)), "{hint:?}");
    let asked = fake.verified.lock().unwrap().pop().unwrap();
    assert_eq!(asked.purpose(), jwt::Purpose::Hint);
    assert_eq!(
        (asked.key_sets, asked.audiences),
        (vec!["op/id-token".to_owned()], vec!["web".to_owned()])
    );

    let inner = auth
        .decrypt_then_verify(Verify::new("good", "web").issuer("https://op.example.com"))
        .await
        .unwrap();
    assert!(matches!(inner, Verdict::Valid(_)), "{inner:?}");
    let asked = fake.opened.lock().unwrap().pop().unwrap();
    assert_eq!(
        (
            asked.decrypt_key_sets,
            asked.verify.unwrap().issuer.as_str()
        ),
        (vec!["op/encryption".to_owned()], "https://op.example.com")
    );
    let refused = auth
        .decrypt_then_verify(Verify::new("bad", "web"))
        .await
        .unwrap();
    assert_eq!(refused, Verdict::Rejected(RejectReason::DecryptionFailed));

    let opened = auth.decrypt("good").await.unwrap().into_token().unwrap();
    assert_eq!(opened.payload, b"plain");
    assert_eq!(auth.decrypt("bad").await.unwrap(), Decryption::Failed);
}
