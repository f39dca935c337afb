//! Userinfo against a fake service.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../core/tests/serve/mod.rs"]
mod serve;

use std::sync::{Arc, Mutex};

use client_core::request::RejectReason;
use client_core::{Claims, CryptoClient};
use client_userinfo::{Bearer, BearerError, Format, ResponseError, UserinfoClient};
use crypto_proto::jwt::v1::jwt_service_server::{JwtService, JwtServiceServer};
use crypto_proto::jwt::v1::{
    DecryptThenVerifyRequest, DecryptThenVerifyResponse, RejectReason as WireReason, RejectedToken,
    SignRequest, SignResponse, SignThenEncryptRequest, SignThenEncryptResponse, ValidToken,
    VerifyRequest, VerifyResponse, sign_request, sign_then_encrypt_request, verify_response,
};
use serve::{Pki, Served};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

const GOOD: &str = r#"{"sub":"alice","client_id":"web","scope":"openid email"}"#;

/// A token that starts with a brace stands for its own claims; any other is rejected.
#[derive(Default)]
struct Fake {
    verified: Mutex<Vec<VerifyRequest>>,
    signed: Mutex<Vec<SignRequest>>,
    nested: Mutex<Vec<SignThenEncryptRequest>>,
}

#[tonic::async_trait]
impl JwtService for Fake {
    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        self.signed.lock().unwrap().push(request.into_inner());
        Ok(Response::new(SignResponse {
            token: "signed".into(),
            ..SignResponse::default()
        }))
    }

    async fn verify(
        &self,
        request: Request<VerifyRequest>,
    ) -> Result<Response<VerifyResponse>, Status> {
        let request = request.into_inner();
        let verdict = if request.token.starts_with('{') {
            verify_response::Verdict::Valid(ValidToken {
                claims_json: request.token.clone(),
                ..ValidToken::default()
            })
        } else {
            verify_response::Verdict::Rejected(RejectedToken {
                reason: WireReason::Signature.into(),
            })
        };
        self.verified.lock().unwrap().push(request);
        Ok(Response::new(VerifyResponse {
            verdict: Some(verdict),
        }))
    }

    async fn sign_then_encrypt(
        &self,
        request: Request<SignThenEncryptRequest>,
    ) -> Result<Response<SignThenEncryptResponse>, Status> {
        self.nested.lock().unwrap().push(request.into_inner());
        Ok(Response::new(SignThenEncryptResponse {
            token: "nested".into(),
            ..SignThenEncryptResponse::default()
        }))
    }

    async fn decrypt_then_verify(
        &self,
        _: Request<DecryptThenVerifyRequest>,
    ) -> Result<Response<DecryptThenVerifyResponse>, Status> {
        Err(Status::unimplemented("decrypt_then_verify"))
    }
}

async fn world() -> (Pki, Served, Arc<Fake>, UserinfoClient) {
    let (pki, fake) = (Pki::new(), Arc::new(Fake::default()));
    let served = pki
        .serve(
            "127.0.0.1:0",
            Routes::new(JwtServiceServer::from_arc(Arc::clone(&fake))),
        )
        .await;
    let crypto = CryptoClient::new(pki.options(&served).channel().unwrap());
    let client = UserinfoClient::new(crypto.clone(), crypto, "https://op.example.com/userinfo");
    (pki, served, fake, client)
}

async fn bearer(client: &UserinfoClient, claims: &str) -> Bearer {
    client.authenticate(claims).await.unwrap()
}

fn claims_of(request: &SignRequest) -> String {
    match request.claims_input.clone().unwrap() {
        sign_request::ClaimsInput::ClaimsJson(json) => json,
        sign_request::ClaimsInput::Claims(_) => String::new(),
    }
}

