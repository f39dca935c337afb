//! Token responses against a fake service that signs with whatever algorithm it is told to.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../core/tests/serve/mod.rs"]
mod serve;

use std::sync::{Arc, Mutex};

use client_core::request::Recipient;
use client_core::{Claims, CryptoClient};
use client_token::{
    AccessToken, IdToken, KeySets, RefreshToken, SigningAlgorithm, TokenClient, TokenError,
};
use crypto_proto::jwks::v1::jwks_service_server::{JwksService, JwksServiceServer};
use crypto_proto::jwks::v1::{
    GetJwksRequest, GetJwksResponse, WatchTrustRequest, WatchTrustResponse,
};
use crypto_proto::jwt::v1::jwt_service_server::{JwtService, JwtServiceServer};
use crypto_proto::jwt::v1::sign_request::ClaimsInput;
use crypto_proto::jwt::v1::{
    DecryptThenVerifyRequest, DecryptThenVerifyResponse, RejectReason, RejectedToken, SignRequest,
    SignResponse, SignThenEncryptRequest, SignThenEncryptResponse, VerifyRequest, VerifyResponse,
    verify_response,
};
use jose::base64url;
use serve::{Pki, Served};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

const JWKS: &str = r#"{"keys":[
    {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"Ed25519","kid":"Ed25519"}]}"#;

/// Signs with each of its algorithms in turn, and with the last one for ever; the kid is the algorithm's name.
struct Fake {
    algorithms: Mutex<Vec<SigningAlgorithm>>,
    signed: Mutex<Vec<SignRequest>>,
    verified: Mutex<Vec<VerifyRequest>>,
}

impl Fake {
    fn sign_next(&self, request: SignRequest) -> SigningAlgorithm {
        self.signed.lock().unwrap().push(request);
        let mut algorithms = self.algorithms.lock().unwrap();
        if algorithms.len() > 1 {
            algorithms.remove(0)
        } else {
            algorithms.first().copied().unwrap()
        }
    }

    fn claims(&self) -> Vec<Claims> {
        let signed = self.signed.lock().unwrap();
        let json = |request: &SignRequest| match request.claims_input.clone().unwrap() {
            ClaimsInput::ClaimsJson(json) => Claims::from_json(&json).unwrap(),
            ClaimsInput::Claims(_) => Claims::new(),
        };
        signed.iter().map(json).collect()
    }
}

#[tonic::async_trait]
impl JwtService for Fake {
    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let algorithm = self.sign_next(request.into_inner());
        let header = base64url::encode(format!(r#"{{"alg":"{algorithm}"}}"#));
        let token = format!(
            "{header}.{}.{}",
            base64url::encode("{}"),
            base64url::encode("signature")
        );
        Ok(Response::new(SignResponse {
            token,
            kid: algorithm.to_string(),
            ..SignResponse::default()
        }))
    }

    async fn verify(
        &self,
        request: Request<VerifyRequest>,
    ) -> Result<Response<VerifyResponse>, Status> {
        self.verified.lock().unwrap().push(request.into_inner());
        let rejected = RejectedToken {
            reason: RejectReason::Expired.into(),
        };
        Ok(Response::new(VerifyResponse {
            verdict: Some(verify_response::Verdict::Rejected(rejected)),
        }))
    }

    async fn sign_then_encrypt(
        &self,
        request: Request<SignThenEncryptRequest>,
    ) -> Result<Response<SignThenEncryptResponse>, Status> {
        let algorithm = self.sign_next(request.into_inner().sign.unwrap());
        let nested = SignThenEncryptResponse {
            token: "a.b.c.d.e".into(),
            kid: algorithm.to_string(),
            ..Default::default()
        };
        Ok(Response::new(nested))
    }

    async fn decrypt_then_verify(
        &self,
        _: Request<DecryptThenVerifyRequest>,
    ) -> Result<Response<DecryptThenVerifyResponse>, Status> {
        Err(Status::unimplemented("decrypt_then_verify"))
    }
}

#[tonic::async_trait]
impl JwksService for Fake {
    async fn get_jwks(
        &self,
        _: Request<GetJwksRequest>,
    ) -> Result<Response<GetJwksResponse>, Status> {
        Ok(Response::new(GetJwksResponse {
            jwks_json: JWKS.into(),
            ..GetJwksResponse::default()
        }))
    }

