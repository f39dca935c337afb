//! A fake service that verifies as the real one does, and pushes trust.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use client_core::{Clock as _, SystemClock};
use crypto_proto::jwks::v1::jwks_service_server::{JwksService, JwksServiceServer};
use crypto_proto::jwks::v1::watch_trust_response::Event;
use crypto_proto::jwks::v1::{
    GetJwksRequest, GetJwksResponse, TrustJwks, TrustKey, TrustKeySet, TrustLease,
    TrustRevocations, TrustState, TrustTokenRevocations, WatchTrustRequest, WatchTrustResponse,
};
use crypto_proto::jwt::v1 as wire;
use crypto_proto::jwt::v1::jwt_service_server::{JwtService, JwtServiceServer};
use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose::jwk::PublicJwk;
use jose::jwt::{
    Claims, KeyState, Lookup, NotVerified, Profile, Standing, Trust, TrustedKey, Verifier,
    VerifyOptions, VerifyRules,
};
use jose::key::{KeyMaterial, SymmetricKey};
use jose::provider::Provider as _;
use jose_aws_lc::{AwsLc, KeySpec};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::BoxStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

pub(crate) const ISSUER: &str = "https://op.example.com";

pub(crate) struct Key {
    pub(crate) kid: String,
    pub(crate) set: &'static str,
    pub(crate) algorithm: JwsAlgorithm,
    pub(crate) state: TrustState,
    pub(crate) material: KeyMaterial,
    pub(crate) verifier: Arc<dyn jose::provider::Verify>,
    pub(crate) jwk: String,
}

impl Key {
    pub(crate) fn new(set: &'static str, algorithm: JwsAlgorithm, state: TrustState) -> Self {
        let key = AwsLc
            .generate(&KeySpec::new(Algorithm::Jws(algorithm)))
            .unwrap();
        let verifier = match (&key.material, &key.public) {
            (KeyMaterial::Symmetric(secret), _) => mac(algorithm, secret),
            (_, public) => AwsLc
                .verifying_key(algorithm, public.as_ref().unwrap())
                .unwrap(),
        };
        let public = key.public.clone().map(PublicJwk::new);
        let jwk = public.map(|jwk| {
            jwk.with_kid(key.kid.clone())
                .with_algorithm(key.algorithm)
                .to_json()
        });
        let (kid, jwk) = (key.kid.to_string(), jwk.unwrap_or_default());
        Self {
            kid,
            set,
            algorithm,
            state,
            material: key.material,
            verifier,
            jwk,
        }
    }

    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let key = AwsLc.signing_key(self.algorithm, &self.material).unwrap();
        let encode = |text: &str| jose::base64url::encode(text);
        let input = format!("{}.{}", encode(header), encode(claims));
        let mut signature = vec![0; key.signature_len()];
        key.sign(input.as_bytes(), &mut signature).unwrap();
        format!("{input}.{}", jose::base64url::encode(&signature))
    }

    pub(crate) fn header(&self) -> String {
        format!(
            r#"{{"alg":"{}","kid":"{}","typ":"JWT"}}"#,
            self.algorithm, self.kid
        )
    }

    pub(crate) fn token(&self, claims: &str) -> String {
        self.sign(&self.header(), claims)
    }

    pub(crate) fn trusted(&self) -> TrustKey {
        let jwk = self.jwk.clone();
        TrustKey {
            kid: self.kid.clone(),
            algorithm: self.algorithm.name().into(),
            state: self.state.into(),
            jwk,
        }
    }
}

fn mac(algorithm: JwsAlgorithm, secret: &SymmetricKey) -> Arc<dyn jose::provider::Verify> {
    AwsLc.mac_verifying_key(algorithm, secret).unwrap()
}

fn profile() -> Profile {
    Profile {
        types: vec!["JWT".into()],
        expiry_optional: false,
        hint_window: 3600,
        max_lifetime: 3600,
    }
}

/// The service: its keys, the streams it feeds, and what it was asked.
pub(crate) struct Fake {
    pub(crate) keys: Vec<Key>,
    profile: Profile,
    pub(crate) lease: Mutex<(u64, u64)>,
    pub(crate) streams: Mutex<Vec<UnboundedSender<Result<WatchTrustResponse, Status>>>>,
    pub(crate) opened: AtomicUsize,
    asked: AtomicUsize,
    /// The tokens that it refuses.
    pub(crate) revoked_jtis: Mutex<Vec<String>>,
    /// What it says of revoked tokens at the start of a stream.
    pub(crate) tokens: Mutex<Vec<TrustTokenRevocations>>,
}

