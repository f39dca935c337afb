//! Token responses against a fake service that signs with whatever algorithm it is told to.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../core/tests/serve/mod.rs"]
mod serve;

use std::sync::{Arc, Mutex};

use client_core::request::{EncryptTo, Recipient};
use client_core::{Claims, ClaimsError, Code, CryptoClient};
use client_token::{
    AccessToken, IdToken, IssuedIdToken, KeySets, RefreshToken, SigningAlgorithm, TokenClient,
    TokenError, TokenRequest,
};
use crypto_proto::batch::v1::ItemError;
use crypto_proto::jwks::v1::jwks_service_server::{JwksService, JwksServiceServer};
use crypto_proto::jwks::v1::{
    GetJwksRequest, GetJwksResponse, WatchTrustRequest, WatchTrustResponse,
};
use crypto_proto::jwt::v1::jwt_service_server::{JwtService, JwtServiceServer};
use crypto_proto::jwt::v1::sign_request::ClaimsInput;
use crypto_proto::jwt::v1::{
    DecryptThenVerifyRequest, DecryptThenVerifyResponse, RejectReason, RejectedToken,
    SignBatchItem, SignBatchRequest, SignBatchResponse, SignBatchResult, SignRequest, SignResponse,
    SignThenEncryptRequest, SignThenEncryptResponse, VerifyRequest, VerifyResponse,
    sign_batch_result, verify_response,
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
    batches: Mutex<Vec<SignBatchRequest>>,
    /// The item that the next batch refuses.
    refused: Mutex<Option<(usize, ItemError)>>,
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

    async fn sign_batch(
        &self,
        request: Request<SignBatchRequest>,
    ) -> Result<Response<SignBatchResponse>, Status> {
        let request = request.into_inner();
        let refused = self.refused.lock().unwrap().take();
        let result = |(position, item): (usize, &SignBatchItem)| {
            let signed = SignResponse {
                token: format!("token.{position}"),
                kid: item.sign.as_ref().unwrap().key_set.clone(),
                ..SignResponse::default()
            };
            let error = refused.clone().filter(|(refused, _)| *refused == position);
            SignBatchResult {
                result: Some(match error {
                    Some((_, error)) => sign_batch_result::Result::Error(error),
                    None => sign_batch_result::Result::Signed(signed),
                }),
                encryption_kid: "recipient".into(),
            }
        };
        let results = request.items.iter().enumerate().map(result).collect();
        self.batches.lock().unwrap().push(request);
        Ok(Response::new(SignBatchResponse { results }))
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
        batches: Mutex::default(),
        refused: Mutex::default(),
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

fn access() -> AccessToken {
    AccessToken::new("alice", "web", "https://api.example.com")
}

fn claims_of(item: &SignBatchItem) -> Claims {
    match item.sign.clone().unwrap().claims_input.unwrap() {
        ClaimsInput::ClaimsJson(json) => Claims::from_json(&json).unwrap(),
        ClaimsInput::Claims(_) => Claims::new(),
    }
}

#[tokio::test]
async fn a_whole_token_response_is_one_call() {
    let (_pki, _served, fake, client) = world(&[SigningAlgorithm::Rs256]).await;
    let id = IdToken::new("alice", "web").nonce("n").code("the code");
    let refresh = RefreshToken::new("alice", "web", "https://op.example.com");
    let to = EncryptTo::new(recipient())
        .alg("RSA-OAEP-256")
        .enc("A256GCM");
    let request = TokenRequest::new(access())
        .encrypted_id_token(id, to)
        .refresh_token(refresh)
        .request_id("r");
    let response = client.token_response(&request).await.unwrap();
    assert_eq!(
        (
            response.access.token.as_str(),
            response.refresh.unwrap().token.as_str()
        ),
        ("token.0", "token.2")
    );
    let Some(IssuedIdToken::Nested(nested)) = response.id else {
        panic!("{:?}", response.id)
    };
    assert_eq!(
        (nested.token.as_str(), nested.encryption_kid.as_str()),
        ("token.1", "recipient")
    );
    let batches = fake.batches.lock().unwrap();
    let [batch] = batches.as_slice() else {
        panic!("one call: {batches:?}")
    };
    assert_eq!(batch.request_id, "r");
    let sent: Vec<_> = batch
        .items
        .iter()
        .map(|item| item.sign.clone().unwrap())
        .collect();
    let sets: Vec<_> = sent
        .iter()
        .map(|sign| (sign.key_set.as_str(), sign.typ.as_str()))
        .collect();
    assert_eq!(
        sets,
        [
            ("op/access-token", "at+jwt"),
            ("op/id-token", ""),
            ("op/refresh-token", "")
        ]
    );
    let id = &batch.items[1];
    assert_eq!(
        (id.at_hash_of, id.c_hash, id.c_hash_code.as_str()),
        (Some(0), None, "the code")
    );
    let encrypt_to = id.encrypt_to.as_ref().unwrap();
    assert_eq!(
        (encrypt_to.alg.as_str(), encrypt_to.enc.as_str()),
        ("RSA-OAEP-256", "A256GCM")
    );
    assert_eq!(
        claims_of(id).to_json(),
        r#"{"sub":"alice","aud":"web","nonce":"n"}"#
    );
    assert!(fake.signed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_token_response_holds_what_was_asked_for() {
    let (_pki, _served, fake, client) = world(&[SigningAlgorithm::Rs256]).await;
    let response = client
        .token_response(&TokenRequest::new(access()))
        .await
        .unwrap();
    assert_eq!((response.id, response.refresh), (None, None));
    let request = TokenRequest::new(access()).id_token(IdToken::new("alice", "web"));
    let id = client.token_response(&request).await.unwrap().id.unwrap();
    assert!(
        matches!(&id, IssuedIdToken::Signed(_)) && id.token() == "token.1",
        "{id:?}"
    );
    let batches = fake.batches.lock().unwrap();
    let item = &batches[1].items[1];
    assert!(item.c_hash_code.is_empty() && item.encrypt_to.is_none());
}

#[tokio::test]
async fn a_token_response_lacks_no_token() {
    let (_pki, _served, fake, client) = world(&[SigningAlgorithm::Rs256]).await;
    let refused = |code: i32, reason: &str| ItemError {
        code,
        reason: reason.into(),
        ..ItemError::default()
    };
    let request = TokenRequest::new(access()).id_token(IdToken::new("alice", "web"));
    *fake.refused.lock().unwrap() = Some((1, refused(7, "NOT_GRANTED")));
    match client.token_response(&request).await {
        Err(TokenError::Call(error)) => assert_eq!(error.code(), Code::PermissionDenied),
        other => panic!("{other:?}"),
    }
    *fake.refused.lock().unwrap() = Some((1, refused(14, "NOT_READY")));
    assert!(
        client.token_response(&request).await.is_ok(),
        "it is repeated as one"
    );
    assert_eq!(fake.batches.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn an_id_token_names_the_access_token_of_its_own_response() {
    let (_pki, _served, fake, client) = world(&[SigningAlgorithm::Rs256]).await;
    let refused = client
        .token_response(&TokenRequest::new(access()).id_token(id_token()))
        .await;
    assert_eq!(
        refused,
        Err(TokenError::Claims(ClaimsError::Duplicate("at_hash".into())))
    );
    assert!(fake.batches.lock().unwrap().is_empty());
}

#[test]
fn debug_of_a_response_shows_no_token() {
    let signed = client_core::request::SignedToken {
        token: "planted".into(),
        kid: "k".into(),
        jti: "j".into(),
        expires_at: None,
    };
    let shown = format!("{:?}", IssuedIdToken::Signed(signed));
    assert!(
        shown.contains("SignedToken") && !shown.contains("planted"),
        "{shown}"
    );
}