#[tokio::test]
async fn a_bearer_is_who_a_verified_access_token_names() {
    let (_pki, _served, fake, client) = world().await;
    let alice = bearer(&client, GOOD).await;
    assert_eq!(
        (alice.subject(), alice.client_id().as_deref()),
        ("alice", Some("web"))
    );
    assert!(alice.has_scope("email") && !alice.has_scope("mail") && !alice.has_scope("profile"));
    let asked = fake.verified.lock().unwrap().pop().unwrap();
    assert_eq!(asked.audiences, ["https://op.example.com/userinfo"]);
    assert_eq!(
        (asked.types, asked.key_sets),
        (
            vec!["at+jwt".to_owned()],
            vec!["op/access-token".to_owned()]
        )
    );

    let rejected = client.authenticate("not a token").await.unwrap_err();
    assert_eq!(rejected, BearerError::Rejected(RejectReason::Signature));
    for without in ["{}", r#"{"sub":""}"#, r#"{"sub":1}"#] {
        assert_eq!(
            client.authenticate(without).await.unwrap_err(),
            BearerError::NoSubject,
            "{without}"
        );
    }
}

#[tokio::test]
async fn the_answer_comes_in_the_registered_form() {
    let (_pki, _served, fake, client) = world().await;
    let alice = bearer(&client, GOOD).await;
    let claims = || Claims::new().with("email", "alice@example.com").unwrap();
    let json = client
        .respond(&alice, claims(), &Format::Json)
        .await
        .unwrap();
    assert_eq!(
        (json.content_type, json.body.as_str()),
        (
            "application/json",
            r#"{"sub":"alice","email":"alice@example.com"}"#
        )
    );
    assert!(!format!("{json:?}").contains("alice"), "{json:?}");

    let signed = client
        .respond(&alice, claims(), &Format::Signed)
        .await
        .unwrap();
    assert_eq!(
        (signed.content_type, signed.body.as_str()),
        ("application/jwt", "signed")
    );
    let request = fake.signed.lock().unwrap().pop().unwrap();
    assert_eq!(request.key_set, "op/id-token");
    assert_eq!(
        claims_of(&request),
        r#"{"sub":"alice","email":"alice@example.com","aud":"web"}"#
    );

    let jwk = r#"{"kty":"OKP"}"#;
    let format = Format::Nested {
        jwk: jwk.into(),
        alg: "ECDH-ES".into(),
        enc: "A128GCM".into(),
    };
    let nested = client.respond(&alice, claims(), &format).await.unwrap();
    assert_eq!(
        (nested.content_type, nested.body.as_str()),
        ("application/jwt", "nested")
    );
    let request = fake.nested.lock().unwrap().pop().unwrap();
    assert_eq!(
        (request.alg.as_str(), request.enc.as_str()),
        ("ECDH-ES", "A128GCM")
    );
    assert_eq!(
        request.recipient,
        Some(sign_then_encrypt_request::Recipient::RecipientJwk(
            jwk.into()
        ))
    );
}

#[tokio::test]
async fn nobody_gets_the_claims_of_somebody_else() {
    let (_pki, _served, fake, client) = world().await;
    let alice = bearer(&client, GOOD).await;
    let nested = Format::Nested {
        jwk: "{}".into(),
        alg: String::new(),
        enc: String::new(),
    };
    for format in [Format::Json, Format::Signed, nested] {
        for sub in [
            r#"{"sub":"bob"}"#,
            r#"{"s\u0075b":"bob"}"#,
            r#"{"sub":1}"#,
            r#"{"sub":null}"#,
        ] {
            let claims = Claims::from_json(sub).unwrap();
            let refused = client.respond(&alice, claims, &format).await.unwrap_err();
            assert_eq!(refused, ResponseError::Subject, "{sub} {format:?}");
        }
        let own = Claims::from_json(r#"{"sub":"alice"}"#).unwrap();
        assert!(
            client.respond(&alice, own, &format).await.is_ok(),
            "{format:?}"
        );
    }
    let nameless = bearer(&client, r#"{"sub":"alice"}"#).await;
    let refused = client
        .respond(&nameless, Claims::new(), &Format::Signed)
        .await
        .unwrap_err();
    assert_eq!(refused, ResponseError::NoClient);
    assert_eq!(
        (
            fake.signed.lock().unwrap().len(),
            fake.nested.lock().unwrap().len()
        ),
        (1, 1)
    );
}