impl Fake {
    pub(crate) fn new(keys: Vec<Key>) -> Arc<Self> {
        Arc::new(Self {
            keys,
            profile: profile(),
            lease: Mutex::new((300, 1)),
            streams: Mutex::default(),
            opened: AtomicUsize::new(0),
            revoked_jtis: Mutex::default(),
            tokens: Mutex::default(),
            asked: AtomicUsize::new(0),
        })
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn routes(self: &Arc<Self>) -> Routes {
        Routes::new(JwtServiceServer::from_arc(Arc::clone(self)))
            .add_service(JwksServiceServer::from_arc(Arc::clone(self)))
    }

    pub(crate) fn push(&self, event: Event) {
        let event = WatchTrustResponse { event: Some(event) };
        self.streams
            .lock()
            .unwrap()
            .retain(|stream| stream.send(Ok(event.clone())).is_ok());
    }

    pub(crate) fn revoke(&self, kid: &str) {
        self.push(Event::Revocations(TrustRevocations {
            kids: vec![kid.to_owned()],
        }));
    }

    pub(crate) fn lease_event(&self) -> Event {
        let (seconds, epoch) = *self.lease.lock().unwrap();
        let valid_for = Some(prost_types::Duration {
            seconds: seconds.try_into().unwrap(),
            nanos: 0,
        });
        Event::Lease(TrustLease {
            stream_age: None,
            valid_for,
            epoch,
        })
    }

    fn jwks(&self) -> TrustJwks {
        let mut sets: HashMap<&str, TrustKeySet> = HashMap::new();
        for key in &self.keys {
            let set = sets.entry(key.set).or_insert_with(|| TrustKeySet {
                name: key.set.into(),
                issuer: ISSUER.into(),
                hint_window: Some(prost_types::Duration {
                    seconds: 3600,
                    nanos: 0,
                }),
                max_lifetime: Some(prost_types::Duration {
                    seconds: 3600,
                    nanos: 0,
                }),
                ..TrustKeySet::default()
            });
            set.keys.push(key.trusted());
        }
        TrustJwks {
            complete: true,
            key_sets: sets.into_values().collect(),
            removed_key_sets: Vec::new(),
        }
    }
}

impl Trust for Fake {
    fn key(&self, kid: &str) -> Lookup<'_> {
        let Some(key) = self.keys.iter().find(|key| key.kid == kid) else {
            return Lookup::Unknown;
        };
        let state = match key.state {
            TrustState::Revoked => return Lookup::Revoked { key_set: key.set },
            TrustState::HintOnly => KeyState::Retired,
            _ => KeyState::Active,
        };
        Lookup::Found(TrustedKey {
            kid: &key.kid,
            key_set: key.set,
            issuer: Some(ISSUER),
            profile: &self.profile,
            state,
            algorithm: key.algorithm,
            verifier: Verifier::Held(&*key.verifier),
        })
    }

    fn only_key(&self, _key_set: &str, _algorithm: JwsAlgorithm) -> Lookup<'_> {
        Lookup::Unknown
    }

    fn standing(&self, claims: &Claims) -> Standing {
        let jti = claims.jwt_id().unwrap_or_default().into_owned();
        match self.revoked_jtis.lock().unwrap().contains(&jti) {
            true => Standing::Revoked,
            false => Standing::Stands,
        }
    }
}

#[tonic::async_trait]
impl JwtService for Fake {
    async fn sign(
        &self,
        _: Request<wire::SignRequest>,
    ) -> Result<Response<wire::SignResponse>, Status> {
        Err(Status::unimplemented("sign"))
    }

    async fn verify(
        &self,
        request: Request<wire::VerifyRequest>,
    ) -> Result<Response<wire::VerifyResponse>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let request = request.into_inner();
        let purpose = match request.purpose() {
            wire::Purpose::Unspecified => jose::jwt::Purpose::Access,
            wire::Purpose::Hint => jose::jwt::Purpose::Hint,
        };
        let options = VerifyOptions {
            issuer: request.issuer,
            audiences: request.audiences,
            audience_unchecked: request.audience_unchecked,
            types: request.types,
            key_sets: request.key_sets,
            leeway: request
                .leeway
                .map_or(0, |leeway| leeway.seconds.try_into().unwrap()),
            purpose,
        };
        let Ok(rules) = VerifyRules::try_from(options) else {
            return Err(Status::invalid_argument("refused"));
        };
        let verdict =
            match jose::jwt::verify(&request.token, self, &rules, SystemClock.unix().as_secs()) {
                Ok(claims) => wire::verify_response::Verdict::Valid(wire::ValidToken {
                    claims_json: claims.json().into(),
                    header_json: claims.header_json().into(),
                    kid: claims.kid().into(),
                    key_set: claims.key_set().into(),
                }),
                Err(NotVerified::Rejected(reason)) => {
                    let name = format!("REJECT_REASON_{}", reason.name());
                    let reason = wire::RejectReason::from_str_name(&name).unwrap().into();
                    wire::verify_response::Verdict::Rejected(wire::RejectedToken { reason })
                }
                Err(NotVerified::AskService) => {
                    return Err(Status::internal("the service holds its keys"));
                }
            };
        Ok(Response::new(wire::VerifyResponse {
            verdict: Some(verdict),
        }))
    }

    async fn sign_then_encrypt(
        &self,
        _: Request<wire::SignThenEncryptRequest>,
    ) -> Result<Response<wire::SignThenEncryptResponse>, Status> {
        Err(Status::unimplemented("sign_then_encrypt"))
    }

    async fn decrypt_then_verify(
        &self,
        _: Request<wire::DecryptThenVerifyRequest>,
    ) -> Result<Response<wire::DecryptThenVerifyResponse>, Status> {
        Err(Status::unimplemented("decrypt_then_verify"))
    }
}

#[tonic::async_trait]
impl JwksService for Fake {
    async fn get_jwks(
        &self,
        _: Request<GetJwksRequest>,
    ) -> Result<Response<GetJwksResponse>, Status> {
        Err(Status::unimplemented("get_jwks"))
    }

    async fn watch_trust(
        &self,
        _: Request<WatchTrustRequest>,
    ) -> Result<Response<BoxStream<WatchTrustResponse>>, Status> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let (sender, receiver) = unbounded_channel();
        let tokens = self.tokens.lock().unwrap().clone();
        let opening = [
            Event::Jwks(self.jwks()),
            Event::Revocations(TrustRevocations::default()),
        ];
        let tokens = tokens.into_iter().map(Event::TokenRevocations);
        let opening = opening
            .into_iter()
            .chain(tokens)
            .chain([self.lease_event()]);
        for event in opening {
            sender
                .send(Ok(WatchTrustResponse { event: Some(event) }))
                .unwrap();
        }
        self.streams.lock().unwrap().push(sender);
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(
            receiver,
        ))))
    }
}