    async fn watch_trust(
        &self,
        _: Request<WatchTrustRequest>,
    ) -> Result<Response<tonic::codegen::BoxStream<WatchTrustResponse>>, Status> {
        Err(Status::unimplemented("watch_trust"))
    }
}

async fn world(algorithms: &[SigningAlgorithm]) -> (Pki, Served, Arc<Fake>, TokenClient) {
    let pki = Pki::new();
    let algorithms = Mutex::new(algorithms.to_vec());
    let fake = Arc::new(Fake {
        algorithms,
        signed: Mutex::default(),
        verified: Mutex::default(),
    });
    let routes = Routes::new(JwtServiceServer::from_arc(Arc::clone(&fake)))
        .add_service(JwksServiceServer::from_arc(Arc::clone(&fake)));
    let served = pki.serve("127.0.0.1:0", routes).await;
    let client = TokenClient::new(CryptoClient::new(pki.options(&served).channel().unwrap()));
    (pki, served, fake, client)
}

fn id_token() -> IdToken {
    IdToken::new("alice", "web")
        .nonce("n")
        .access_token("an access token")
}

fn hash_lengths(fake: &Fake) -> Vec<usize> {
    fake.claims()
        .iter()
        .map(|claims| claims.string("at_hash").map_or(0, |hash| hash.len()))
        .collect()
}

fn recipient() -> Recipient {
    Recipient::KeySet("op/encryption".into())
}

#[tokio::test]
async fn the_hash_follows_the_algorithm_that_signed() {
    use SigningAlgorithm::{Ed25519, Es256, Ps384, Rs256, Rs512};
    // What the service signs with, and the lengths of at_hash (22, 32, 43 for SHA-256, 384, 512) of what it was asked for.
    let rows: &[(&[SigningAlgorithm], &[usize])] = &[
        (&[Rs256], &[22]),
        (&[Es256], &[22]),
        (&[Ps384], &[22, 32]),
        (&[Rs512], &[22, 43]),
        (&[Ed25519], &[22, 43]),
        (&[Ps384, Rs256], &[22, 32, 22]),
    ];
    for (algorithms, lengths) in rows {
        let (_pki, _served, fake, client) = world(algorithms).await;
        // In the last row the key set changes its algorithm while the token is signed again.
        let signed = client.id_token(&id_token()).await;
        let found = hash_lengths(&fake);
        let asked = &lengths[..found.len().min(lengths.len())];
        assert_eq!(found, asked, "{algorithms:?}");
        assert_eq!(found.len(), lengths.len(), "{algorithms:?}");
        assert!(signed.is_ok(), "{algorithms:?}: {signed:?}");
        let again = client.id_token(&id_token()).await.unwrap();
        assert_eq!(
            hash_lengths(&fake).len(),
            lengths.len() + 1,
            "what was learned is kept: {algorithms:?} {again:?}"
        );
    }
}

#[tokio::test]
async fn a_token_whose_hash_cannot_be_right_never_leaves() {
    use SigningAlgorithm::{Ps384, Rs256};
    let (_pki, _served, fake, client) = world(&[Ps384, Rs256, Ps384]).await;
    assert_eq!(
        client.id_token(&id_token()).await,
        Err(TokenError::Unsettled)
    );
    assert_eq!(hash_lengths(&fake), [22, 32, 22]);
}

#[tokio::test]
async fn a_nested_id_token_finds_its_algorithm_in_the_jwk_set() {
    let (_pki, _served, fake, client) = world(&[SigningAlgorithm::Ed25519]).await;
    let nested = client
        .nested_id_token(&id_token(), recipient(), "", "")
        .await
        .unwrap();
    assert_eq!(
        (nested.token.as_str(), hash_lengths(&fake)),
        ("a.b.c.d.e", vec![22, 43])
    );
    client
        .nested_id_token(&id_token(), recipient(), "", "")
        .await
        .unwrap();
    assert_eq!(hash_lengths(&fake), [22, 43, 43]);

    let (_pki, _served, _fake, client) = world(&[SigningAlgorithm::Es256]).await;
    let refused = client
        .nested_id_token(&id_token(), recipient(), "", "")
        .await;
    assert_eq!(
        refused,
        Err(TokenError::UnknownAlgorithm {
            kid: "ES256".into()
        })
    );
    let plain = IdToken::new("alice", "web");
    assert!(
        client
            .nested_id_token(&plain, recipient(), "", "")
            .await
            .is_ok(),
        "without hashes nothing has to be known"
    );
}

#[tokio::test]
async fn each_token_goes_to_its_key_set() {
    let (_pki, _served, fake, client) = world(&[SigningAlgorithm::Es256]).await;
    let client = client.key_sets(KeySets {
        tenant: "acme".into(),
        ..KeySets::default()
    });
    client
        .access_token(&AccessToken::new("alice", "web", "https://api.example.com"))
        .await
        .unwrap();
    client
        .id_token(&IdToken::new("alice", "web"))
        .await
        .unwrap();
    client
        .refresh_token(&RefreshToken::new("alice", "web", "https://op.example.com"))
        .await
        .unwrap();
    client
        .verify_refresh_token("a.b.c", "https://op.example.com")
        .await
        .unwrap();
    let signed = fake.signed.lock().unwrap();
    let sent: Vec<_> = signed
        .iter()
        .map(|r| (r.tenant.as_str(), r.key_set.as_str(), r.typ.as_str()))
        .collect();
    assert_eq!(
        sent,
        [
            ("acme", "op/access-token", "at+jwt"),
            ("acme", "op/id-token", ""),
            ("acme", "op/refresh-token", "")
        ]
    );
    let verified = fake.verified.lock().unwrap().pop().unwrap();
    assert_eq!(
        (verified.key_sets, verified.audiences),
        (
            vec!["op/refresh-token".to_owned()],
            vec!["https://op.example.com".to_owned()]
        )
    );
}

#[tokio::test]
async fn a_claim_given_twice_is_refused_before_any_call() {
    let (_pki, _served, fake, client) = world(&[SigningAlgorithm::Es256]).await;
    let extra = Claims::from_json(r#"{"n\u006fnce":"another"}"#).unwrap();
    let refused = client.id_token(&id_token().claims(extra)).await;
    assert!(matches!(refused, Err(TokenError::Claims(_))), "{refused:?}");
    assert!(fake.signed.lock().unwrap().is_empty());
}
